import type { RunnerEvent } from '../api/types';
import type { LaunchEvent, PhaseTime } from './events';

/** Of launches that have ended so many are remembered, for their details. */
export const MOST_REMEMBERED = 50;

/** A phase that has begun; times in milliseconds since the epoch. */
export interface Step {
  phase: string;
  message: string;
  begun: number;
}

/** What this page has heard of one launch. */
export interface Launch {
  /** The same for all events of the launch, and for a later one of the same kernel. */
  key: string;
  /** Empty as long as it has none. */
  runner: string;
  runnerUid: string;
  kernelId: string;
  kernelName: string;
  /** As in events; empty for a kernel without a document. */
  notebook: string;
  profile: string;
  state: LaunchEvent['state'];
  /** When this page heard of it first, in milliseconds since the epoch. */
  begun: number;
  /** The phases as this page heard of them, the last one is now. */
  steps: readonly Step[];
  reason: string;
  message: string;
  hint: string;
  /** The phases with their times, once it has ended. */
  phases: readonly PhaseTime[];
  /** How long it took in seconds, once it has ended. */
  seconds: number | null;
  events: readonly RunnerEvent[];
  log: readonly string[];
}

/** By key, in the order of their beginnings. */
export type Launches = ReadonlyMap<string, Launch>;

/** The launch that an event is about.  A runner without a kernel has only its name. */
export function keyOf(event: LaunchEvent): string {
  return event.kernel_id ?? event.runner;
}

/** All launches after an event.  `now` is in milliseconds since the epoch. */
export function reduce(
  launches: Launches,
  event: LaunchEvent,
  now: number
): Launches {
  const key = keyOf(event);
  const known = launches.get(key);
  const isKnown = known?.state === 'launching';
  const before = isKnown ? known : begin(key, now);
  const after = new Map(launches);
  if (!isKnown) {
    // Another launch of the same kernel is the youngest one.
    after.delete(key);
  }
  after.set(key, told(before, event, now));
  return bounded(after);
}

/** Forget about launches of which no end will be heard: the server that made them is gone. */
export function abandon(launches: Launches): Launches {
  return new Map(
    [...launches].filter(([, launch]) => launch.state !== 'launching')
  );
}

/** The latest launch of a runner. */
export function ofRunner(
  launches: Launches,
  runner: string
): Launch | undefined {
  return [...launches.values()].reverse().find(each => each.runner === runner);
}

/** How long each phase took so far in seconds; the last one goes on while it is launching. */
export function times(launch: Launch, now: number): readonly PhaseTime[] {
  if (launch.state !== 'launching') {
    return launch.phases;
  }
  return launch.steps.map((step, index) => ({
    phase: step.phase,
    message: step.message,
    seconds: ((launch.steps[index + 1]?.begun ?? now) - step.begun) / 1000
  }));
}

function begin(key: string, now: number): Launch {
  return {
    key,
    runner: '',
    runnerUid: '',
    kernelId: '',
    kernelName: '',
    notebook: '',
    profile: '',
    state: 'launching',
    begun: now,
    steps: [],
    reason: '',
    message: '',
    hint: '',
    phases: [],
    seconds: null,
    events: [],
    log: []
  };
}

function told(launch: Launch, event: LaunchEvent, now: number): Launch {
  const after: Launch = {
    ...launch,
    runner: event.runner || launch.runner,
    runnerUid: event.runner_uid ?? launch.runnerUid,
    kernelId: event.kernel_id ?? launch.kernelId,
    kernelName: event.kernel_name ?? launch.kernelName,
    notebook: event.notebook ?? launch.notebook,
    profile: event.profile ?? launch.profile,
    state: event.state,
    message: event.message
  };
  if (event.state === 'launching') {
    return { ...after, steps: advanced(launch.steps, event, now) };
  }
  return {
    ...after,
    reason: event.reason ?? '',
    hint: event.hint ?? '',
    phases: event.phases ?? [],
    seconds: event.seconds ?? (now - launch.begun) / 1000,
    events: event.details?.events ?? [],
    log: event.details?.log ?? []
  };
}

function advanced(
  steps: readonly Step[],
  event: LaunchEvent,
  now: number
): readonly Step[] {
  const { phase, message } = event;
  const last = steps[steps.length - 1];
  if (last?.phase === phase) {
    return [...steps.slice(0, -1), { ...last, message }];
  }
  return [...steps, { phase, message, begun: now }];
}

function bounded(launches: Map<string, Launch>): Launches {
  const ended = [...launches.values()].filter(
    launch => launch.state !== 'launching'
  );
  const surplus = Math.max(0, ended.length - MOST_REMEMBERED);
  for (const launch of ended.slice(0, surplus)) {
    launches.delete(launch.key);
  }
  return launches;
}
