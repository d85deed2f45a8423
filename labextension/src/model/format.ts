import type { TranslationBundle } from '@jupyterlab/translation';

import type { Runner, RunnerStatus } from '../api/types';

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

function unitOf(bytes: number): number {
  const power = bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10);
  return Math.min(power, UNITS.length - 1);
}

/** Two digits that matter: 1.2, 12, 120. */
function short(value: number): string {
  return value >= 9.95 || Number.isInteger(value)
    ? String(Math.round(value))
    : value.toFixed(1).replace(/\.0$/, '');
}

/** A number of bytes: `1.2 GiB`. */
export function size(bytes: number): string {
  const unit = unitOf(bytes);
  return `${short(bytes / 1024 ** unit)} ${UNITS[unit] ?? ''}`;
}

/** How much of a limit: `1.2 of 2 GiB`, both in the limit's unit. */
export function sizeOf(
  used: number,
  limit: number,
  trans: TranslationBundle
): string {
  const unit = unitOf(limit);
  if (used > 0 && used / 1024 ** unit < 0.05) {
    return trans.__('%1 of %2', size(used), size(limit));
  }
  return trans.__('%1 of %2', short(used / 1024 ** unit), size(limit));
}

/** Processors: `0.42`, `2`. */
export function processors(cpu: number): string {
  return Number.isInteger(cpu) ? String(cpu) : cpu.toFixed(cpu < 1 ? 2 : 1);
}

/** A time in seconds, in its largest unit: `12 s`, `5 min`, `3 h`, `2 d`. */
export function duration(seconds: number, trans: TranslationBundle): string {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) {
    return trans.__('%1 s', whole);
  }
  if (whole < 3600) {
    return trans.__('%1 min', Math.floor(whole / 60));
  }
  if (whole < 86_400) {
    return trans.__('%1 h', Math.floor(whole / 3600));
  }
  return trans.__('%1 d', Math.floor(whole / 86_400));
}

/** What a runner asked for: `2 CPU, 2 GiB, 1 GPU`; empty where that is not known. */
export function sizes(runner: Runner, trans: TranslationBundle): string {
  const { cpu, memory, gpu } = runner.resources;
  const parts: string[] = [];
  if (cpu !== null) {
    parts.push(trans.__('%1 CPU', processors(cpu)));
  }
  if (memory !== null) {
    parts.push(size(memory));
  }
  if (gpu) {
    parts.push(trans.__('%1 GPU', gpu));
  }
  return parts.join(', ');
}

export function statusName(
  status: RunnerStatus,
  trans: TranslationBundle
): string {
  switch (status) {
    case 'starting':
      return trans.__('Starting');
    case 'running':
      return trans.__('Running');
    case 'ended':
      return trans.__('Ended');
    case 'lost':
      return trans.__('Lost');
    case 'unknown':
      return trans.__('Unknown');
  }
}

/** What a starting runner does; the phase's own name where it is one of a later version. */
export function phaseName(phase: string, trans: TranslationBundle): string {
  const names: Record<string, string> = {
    queued: trans.__('Queued'),
    scheduling: trans.__('Looking for a node'),
    pulling: trans.__('Pulling the image'),
    mounts: trans.__('Mounting buckets'),
    mounting: trans.__('Mounting volumes'),
    starting: trans.__('Starting'),
    syncing: trans.__('Copying the directory'),
    kernel: trans.__('Starting the kernel'),
    ready: trans.__('Ready')
  };
  return names[phase] ?? phase;
}

/** What a runner does now, in a word or two: its kernel's state while it runs. */
export function stateName(runner: Runner, trans: TranslationBundle): string {
  if (runner.status === 'starting') {
    return phaseName(runner.phase || 'starting', trans);
  }
  if (runner.status !== 'running') {
    return statusName(runner.status, trans);
  }
  switch (runner.kernel) {
    case 'idle':
      return trans.__('Idle');
    case 'busy':
      return trans.__('Busy');
    case 'dead':
      return trans.__('Kernel dead');
    case 'starting':
      return trans.__('Kernel starting');
    case 'none':
      return trans.__('No kernel');
    case 'unknown':
      return trans.__('Running');
  }
}

/** The last part of a path. */
export function baseName(path: string): string {
  return path.split('/').pop() ?? path;
}
