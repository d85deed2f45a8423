import {
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin
} from '@jupyterlab/application';
import {
  IThemeManager,
  MainAreaWidget,
  WidgetTracker
} from '@jupyterlab/apputils';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import type { ITerminal } from '@jupyterlab/terminal';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { terminalIcon } from '@jupyterlab/ui-components';

import { CommandIDs } from '../commands/ids';
import { IRunners } from '../tokens';
import { RunnerTerminalConnection } from './connection';

/** Lab's own terminals are set up there; those in runners look the same. */
const LAB_TERMINALS = '@jupyterlab/terminal-extension:plugin';

type TerminalWidget = MainAreaWidget<ITerminal.ITerminal>;

/** Shows terminals in runners in the main area. */
export const terminal: JupyterFrontEndPlugin<void> = {
  id: 'gra-provisioner:terminal',
  description: 'Opens terminals in runners.',
  autoStart: true,
  requires: [IRunners],
  optional: [ILayoutRestorer, ISettingRegistry, IThemeManager, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    runners: IRunners | null,
    restorer: ILayoutRestorer | null,
    registry: ISettingRegistry | null,
    themes: IThemeManager | null,
    translator: ITranslator | null
  ) => {
    if (!runners) {
      return;
    }
    const trans = (translator ?? nullTranslator).load('gra_provisioner');
    const tracker = new WidgetTracker<TerminalWidget>({
      namespace: 'gra-provisioner-terminals'
    });
    app.commands.addCommand(CommandIDs.terminal, {
      label: trans.__('Open Terminal'),
      caption: trans.__('Open a shell in a runner'),
      icon: terminalIcon,
      describedBy: {
        args: {
          type: 'object',
          properties: {
            name: { type: 'string', description: trans.__('The runner') }
          }
        }
      },
      isEnabled: args => runners.nameOf(args) !== undefined,
      execute: async args => {
        const name = runners.nameOf(args);
        if (name === undefined) {
          return null;
        }
        // Loads xterm.js, which pages without terminals do without.
        const { Terminal } = await import('@jupyterlab/terminal');
        const connection = new RunnerTerminalConnection(
          name,
          app.serviceManager.serverSettings,
          {
            ended: trans.__('The shell has ended.'),
            lost: trans.__(
              'The connection was lost, and the shell ended with it.'
            ),
            again: trans.__('Press Enter to open a shell.')
          }
        );
        const content = new Terminal(
          connection,
          {
            ...(await labOptions(registry)),
            shutdownOnClose: true,
            closeOnExit: false,
            initialCommand: ''
          },
          translator ?? nullTranslator
        );
        const widget: TerminalWidget = new MainAreaWidget({
          content,
          // Only then it can have the focus.
          reveal: content.ready
        });
        widget.toolbar.hide();
        widget.title.icon = terminalIcon;
        const showTitle = (): void => {
          widget.title.label = name;
          widget.title.caption = trans.__('Terminal in %1', name);
        };
        // The terminal gives itself titles, of which the runner's name says most.
        content.title.changed.connect(showTitle);
        showTitle();
        await tracker.add(widget);
        app.shell.add(widget, 'main', { type: 'Runner Terminal' });
        app.shell.activateById(widget.id);
        return widget;
      }
    });
    themes?.themeChanged.connect(() => {
      tracker.forEach(({ content }) => {
        if (content.getOption('theme') === 'inherit') {
          content.setOption('theme', 'inherit');
        }
      });
    });
    void restorer?.restore(tracker, {
      command: CommandIDs.terminal,
      args: ({ content }) => ({ name: content.session.name }),
      name: ({ content }) => content.session.name
    });
  }
};

/** The options of Lab's own terminals; none where the page has none. */
async function labOptions(
  registry: ISettingRegistry | null
): Promise<Partial<ITerminal.IOptions>> {
  if (!registry || !(LAB_TERMINALS in registry.plugins)) {
    return {};
  }
  const { composite } = await registry.load(LAB_TERMINALS);
  return composite;
}
