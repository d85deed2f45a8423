import type { JupyterFrontEndPlugin } from '@jupyterlab/application';

import { launch } from './launch';
import { logs } from './logs';
import { badge } from './notebook';
import { panel } from './panel/plugin';
import { runners } from './runners';
import { terminal } from './terminal';

export { IRunners } from './tokens';

const plugins: JupyterFrontEndPlugin<unknown>[] = [
  runners,
  panel,
  launch,
  logs,
  terminal,
  badge
];

export default plugins;
