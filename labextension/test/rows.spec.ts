import type { Runner } from '../src/api/types';
import {
  DEFAULT_VIEW,
  type Document,
  type RunnerRow,
  type View,
  rowsOf
} from '../src/model/rows';
import { runner } from './runners';

function shown(
  runners: Runner[],
  view: Partial<View> = {},
  documents: [string, Document][] = []
): string[] {
  const rows = rowsOf(runners, new Map(documents), {
    ...DEFAULT_VIEW,
    ...view
  });
  return rows.map(row =>
    row.kind === 'group' ? `${row.key} ${row.count}` : row.runner.name
  );
}

describe('the rows of the list', () => {
  test('one’s own come first, in groups by status', () => {
    const runners = [
      runner(1, { mine: false }),
      runner(2, { status: 'ended' }),
      runner(3),
      runner(4, { status: 'lost' }),
      runner(5, { status: 'starting' })
    ];
    expect(shown(runners)).toEqual([
      'mine:starting 1',
      'runner-5',
      'mine:running 1',
      'runner-3',
      'mine:ended 2',
      'runner-2',
      'runner-4',
      'others:running 1',
      'runner-1'
    ]);
  });

  test('runner-10 comes after runner-9', () => {
    expect(shown([runner(10), runner(9)])).toEqual([
      'mine:running 2',
      'runner-9',
      'runner-10'
    ]);
  });

  test('who uses most comes first, and whose use is not known last', () => {
    const use = (memory: number | null) => ({
      usage: { cpu: null, memory, memory_limit: null }
    });
    const runners = [
      runner(1, use(null)),
      runner(2, use(1)),
      runner(3, use(2))
    ];
    expect(shown(runners, { sort: 'memory' }).slice(1)).toEqual([
      'runner-3',
      'runner-2',
      'runner-1'
    ]);
    expect(shown(runners, { sort: 'memory', reversed: true }).slice(1)).toEqual(
      ['runner-1', 'runner-2', 'runner-3']
    );
  });

  test('all words that are searched for must be there, somewhere', () => {
    const runners = [
      runner(1, { notebook: 'work/Analysis.ipynb', profile: 'large' }),
      runner(2, { notebook: 'work/other.ipynb', profile: 'large' })
    ];
    expect(shown(runners, { search: 'LARGE analysis' })).toEqual([
      'mine:running 1',
      'runner-1'
    ]);
    expect(shown(runners, { search: 'analysis medium' })).toEqual([]);
  });

  test('only the statuses that are asked for are shown', () => {
    const runners = [runner(1), runner(2, { status: 'lost' })];
    expect(shown(runners, { groups: new Set(['ended'] as const) })).toEqual([
      'mine:ended 1',
      'runner-2'
    ]);
  });

  test('a folded group says how many it has', () => {
    const collapsed = new Set(['mine:running']);
    expect(shown([runner(1), runner(2)], { collapsed })).toEqual([
      'mine:running 2'
    ]);
  });

  test('others’ runners can be left out', () => {
    expect(shown([runner(1, { mine: false })], { showOthers: false })).toEqual(
      []
    );
  });

  test('a notebook is shown under the name that its session has now', () => {
    const document = { path: 'b.ipynb', name: 'b.ipynb', type: 'notebook' };
    const rows = rowsOf(
      [runner(1, { notebook: 'a.ipynb' })],
      new Map([['kernel-1', document]]),
      DEFAULT_VIEW
    );
    expect((rows[1] as RunnerRow).document).toBe(document);
    const before = rowsOf(
      [runner(1, { notebook: 'dir/a.ipynb' })],
      new Map(),
      DEFAULT_VIEW
    );
    expect((before[1] as RunnerRow).document).toMatchObject({
      path: 'dir/a.ipynb',
      name: 'a.ipynb'
    });
  });
});
