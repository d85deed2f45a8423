import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { IConsoleTracker } from '@jupyterlab/console';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { IRunners } from '../tokens';
import { type Details, ofRunner } from './details';
import { showDetails } from './dialog';
import { MountNotices } from './mounts';
import { Notices } from './notices';
import { type OpenSession, openSessions } from './sessions';

/** Settings of this plugin, as in schema/launch.json. */
const ID = 'gra-provisioner:launch';

const SHOW_DETAILS = 'gra-provisioner:show-launch-details';

/** Tells of starts and deaths of kernels. */
export const launch: JupyterFrontEndPlugin<void> = {
  id: ID,
  description: 'Tells how far the start of a kernel is, and why one died.',
  autoStart: true,
  requires: [IRunners],
  optional: [INotebookTracker, IConsoleTracker, ISettingRegistry, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    runners: IRunners | null,
    notebooks: INotebookTracker | null,
    consoles: IConsoleTracker | null,
    registry: ISettingRegistry | null,
    translator: ITranslator | null
  ) => {
    if (!runners) {
      return;
    }
    const trans = (translator ?? nullTranslator).load('gra_provisioner');
    const { client } = runners;
    const sessions = (): OpenSession[] => openSessions([notebooks, consoles]);
    const show = (details: Details): void => {
      void showDetails(details, client, trans);
    };
    const notices = new Notices({ runners, sessions, show, trans });
    new MountNotices({
      runners,
      kernels: () => sessions().map(({ kernelId }) => kernelId ?? ''),
      show,
      trans
    });
    app.serviceManager.events.stream.connect((_, emission) => {
      notices.handle(emission);
    });
    app.commands.addCommand(SHOW_DETAILS, {
      label: trans.__('Show How It Started'),
      caption: trans.__(
        'Show the phases of a start, why it failed, and the last lines of the log'
      ),
      describedBy: {
        args: {
          type: 'object',
          required: ['name'],
          properties: {
            name: { type: 'string', description: trans.__('The runner') }
          }
        }
      },
      execute: async args => {
        const name = args['name'] as string;
        const details =
          notices.latest(name) ?? ofRunner(await client.get(name));
        await showDetails(details, client, trans);
      }
    });
    if (registry) {
      void follow(registry, notices);
    }
  }
};

async function follow(
  registry: ISettingRegistry,
  notices: Notices
): Promise<void> {
  const settings = await registry.load(ID);
  const update = (): void => {
    const isShown = settings.get('showStarts').composite as boolean;
    const after = settings.get('slowAfter').composite as number;
    notices.tellAfter = isShown ? after * 1000 : null;
  };
  settings.changed.connect(update);
  update();
}
