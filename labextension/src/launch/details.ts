import type { TranslationBundle } from '@jupyterlab/translation';

import type { Mount, Runner, RunnerEvent } from '../api/types';
import { phaseName } from '../model/format';
import { mountState, sourceOf } from '../model/mounts';
import type { DeathEvent, PhaseTime, ResultsEvent } from './events';
import { type Launch, times } from './launches';
import { seconds } from './text';

/** All that can be said about a start, or an end, of a runner or its kernel. */
export interface Details {
  /** Empty where it had none yet. */
  runner: string;
  runnerUid: string;
  /** The path of its document; empty without one. */
  document: string;
  /** Empty where nothing went wrong. */
  reason: string;
  message: string;
  hint: string;
  phases: readonly PhaseTime[];
  /** Its buckets; null: not known, so that the server can be asked. */
  mounts: readonly Mount[] | null;
  /** Null: not known, so that the server can be asked. */
  events: readonly RunnerEvent[] | null;
  /** Lines of the log; null: not known, so that the server can be asked. */
  log: readonly string[] | null;
}

/** `now` is in milliseconds since the epoch. */
export function ofLaunch(
  launch: Launch,
  document: string,
  now: number
): Details {
  const { runner, runnerUid, reason, message, hint } = launch;
  return {
    runner,
    runnerUid,
    document,
    reason,
    message,
    hint,
    phases: times(launch, now),
    mounts: launch.state === 'ready' ? null : [],
    // One that could not start was removed, and its name can be another's by now.
    events: launch.state === 'failed' ? launch.events : null,
    log: launch.state === 'failed' ? launch.log : null
  };
}

export function ofDeath(event: DeathEvent, document: string): Details {
  const { runner, reason, message } = event;
  return {
    runner,
    runnerUid: event.runner_uid ?? '',
    document,
    reason,
    message,
    hint: event.hint ?? '',
    phases: [],
    mounts: event.runner_gone ? [] : null,
    events: null,
    log: event.stderr?.length || event.runner_gone ? (event.stderr ?? []) : null
  };
}

export function ofResults(event: ResultsEvent, document: string): Details {
  const { runner, message } = event;
  return {
    runner,
    runnerUid: event.runner_uid ?? '',
    document,
    reason: event.reason ?? '',
    message,
    hint: event.hint ?? '',
    phases: [],
    // They say nothing about it.
    mounts: [],
    events: [],
    log: []
  };
}

export function ofRunner(runner: Runner): Details {
  return {
    runner: runner.name,
    runnerUid: runner.uid,
    document: runner.notebook ?? '',
    reason: runner.reason,
    message: runner.message,
    hint: runner.hint,
    phases: [],
    mounts: runner.mounts,
    events: null,
    log: null
  };
}

/** When an event was, as the user's clock has it. */
export function timeOf(event: RunnerEvent): string {
  return new Date(event.time * 1000).toLocaleTimeString();
}

/** All of it as text, to be put into a mail. */
export function asText(details: Details, trans: TranslationBundle): string {
  const { runner, document, reason, message, hint } = details;
  const head = [runner, document, reason].filter(each => each).join(' · ');
  const phases = details.phases.map(
    ({ phase, seconds: took, message: said }) =>
      `${phaseName(phase, trans)}: ${seconds(took, trans)}${said ? `, ${said}` : ''}`
  );
  const mounts = (details.mounts ?? []).map(mount =>
    [
      `${mount.path} (${sourceOf(mount)}): ${mountState(mount.state, trans)}`,
      mount.reason,
      mount.message,
      mount.hint
    ]
      .filter(each => each)
      .join(' · ')
  );
  const events = (details.events ?? []).map(event =>
    [timeOf(event), event.type, event.reason, event.message]
      .filter(each => each)
      .join(' ')
  );
  return [[head, message, hint], mounts, phases, events, details.log ?? []]
    .map(lines => lines.filter(line => line !== '').join('\n'))
    .filter(section => section !== '')
    .join('\n\n');
}
