import type { IDisposable } from '@lumino/disposable';
import { Poll } from '@lumino/polling';
import { type ISignal, Signal } from '@lumino/signaling';

import type { Client } from '../api/client';
import { ApiError } from '../api/errors';
import type { Runner } from '../api/types';
import { type Sample, type Stale, RunnerStore } from './store';

/** How many runners are asked at once for what they use. */
export const MOST_INSPECTED = 50;

// All in milliseconds.
const SILENT_FOR = 40_000;
const CHECKED_EVERY = 10_000;
const HIDDEN_FOR = 60_000;
const RETRIED_AFTER = 500;
const RETRIED_AT_LEAST_EVERY = 10_000;

/** Whether the page hears of runners: `away` is a server that does not answer, or refuses. */
export type ConnectionState = 'connecting' | 'live' | 'away';

/** What is known of all runners, and is kept up to date while the page can be seen. */
export interface IRunnerModel {
  /** Emitted after changes, at most once for each frame that the browser draws. */
  readonly changed: ISignal<IRunnerModel, void>;
  /** Counts changes. */
  readonly version: number;
  readonly connection: ConnectionState;
  /** Why the server does not tell, while it is away. */
  readonly problem: ApiError | null;
  /** Why what the server tells is old itself; null while it is not. */
  readonly stale: Stale | null;
  /** Whether all runners have been told once. */
  readonly isLoaded: boolean;
  /** By name. */
  readonly runners: ReadonlyMap<string, Runner>;
  get(name: string): Runner | undefined;
  ofKernel(kernelId: string): Runner | undefined;
  /** What a runner used at the last looks, the oldest first. */
  samples(runner: Runner): readonly Sample[];
  /** Have these runners asked for what they use and what their kernels do, until disposed. */
  inspect(names: () => readonly string[]): IDisposable;
  /** Ask for everything again. */
  refresh(): void;
}

/**
 * Keeps a {@link RunnerStore} up to date by one stream of events.
 *
 * The stream is ended a minute after the page was hidden, and begun again when it is seen: a
 * browser has six connections to a server for all its tabs.  A poll, which rests as long, begins a
 * stream anew that has been silent for longer than its signs of life are apart.
 */
export class RunnerModel implements IRunnerModel, IDisposable {
  constructor(
    private readonly client: Client,
    options: { inspectEvery: number }
  ) {
    this._watchdog = new Poll({
      auto: true,
      factory: () => this.checkStream(),
      frequency: { interval: CHECKED_EVERY, backoff: false },
      name: 'gra-provisioner:stream',
      standby: 'when-hidden'
    });
    this._inspection = new Poll({
      auto: true,
      factory: () => this.look(),
      frequency: { interval: options.inspectEvery, backoff: true },
      name: 'gra-provisioner:usage',
      standby: 'when-hidden'
    });
    document.addEventListener('visibilitychange', this._onVisibility);
    this.restart();
  }

  get changed(): ISignal<IRunnerModel, void> {
    return this._changed;
  }

  get version(): number {
    return this._store.version;
  }

  get connection(): ConnectionState {
    return this._connection;
  }

  get problem(): ApiError | null {
    return this._problem;
  }

  get stale(): Stale | null {
    return this._store.stale;
  }

  get isLoaded(): boolean {
    return this._isLoaded;
  }

