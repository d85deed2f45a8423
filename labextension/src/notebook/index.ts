import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { IToolbarWidgetRegistry } from '@jupyterlab/apputils';
import type { ConsolePanel } from '@jupyterlab/console';
import type { NotebookPanel } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

import { CommandIDs } from '../commands/ids';
import { IRunners } from '../tokens';
import { RunnerBadge } from './badge';

/** The item's name, and whose toolbars it is in, as in schema/notebook.json. */
const ITEM = 'gra-runner';
const FACTORIES = ['Notebook', 'ConsolePanel'];

/** Puts the runner of a notebook's or console's kernel into its toolbar. */
export const badge: JupyterFrontEndPlugin<void> = {
  id: 'gra-provisioner:notebook',
  description: "Shows a kernel's runner in the toolbar of its notebook.",
  autoStart: true,
  requires: [IToolbarWidgetRegistry],
  optional: [IRunners, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    toolbars: IToolbarWidgetRegistry,
    runners: IRunners | null,
    translator: ITranslator | null
  ) => {
    if (!runners) {
      // The item is in the toolbar's settings all the same.
      const nothing = (): Widget => {
        const widget = new Widget();
        widget.hide();
        return widget;
      };
      FACTORIES.forEach(factory => toolbars.addFactory(factory, ITEM, nothing));
      return;
    }
    const trans = (translator ?? nullTranslator).load('gra_provisioner');
    for (const factory of FACTORIES) {
      toolbars.addFactory<NotebookPanel | ConsolePanel>(
        factory,
        ITEM,
        panel =>
          new RunnerBadge({
            panel,
            context: panel.sessionContext,
            model: runners.model,
            show: name => {
              void app.commands.execute(CommandIDs.show, { name });
            },
            trans
          })
      );
    }
  }
};
