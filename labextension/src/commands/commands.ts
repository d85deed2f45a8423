import type { JupyterFrontEnd } from '@jupyterlab/application';
import {
  Clipboard,
  showErrorMessage,
  Notification
} from '@jupyterlab/apputils';
import type { Kernel } from '@jupyterlab/services';
import type { ISettingRegistry } from '@jupyterlab/settingregistry';
import type { TranslationBundle } from '@jupyterlab/translation';
import {
  addIcon,
  closeIcon,
  consoleIcon,
  copyIcon,
  infoIcon,
  notebookIcon,
  refreshIcon,
  stopIcon
} from '@jupyterlab/ui-components';
import type { CommandRegistry } from '@lumino/commands';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';

import { explain } from '../api/errors';
import type { Runner } from '../api/types';
import { ofRunner } from '../launch/details';
import { showDetails } from '../launch/dialog';
import { documentsOf } from '../model/documents';
import { documentOf, groupOf } from '../model/rows';
import { runnerIcon } from '../panel/icons';
import type { IRunners } from '../tokens';
import { askAndCreate } from './create';
import { confirmDeletion, confirmKernelEnd, deleteRunners } from './deletion';
import { CommandIDs } from './ids';
import { Kernels } from './kernels';

/** Those that are of use without a runner being named. */
export const PALETTE: readonly string[] = Object.values(CommandIDs);

export interface ICommandOptions {
  app: JupyterFrontEnd;
  runners: IRunners;
  settings: Promise<ISettingRegistry.ISettings> | null;
  /** The connection of an open document to its kernel; null where none is open. */
  connectionOf: (kernelId: string) => Kernel.IKernelConnection | null;
  /** Bring the panel to the front. */
  show: () => void;
  trans: TranslationBundle;
}

// What can be said of a runner to a command.
const NAME = { type: 'string', description: 'The name of a runner.' } as const;
const ONE = {
  args: { type: 'object', properties: { name: NAME } }
} as const;
const SEVERAL = {
  args: {
    type: 'object',
    properties: { names: { type: 'array', items: NAME } }
  }
} as const;
const NONE = { args: { type: 'object', properties: {} } } as const;

