import type { JupyterFrontEnd } from '@jupyterlab/application';
import { type Kernel, KernelAPI } from '@jupyterlab/services';

import type { Runner } from '../api/types';

/**
 * What can be done with a runner's kernel by this Jupyter server: only with one that is its own.
 */
export class Kernels {
  constructor(private readonly manager: JupyterFrontEnd['serviceManager']) {}

  /** The id of a runner's kernel, if this server has it. */
  idOf(runner: Runner | undefined): string | null {
    const id = runner?.kernel_id;
    if (!id || runner.status !== 'running') {
      return null;
    }
    for (const model of this.manager.kernels.running()) {
      if (model.id === id) {
        return id;
      }
    }
    return null;
  }

  async interrupt(id: string): Promise<void> {
    await KernelAPI.interruptKernel(id, this.manager.serverSettings);
  }

  /**
   * By the connection of one of the page's documents, if there is one: that knows then that what it
   * is waiting for does not come, and that nothing is to be sent until the new kernel is there.
   */
  async restart(
    id: string,
    connection: Kernel.IKernelConnection | null
  ): Promise<void> {
    if (connection) {
      await connection.restart();
      return;
    }
    await KernelAPI.restartKernel(id, this.manager.serverSettings);
  }

  /** End the kernel, and with it its session; its runner ends with it. */
  async shutdown(id: string): Promise<void> {
    const { kernels, sessions } = this.manager;
    for (const session of sessions.running()) {
      if (session.kernel?.id === id) {
        await sessions.shutdown(session.id);
        return;
      }
    }
    await kernels.shutdown(id);
  }

  /** Ask the server what kernels and sessions there are, after some were ended elsewhere. */
  async refresh(): Promise<void> {
    await Promise.all([
      this.manager.kernels.refreshRunning(),
      this.manager.sessions.refreshRunning()
    ]);
  }
}
