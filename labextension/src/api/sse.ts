import { createParser } from 'eventsource-parser';

/** An event of a stream: its name, and what its line of JSON holds. */
export interface ServerEvent {
  name: string;
  data: unknown;
}

/**
 * The events of a body of server-sent events
 * (https://html.spec.whatwg.org/multipage/server-sent-events.html), which ends when the body does.
 *
 * EventSource would do, but for the header that Lab sends its token in.  `onActivity` is called
 * for whatever comes, comments that keep the connection alive included.
 */
export async function* readEvents(
  body: ReadableStream<Uint8Array>,
  onActivity: () => void = () => undefined
): AsyncGenerator<ServerEvent> {
  const events: ServerEvent[] = [];
  const parser = createParser({
    onEvent: event => {
      events.push({
        name: event.event ?? 'message',
        data: JSON.parse(event.data) as unknown
      });
    }
  });
  const reader = body.getReader();
  const decoder = new TextDecoder();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return;
      }
      onActivity();
      parser.feed(decoder.decode(value, { stream: true }));
      yield* events.splice(0);
    }
  } finally {
    // Of a body that is still being sent nobody reads the rest.
    await reader.cancel().catch(() => undefined);
  }
}
