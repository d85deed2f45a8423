import type { JupyterFrontEndPlugin } from '@jupyterlab/application';

import { runners } from './runners';

export { IRunners } from './tokens';

const plugins: JupyterFrontEndPlugin<unknown>[] = [runners];

export default plugins;
