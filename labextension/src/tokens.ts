import { Token } from '@lumino/coreutils';

import type { Client } from './api/client';
import type { Runner } from './api/types';
import type { ITargetArguments } from './commands/targets';
import type { IRunnerModel } from './model/model';
import type { PanelState } from './panel/state';

/** Runners for other parts of the page: what is known of them, and how to ask for more. */
export interface IRunners {
  readonly model: IRunnerModel;
  readonly client: Client;
  /** What is selected in the panel, and how it is shown. */
  readonly state: PanelState;
  /**
   * The runners that a command is about: those that its arguments name, else those that are
   * selected, else that of the document in front.
   */
  targets(args: ITargetArguments): Runner[];
  /** The only one of them; undefined if there are several, or none. */
  target(args: ITargetArguments): Runner | undefined;
  /** Its name.  One that is given may be nobody's any more, as that of a tab that is restored. */
  nameOf(args: ITargetArguments): string | undefined;
}

/**
 * Null where the server has no gra: nothing is shown, said or asked for then.
 */
export const IRunners = new Token<IRunners | null>(
  'gra-provisioner:IRunners',
  'Runners: what is known of them, and the REST API about them.'
);
