import type { LogLine } from '../src/api/types';
import { LogBuffer, MOST_LINES, readable } from '../src/logs/buffer';
import { asText, choose, parts, step } from '../src/logs/search';

function line(time: number | null, text: string, source = 'agent'): LogLine {
  return { runner: 'runner-1', time, source, text };
}

function texts(buffer: LogBuffer): string[] {
  return buffer.lines.map(({ text }) => text);
}

describe('the buffer of a log', () => {
  it('keeps the last lines and counts the others', () => {
    const buffer = new LogBuffer();
    buffer.append(
      Array.from({ length: MOST_LINES + 3 }, (_, n) => line(n, `line ${n}`))
    );
    expect(buffer.lines).toHaveLength(MOST_LINES);
    expect(buffer.lines[0]?.text).toBe('line 3');
    expect(buffer.dropped).toBe(3);
  });

  it('goes on without telling lines twice', () => {
    const buffer = new LogBuffer();
    buffer.append([line(1, 'a'), line(2, 'b'), line(2, 'c'), line(null, 'd')]);
    expect(buffer.since).toBe(2);
    buffer.resume();
    buffer.append([line(null, 'd'), line(2, 'b'), line(2, 'c'), line(3, 'e')]);
    expect(texts(buffer)).toEqual(['a', 'b', 'c', 'd', 'e']);
  });

  it('keeps a line that was written once more at the same moment', () => {
    const buffer = new LogBuffer();
    buffer.append([line(2, 'b')]);
    buffer.resume();
    buffer.append([line(2, 'b'), line(2, 'b')]);
    expect(texts(buffer)).toEqual(['b', 'b']);
  });

  it('knows who wrote', () => {
    const buffer = new LogBuffer();
    buffer.append([line(1, 'a'), line(1, 'b', 'stderr'), line(2, 'c')]);
    expect(buffer.sources).toEqual(['agent', 'stderr']);
  });
});

describe('the text of a line', () => {
  it('is without colours', () => {
    expect(readable('\u001b[1;31merror\u001b[0m: no')).toBe('error: no');
    expect(readable('\u001b]0;title\u0007text')).toBe('text');
  });

  it('is what was written last over itself', () => {
    expect(readable('10 %\r50 %\r100 %\r')).toBe('100 %');
  });
});

describe('a search in a log', () => {
  const buffer = new LogBuffer();
  buffer.append([
    line(1, 'Hello'),
    line(2, 'error one', 'stderr'),
    line(3, 'ERROR two'),
    line(4, 'bye')
  ]);
  const all = { query: '', isFilter: false, hidden: new Set<string>() };

  it('finds lines whatever their case is', () => {
    const shown = choose(buffer.lines, { ...all, query: 'error' });
    expect(shown.lines).toHaveLength(4);
    expect(shown.matches).toEqual([1, 2]);
  });

  it('filters', () => {
    const shown = choose(buffer.lines, {
      ...all,
      query: 'error',
      isFilter: true
    });
    expect(shown.lines.map(({ text }) => text)).toEqual([
      'error one',
      'ERROR two'
    ]);
  });

  it('leaves out sources', () => {
    const hidden = new Set(['stderr']);
    const shown = choose(buffer.lines, { ...all, query: 'error', hidden });
    expect(shown.lines).toHaveLength(3);
    expect(shown.matches).toEqual([1]);
  });

  it('goes from match to match, and around', () => {
    const shown = choose(buffer.lines, { ...all, query: 'error' });
    expect(step(shown, null, 1)).toBe(2);
    expect(step(shown, 2, 1)).toBe(3);
    expect(step(shown, 3, 1)).toBe(2);
    expect(step(shown, null, -1)).toBe(3);
    expect(step(shown, 2, -1)).toBe(3);
    expect(step({ lines: buffer.lines, matches: [] }, null, 1)).toBeNull();
  });

  it('marks what it found', () => {
    expect(parts('an Error, an error', 'error')).toEqual([
      { text: 'an ', isMatch: false },
      { text: 'Error', isMatch: true },
      { text: ', an ', isMatch: false },
      { text: 'error', isMatch: true }
    ]);
    expect(parts('nothing', 'error')).toEqual([
      { text: 'nothing', isMatch: false }
    ]);
  });

  it('is copied with times and sources', () => {
    expect(asText(buffer.lines.slice(1, 2))).toBe(
      '1970-01-01T00:00:02.000Z stderr error one\n'
    );
  });
});
