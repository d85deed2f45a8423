import { Notification } from '@jupyterlab/apputils';
import type { Event } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { IDisposable } from '@lumino/disposable';

import { explain } from '../api/errors';
import type { Profile } from '../api/types';
import type { IRunners } from '../tokens';
import { type Details, ofDeath, ofLaunch, ofResults } from './details';
import { findDocument } from './documents';
import {
  type DeathEvent,
  type LaunchEvent,
  type ResultsEvent,
  asDeath,
  asLaunch,
  asResults
} from './events';
import * as launches from './launches';
import { isOutOfMemory, largerProfile } from './profiles';
import { type OpenSession, restart } from './sessions';
import * as text from './text';

// All in milliseconds.
const TICK = 1000;
const SUCCESS_SHOWN = 5000;
const REMEMBERED = 60_000;

/** The reason of a runner that was ended by means of gra (docs/errors.md). */
const DELETED = 'Deleted';

/** What the notices need of the page. */
export interface INoticesOptions {
  runners: IRunners;
  /** The documents that are open now. */
  sessions: () => readonly OpenSession[];
  show: (details: Details) => void;
  trans: TranslationBundle;
}

/**
 * Tells of starts and deaths of the kernels of this page's documents, and of those that have none.
 *
 * A start is told only once it has taken a while, so that quick ones do not flash.
 */
export class Notices implements IDisposable {
  constructor(private readonly options: INoticesOptions) {
    const { client, model } = options.runners;
    client.deleting.connect(this._onDeleting);
    model.changed.connect(this._onModelChanged);
  }

