import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { IConsoleTracker } from '@jupyterlab/console';
import { PageConfig } from '@jupyterlab/coreutils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';

import { Client } from './api/client';
import { type ITargetArguments, targetsOf } from './commands/targets';
import { RunnerModel } from './model/model';
import { PanelState } from './panel/state';
import { IRunners } from './tokens';

/** What the server extension says of itself in the page (gra_provisioner/server/extension.py). */
const PAGE_OPTION = 'graProvisioner';

/** Settings of this plugin, as in schema/runners.json. */
const ID = 'gra-provisioner:runners';

/** Keeps what the page knows of runners. */
export const runners: JupyterFrontEndPlugin<IRunners | null> = {
  id: ID,
  description: 'Knows what runners there are, and asks the server about them.',
  autoStart: true,
  optional: [ISettingRegistry, INotebookTracker, IConsoleTracker],
  provides: IRunners,
  activate: (
    app: JupyterFrontEnd,
    registry: ISettingRegistry | null,
    notebooks: INotebookTracker | null,
    consoles: IConsoleTracker | null
  ) => {
    if (!PageConfig.getOption(PAGE_OPTION)) {
      return null;
    }
    const client = new Client(app.serviceManager.serverSettings);
    const model = new RunnerModel(client, { inspectEvery: 5000 });
    if (registry) {
      void follow(registry, model);
    }
    const state = new PanelState();
    const currentKernel = (): string | null => {
      const widget = app.shell.currentWidget;
      const tracker = [notebooks, consoles].find(
        each => each?.currentWidget && each.currentWidget === widget
      );
      const context = tracker?.currentWidget?.sessionContext;
      return context?.session?.kernel?.id ?? null;
    };
    const targets = (args: ITargetArguments) =>
      targetsOf(args, {
        model,
        selection: state.selection,
        currentKernel: currentKernel()
      });
    const target = (args: ITargetArguments) => {
      const chosen = targets(args);
      return chosen.length === 1 ? chosen[0] : undefined;
    };
    return {
      model,
      client,
      state,
      targets,
      target,
      nameOf: args =>
        typeof args.name === 'string' ? args.name : target(args)?.name
    };
  }
};

async function follow(
  registry: ISettingRegistry,
  model: RunnerModel
): Promise<void> {
  const settings = await registry.load(ID);
  const update = (): void => {
    model.inspectEvery =
      1000 * (settings.get('usageInterval').composite as number);
  };
  settings.changed.connect(update);
  update();
}
