import type { TranslationBundle } from '@jupyterlab/translation';

import type { Runner } from '../api/types';
import { baseName, duration, stateName } from '../model/format';

/** Those that run or are about to, and may be ended from here: one's own, by their numbers. */
export function running(runners: Iterable<Runner>): Runner[] {
  return [...runners]
    .filter(
      ({ mine, status }) =>
        mine && (status === 'starting' || status === 'running')
    )
    .sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
}

/** `runner-3 · analysis.ipynb`. */
export function label(runner: Runner): string {
  return [runner.name, runner.notebook && baseName(runner.notebook)]
    .filter(each => each)
    .join(' · ');
}

/** All that is worth knowing at a glance; `now` is in milliseconds since the epoch. */
export function caption(
  runner: Runner,
  now: number,
  trans: TranslationBundle
): string {
  const age = duration(now / 1000 - runner.created, trans);
  return [
    trans.__('%1: %2', runner.name, stateName(runner, trans)),
    runner.profile && trans.__('Profile: %1', runner.profile),
    runner.notebook && trans.__('Notebook: %1', runner.notebook),
    runner.node && trans.__('Node: %1', runner.node),
    trans.__('Age: %1', age)
  ]
    .filter(each => each)
    .join('\n');
}

/** What tells two lists of items apart that are shown differently. */
export function digest(
  runners: readonly Runner[],
  trans: TranslationBundle
): string {
  return runners
    .map(each => `${each.uid} ${label(each)} ${stateName(each, trans)}`)
    .join('\n');
}
