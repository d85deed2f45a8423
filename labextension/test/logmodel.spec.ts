import type { Client } from '../src/api/client';
import { ApiError } from '../src/api/errors';
import type { ServerEvent } from '../src/api/sse';
import type { LogLine, LogQuery } from '../src/api/types';
import { LogModel } from '../src/logs/model';

/** A server whose streams the test writes. */
class Server {
  /** What was asked for, one for each stream. */
  readonly asked: LogQuery[] = [];
  /** What each next stream tells before it waits; the last one of `end` ends it. */
  readonly streams: (ServerEvent[] | ApiError)[] = [];

  readonly client = {
    followLogs: (
      _: string,
      query: LogQuery,
      signal: AbortSignal,
      onActivity: () => void
    ) => this.stream(query, signal, onActivity)
  } as unknown as Client;

  private async *stream(
    query: LogQuery,
    signal: AbortSignal,
    onActivity: () => void
  ): AsyncGenerator<ServerEvent> {
    this.asked.push(query);
    const told = this.streams.shift() ?? [];
    if (told instanceof ApiError) {
      throw told;
    }
    onActivity();
    yield* told;
    await new Promise<void>((_, reject) => {
      signal.addEventListener('abort', () => reject(new Error('aborted')));
    });
  }
}

function line(time: number, text: string): ServerEvent {
  const data: LogLine = { runner: 'runner-1', time, source: 'stdout', text };
  return { name: 'line', data };
}

const END: ServerEvent = { name: 'end', data: {} };

function failure(status: number): ApiError {
  const document = { reason: 'X', message: 'x', hint: '', details: {} };
  return new ApiError(status, document);
}

describe('a log that is followed', () => {
  let server: Server;
  let log: LogModel;

  beforeEach(() => {
    jest.useFakeTimers();
    server = new Server();
    log = new LogModel(server.client, 'runner-1');
  });

  afterEach(() => {
    log.dispose();
    jest.useRealTimers();
  });

  const texts = (): string[] => log.buffer.lines.map(({ text }) => text);
  const settle = async (): Promise<void> =>
    jest.advanceTimersByTimeAsync(60_000);

  it('goes on where it was once it is looked at again', async () => {
    server.streams.push(
      [line(1, 'a'), line(2, 'b')],
      [line(2, 'b'), line(3, 'c')]
    );
    log.follow();
    await settle();
    expect(log.following).toBe('live');
    log.rest();
    await settle();
    expect(server.asked).toHaveLength(1);
    log.follow();
    await settle();
    expect(server.asked[1]?.since).toBe(2);
    expect(texts()).toEqual(['a', 'b', 'c']);
  });

  it('says that its runner has ended, and asks no more', async () => {
    server.streams.push([line(1, 'a'), END]);
    log.follow();
    await settle();
    expect(log.following).toBe('ended');
    log.rest();
    log.follow();
    await settle();
    expect(server.asked).toHaveLength(1);
    expect(texts()).toEqual(['a']);
  });

  it('is asked for again when the server was away', async () => {
    server.streams.push([line(1, 'a')], failure(0), failure(503), [
      line(2, 'b'),
      END
    ]);
    log.follow();
    await settle();
    log.rest();
    log.follow();
    await jest.advanceTimersByTimeAsync(0);
    expect(log.following).toBe('away');
    await settle();
    expect(texts()).toEqual(['a', 'b']);
    expect(log.following).toBe('ended');
  });

  it('says why there is none', async () => {
    server.streams.push(failure(404));
    log.follow();
    await settle();
    expect(log.following).toBe('failed');
    expect(log.problem?.status).toBe(404);
    expect(server.asked).toHaveLength(1);
  });
});
