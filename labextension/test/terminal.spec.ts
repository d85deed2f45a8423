import type { ServerConnection } from '@jupyterlab/services';

import { RunnerTerminalConnection } from '../src/terminal/connection';

/** A websocket whose other end is the test. */
class Socket {
  constructor(readonly url: string) {
    Socket.last = this;
  }

  static last: Socket;

  onmessage: (event: { data: string }) => void = () => undefined;
  onclose: (event: { code: number }) => void = () => undefined;
  readonly sent: unknown[] = [];
  isClosed = false;

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }

  close(): void {
    this.isClosed = true;
  }

  tell(...message: unknown[]): void {
    this.onmessage({ data: JSON.stringify(message) });
  }
}

function connect(): { connection: RunnerTerminalConnection; seen: string[] } {
  const settings = {
    wsUrl: 'ws://localhost/base/',
    token: 'a b',
    appendToken: true,
    WebSocket: Socket
  } as unknown as ServerConnection.ISettings;
  const texts = { ended: 'ended', lost: 'lost', again: 'again' };
  const connection = new RunnerTerminalConnection('runner-3', settings, texts);
  const seen: string[] = [];
  connection.messageReceived.connect((_, { content }) => {
    seen.push(String(content?.[0]));
  });
  return { connection, seen };
}

describe('a terminal in a runner', () => {
  it('is asked for where the server has it', () => {
    connect();
    expect(Socket.last.url).toBe(
      'ws://localhost/base/gra/api/runners/runner-3/terminal?token=a%20b'
    );
  });

  it('passes on what is typed and shown', () => {
    const { connection, seen } = connect();
    connection.send({ type: 'set_size', content: [24, 80] });
    connection.send({ type: 'stdin', content: ['too early'] });
    Socket.last.tell('setup', {});
    expect(connection.connectionStatus).toBe('connected');
    connection.send({ type: 'stdin', content: ['ls\r'] });
    Socket.last.tell('stdout', 'a.txt');
    expect(Socket.last.sent).toEqual([
      ['set_size', 24, 80],
      ['stdin', 'ls\r']
    ]);
    expect(seen).toEqual(['a.txt']);
  });

  it('says that its shell has ended, and opens another by Enter', () => {
    const { connection, seen } = connect();
    const first = Socket.last;
    first.tell('setup', {});
    first.tell('disconnect', 1);
    first.onclose({ code: 1000 });
    expect(seen.join('')).toContain('[ended]');
    expect(seen.join('')).toContain('again');
    expect(connection.connectionStatus).toBe('disconnected');
    connection.send({ type: 'stdin', content: ['x'] });
    expect(Socket.last).toBe(first);
    connection.send({ type: 'stdin', content: ['\r'] });
    expect(Socket.last).not.toBe(first);
    expect(connection.connectionStatus).toBe('connecting');
  });

  it('tells a lost connection and an error of the server from an end', () => {
    const one = connect();
    Socket.last.onclose({ code: 1006 });
    expect(one.seen.join('')).toContain('[lost]');
    const two = connect();
    Socket.last.tell('setup', {});
    Socket.last.tell('stdout', 'There is no such runner.');
    Socket.last.onclose({ code: 4404 });
    expect(two.seen.join('')).not.toContain('[');
    expect(two.seen.join('')).toContain('again');
  });

  it('ends with its tab', async () => {
    const { connection, seen } = connect();
    await connection.shutdown();
    expect(Socket.last.isClosed).toBe(true);
    Socket.last.onclose({ code: 1005 });
    expect(seen).toEqual([]);
    expect(connection.isDisposed).toBe(true);
  });
});
