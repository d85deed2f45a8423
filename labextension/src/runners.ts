import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { PageConfig } from '@jupyterlab/coreutils';
import { ISettingRegistry } from '@jupyterlab/settingregistry';

import { Client } from './api/client';
import { RunnerModel } from './model/model';
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
  optional: [ISettingRegistry],
  provides: IRunners,
  activate: (app: JupyterFrontEnd, registry: ISettingRegistry | null) => {
    if (!PageConfig.getOption(PAGE_OPTION)) {
      return null;
    }
    const client = new Client(app.serviceManager.serverSettings);
    const model = new RunnerModel(client, { inspectEvery: 5000 });
    if (registry) {
      void follow(registry, model);
    }
    return { model, client };
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
