import type { JupyterFrontEndPlugin } from '@jupyterlab/application';

import { launch } from './launch';
import { logs } from './logs';
import { badge } from './notebook';
import { panel } from './panel/plugin';
import { runners } from './runners';
import { runningRunners } from './running';
import { terminal } from './terminal';

export { IRunners } from './tokens';

const plugins: JupyterFrontEndPlugin<unknown>[] = [
  runners,
  panel,
  launch,
  logs,
  terminal,
  badge,
  runningRunners
];

export default plugins;
