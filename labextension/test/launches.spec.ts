import { nullTranslator } from '@jupyterlab/translation';

import type { Profile } from '../src/api/types';
import { asText, ofDeath, ofLaunch } from '../src/launch/details';
import { findDocument } from '../src/launch/documents';
import type { LaunchEvent } from '../src/launch/events';
import {
  type Launch,
  type Launches,
  MOST_REMEMBERED,
  abandon,
  ofRunner,
  reduce,
  times
} from '../src/launch/launches';
import { largerProfile } from '../src/launch/profiles';
import * as text from '../src/launch/text';

const trans = nullTranslator.load('test');
const GIB = 1024 ** 3;
const NONE: Launches = new Map<string, Launch>();

function phase(name: string, more: Partial<LaunchEvent> = {}): LaunchEvent {
  return {
    state: 'launching',
    phase: name,
    message: '',
    runner: 'runner-3',
    kernel_id: 'a',
    notebook: '/srv/work/analysis.ipynb',
    ...more
  };
}

/** All launches after events at times in seconds. */
function after(...told: [number, LaunchEvent][]): Launches {
  return told.reduce(
    (launches, [time, event]) => reduce(launches, event, time * 1000),
    NONE
  );
}

function only(launches: Launches): Launch {
  const [launch] = launches.values();
  if (!launch) {
    throw new Error('there is no launch');
  }
  return launch;
}

describe('launches', () => {
  it('have phases whose last one goes on', () => {
    const launch = only(
      after(
        [0, phase('queued', { runner: '' })],
        [1, phase('scheduling')],
        [1.2, phase('pulling')],
        [5, phase('pulling', { message: 'half of it' })]
      )
    );
    expect(launch.runner).toBe('runner-3');
    expect(times(launch, 13_200)).toEqual([
      { phase: 'queued', seconds: 1, message: '' },
      {
        phase: 'scheduling',
        seconds: expect.closeTo(0.2) as number,
        message: ''
      },
      { phase: 'pulling', seconds: 12, message: 'half of it' }
    ]);
  });

  it('are told apart by their kernels', () => {
    const other = { kernel_id: 'b', runner: 'runner-4' };
    const launches = after(
      [0, phase('pulling')],
      [1, phase('starting', other)],
      [2, phase('ready', { ...other, state: 'ready' })]
    );
    expect([...launches.values()].map(({ state }) => state)).toEqual([
      'launching',
      'ready'
    ]);
    expect(ofRunner(launches, 'runner-4')?.kernelId).toBe('b');
  });

  it('begin anew when a kernel is started again', () => {
    const launch = only(
      after(
        [0, phase('starting')],
        [1, phase('starting', { state: 'failed', reason: 'ImageNotFound' })],
        [10, phase('starting')]
      )
    );
    expect(launch.begun).toBe(10_000);
    expect(launch.reason).toBe('');
    expect(launch.steps).toHaveLength(1);
  });

  it('that failed keep what was known of their runner', () => {
    const event = {
      time: 1,
      type: 'Warning',
      reason: 'Failed',
      message: 'no such image',
      count: 2,
      source: 'kubelet',
      about: 'Pod/runner-3'
    };
    const launch = only(
      after(
        [0, phase('pulling')],
        [
          3,
          phase('pulling', {
            state: 'failed',
            reason: 'ImageNotFound',
            message: 'There is no such image.',
            hint: 'Look at its name.',
            phases: [{ phase: 'pulling', seconds: 3, message: 'pulling' }],
            details: { events: [event], log: ['one', 'two'] }
          })
        ]
      )
    );
    const told = asText(ofLaunch(launch, 'analysis.ipynb', 0), trans);
    expect(told).toContain('runner-3 · analysis.ipynb · ImageNotFound');
    expect(told).toContain('Look at its name.');
    expect(told).toContain('Pulling the image: 3 s, pulling');
    expect(told).toContain('Warning Failed no such image');
    expect(told).toContain('one\ntwo');
  });

  it('whose server is gone are forgotten', () => {
    const launches = after(
      [0, phase('starting')],
      [1, phase('ready', { kernel_id: 'b', state: 'ready' })]
    );
    expect([...abandon(launches).keys()]).toEqual(['b']);
  });

  it('are remembered up to a number', () => {
    const told = Array.from({ length: MOST_REMEMBERED + 5 }, (_, index) => {
      const event = phase('ready', { state: 'ready', kernel_id: `${index}` });
      return [index, event] as [number, LaunchEvent];
    });
    const launches = after(...told);
    expect(launches.size).toBe(MOST_REMEMBERED);
    expect(launches.has('0')).toBe(false);
  });
});

