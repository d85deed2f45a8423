import { HISTORY, RunnerStore } from '../src/model/store';
import { runner, watched } from './runners';

describe('what is known of runners', () => {
  let store: RunnerStore;

  beforeEach(() => {
    store = new RunnerStore();
  });

  test('what only the runner tells stays when the watch tells of it again', () => {
    store.put(runner(1, { kernel: 'busy' }), 0);
    store.put(watched(1, { node: 'node-2' }), 1);
    expect(store.get('runner-1')).toMatchObject({
      kernel: 'busy',
      clients: 1,
      node: 'node-2',
      usage: { cpu: 0.5 }
    });
  });

  test('why its kernel died stays too, until the watch has a reason of its own', () => {
    const died = {
      kernel: 'dead',
      reason: 'OutOfMemory',
      hint: 'Pick medium.'
    };
    store.put(runner(1, died as never), 0);
    store.put(watched(1), 1);
    expect(store.get('runner-1')).toMatchObject(died);
    store.put(watched(1, { reason: 'Evicted', message: 'Evicted.' }), 2);
    expect(store.get('runner-1')?.reason).toBe('Evicted');
  });

  test('nothing of it stays when it has ended', () => {
    store.put(runner(1, { kernel: 'busy' }), 0);
    store.put(watched(1, { status: 'ended', kernel: 'none' }), 1);
    expect(store.get('runner-1')).toMatchObject({
      status: 'ended',
      usage: { cpu: null }
    });
  });

  test('a name that is used again is another runner', () => {
    const first = runner(1);
    store.put(first, 0);
    const second = watched(1, { uid: 'another' });
    store.put(second, 1);
    expect(store.get('runner-1')?.usage.cpu).toBeNull();
    expect(store.samples(first)).toEqual([]);
    store.remove(first);
    expect(store.get('runner-1')).toBe(second);
    store.remove(second);
    expect(store.runners.size).toBe(0);
  });

  test('whoever is not told again when all are told is gone', () => {
    for (const number of [1, 2, 3]) {
      store.put(watched(number), 0);
    }
    store.begin();
    store.put(watched(2), 1);
    store.put(watched(4), 1);
    expect([...store.runners.keys()]).toHaveLength(4);
    store.settle();
    expect([...store.runners.keys()]).toEqual(['runner-2', 'runner-4']);
  });

  test('a stream that breaks before all were told takes nobody away', () => {
    store.put(watched(1), 0);
    store.begin();
    store.put(watched(2), 1);
    store.begin();
    store.put(watched(1), 2);
    store.put(watched(2), 2);
    store.settle();
    expect(store.runners.size).toBe(2);
  });

  test('the last looks are kept, the oldest first', () => {
    for (let time = 0; time < HISTORY + 5; time++) {
      const usage = { cpu: time, memory: null, memory_limit: null };
      store.put(runner(1, { usage }), time);
    }
    const samples = store.samples(runner(1));
    expect(samples).toHaveLength(HISTORY);
    expect(samples[0]?.cpu).toBe(5);
    expect(samples.at(-1)?.cpu).toBe(HISTORY + 4);
  });

  test('the runner of a kernel is the youngest that says so', () => {
    store.put(watched(1, { kernel_id: 'k', status: 'ended' }), 0);
    store.put(watched(2, { kernel_id: 'k' }), 0);
    expect(store.ofKernel('k')?.name).toBe('runner-2');
    store.remove(watched(2));
    expect(store.ofKernel('k')?.name).toBe('runner-1');
    expect(store.ofKernel('other')).toBeUndefined();
  });

  test('while the cluster cannot be asked all stay as they were', () => {
    store.put(runner(1, { kernel: 'busy' }), 0);
    const stale = {
      since: 1,
      reason: 'ClusterUnreachable',
      message: '',
      hint: ''
    };
    store.setStale(stale);
    store.put(watched(1, { status: 'unknown', reason: stale.reason }), 1);
    expect(store.get('runner-1')).toMatchObject({
      status: 'running',
      kernel: 'busy'
    });
    // What is said of it alone is taken.
    store.put(watched(1, { status: 'unknown', reason: 'NodeLost' }), 2);
    expect(store.get('runner-1')?.reason).toBe('NodeLost');
    store.setStale(null);
    store.put(watched(1, { status: 'unknown', reason: stale.reason }), 3);
    expect(store.get('runner-1')?.reason).toBe(stale.reason);
  });

  test('every change counts', () => {
    const versions = [store.version];
    store.put(watched(1), 0);
    versions.push(store.version);
    store.setStale({ since: 1, reason: 'r', message: 'm', hint: '' });
    versions.push(store.version);
    store.remove(watched(1));
    versions.push(store.version);
    expect(new Set(versions).size).toBe(4);
  });
});
