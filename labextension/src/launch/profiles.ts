import type { Profile } from '../api/types';

/** Reasons of deaths that more memory helps against (docs/errors.md). */
const MEMORY = new Set(['OutOfMemory', 'OOMKilled']);

export function isOutOfMemory(reason: string): boolean {
  return MEMORY.has(reason);
}

/**
 * The smallest profile that has more memory than a runner had, in bytes; null if there is none or
 * its memory is not known.
 */
export function largerProfile(
  profiles: readonly Profile[],
  memory: number | null
): Profile | null {
  if (memory === null) {
    return null;
  }
  let best: Profile | null = null;
  for (const profile of profiles) {
    const size = profile.settings?.resources;
    if (!size || size.memory <= memory) {
      continue;
    }
    const than = best?.settings?.resources;
    if (
      !than ||
      size.memory < than.memory ||
      (size.memory === than.memory && size.cpu < than.cpu)
    ) {
      best = profile;
    }
  }
  return best;
}
