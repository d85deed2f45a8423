import {
  ILabShell,
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { IConsoleTracker } from '@jupyterlab/console';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStateDB } from '@jupyterlab/statedb';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import {
  addIcon,
  CommandToolbarButton,
  refreshIcon
} from '@jupyterlab/ui-components';

import { addCommands, PALETTE } from '../commands/commands';
import { CommandIDs } from '../commands/ids';
import { openSessions } from '../launch/sessions';
import type { SortKey } from '../model/rows';
import { IRunners } from '../tokens';
import { RunnersPanel } from './panel';
import { restoreView } from './stored';

/** The panel of runners, and the commands about them. */
export const panel: JupyterFrontEndPlugin<void> = {
  id: 'gra-provisioner:panel',
  description: 'Lists runners at the left, and adds commands about them.',
  autoStart: true,
  requires: [IRunners],
  optional: [
    ITranslator,
    ISettingRegistry,
    ICommandPalette,
    ILayoutRestorer,
    ILabShell,
    IStateDB,
    INotebookTracker,
    IConsoleTracker
  ],
  activate: (
    app: JupyterFrontEnd,
    runners: IRunners | null,
    translator: ITranslator | null,
    registry: ISettingRegistry | null,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null,
    labShell: ILabShell | null,
    stateDB: IStateDB | null,
    notebooks: INotebookTracker | null,
    consoles: IConsoleTracker | null
  ) => {
    if (!runners) {
      return;
    }
    const trans = (translator ?? nullTranslator).load('gra_provisioner');
    const { model, state } = runners;
    const settings = registry ? registry.load(panel.id) : null;

    addCommands({
      app,
      runners,
      settings,
      connectionOf: kernelId =>
        openSessions([notebooks, consoles]).find(
          session => session.kernelId === kernelId
        )?.context.session?.kernel ?? null,
      show: () => app.shell.activateById(view.id),
      trans
    });

    const { commands } = app;
    const view = new RunnersPanel({
      model,
      state,
      sessions: app.serviceManager.sessions,
      actions: {
        open: ({ name }) => void commands.execute(CommandIDs.open, { name }),
        delete: ({ name }) =>
          void commands.execute(CommandIDs.delete, { names: [name] }),
        menu: (runner, element) => {
          if (!state.selection.has(runner.uid)) {
            state.select([runner.uid], runner.uid);
          }
          openMenu(element);
        },
        toggle: key => state.toggleCollapsed(key),
        create: () => void commands.execute(CommandIDs.create),
        refresh: () => void commands.execute(CommandIDs.refresh)
      },
      translator
    });
    view.toolbar.addItem(
      'create',
      new CommandToolbarButton({
        commands,
        id: CommandIDs.create,
        icon: addIcon,
        label: trans.__('New runner…')
      })
    );
    view.toolbar.addItem(
      'prune',
      new CommandToolbarButton({
        commands,
        id: CommandIDs.prune,
        label: trans.__('Prune')
      })
    );
    view.toolbar.addItem(
      'refresh',
      new CommandToolbarButton({
        commands,
        id: CommandIDs.refresh,
        icon: refreshIcon,
        label: ''
      })
    );
    app.shell.add(view, 'left', { rank: 150, type: 'Runners' });
    restorer?.add(view, view.id);

    if (palette) {
      for (const command of PALETTE) {
        palette.addItem({ command, category: trans.__('Runners') });
      }
    }
    if (settings) {
      void settings.then(loaded => {
        state.setView({
          sort: loaded.get('sort').composite as SortKey,
          showOthers: loaded.get('showOthers').composite as boolean
        });
        return stateDB ? restoreView(stateDB, state) : undefined;
      });
    }
    // Commands are shown as enabled or not by what is known of runners.
    model.changed.connect(() => commands.notifyCommandChanged());
    state.changed.connect(() => commands.notifyCommandChanged());
    labShell?.currentChanged.connect(() => commands.notifyCommandChanged());
  }
};

/** Open the menu of a row, below an element of it, as a right click would. */
function openMenu(element: HTMLElement): void {
  const { left, bottom } = element.getBoundingClientRect();
  element.dispatchEvent(
    new MouseEvent('contextmenu', {
      bubbles: true,
      cancelable: true,
      clientX: left + 4,
      clientY: bottom
    })
  );
}