describe('the text of a launch', () => {
  it('has the phases with their times', () => {
    const launch = only(
      after(
        [0, phase('queued')],
        [1, phase('scheduling')],
        [1.2, phase('pulling')]
      )
    );
    expect(text.progress(launch, launch.notebook, 13_900, trans)).toBe(
      'runner-3 for analysis.ipynb: Pulling the image… 12 s (Queued 1 s, Looking for a node 0.2 s)'
    );
  });

  it('leaves out earlier phases where there is no room', () => {
    const launch = only(
      after(
        [0, phase('queued')],
        [1, phase('scheduling')],
        [2, phase('pulling')]
      )
    );
    const long = `${'long'.repeat(20)}.ipynb`;
    const told = text.progress(launch, long, 3000, trans);
    expect(told.length).toBeLessThanOrEqual(text.TOAST);
    expect(told).toContain('Pulling the image… 1 s');
    expect(told).not.toContain('Queued');
  });

  it('keeps whole sentences of a failure', () => {
    const launch = only(
      after([
        0,
        phase('pulling', {
          state: 'failed',
          message: `There is no such image. ${'More of it. '.repeat(20)}`,
          hint: 'Look at its name.'
        })
      ])
    );
    const told = text.failure(launch, launch.notebook, trans);
    expect(told).toMatch(
      /^analysis.ipynb could not start: There is no such image\./
    );
    expect(told.length).toBeLessThanOrEqual(text.TOAST);
    expect(told).toMatch(/\.$/);
  });

  it('is cut at a word where the first sentence of a failure is long', () => {
    const launch = only(
      after([
        0,
        phase('pulling', {
          state: 'failed',
          message: `runner-3 did not start. The registry ${'of it '.repeat(30)}`
        })
      ])
    );
    const told = text.failure(launch, launch.notebook, trans);
    expect(told).toMatch(/^analysis.ipynb could not start: The registry of it/);
    expect(told).toMatch(/ (of|it)…$/);
    expect(told.length).toBeLessThanOrEqual(text.TOAST);
  });

  it('tells times as people do', () => {
    expect(text.seconds(0.23, trans)).toBe('0.2 s');
    expect(text.seconds(2, trans)).toBe('2 s');
    expect(text.seconds(12.4, trans)).toBe('12 s');
    expect(text.seconds(125, trans)).toBe('2 min 5 s');
  });
});

describe('the text of a death', () => {
  const event = {
    runner: 'runner-3',
    reason: 'OutOfMemory',
    message: 'The kernel was killed: out of memory.',
    hint: 'Use a larger profile.',
    memory: { used: 2 * GIB, limit: 2 * GIB }
  };

  it('names the memory and the next profile', () => {
    expect(text.death(event, 'analysis.ipynb', 'medium', trans)).toBe(
      'analysis.ipynb: out of memory, 2 of 2 GiB. Pick medium, or free memory.'
    );
  });

  it('names no profile where there is none', () => {
    expect(text.death(event, '', null, trans)).toBe(
      'runner-3: out of memory, 2 of 2 GiB. Free memory before that point.'
    );
  });

  it('is the reason and the hint for others', () => {
    const crash = {
      runner: 'runner-3',
      reason: 'KilledBySignal',
      message: 'The kernel was ended by SIGSEGV.',
      hint: 'A compiled library.'
    };
    expect(text.death(crash, 'a/analysis.ipynb', 'medium', trans)).toBe(
      'analysis.ipynb: The kernel was ended by SIGSEGV. A compiled library.'
    );
  });

  it('has its last lines on stderr as its log', () => {
    const details = ofDeath({ ...event, stderr: ['Killed'] }, 'analysis.ipynb');
    expect(details.log).toEqual(['Killed']);
  });
});

describe('the next larger profile', () => {
  function profile(name: string, memory: number, cpu = 1, gpu = 0): Profile {
    const resources = { cpu, memory, ephemeral_storage: 0, gpu };
    return { name, settings: { resources } } as Profile;
  }
  const broken = { name: 'broken', settings: null } as Profile;
  const profiles = [
    broken,
    profile('large', 8 * GIB),
    profile('gpu', 4 * GIB, 1, 1),
    profile('medium-cpu', 4 * GIB, 8),
    profile('medium', 4 * GIB, 2),
    profile('small', 2 * GIB)
  ];

  it('is the smallest with more memory', () => {
    expect(largerProfile(profiles, { memory: 2 * GIB, gpu: 0 })?.name).toBe(
      'medium'
    );
    expect(largerProfile(profiles, { memory: 4 * GIB, gpu: 0 })?.name).toBe(
      'large'
    );
  });

  it('has a GPU only where there was one', () => {
    expect(largerProfile(profiles, { memory: 2 * GIB, gpu: 1 })?.name).toBe(
      'gpu'
    );
    const few = [profile('gpu', 4 * GIB, 1, 1)];
    expect(largerProfile(few, { memory: 2 * GIB, gpu: 0 })?.name).toBe('gpu');
  });

  it('is none above the largest, or where the memory is not known', () => {
    expect(largerProfile(profiles, { memory: 8 * GIB, gpu: 0 })).toBeNull();
    expect(largerProfile(profiles, { memory: null, gpu: 0 })).toBeNull();
  });
});

describe('the document of a kernel', () => {
  const documents = [
    { path: 'x.ipynb', name: 'x.ipynb', kernelId: 'a' },
    { path: 'sub/x.ipynb', name: 'x.ipynb', kernelId: null },
    { path: 'sub/console-1-0a1b', name: 'Console 1', kernelId: null }
  ];

  it('is that of its id, whatever its path was', () => {
    const found = findDocument(documents, 'a', '/srv/before.ipynb');
    expect(found?.path).toBe('x.ipynb');
  });

  it('is that of its path while it is started', () => {
    const found = findDocument(documents, 'new', '/srv/work/sub/x.ipynb');
    expect(found?.path).toBe('sub/x.ipynb');
    const console = findDocument(documents, 'new', '/srv/work/sub/Console 1');
    expect(console?.path).toBe('sub/console-1-0a1b');
  });

  it('is none of this page for those of others', () => {
    expect(findDocument(documents, 'new', '/srv/work/y.ipynb')).toBeUndefined();
  });
});
