import type { ShownLine } from './buffer';

/** Which lines are shown. */
export interface Choice {
  /** Searched for without regard to case; empty: nothing. */
  query: string;
  /** Whether only lines that match are shown. */
  isFilter: boolean;
  /** Sources whose lines are not shown. */
  hidden: ReadonlySet<string>;
}

/** What is shown, and where in it the query was found. */
export interface Shown {
  lines: readonly ShownLine[];
  /** Indices in lines. */
  matches: readonly number[];
}

/** A part of a line's text. */
export interface Part {
  text: string;
  isMatch: boolean;
}

export function choose(lines: readonly ShownLine[], choice: Choice): Shown {
  const query = choice.query.toLowerCase();
  const { hidden } = choice;
  let shown =
    hidden.size === 0 ? lines : lines.filter(line => !hidden.has(line.source));
  if (!query) {
    return { lines: shown, matches: [] };
  }
  if (choice.isFilter) {
    shown = shown.filter(line => line.text.toLowerCase().includes(query));
    return { lines: shown, matches: shown.map((_, index) => index) };
  }
  const matches: number[] = [];
  shown.forEach((line, index) => {
    if (line.text.toLowerCase().includes(query)) {
      matches.push(index);
    }
  });
  return { lines: shown, matches };
}

/** A text cut where it matches. */
export function parts(text: string, query: string): Part[] {
  if (!query) {
    return [{ text, isMatch: false }];
  }
  const lower = text.toLowerCase();
  const wanted = query.toLowerCase();
  // Some letters change their length with their case: no positions can be told in such a line.
  if (lower.length !== text.length) {
    return [{ text, isMatch: lower.includes(wanted) }];
  }
  const found: Part[] = [];
  let at = 0;
  for (;;) {
    const next = lower.indexOf(wanted, at);
    if (next < 0) {
      break;
    }
    if (next > at) {
      found.push({ text: text.slice(at, next), isMatch: false });
    }
    at = next + wanted.length;
    found.push({ text: text.slice(next, at), isMatch: true });
  }
  if (at < text.length || found.length === 0) {
    found.push({ text: text.slice(at), isMatch: false });
  }
  return found;
}

/**
 * The number of the match to go to from a line's number, forwards or backwards, around the ends;
 * null where there is none.
 */
export function step(
  { lines, matches }: Shown,
  from: number | null,
  by: 1 | -1
): number | null {
  const numbers = matches.flatMap(index => lines[index]?.number ?? []);
  if (by === 1) {
    const start = from ?? -Infinity;
    return numbers.find(number => number > start) ?? numbers[0] ?? null;
  }
  const start = from ?? Infinity;
  numbers.reverse();
  return numbers.find(number => number < start) ?? numbers[0] ?? null;
}

/** Lines as text, as they are copied and kept in files. */
export function asText(lines: readonly ShownLine[]): string {
  return lines
    .map(({ time, source, text }) => {
      const when = time === null ? '' : new Date(time * 1000).toISOString();
      return [when, source, text].filter(each => each !== '').join(' ');
    })
    .map(line => `${line}\n`)
    .join('');
}
