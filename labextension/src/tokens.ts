import { Token } from '@lumino/coreutils';

import type { Client } from './api/client';
import type { IRunnerModel } from './model/model';

/** Runners for other parts of the page: what is known of them, and how to ask for more. */
export interface IRunners {
  readonly model: IRunnerModel;
  readonly client: Client;
}

/**
 * Null where the server has no gra: nothing is shown, said or asked for then.
 */
export const IRunners = new Token<IRunners | null>(
  'gra-provisioner:IRunners',
  'Runners: what is known of them, and the REST API about them.'
);