  /** A start is told once it has taken so many milliseconds; null: never, unless it fails. */
  tellAfter: number | null = 2000;

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    this._isDisposed = true;
    window.clearInterval(this._ticker);
    const { client, model } = this.options.runners;
    client.deleting.disconnect(this._onDeleting);
    model.changed.disconnect(this._onModelChanged);
  }

  /** An emission of the server's event stream. */
  handle(emission: Event.Emission): void {
    const launch = asLaunch(emission);
    if (launch) {
      this.onLaunch(launch);
    }
    const death = asDeath(emission);
    if (death) {
      void this.onDeath(death);
    }
    const results = asResults(emission);
    if (results) {
      this.onResults(results);
    }
  }

  /** What this page has heard last of a runner's start or end; null if nothing. */
  latest(runner: string): Details | null {
    const death = this._deaths.get(runner);
    const launch = launches.ofRunner(this._launches, runner);
    if (death && (!launch || launch.begun < death.time)) {
      return ofDeath(death.event, this.pathOf(death.event));
    }
    return launch ? ofLaunch(launch, launch.notebook, Date.now()) : null;
  }

  private onLaunch(event: LaunchEvent): void {
    this._launches = launches.reduce(this._launches, event, Date.now());
    const launch = this._launches.get(launches.keyOf(event));
    if (!launch) {
      return;
    }
    if (event.runner) {
      // The name is used again.
      this._deleted.delete(event.runner);
    }
    switch (launch.state) {
      case 'launching':
        this.startTicking();
        break;
      case 'ready':
        this.onReady(launch);
        break;
      case 'failed':
        this.onFailure(launch);
        break;
      case 'cancelled':
        this.dismiss(launch.key);
        break;
    }
    this.tick();
  }

  private onReady(launch: launches.Launch): void {
    const id = this._notices.get(launch.key);
    this._notices.delete(launch.key);
    if (id && !document.getElementById(id)) {
      // The user has hidden it, and hears only of a failure.
      Notification.dismiss(id);
    } else if (id) {
      const { trans } = this.options;
      Notification.update({
        id,
        type: 'success',
        message: text.success(launch, launch.notebook, trans),
        autoClose: SUCCESS_SHOWN,
        actions: []
      });
    }
  }

  private onFailure(launch: launches.Launch): void {
    const id = this._notices.get(launch.key);
    this._notices.delete(launch.key);
    if (!this.concerns(launch.kernelId, launch.notebook)) {
      return;
    }
    const { trans, show } = this.options;
    const actions: Notification.IAction[] = [];
    const session = this.sessionOf(launch.kernelId, launch.notebook);
    if (session) {
      actions.push({
        label: trans.__('Try again'),
        caption: trans.__('Start the kernel again'),
        displayType: 'accent',
        callback: () => this.restart(session, launch.kernelName)
      });
    }
    actions.push({
      label: trans.__('Show details'),
      callback: event => {
        // It stays for another try.
        event.preventDefault();
        show(ofLaunch(launch, launch.notebook, Date.now()));
      }
    });
    const message = text.failure(launch, launch.notebook, trans);
    const told = { message, type: 'error', autoClose: false, actions } as const;
    if (!id || !Notification.update({ id, ...told })) {
      Notification.emit(message, 'error', { autoClose: false, actions });
    }
  }

  private async onDeath(event: DeathEvent): Promise<void> {
    this._deaths.set(event.runner, { event, time: Date.now() });
    const kernelId = event.kernel_id ?? '';
    const file = event.notebook ?? '';
    const isAsked = this._deleted.has(event.runner);
    if (isAsked || !this.concerns(kernelId, file)) {
      return;
    }
    const { trans, show } = this.options;
    const session = this.sessionOf(kernelId, file);
    const larger = isOutOfMemory(event.reason)
      ? await this.largerFor(event)
      : null;
    const actions: Notification.IAction[] = [];
    if (session) {
      actions.push({
        label: trans.__('Restart'),
        caption: trans.__('Start the kernel again'),
        displayType: larger ? 'default' : 'accent',
        callback: () => this.restart(session, event.kernel_name ?? '')
      });
    }
    if (session && larger) {
      actions.push({
        label: trans.__('Restart with %1', larger.name),
        caption: trans.__('Start the kernel on a larger runner'),
        displayType: 'accent',
        callback: () => {
          void this.restartLarger(session, event, larger);
        }
      });
    }
    const path = this.pathOf(event);
    actions.push({
      label: trans.__('Show details'),
      callback: clicked => {
        clicked.preventDefault();
        show(ofDeath(event, path));
      }
    });
    const message = text.death(event, path, larger?.name ?? null, trans);
    // Somebody wanted that one.
    const type = event.reason === DELETED ? 'warning' : 'error';
    Notification.emit(message, type, { autoClose: false, actions });
  }

  /** Of what did not come back every page tells: the document may be closed by now. */
  private onResults(event: ResultsEvent): void {
    const { trans, show } = this.options;
    const path = this.pathOf(event);
    const message = text.results(event, path, trans);
    if (event.state === 'returned') {
      if (this.concerns(event.kernel_id ?? '', event.notebook ?? '')) {
        Notification.emit(message, 'success', { autoClose: SUCCESS_SHOWN });
      }
      return;
    }
    const actions: Notification.IAction[] = [
      {
        label: trans.__('Show details'),
        callback: clicked => {
          clicked.preventDefault();
          show(ofResults(event, path));
        }
      }
    ];
    const type = event.state === 'failed' ? 'error' : 'warning';
    Notification.emit(message, type, { autoClose: false, actions });
  }

  /** The next larger profile; null where there is none, or nobody can say. */
  private async largerFor(event: DeathEvent): Promise<Profile | null> {
    const { client, model } = this.options.runners;
    const runner = model.get(event.runner);
    try {
      const profiles = await client.profiles();
      const used = event.profile ?? runner?.profile;
      const profile = profiles.find(({ name }) => name === used);
      const size = runner?.resources ?? profile?.settings?.resources;
      const memory = size?.memory ?? event.memory?.limit ?? null;
      const gpu = size?.gpu ?? null;
      return largerProfile(profiles, { memory, gpu });
    } catch (error) {
      // The death is told without that choice.
      console.warn(`gra: no profiles: ${explain(error)}`);
      return null;
    }
  }

  private restart(session: OpenSession, kernelName: string): void {
    restart(session, kernelName).catch((error: unknown) => {
      // Lab shows it in a dialog of its own, and the event of the launch tells it here.
      console.warn(`gra: no restart: ${explain(error)}`);
    });
  }

  private async restartLarger(
    session: OpenSession,
    event: DeathEvent,
    profile: Profile
  ): Promise<void> {
    const { client } = this.options.runners;
    const resources = profile.settings?.resources;
    try {
      const { kernel } = await client.startKernel({
        profile: profile.name,
        // The kernelspec may have a size of its own, which lies over the profile's.
        ...(resources && { resources }),
        path: session.path,
        ...(event.kernel_name && { name: event.kernel_name })
      });
      await session.context.changeKernel({ id: kernel.id });
    } catch (error) {
      Notification.error(text.toast(text.sentences(explain(error))), {
        autoClose: false
      });
    }
  }

  /** Whether a kernel is one of this page's, or has no document that another page would have. */
  private concerns(kernelId: string, file: string): boolean {
    return !file || this.sessionOf(kernelId, file) !== undefined;
  }

  private sessionOf(kernelId: string, file: string): OpenSession | undefined {
    return findDocument(this.options.sessions(), kernelId, file);
  }

  /** The path of a kernel's document: as it is now, else as it was when the kernel was started. */
  private pathOf(event: DeathEvent | ResultsEvent): string {
    const file = event.notebook ?? '';
    const session = this.sessionOf(event.kernel_id ?? '', file);
    return session?.name ?? file;
  }

  private startTicking(): void {
    this._ticker ||= window.setInterval(() => this.tick(), TICK);
  }

  /** Bring what is told of starts up to date. */
  private tick(): void {
    const now = Date.now();
    let isAny = false;
    for (const launch of this._launches.values()) {
      if (launch.state === 'launching') {
        isAny = true;
        this.showProgress(launch, now);
      }
    }
    if (!isAny) {
      window.clearInterval(this._ticker);
      this._ticker = 0;
    }
  }

  private showProgress(launch: launches.Launch, now: number): void {
    const after = this.tellAfter;
    if (
      after === null ||
      now - launch.begun < after ||
      !this.concerns(launch.kernelId, launch.notebook)
    ) {
      return;
    }
    const { trans } = this.options;
    const message = text.progress(launch, launch.notebook, now, trans);
    const id = this._notices.get(launch.key);
    if (id === undefined) {
      const options = { autoClose: false } as const;
      const shown = Notification.emit(message, 'in-progress', options);
      this._notices.set(launch.key, shown);
    } else if (document.getElementById(id)) {
      // One that was hidden by the user would come up again with each update.
      Notification.update({ id, message });
    }
  }

  private dismiss(key: string): void {
    const id = this._notices.get(key);
    if (id) {
      this._notices.delete(key);
      Notification.dismiss(id);
    }
  }

  private readonly _onDeleting = (_: unknown, name: string): void => {
    this._deleted.add(name);
    window.setTimeout(() => this._deleted.delete(name), REMEMBERED);
  };

  private readonly _onModelChanged = (): void => {
    if (this.options.runners.model.connection !== 'away') {
      return;
    }
    // The server that would tell their ends is gone.
    this._launches = launches.abandon(this._launches);
    for (const key of [...this._notices.keys()]) {
      this.dismiss(key);
    }
  };

  private _launches: launches.Launches = new Map<string, launches.Launch>();
  /** The ids of notifications about launches that go on, by the launches' keys. */
  private readonly _notices = new Map<string, string>();
  private readonly _deaths = new Map<
    string,
    { event: DeathEvent; time: number }
  >();
  /** Names of runners that this page has asked to end. */
  private readonly _deleted = new Set<string>();
  private _ticker = 0;
  private _isDisposed = false;
}
