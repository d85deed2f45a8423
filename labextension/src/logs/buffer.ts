import type { LogLine } from '../api/types';

/** So many lines are kept. */
export const MOST_LINES = 10_000;

/** A line as it is shown.  Numbered from 1 as they come. */
export interface ShownLine {
  number: number;
  /** In seconds since the epoch. */
  time: number | null;
  source: string;
  text: string;
}

// Colours and movements of the cursor (ECMA-48, CSI and OSC sequences), which a list of lines
// does not show.
const ESCAPES =
  // eslint-disable-next-line no-control-regex
  /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\-_])/g;

/** A line's text as it can be read: of what was overwritten by carriage returns only the last. */
export function readable(text: string): string {
  const plain = text.replace(ESCAPES, '').replace(/\r+$/, '');
  return plain.slice(plain.lastIndexOf('\r') + 1);
}

/**
 * The last lines of a log.  A stream that was ended is gone on with by asking for what was written
 * since {@link since}, which tells some lines again: those are known here and left out.
 */
export class LogBuffer {
  /** Replaced when there are other lines. */
  get lines(): readonly ShownLine[] {
    return this._lines;
  }

  /** How many of the first lines are not kept. */
  get dropped(): number {
    return this._count - this._lines.length;
  }

  /** Who wrote lines, in the order in which they first did. */
  get sources(): readonly string[] {
    return [...this._sources];
  }

  /** From when to go on, in seconds since the epoch; null: from the beginning. */
  get since(): number | null {
    return this._last;
  }

  /** A stream begins again: it tells lines again that were written at or after {@link since}. */
  resume(): void {
    this._again = new Map(this._recent);
  }

  /** Lines that were just told. */
  append(told: readonly LogLine[]): void {
    const added: ShownLine[] = [];
    for (const line of told) {
      const again = this._again.get(keyOf(line)) ?? 0;
      if (again > 0) {
        this._again.set(keyOf(line), again - 1);
        continue;
      }
      this.remember(line);
      this._sources.add(line.source);
      added.push({
        number: ++this._count,
        time: line.time,
        source: line.source,
        text: readable(line.text)
      });
    }
    if (added.length > 0) {
      this._lines = this._lines.concat(added).slice(-MOST_LINES);
    }
  }

  /** Keep count of the lines that would be told again: the youngest, and those without a time. */
  private remember(line: LogLine): void {
    if (line.time !== null && line.time > (this._last ?? -Infinity)) {
      this._last = line.time;
      for (const key of this._recent.keys()) {
        if (!key.startsWith('null ')) {
          this._recent.delete(key);
        }
      }
    }
    if (line.time === null || line.time === this._last) {
      const key = keyOf(line);
      this._recent.set(key, (this._recent.get(key) ?? 0) + 1);
      const [oldest] = this._recent.keys();
      if (this._recent.size > MOST_LINES && oldest !== undefined) {
        this._recent.delete(oldest);
      }
    }
  }

  private _lines: readonly ShownLine[] = [];
  private _count = 0;
  private _last: number | null = null;
  private readonly _sources = new Set<string>();
  private readonly _recent = new Map<string, number>();
  private _again = new Map<string, number>();
}

function keyOf(line: LogLine): string {
  return `${line.time} ${line.source} ${line.text}`;
}
