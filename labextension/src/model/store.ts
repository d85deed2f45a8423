import type { Runner } from '../api/types';

/** How many of a runner's last looks are kept for its sparkline. */
export const HISTORY = 60;

/** What a runner used when it was looked at. */
export interface Sample {
  /** In milliseconds since the epoch. */
  time: number;
  /** Processors. */
  cpu: number | null;
  /** Bytes. */
  memory: number | null;
}

/** Why what is shown is old, and since when in seconds since the epoch. */
export interface Stale {
  since: number;
  reason: string;
  message: string;
  hint: string;
}

/**
 * All runners that the page knows of, by name.  Pure: whoever gets news tells it.
 *
 * A name can be used again, so news about a runner that is not the one known under its name
 * replaces it, but for the end of an earlier one.
 */
export class RunnerStore {
  /** Why what is here is old; null while it is not. */
  stale: Stale | null = null;

  /** Counts changes, so that whoever derives something from all of it knows when to do it again. */
  get version(): number {
    return this._version;
  }

  get runners(): ReadonlyMap<string, Runner> {
    return this._runners;
  }

  get(name: string): Runner | undefined {
    return this._runners.get(name);
  }

  /** The runner of a kernel; the youngest where several say so. */
  ofKernel(kernelId: string): Runner | undefined {
    if (this._indexed !== this._version) {
      this._byKernel.clear();
      for (const runner of this._runners.values()) {
        const id = runner.kernel_id;
        const before = id === null ? undefined : this._byKernel.get(id);
        if (id !== null && (!before || before.created < runner.created)) {
          this._byKernel.set(id, runner);
        }
      }
      this._indexed = this._version;
    }
    return this._byKernel.get(kernelId);
  }

  /** What a runner used at the last looks, the oldest first. */
  samples(runner: Runner): readonly Sample[] {
    return this._samples.get(runner.uid) ?? [];
  }

  /** A list of all runners begins: what is not told until {@link settle} is gone. */
  begin(): void {
    this._told = new Set();
  }

  /** All runners that there are have been told. */
  settle(): void {
    const told = this._told;
    this._told = null;
    if (told === null) {
      return;
    }
    for (const runner of [...this._runners.values()]) {
      if (!told.has(runner.uid)) {
        this.remove(runner);
      }
    }
  }

  /** A runner is there, or has changed.  `now` is in milliseconds since the epoch. */
  put(runner: Runner, now: number): void {
    this._told?.add(runner.uid);
    const before = this._runners.get(runner.name);
    const known = before?.uid === runner.uid ? before : undefined;
    if (known && this.isOnlyOld(runner)) {
      return;
    }
    if (before && !known) {
      this.forget(before);
    }
    this._runners.set(runner.name, known ? merged(known, runner) : runner);
    if (runner.usage.cpu !== null || runner.usage.memory !== null) {
      const { cpu, memory } = runner.usage;
      const samples = this._samples.get(runner.uid) ?? [];
      samples.push({ time: now, cpu, memory });
      this._samples.set(runner.uid, samples.slice(-HISTORY));
    }
    this._version++;
  }

  /** A runner is gone. */
  remove(runner: Runner): void {
    if (this._runners.get(runner.name)?.uid === runner.uid) {
      this._runners.delete(runner.name);
      this.forget(runner);
      this._version++;
    }
  }

  setStale(stale: Stale | null): void {
    this.stale = stale;
    this._version++;
  }

  /** Whether no more is said than that the cluster cannot be asked: then it stays as it was. */
  private isOnlyOld(runner: Runner): boolean {
    return runner.status === 'unknown' && runner.reason === this.stale?.reason;
  }

  private forget(runner: Runner): void {
    this._samples.delete(runner.uid);
  }

  private _version = 0;
  private _indexed = -1;
  private readonly _runners = new Map<string, Runner>();
  private readonly _byKernel = new Map<string, Runner>();
  private readonly _samples = new Map<string, Sample[]>();
  private _told: Set<string> | null = null;
}

/**
 * A runner as the latest word has it.  The watch does not know what only the runner itself can
 * tell, so that what was known of it stays for as long as it runs.
 */
function merged(before: Runner, latest: Runner): Runner {
  const inspected =
    latest.kernel !== 'unknown' ||
    latest.clients !== null ||
    latest.usage.memory !== null;
  if (inspected || latest.status !== 'running' || before.status !== 'running') {
    return latest;
  }
  // A death that was told by the runner itself.
  const died = before.kernel === 'dead' && !latest.reason;
  return {
    ...latest,
    kernel: before.kernel,
    clients: before.clients,
    usage: before.usage,
    mounts: before.mounts,
    ...(died && {
      reason: before.reason,
      message: before.message,
      hint: before.hint
    })
  };
}
