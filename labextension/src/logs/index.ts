import {
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { listIcon } from '@jupyterlab/ui-components';

import { CommandIDs } from '../commands/ids';
import { IRunners } from '../tokens';
import { LogWidget } from './widget';

/** Shows runners' logs in the main area. */
export const logs: JupyterFrontEndPlugin<void> = {
  id: 'gra-provisioner:logs',
  description: "Shows runners' logs as they are written.",
  autoStart: true,
  requires: [IRunners],
  optional: [ILayoutRestorer, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    runners: IRunners | null,
    restorer: ILayoutRestorer | null,
    translator: ITranslator | null
  ) => {
    if (!runners) {
      return;
    }
    const trans = (translator ?? nullTranslator).load('gra_provisioner');
    const tracker = new WidgetTracker<MainAreaWidget<LogWidget>>({
      namespace: 'gra-provisioner-logs'
    });
    app.commands.addCommand(CommandIDs.logs, {
      label: trans.__('Open Log'),
      caption: trans.__("Show a runner's log as it is written"),
      icon: listIcon,
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
        let widget = tracker.find(({ content }) => content.runner === name);
        if (!widget) {
          const content = new LogWidget(name, runners, trans);
          widget = new MainAreaWidget({ content });
          // The log has one of its own.
          widget.toolbar.hide();
          widget.id = `gra-logs-${name}`;
          widget.title.label = trans.__('Log of %1', name);
          widget.title.caption = trans.__('What %1 writes', name);
          widget.title.icon = listIcon;
          await tracker.add(widget);
        } else {
          widget.content.renew();
        }
        if (!widget.isAttached) {
          app.shell.add(widget, 'main', { type: 'Runner Log' });
        }
        app.shell.activateById(widget.id);
        return widget;
      }
    });
    void restorer?.restore(tracker, {
      command: CommandIDs.logs,
      args: ({ content }) => ({ name: content.runner }),
      name: ({ content }) => content.runner
    });
  }
};