/** Add the commands about runners. */
export function addCommands(options: ICommandOptions): void {
  const { app, runners, settings, trans } = options;
  const { model, client, state } = runners;
  const { commands, serviceManager } = app;
  const kernels = new Kernels(serviceManager);

  const kernelOf = (args: ReadonlyPartialJSONObject): string | null =>
    kernels.idOf(runners.target(args));
  const documents = () => documentsOf(serviceManager.sessions.running());
  const deletion = () => ({ client, state, documents: documents(), trans });

  const remove = async (chosen: readonly Runner[]): Promise<void> => {
    const asks = !settings || (await settings).get('confirmDelete').composite;
    if (
      chosen.length === 0 ||
      (asks && !(await confirmDeletion(chosen, deletion())))
    ) {
      return;
    }
    await deleteRunners(chosen, deletion());
    await kernels.refresh();
  };

  /** Add a command; what it fails with is told. */
  const add = (
    id: string,
    command: Omit<CommandRegistry.ICommandOptions, 'execute' | 'label'> & {
      label: string;
      execute: (args: ReadonlyPartialJSONObject) => unknown;
    }
  ): void => {
    commands.addCommand(id, {
      ...command,
      execute: async args => {
        try {
          return await command.execute(args);
        } catch (error) {
          await showErrorMessage(command.label, explain(error));
        }
      }
    });
  };

  add(CommandIDs.show, {
    label: trans.__('Show Runners'),
    icon: runnerIcon,
    describedBy: ONE,
    execute: args => {
      const runner = runners.target(args);
      options.show();
      if (runner) {
        state.reveal(runner);
      }
    }
  });
  add(CommandIDs.refresh, {
    label: trans.__('Refresh Runners'),
    icon: refreshIcon,
    describedBy: NONE,
    execute: async () => {
      model.refresh();
      await kernels.refresh();
    }
  });
  add(CommandIDs.create, {
    label: trans.__('New Runner…'),
    icon: addIcon,
    describedBy: NONE,
    execute: async () => {
      const created = await askAndCreate(client, '', trans);
      if (!created) {
        return;
      }
      const { kernelId, openWith } = created;
      await kernels.refresh();
      if (openWith === 'notebook') {
        await commands.execute('notebook:create-new', { kernelId });
      } else if (openWith === 'console') {
        await commands.execute('console:create', {
          kernelPreference: { id: kernelId }
        });
      }
    }
  });
  add(CommandIDs.delete, {
    label: trans.__('Delete Runner…'),
    icon: closeIcon,
    describedBy: SEVERAL,
    isEnabled: args => runners.targets(args).length > 0,
    execute: args => remove(runners.targets(args))
  });
  const finished = (): Runner[] =>
    [...model.runners.values()].filter(
      runner => runner.mine && groupOf(runner.status) === 'ended'
    );
  add(CommandIDs.prune, {
    label: trans.__('Prune Finished Runners…'),
    caption: trans.__('Delete those of mine that have ended by themselves'),
    describedBy: NONE,
    isEnabled: () => finished().length > 0,
    execute: () => remove(finished())
  });
  add(CommandIDs.open, {
    label: trans.__('Open Notebook or Console'),
    icon: notebookIcon,
    describedBy: ONE,
    isEnabled: args => runners.target(args) !== undefined,
    execute: async args => {
      const runner = runners.target(args);
      const document = runner && documentOf(runner, documents());
      if (document?.type === 'console') {
        await commands.execute('console:open', { path: document.path });
      } else if (document) {
        await commands.execute('docmanager:open', { path: document.path });
      } else if (runner) {
        await commands.execute(CommandIDs.details, { name: runner.name });
      }
    }
  });
  add(CommandIDs.newNotebook, {
    label: trans.__('New Notebook on Kernel'),
    icon: notebookIcon,
    describedBy: ONE,
    isEnabled: args => kernelOf(args) !== null,
    execute: args =>
      commands.execute('notebook:create-new', { kernelId: kernelOf(args) })
  });
  add(CommandIDs.newConsole, {
    label: trans.__('New Console on Kernel'),
    icon: consoleIcon,
    describedBy: ONE,
    isEnabled: args => kernelOf(args) !== null,
    execute: args =>
      commands.execute('console:create', {
        kernelPreference: { id: kernelOf(args) }
      })
  });
  add(CommandIDs.interrupt, {
    label: trans.__('Interrupt Kernel'),
    icon: stopIcon,
    describedBy: ONE,
    isEnabled: args => kernelOf(args) !== null,
    execute: async args => {
      const id = kernelOf(args);
      if (id) {
        await kernels.interrupt(id);
      }
    }
  });
  add(CommandIDs.restart, {
    label: trans.__('Restart Kernel…'),
    icon: refreshIcon,
    describedBy: ONE,
    isEnabled: args => kernelOf(args) !== null,
    execute: async args => {
      const runner = runners.target(args);
      const id = kernels.idOf(runner);
      if (runner && id && (await confirmKernelEnd(runner, 'restart', trans))) {
        await kernels.restart(id, options.connectionOf(id));
      }
    }
  });
  add(CommandIDs.shutdown, {
    label: trans.__('Shut Down Kernel…'),
    describedBy: ONE,
    isEnabled: args => kernelOf(args) !== null,
    execute: async args => {
      const runner = runners.target(args);
      const id = kernels.idOf(runner);
      if (runner && id && (await confirmKernelEnd(runner, 'shutdown', trans))) {
        await kernels.shutdown(id);
      }
    }
  });
  add(CommandIDs.copyAttach, {
    label: trans.__('Copy Attach Command'),
    caption: trans.__('For a terminal: jupyter console on this kernel'),
    icon: copyIcon,
    describedBy: ONE,
    isEnabled: args => runners.target(args)?.status === 'running',
    execute: args => {
      const runner = runners.target(args);
      if (runner) {
        Clipboard.copyToSystem(`gra attach ${runner.name}`);
        Notification.info(trans.__('Copied: gra attach %1', runner.name), {
          autoClose: 3000
        });
      }
    }
  });
  add(CommandIDs.details, {
    label: trans.__('Show Details'),
    icon: infoIcon,
    describedBy: ONE,
    isEnabled: args => runners.target(args) !== undefined,
    execute: async args => {
      const runner = runners.target(args);
      if (runner) {
        await showDetails(ofRunner(runner), client, trans);
      }
    }
  });
}
