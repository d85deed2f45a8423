import { URLExt } from '@jupyterlab/coreutils';
import type { ServerConnection, Terminal } from '@jupyterlab/services';
import type { JSONPrimitive } from '@lumino/coreutils';
import { type ISignal, Signal } from '@lumino/signaling';

import { ROOT } from '../api/client';

/** Words for what the user is told in the terminal. */
export interface IConnectionTexts {
  /** The shell has ended. */
  ended: string;
  /** The connection was lost, and the shell with it. */
  lost: string;
  /** How to open another one. */
  again: string;
}

/** Codes that the websocket is closed with: a shell that has ended, and from here on errors. */
const ENDED = 1000;
const ERRORS = 4000;

/**
 * A shell in a runner, as Lab's terminal wants it: over the server's websocket, which speaks
 * terminado's protocol (lists of JSON: `setup`, `stdout`, `disconnect` from the server; `stdin`,
 * `set_size` to it).
 *
 * A shell ends with its websocket.  Another one is opened by Enter.
 */
export class RunnerTerminalConnection implements Terminal.ITerminalConnection {
  constructor(
    readonly name: string,
    readonly serverSettings: ServerConnection.ISettings,
    private readonly texts: IConnectionTexts
  ) {
    this.open();
  }

  get model(): Terminal.IModel {
    return { name: this.name };
  }

  get messageReceived(): ISignal<this, Terminal.IMessage> {
    return this._messageReceived;
  }

  get connectionStatus(): Terminal.ConnectionStatus {
    return this._status;
  }

  get connectionStatusChanged(): ISignal<this, Terminal.ConnectionStatus> {
    return this._statusChanged;
  }

  get disposed(): ISignal<this, void> {
    return this._disposed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** What is sent while there is no shell is not kept, but for the size; Enter opens another. */
  send(message: Terminal.IMessage): void {
    const { type, content = [] } = message;
    if (type === 'set_size') {
      this._size = content;
    }
    if (this._status === 'connected') {
      this._socket?.send(JSON.stringify([type, ...content]));
    } else if (this._status === 'disconnected' && content[0] === '\r') {
      this.write('\r\n');
      this.open();
    }
  }

  async reconnect(): Promise<void> {
    this.open();
    await new Promise<void>((resolve, reject) => {
      const changed = (_: unknown, status: Terminal.ConnectionStatus): void => {
        if (status !== 'connecting') {
          this._statusChanged.disconnect(changed);
        }
        if (status === 'connected') {
          resolve();
        } else if (status === 'disconnected') {
          reject(new Error(this.texts.lost));
        }
      };
      this._statusChanged.connect(changed);
    });
  }

  async shutdown(): Promise<void> {
    this.dispose();
    return Promise.resolve();
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this.close();
    this._disposed.emit();
    Signal.clearData(this);
  }

  private open(): void {
    this.close();
    this.setStatus('connecting');
    const { wsUrl, token, appendToken, WebSocket } = this.serverSettings;
    const path = URLExt.join(wsUrl, ROOT, 'runners', this.name, 'terminal');
    const query =
      appendToken && token ? `?token=${encodeURIComponent(token)}` : '';
    const socket = (this._socket = new WebSocket(path + query));
    socket.onmessage = ({ data }: MessageEvent<string>) => {
      if (socket === this._socket) {
        this.onMessage(JSON.parse(data) as [string, ...JSONPrimitive[]]);
      }
    };
    // An error is followed by the end.
    socket.onclose = event => {
      if (socket === this._socket) {
        this.onEnd(event.code);
      }
    };
  }

  private close(): void {
    const socket = this._socket;
    this._socket = null;
    socket?.close();
  }

  private onMessage([type, ...content]: [string, ...JSONPrimitive[]]): void {
    switch (type) {
      case 'setup':
        this.setStatus('connected');
        if (this._size) {
          this.send({ type: 'set_size', content: this._size });
        }
        break;
      case 'stdout':
        this._messageReceived.emit({ type, content });
        break;
      case 'disconnect':
        // The code that the websocket is closed with says why.
        break;
    }
  }

  private onEnd(code: number): void {
    this._socket = null;
    const { ended, lost, again } = this.texts;
    if (code === ENDED) {
      this.write(`\r\n[${ended}]\r\n`);
    } else if (code < ERRORS) {
      this.write(`\r\n[${lost}]\r\n`);
    }
    // The message of an error was sent by the server.
    this.write(`${again}\r\n`);
    this.setStatus('disconnected');
  }

  /** Say something in the terminal. */
  private write(text: string): void {
    this._messageReceived.emit({ type: 'stdout', content: [text] });
  }

  private setStatus(status: Terminal.ConnectionStatus): void {
    if (this._status !== status) {
      this._status = status;
      this._statusChanged.emit(status);
    }
  }

  private _socket: WebSocket | null = null;
  private _status: Terminal.ConnectionStatus = 'disconnected';
  private _size: JSONPrimitive[] | null = null;
  private _isDisposed = false;
  private readonly _messageReceived = new Signal<this, Terminal.IMessage>(this);
  private readonly _statusChanged = new Signal<this, Terminal.ConnectionStatus>(
    this
  );
  private readonly _disposed = new Signal<this, void>(this);
}
