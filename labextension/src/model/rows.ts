import type { Runner, RunnerStatus } from '../api/types';

/** What the server's sessions know of a kernel's document. */
export interface Document {
  /** As the contents API has it. */
  path: string;
  name: string;
  /** notebook, console, file, … */
  type: string;
}

export const SORT_KEYS = [
  'name',
  'age',
  'notebook',
  'profile',
  'cpu',
  'memory'
] as const;
export type SortKey = (typeof SORT_KEYS)[number];

/** Statuses that are shown, and filtered for, together. */
export const GROUPS = ['starting', 'running', 'unknown', 'ended'] as const;
export type Group = (typeof GROUPS)[number];

export function groupOf(status: RunnerStatus): Group {
  return status === 'lost' ? 'ended' : status;
}

/** Which runners are shown, and how. */
export interface View {
  search: string;
  /** Empty: all. */
  groups: ReadonlySet<Group>;
  sort: SortKey;
  reversed: boolean;
  /** Keys of groups whose runners are not shown. */
  collapsed: ReadonlySet<string>;
  showOthers: boolean;
}

export const DEFAULT_VIEW: View = {
  search: '',
  groups: new Set(),
  sort: 'name',
  reversed: false,
  collapsed: new Set(),
  showOthers: true
};

export interface GroupRow {
  kind: 'group';
  key: string;
  mine: boolean;
  group: Group;
  count: number;
  isCollapsed: boolean;
}

export interface RunnerRow {
  kind: 'runner';
  key: string;
  runner: Runner;
  document: Document | null;
}

export type Row = GroupRow | RunnerRow;

/** The number in a runner's name, by which runner-10 comes after runner-9. */
function numberOf(runner: Runner): number {
  const digits = Number(runner.name.slice(runner.name.lastIndexOf('-') + 1));
  return Number.isFinite(digits) ? digits : 0;
}

/** The notebook or console of a runner: as the server's sessions have it, else as it was started. */
export function documentOf(
  runner: Runner,
  documents: ReadonlyMap<string, Document>
): Document | null {
  const known = runner.kernel_id ? documents.get(runner.kernel_id) : undefined;
  if (known) {
    return known;
  }
  const path = runner.notebook;
  return path ? { path, name: path.split('/').pop() ?? path, type: '' } : null;
}

type Compare = (one: RunnerRow, other: RunnerRow) => number;

// Whoever uses most comes first, and whose use is not known last.
const COMPARE: Record<SortKey, Compare> = {
  name: (one, other) => numberOf(one.runner) - numberOf(other.runner),
  age: (one, other) => other.runner.created - one.runner.created,
  notebook: (one, other) =>
    compareText(one.document?.path, other.document?.path),
  profile: (one, other) =>
    compareText(one.runner.profile, other.runner.profile),
  cpu: (one, other) =>
    (other.runner.usage.cpu ?? -1) - (one.runner.usage.cpu ?? -1),
  memory: (one, other) =>
    (other.runner.usage.memory ?? -1) - (one.runner.usage.memory ?? -1)
};

function compareText(one: string | undefined, other: string | undefined) {
  if (!one || !other) {
    return (one ? 0 : 1) - (other ? 0 : 1);
  }
  // Not by locale, which takes ten times as long for thousands.
  return one < other ? -1 : one > other ? 1 : 0;
}

function isFound(row: RunnerRow, words: readonly string[]): boolean {
  if (words.length === 0) {
    return true;
  }
  const { runner, document } = row;
  const text = [
    runner.name,
    runner.profile,
    runner.owner,
    runner.node,
    runner.kernel_name,
    runner.status,
    runner.phase,
    runner.kernel,
    runner.reason,
    document?.path,
    ...runner.mounts.flatMap(({ path, bucket, reason }) => [
      path,
      bucket,
      reason
    ])
  ]
    .join('\n')
    .toLowerCase();
  return words.every(word => text.includes(word));
}

/** What the list shows: groups with their runners, one's own first. */
export function rowsOf(
  runners: Iterable<Runner>,
  documents: ReadonlyMap<string, Document>,
  view: View
): Row[] {
  const words = view.search.toLowerCase().split(/\s+/).filter(Boolean);
  const groups = new Map<string, RunnerRow[]>();
  for (const runner of runners) {
    const group = groupOf(runner.status);
    if (
      (!runner.mine && !view.showOthers) ||
      (view.groups.size > 0 && !view.groups.has(group))
    ) {
      continue;
    }
    const row: RunnerRow = {
      kind: 'runner',
      key: runner.uid,
      runner,
      document: documentOf(runner, documents)
    };
    if (isFound(row, words)) {
      const key = keyOf(runner.mine, group);
      const members = groups.get(key);
      if (members) {
        members.push(row);
      } else {
        groups.set(key, [row]);
      }
    }
  }
  const compare = COMPARE[view.sort];
  const direction = view.reversed ? -1 : 1;
  const rows: Row[] = [];
  for (const mine of [true, false]) {
    for (const group of GROUPS) {
      const key = keyOf(mine, group);
      const members = groups.get(key);
      if (!members) {
        continue;
      }
      const isCollapsed = view.collapsed.has(key);
      rows.push({
        kind: 'group',
        key,
        mine,
        group,
        count: members.length,
        isCollapsed
      });
      if (!isCollapsed) {
        members.sort(
          (one, other) =>
            direction *
            (compare(one, other) ||
              numberOf(one.runner) - numberOf(other.runner))
        );
        for (const member of members) {
          rows.push(member);
        }
      }
    }
  }
  return rows;
}

function keyOf(mine: boolean, group: Group): string {
  return `${mine ? 'mine' : 'others'}:${group}`;
}
