import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import type { Client } from '../api/client';
import { ApiError } from '../api/errors';
import type { LogLine } from '../api/types';
import { LogBuffer, MOST_LINES } from './buffer';

// So many lines are read before the page may do something else.
const AT_ONCE = 200;
// In milliseconds.
const SHOWN_EVERY = 100;
const RETRIED_AFTER = 1000;
const RETRIED_AT_LEAST_EVERY = 15_000;

/** Whether more is to come: `away` is a server that does not answer now, and is asked again. */
export type Following = 'resting' | 'live' | 'ended' | 'away' | 'failed';

/** A runner's log, followed while somebody looks at it. */
export class LogModel implements IDisposable {
  constructor(
    private readonly client: Client,
    readonly runner: string
  ) {}

  readonly buffer = new LogBuffer();

  /** Emitted after changes, a few times a second at most. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get following(): Following {
    return this._following;
  }

  /** Why there is no more; null where there is nothing to say. */
  get problem(): ApiError | null {
    return this._problem;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this.rest();
    window.clearTimeout(this._timer);
    Signal.clearData(this);
  }

  /** Go on with what was written since.  Called when the log is to be seen. */
  follow(): void {
    if (this._stream || this._isDisposed || this._following === 'ended') {
      return;
    }
    const stream = (this._stream = new AbortController());
    void this.read(stream);
  }

  /** End the stream.  Called when the log is not seen: a browser has few connections. */
  rest(): void {
    this._stream?.abort();
    this._stream = null;
    this.setFollowing(
      this._following === 'live' ? 'resting' : this._following,
      this._problem
    );
  }

  private async read(stream: AbortController): Promise<void> {
    let wait = RETRIED_AFTER;
    while (this._stream === stream) {
      try {
        const isEnd = await this.readStream(stream.signal);
        if (this._stream !== stream) {
          return;
        }
        if (isEnd) {
          this.setFollowing('ended', null);
          return;
        }
        wait = RETRIED_AFTER;
        this.setFollowing('away', null);
      } catch (error) {
        if (this._stream !== stream) {
          return;
        }
        if (error instanceof ApiError && isFinal(error)) {
          this._stream = null;
          this.setFollowing('failed', error);
          return;
        }
        // A connection that broke says so in the browser's own words.
        this.setFollowing('away', error instanceof ApiError ? error : null);
      }
      await delay(wait, stream.signal);
      wait = Math.min(wait * 2, RETRIED_AT_LEAST_EVERY);
    }
  }

  /** Whether the log has ended, in contrast to the stream. */
  private async readStream(signal: AbortSignal): Promise<boolean> {
    this.buffer.append(this._told.splice(0));
    const { since } = this.buffer;
    this.buffer.resume();
    const query = { tail: MOST_LINES, ...(since !== null && { since }) };
    const events = this.client.followLogs(this.runner, query, signal, () =>
      this.setFollowing('live', null)
    );
    let count = 0;
    for await (const { name, data } of events) {
      if (name === 'line') {
        this._told.push(data as LogLine);
        this.tellSoon();
        if (++count % AT_ONCE === 0) {
          // The page is to stay quick while there is much to read.
          await delay(0, signal);
        }
      } else if (name === 'end') {
        return true;
      }
    }
    return false;
  }

  private setFollowing(following: Following, problem: ApiError | null): void {
    if (this._following !== following || this._problem !== problem) {
      this._following = following;
      this._problem = problem;
      this.tell();
    }
  }

  private tellSoon(): void {
    this._timer ||= window.setTimeout(() => this.tell(), SHOWN_EVERY);
  }

  private tell(): void {
    window.clearTimeout(this._timer);
    this._timer = 0;
    this.buffer.append(this._told.splice(0));
    if (!this._isDisposed) {
      this._changed.emit();
    }
  }

  private readonly _changed = new Signal<this, void>(this);
  private readonly _told: LogLine[] = [];
  private _timer = 0;
  private _following: Following = 'resting';
  private _problem: ApiError | null = null;
  private _stream: AbortController | null = null;
  private _isDisposed = false;
}

/** Whether asking again would be answered the same. */
function isFinal(error: ApiError): boolean {
  return error.status >= 400 && error.status < 500 && error.status !== 429;
}

async function delay(milliseconds: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>(resolve => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener('abort', done);
  });
}