  get runners(): ReadonlyMap<string, Runner> {
    return this._store.runners;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  get(name: string): Runner | undefined {
    return this._store.get(name);
  }

  ofKernel(kernelId: string): Runner | undefined {
    return this._store.ofKernel(kernelId);
  }

  samples(runner: Runner): readonly Sample[] {
    return this._store.samples(runner);
  }

  inspect(names: () => readonly string[]): IDisposable {
    const wanted = this._wanted;
    wanted.add(names);
    // Whoever has just begun to look does not wait for the next round.
    void this._inspection.refresh();
    return {
      get isDisposed(): boolean {
        return !wanted.has(names);
      },
      dispose: () => {
        wanted.delete(names);
      }
    };
  }

  /** In milliseconds. */
  set inspectEvery(interval: number) {
    this._inspection.frequency = { ...this._inspection.frequency, interval };
  }

  refresh(): void {
    this.restart();
    void this._inspection.refresh();
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    document.removeEventListener('visibilitychange', this._onVisibility);
    clearTimeout(this._hiddenTimer);
    this._stream?.abort();
    this._watchdog.dispose();
    this._inspection.dispose();
    Signal.clearData(this);
  }

  /** End the stream that there is, and begin one. */
  private restart(): void {
    this._stream?.abort();
    const stream = (this._stream = new AbortController());
    void this.follow(stream.signal);
  }

  /** Follow the stream, begun again whenever it ends, until it is given up. */
  private async follow(signal: AbortSignal): Promise<void> {
    let wait = RETRIED_AFTER;
    const isGivenUp = (): boolean => signal.aborted;
    while (!isGivenUp()) {
      try {
        await this.readStream(signal, () => {
          wait = RETRIED_AFTER;
        });
        this.setConnection('connecting', null);
      } catch (error) {
        if (isGivenUp()) {
          return;
        }
        if (!(error instanceof ApiError)) {
          // A connection that broke says so in the browser's own words.
          this.setConnection('connecting', null);
          console.debug('gra: the stream of runners broke off:', error);
        } else {
          this.setConnection('away', error);
        }
      }
      // Not all pages of a server that is back at the same moment.
      await delay(wait * (0.75 + Math.random() / 2), signal);
      wait = Math.min(wait * 2, RETRIED_AT_LEAST_EVERY);
    }
  }

  private async readStream(
    signal: AbortSignal,
    onBegun: () => void
  ): Promise<void> {
    const events = this.client.watch(signal, () => {
      this._heardAt = Date.now();
    });
    this._heardAt = Date.now();
    this._store.begin();
    for await (const { name, data } of events) {
      if (signal.aborted) {
        return;
      }
      switch (name) {
        case 'added':
        case 'modified':
          this._store.put(data as Runner, Date.now());
          break;
        case 'deleted':
          this._store.remove(data as Runner);
          break;
        case 'synced':
          this._store.settle();
          this._isLoaded = true;
          this.setConnection('live', null);
          onBegun();
          break;
        case 'stale':
          this._store.setStale(data as Stale);
          break;
        case 'fresh':
          this._store.setStale(null);
          break;
      }
      // The first time all of it is shown at once.
      if (this._isLoaded) {
        this.tell();
      }
    }
  }

  private async checkStream(): Promise<void> {
    if (Date.now() - this._heardAt > SILENT_FOR) {
      this.restart();
    }
    return Promise.resolve();
  }

  /** Ask those runners that somebody looks at for what only they can tell. */
  private async look(): Promise<void> {
    const names = new Set<string>();
    for (const wanted of this._wanted) {
      for (const name of wanted()) {
        if (
          names.size < MOST_INSPECTED &&
          this._store.get(name)?.status === 'running'
        ) {
          names.add(name);
        }
      }
    }
    if (names.size === 0 || this._connection !== 'live') {
      return;
    }
    const { runners } = await this.client.list({
      name: [...names],
      inspect: true
    });
    for (const runner of runners) {
      // What was deleted meanwhile stays so.
      if (this._store.get(runner.name)?.uid === runner.uid) {
        this._store.put(runner, Date.now());
      }
    }
    this.tell();
  }

  private setConnection(
    connection: ConnectionState,
    problem: ApiError | null
  ): void {
    if (this._connection !== connection || this._problem !== problem) {
      this._connection = connection;
      this._problem = problem;
      this.tell();
    }
  }

  private tell(): void {
    if (!this._telling) {
      this._telling = true;
      requestFrame(() => {
        this._telling = false;
        if (!this._isDisposed) {
          this._changed.emit();
        }
      });
    }
  }

  private readonly _onVisibility = (): void => {
    clearTimeout(this._hiddenTimer);
    if (document.visibilityState === 'hidden') {
      this._hiddenTimer = window.setTimeout(() => {
        this._stream?.abort();
      }, HIDDEN_FOR);
    } else if (this._stream?.signal.aborted) {
      this.restart();
    }
  };

  private readonly _store = new RunnerStore();
  private readonly _changed = new Signal<this, void>(this);
  private readonly _wanted = new Set<() => readonly string[]>();
  private readonly _watchdog: Poll;
  private readonly _inspection: Poll;
  private _stream: AbortController | null = null;
  private _heardAt = 0;
  private _hiddenTimer = 0;
  private _connection: ConnectionState = 'connecting';
  private _problem: ApiError | null = null;
  private _isLoaded = false;
  private _telling = false;
  private _isDisposed = false;
}

/** Call back at the next frame; soon where the page is hidden, which draws none. */
function requestFrame(callback: () => void): void {
  if (document.visibilityState === 'hidden') {
    setTimeout(callback, 50);
  } else {
    requestAnimationFrame(callback);
  }
}

async function delay(milliseconds: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>(resolve => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
