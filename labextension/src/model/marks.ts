import type { Runner } from '../api/types';

/** What is drawn for a runner: its form tells as much as its colour. */
export type Mark =
  'idle' | 'busy' | 'starting' | 'failed' | 'ended' | 'unknown';

/** Reasons of ends that were to be (docs/errors.md). */
export const INTENDED: ReadonlySet<string> = new Set([
  'Orphaned',
  'Idle',
  'LifetimeReached',
  'Deleted'
]);

/** Which mark a runner gets. */
export function markOf(runner: Runner): Mark {
  switch (runner.status) {
    case 'starting':
      return runner.reason ? 'failed' : 'starting';
    case 'ended':
      return runner.reason && !INTENDED.has(runner.reason) ? 'failed' : 'ended';
    case 'lost':
      return 'failed';
    case 'unknown':
      return 'unknown';
    case 'running':
      return runner.kernel === 'busy'
        ? 'busy'
        : runner.kernel === 'dead'
          ? 'failed'
          : 'idle';
  }
}
