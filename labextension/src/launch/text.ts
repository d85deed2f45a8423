import type { TranslationBundle } from '@jupyterlab/translation';

import { baseName, phaseName, size, sizeOf } from '../model/format';
import type { DeathEvent, ResultsEvent } from './events';
import { type Launch, times } from './launches';
import { isOutOfMemory } from './profiles';

/** Lab cuts the text of a notification after so many characters. */
export const TOAST = 140;

/** A time in seconds as a launch needs it: `0.2 s`, `12 s`, `1 min 5 s`. */
export function seconds(value: number, trans: TranslationBundle): string {
  if (value < 9.95) {
    return trans.__('%1 s', value.toFixed(1).replace(/\.0$/, ''));
  }
  const whole = Math.round(value);
  return whole < 60
    ? trans.__('%1 s', whole)
    : trans.__('%1 min %2 s', Math.floor(whole / 60), whole % 60);
}

/** `runner-3 for analysis.ipynb`, or as much of it as is known. */
export function subject(
  runner: string,
  document: string,
  trans: TranslationBundle
): string {
  if (runner && document) {
    return trans.__('%1 for %2', runner, baseName(document));
  }
  if (document) {
    return trans.__('Runner for %1', baseName(document));
  }
  return runner || trans.__('Runner');
}

/**
 * How far a launch has come: `runner-3 for analysis.ipynb: Pulling the image… 12 s (Queued 1 s)`.
 */
export function progress(
  launch: Launch,
  document: string,
  now: number,
  trans: TranslationBundle
): string {
  const who = subject(launch.runner, document, trans);
  const phases = times(launch, now);
  const current = phases[phases.length - 1];
  if (!current) {
    return trans.__('%1: starting…', who);
  }
  // Whole seconds, which is what it is told in.
  const text = trans.__(
    '%1: %2… %3',
    who,
    phaseName(current.phase, trans),
    seconds(Math.floor(current.seconds), trans)
  );
  const before = phases
    .slice(0, -1)
    .map(
      each => `${phaseName(each.phase, trans)} ${seconds(each.seconds, trans)}`
    )
    .join(', ');
  const all = before ? `${text} (${before})` : text;
  return all.length <= TOAST ? all : toast([text]);
}

/** That a launch is done: `runner-3 for analysis.ipynb is ready after 14 s`. */
export function success(
  launch: Launch,
  document: string,
  trans: TranslationBundle
): string {
  return trans.__(
    '%1 is ready after %2',
    subject(launch.runner, document, trans),
    seconds(launch.seconds ?? 0, trans)
  );
}

/** Why a launch failed, and what to do about it. */
export function failure(
  launch: Launch,
  document: string,
  trans: TranslationBundle
): string {
  const who = document ? baseName(document) : launch.runner;
  // Messages about pods begin with what is said here in other words.
  const message = launch.message.replace(/^\S+ did not start\.\s+/, '');
  return toast([
    ...sentences(
      who
        ? trans.__('%1 could not start: %2', who, message)
        : trans.__('The runner could not start: %1', message)
    ),
    ...sentences(launch.hint)
  ]);
}

/**
 * Why a kernel died, and what to do about it: `analysis.ipynb: out of memory, 2 of 2 GiB. Pick
 * medium, or free memory.`  `larger` is the name of a profile with more memory, if there is one.
 */
export function death(
  event: DeathEvent,
  document: string,
  larger: string | null,
  trans: TranslationBundle
): string {
  const who = document ? baseName(document) : event.runner;
  if (!isOutOfMemory(event.reason)) {
    return toast([
      ...sentences(trans.__('%1: %2', who, event.message)),
      ...sentences(event.hint ?? '')
    ]);
  }
  const { memory } = event;
  const amount = memory && amountOf(memory, trans);
  const what = amount
    ? trans.__('%1: out of memory, %2.', who, amount)
    : trans.__('%1: out of memory.', who);
  const advice = larger
    ? trans.__('Pick %1, or free memory.', larger)
    : trans.__('Free memory before that point.');
  return toast([what, advice]);
}

/** What came back from a runner, or did not: `analysis.ipynb: 3 files, copied back to /srv.` */
export function results(
  event: ResultsEvent,
  document: string,
  trans: TranslationBundle
): string {
  // Messages begin with the runner where they are about nothing else.
  const message = event.message.replace(/^runner-\d+: /, '');
  return toast([
    ...sentences(
      document ? trans.__('%1: %2', baseName(document), message) : event.message
    ),
    ...sentences(event.hint ?? '')
  ]);
}

/** How much memory there was, and how much of it was used where that is known. */
function amountOf(
  { used, limit }: NonNullable<DeathEvent['memory']>,
  trans: TranslationBundle
): string {
  return used === undefined ? size(limit) : sizeOf(used, limit, trans);
}

/** The sentences of a text. */
export function sentences(text: string): string[] {
  return text
    .split(/(?<=[.!?])\s+/)
    .map(each => each.trim())
    .filter(each => each !== '');
}

/** As many of the first sentences as a notification has room for; a long first one is cut. */
export function toast(all: readonly string[]): string {
  let text = '';
  for (const sentence of all) {
    const longer = text ? `${text} ${sentence}` : sentence;
    if (longer.length > TOAST) {
      break;
    }
    text = longer;
  }
  if (text) {
    return text;
  }
  const cut = (all[0] ?? '').slice(0, TOAST - 1);
  return `${cut.slice(0, cut.lastIndexOf(' '))}…`;
}
