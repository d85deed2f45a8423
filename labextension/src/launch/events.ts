/**
 * Jupyter's events about runners, as gra_provisioner/server/events/*.yaml describes them.
 */

import type { Event } from '@jupyterlab/services';

import type { RunnerEvent } from '../api/types';

export const RUNNER_LAUNCH =
  'https://events.gra.dev/gra_provisioner/runner_launch/v1';
export const KERNEL_DEATH =
  'https://events.gra.dev/gra_provisioner/kernel_death/v1';
export const RUNNER_RESULTS =
  'https://events.gra.dev/gra_provisioner/runner_results/v1';

/** A phase of a launch that has ended. */
export interface PhaseTime {
  phase: string;
  seconds: number;
  message: string;
}

/** What events of both kinds say of their kernel. */
interface Subject {
  runner: string;
  kernel_id?: string;
  kernel_name?: string;
  /** The path in the server's file system; a console's name in place of that of its file. */
  notebook?: string;
  profile?: string;
  runner_uid?: string;
  reason?: string;
  message: string;
  hint?: string;
}

/** A phase of a launch has begun or has news, or the launch has ended. */
export interface LaunchEvent extends Subject {
  state: 'launching' | 'ready' | 'failed' | 'cancelled';
  phase: string;
  seconds?: number;
  phases?: readonly PhaseTime[];
  /** Of a launch that failed: what was known before its runner was removed. */
  details?: {
    events: readonly RunnerEvent[];
    log: readonly string[];
  };
}

/** A kernel ended although nobody had asked it to. */
export interface DeathEvent extends Subject {
  reason: string;
  stderr?: readonly string[];
  code?: number;
  runner_gone?: boolean;
  /** In bytes; where memory ran out. */
  memory?: { used?: number; limit: number };
}

/** What was changed in a runner has been copied back, or has not. */
export interface ResultsEvent extends Subject {
  state: 'returned' | 'noticed' | 'failed';
}

/** An emission of the server's event stream, if it is the news of a launch. */
export function asLaunch(emission: Event.Emission): LaunchEvent | null {
  return emission.schema_id === RUNNER_LAUNCH
    ? (emission as unknown as LaunchEvent)
    : null;
}

/** An emission of the server's event stream, if it tells of a kernel's death. */
export function asDeath(emission: Event.Emission): DeathEvent | null {
  return emission.schema_id === KERNEL_DEATH
    ? (emission as unknown as DeathEvent)
    : null;
}

/** An emission of the server's event stream, if it tells what came back from a runner. */
export function asResults(emission: Event.Emission): ResultsEvent | null {
  return emission.schema_id === RUNNER_RESULTS
    ? (emission as unknown as ResultsEvent)
    : null;
}
