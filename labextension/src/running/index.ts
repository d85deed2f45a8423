import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { Notification } from '@jupyterlab/apputils';
import { IRunningSessionManagers } from '@jupyterlab/running';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { Signal } from '@lumino/signaling';

import { explain } from '../api/errors';
import type { Runner } from '../api/types';
import { endRunners } from '../commands/ending';
import { CommandIDs } from '../commands/ids';
import { stateName } from '../model/format';
import { runnerIcon } from '../panel/icons';
import { IRunners } from '../tokens';
import { caption, digest, label, running } from './items';

/** Lists runners among Lab's running terminals and kernels. */
export const runningRunners: JupyterFrontEndPlugin<void> = {
  id: 'gra-provisioner:running',
  description: 'Lists runners in the panel of running terminals and kernels.',
  autoStart: true,
  requires: [IRunners],
  optional: [IRunningSessionManagers, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    runners: IRunners | null,
    managers: IRunningSessionManagers | null,
    translator: ITranslator | null
  ) => {
    if (!runners || !managers) {
      return;
    }
    const trans = (translator ?? nullTranslator).load('gra_provisioner');
    const { model } = runners;
    const { commands } = app;
    const list = (): Runner[] => running(model.runners.values());

    // Usage changes every few seconds, and is not shown here.
    const runningChanged = new Signal<typeof model, undefined>(model);
    let shown = '';
    model.changed.connect(() => {
      const now = digest(list(), trans);
      if (now !== shown) {
        shown = now;
        runningChanged.emit(undefined);
      }
    });

    managers.add({
      name: trans.__('Runners'),
      running: () =>
        list().map(runner => ({
          context: runner.name,
          icon: () => runnerIcon,
          label: () => label(runner),
          labelTitle: () => caption(runner, Date.now(), trans),
          detail: () => stateName(runner, trans),
          open: () => {
            void commands.execute(CommandIDs.show, { name: runner.name });
          },
          shutdown: () => {
            void commands.execute(CommandIDs.delete, { names: [runner.name] });
          }
        })),
      runningChanged,
      refreshRunning: () => model.refresh(),
      shutdownLabel: trans.__('Delete'),
      shutdownAllLabel: trans.__('Delete All'),
      shutdownAllConfirmationText: () =>
        trans._n(
          'Delete %1 runner of yours? The variables of its kernel are lost.',
          'Delete %1 runners of yours? The variables of their kernels are lost.',
          list().length
        ),
      // Lab has asked already.
      shutdownAll: () => {
        void endRunners(runners.client, list(), ({ name }, error) => {
          if (error !== null) {
            Notification.error(
              trans.__('%1 was not deleted: %2', name, explain(error)),
              { autoClose: false }
            );
          }
        });
      }
    });
  }
};
