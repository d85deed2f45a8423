import type { JupyterFrontEndPlugin } from '@jupyterlab/application';

import { panel } from './panel/plugin';
import { runners } from './runners';

export { IRunners } from './tokens';

const plugins: JupyterFrontEndPlugin<unknown>[] = [runners, panel];

export default plugins;
