import type { Profile } from '../api/types';

/** Reasons of deaths that more memory helps against (docs/errors.md). */
const MEMORY = new Set(['OutOfMemory', 'OOMKilled']);

export function isOutOfMemory(reason: string): boolean {
  return MEMORY.has(reason);
}

/** How large a runner was: memory in bytes, and how many GPUs. */
export interface Size {
  memory: number | null;
  gpu: number | null;
}

/**
 * The smallest profile that has more memory than a runner had, and as many GPUs if there is one;
 * null if there is none or the runner's memory is not known.
 */
export function largerProfile(
  profiles: readonly Profile[],
  { memory, gpu }: Size
): Profile | null {
  if (memory === null) {
    return null;
  }
  const costs = (profile: Profile): number[] => {
    const size = profile.settings?.resources;
    return size
      ? [Math.abs(size.gpu - (gpu ?? 0)), size.memory, size.cpu]
      : [Infinity];
  };
  const [best] = profiles
    .filter(({ settings }) => (settings?.resources.memory ?? 0) > memory)
    .sort((a, b) => compare(costs(a), costs(b)));
  return best ?? null;
}

function compare(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((value, index) => value !== b[index]);
  return at < 0 ? 0 : (a[at] ?? 0) - (b[at] ?? 0);
}
