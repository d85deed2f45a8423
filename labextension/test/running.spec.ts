import { nullTranslator } from '@jupyterlab/translation';

import type { Runner } from '../src/api/types';
import { caption, digest, label, running } from '../src/running/items';

const trans = nullTranslator.load('test');

function runner(name: string, more: Partial<Runner> = {}): Runner {
  return {
    name,
    uid: name,
    mine: true,
    status: 'running',
    kernel: 'idle',
    phase: '',
    profile: 'small',
    notebook: null,
    node: '',
    created: 1000,
    usage: { cpu: null, memory: null, memory_limit: null },
    ...more
  } as Runner;
}

describe('runners among what is running', () => {
  it("are one's own that run or are about to, by number", () => {
    const all = [
      runner('runner-10'),
      runner('runner-9', { status: 'starting' }),
      runner('runner-2', { status: 'ended' }),
      runner('runner-1', { mine: false })
    ];
    expect(running(all).map(({ name }) => name)).toEqual([
      'runner-9',
      'runner-10'
    ]);
  });

  it('say which notebook they are for', () => {
    const one = runner('runner-1', { notebook: '/srv/work/a.ipynb' });
    expect(label(one)).toBe('runner-1 · a.ipynb');
    expect(label(runner('runner-2'))).toBe('runner-2');
    expect(caption(one, 1_060_000, trans)).toBe(
      'runner-1: Idle\nProfile: small\nNotebook: /srv/work/a.ipynb\nAge: 1 min'
    );
  });

  it('are the same while only what they use changes', () => {
    const before = runner('runner-1');
    const usage = { cpu: 1, memory: 5, memory_limit: 10 };
    const used = runner('runner-1', { usage });
    expect(digest([used], trans)).toBe(digest([before], trans));
    const busy = runner('runner-1', { kernel: 'busy' });
    expect(digest([busy], trans)).not.toBe(digest([before], trans));
  });
});
