import type { Runner } from '../api/types';
import type { IRunnerModel } from '../model/model';

/** What the page knows when a command is to run. */
export interface ITargetSource {
  model: Pick<IRunnerModel, 'get' | 'runners' | 'ofKernel'>;
  /** Uids of those that are selected in the panel. */
  selection: ReadonlySet<string>;
  /** The kernel of the notebook or console in front. */
  currentKernel: string | null;
}

/** A command's arguments that say which runners are meant. */
export interface ITargetArguments {
  name?: unknown;
  names?: unknown;
}

/**
 * The runners that a command is about: those that are named; else those that are selected, which a
 * row whose menu is opened is; else that of the document in front.
 */
export function targetsOf(
  args: ITargetArguments,
  source: ITargetSource
): Runner[] {
  const { model, selection } = source;
  const names = Array.isArray(args.names)
    ? args.names
    : args.name === undefined
      ? null
      : [args.name];
  if (names) {
    return names
      .map(name => model.get(String(name)))
      .filter(runner => runner !== undefined);
  }
  if (selection.size > 0) {
    const chosen = [...model.runners.values()].filter(({ uid }) =>
      selection.has(uid)
    );
    if (chosen.length > 0) {
      return chosen;
    }
  }
  const current = source.currentKernel
    ? model.ofKernel(source.currentKernel)
    : undefined;
  return current ? [current] : [];
}
