import type { JupyterFrontEndPlugin } from '@jupyterlab/application';

import { launch } from './launch';
import { panel } from './panel/plugin';
import { runners } from './runners';

export { IRunners } from './tokens';

const plugins: JupyterFrontEndPlugin<unknown>[] = [runners, panel, launch];

export default plugins;
