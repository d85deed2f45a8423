import { Notification } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { IDisposable } from '@lumino/disposable';

import type { Mount, Runner } from '../api/types';
import { isUnwell, mountProblem, sourceOf } from '../model/mounts';
import type { IRunners } from '../tokens';
import { type Details, ofRunner } from './details';
import * as text from './text';

/** In milliseconds. */
const BACK_SHOWN = 5000;

/** What these notices need of the page. */
export interface IMountNoticesOptions {
  runners: IRunners;
  /** The ids of the kernels of the documents that are open now. */
  kernels: () => readonly string[];
  show: (details: Details) => void;
  trans: TranslationBundle;
}

/** A mount that does not work, and the notification that tells of it. */
interface Trouble {
  uid: string;
  id: string;
}

/**
 * Tells once that a bucket of one's own runner does not work any more, and that it does again.
 *
 * The runners of this page's documents are asked, whether or not they can be seen; of others it is
 * known what somebody else has asked.
 */
export class MountNotices implements IDisposable {
  constructor(private readonly options: IMountNoticesOptions) {
    const { model } = options.runners;
    model.changed.connect(this._onChanged);
    this._inspection = model.inspect(() =>
      options
        .kernels()
        .map(id => model.ofKernel(id)?.name ?? '')
        .filter(name => name !== '')
    );
  }

  get isDisposed(): boolean {
    return this._inspection.isDisposed;
  }

  dispose(): void {
    this.options.runners.model.changed.disconnect(this._onChanged);
    this._inspection.dispose();
  }

  private readonly _onChanged = (): void => {
    const { model } = this.options.runners;
    if (model.version === this._version || model.connection !== 'live') {
      return;
    }
    this._version = model.version;
    const alive = new Set<string>();
    for (const runner of model.runners.values()) {
      if (runner.mine && runner.mounts.length > 0) {
        // Of one that cannot be asked just now nothing new is known.
        alive.add(runner.uid);
        if (runner.status === 'running') {
          runner.mounts.forEach(mount => this.look(runner, mount));
        }
      }
    }
    for (const [key, { uid, id }] of this._troubles) {
      if (!alive.has(uid)) {
        Notification.dismiss(id);
        this._troubles.delete(key);
      }
    }
  };

  private look(runner: Runner, mount: Mount): void {
    const key = `${runner.uid} ${mount.id}`;
    const trouble = this._troubles.get(key);
    if (isUnwell(mount)) {
      if (!trouble) {
        const id = this.tell(runner, mount);
        this._troubles.set(key, { uid: runner.uid, id });
      }
    } else if (trouble && mount.state === 'mounted') {
      this._troubles.delete(key);
      this.tellBack(runner, mount, trouble.id);
    }
  }

  private tell(runner: Runner, mount: Mount): string {
    const { trans, show, runners } = this.options;
    const message = text.toast([
      ...text.sentences(
        trans.__('%1: %2', runner.name, mountProblem(mount, trans))
      ),
      ...text.sentences(mount.hint)
    ]);
    return Notification.emit(message, 'error', {
      autoClose: false,
      actions: [
        {
          label: trans.__('Show details'),
          callback: event => {
            event.preventDefault();
            const latest = runners.model.get(runner.name);
            show(ofRunner(latest?.uid === runner.uid ? latest : runner));
          }
        }
      ]
    });
  }

  private tellBack(runner: Runner, mount: Mount, id: string): void {
    const { trans } = this.options;
    const message = text.toast([
      trans.__('%1: %2 (%3) is back', runner.name, mount.path, sourceOf(mount))
    ]);
    const told = { message, type: 'success', autoClose: BACK_SHOWN } as const;
    if (!Notification.update({ id, ...told, actions: [] })) {
      Notification.emit(message, 'success', { autoClose: BACK_SHOWN });
    }
  }

  private readonly _inspection: IDisposable;
  private readonly _troubles = new Map<string, Trouble>();
  private _version = -1;
}
