import type { Client } from '../api/client';
import { ApiError } from '../api/errors';

// So many are ended at once: a browser has few connections.
const AT_ONCE = 4;

/**
 * End runners, a few at a time.  `onEnd` is told of each, with what it failed with; that somebody
 * else was first is no failure.
 */
export async function endRunners<T extends { name: string }>(
  client: Client,
  runners: readonly T[],
  onEnd: (runner: T, error: unknown) => void
): Promise<void> {
  const waiting = [...runners];
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      let failure: unknown = null;
      try {
        await client.delete(next.name);
      } catch (error) {
        if (!(error instanceof ApiError && error.status === 404)) {
          failure = error;
        }
      }
      onEnd(next, failure);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}
