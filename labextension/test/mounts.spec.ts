import { Notification } from '@jupyterlab/apputils';
import { Signal } from '@lumino/signaling';

import type { Mount, Runner } from '../src/api/types';
import type { Details } from '../src/launch/details';
import { asText, ofRunner } from '../src/launch/details';
import { MountNotices } from '../src/launch/mounts';
import { mountProblem, sourceOf, unwellMounts } from '../src/model/mounts';
import { DEFAULT_VIEW, rowsOf } from '../src/model/rows';
import { RunnerStore } from '../src/model/store';
import type { IRunners } from '../src/tokens';
import { runner, trans, watched } from './runners';

// All of Lab's widgets would have to be loaded, which want more of a browser than there is.
jest.mock('@jupyterlab/apputils', () =>
  jest.requireActual<object>('@jupyterlab/apputils/lib/notification')
);

function mount(given: Partial<Mount> = {}): Mount {
  return {
    id: '0',
    bucket: 'lake',
    prefix: 'team/a',
    path: '/data/lake',
    state: 'mounted',
    reason: '',
    message: '',
    hint: '',
    since: 1_000_000,
    ...given
  };
}

const FAILING = mount({
  state: 'failing',
  reason: 'S3EndpointUnreachable',
  message: 'https://s3.example.com does not answer.',
  hint: 'Is a VPN needed?'
});

test('a mount is named by where it is and what it is', () => {
  expect(sourceOf(mount())).toBe('s3://lake/team/a');
  expect(sourceOf(mount({ prefix: '' }))).toBe('s3://lake');
  expect(mountProblem(FAILING, trans)).toBe(
    '/data/lake does not work: https://s3.example.com does not answer.'
  );
  const failed = mount({ state: 'failed', reason: 'S3FsMissing' });
  expect(mountProblem(failed, trans)).toBe(
    '/data/lake is not mounted: S3FsMissing'
  );
  const mounts = [mount({ state: 'starting' }), FAILING, failed];
  expect(unwellMounts(runner(1, { mounts }))).toEqual([FAILING, failed]);
});

test('what a runner said of its mounts stays when the watch tells of it', () => {
  const store = new RunnerStore();
  store.put(runner(1, { mounts: [FAILING] }), 0);
  store.put(watched(1), 1);
  expect(store.get('runner-1')?.mounts).toEqual([FAILING]);
  store.put(runner(1), 2);
  expect(store.get('runner-1')?.mounts).toEqual([]);
});

test('runners are found by their buckets', () => {
  const runners = [runner(1, { mounts: [FAILING] }), runner(2)];
  for (const search of ['lake', '/data', 's3endpoint']) {
    const rows = rowsOf(runners, new Map(), { ...DEFAULT_VIEW, search });
    expect(rows.filter(row => row.kind === 'runner')).toHaveLength(1);
  }
});

test('a mount is in the text of the details, with what to do', () => {
  const text = asText(ofRunner(runner(1, { mounts: [FAILING] })), trans);
  expect(text).toContain(
    '/data/lake (s3://lake/team/a): Failing · S3EndpointUnreachable · ' +
      'https://s3.example.com does not answer. · Is a VPN needed?'
  );
});

/** A page that knows of some runners. */
class Page {
  constructor() {
    this.notices = new MountNotices({
      runners: { model: this.model } as unknown as IRunners,
      kernels: () => ['kernel-1', 'kernel-9', ''],
      show: details => this.shown.push(details),
      trans
    });
  }

  /** These are all the runners that there are now. */
  tell(...runners: Runner[]): void {
    this.model.runners = new Map(runners.map(each => [each.name, each]));
    this.model.version++;
    this.changed.emit();
  }

  readonly shown: Details[] = [];
  asked: () => readonly string[] = () => [];
  private readonly changed = new Signal<object, void>(this);
  readonly model = {
    changed: this.changed,
    version: 0,
    connection: 'live',
    runners: new Map<string, Runner>(),
    get: (name: string) => this.model.runners.get(name),
    ofKernel: (id: string) =>
      [...this.model.runners.values()].find(each => each.kernel_id === id),
    inspect: (names: () => readonly string[]) => {
      this.asked = names;
      return { isDisposed: false, dispose: () => undefined };
    }
  };
  readonly notices: MountNotices;
}

describe('notices of mounts', () => {
  let page: Page;
  const told = (): string[] =>
    Notification.manager.notifications.map(
      ({ message, type }) => `${type}: ${message}`
    );
  const problem =
    'error: runner-1: /data/lake does not work: https://s3.example.com does ' +
    'not answer. Is a VPN needed?';

  beforeEach(() => {
    page = new Page();
  });

  afterEach(() => {
    page.notices.dispose();
    Notification.manager.dismiss();
  });

  test('the runners of open documents are asked', () => {
    page.tell(runner(1), runner(2));
    expect(page.asked()).toEqual(['runner-1']);
  });

  test('one that stops working is told once, and once that it works again', () => {
    page.tell(runner(1, { mounts: [mount()] }));
    expect(told()).toEqual([]);
    page.tell(runner(1, { mounts: [FAILING] }));
    page.tell(runner(1, { mounts: [{ ...FAILING, state: 'failed' }] }));
    page.tell(runner(1, { mounts: [FAILING] }));
    expect(told()).toEqual([problem]);
    // It is being made anew: nothing is said before that is done.
    page.tell(runner(1, { mounts: [mount({ state: 'starting' })] }));
    expect(told()).toEqual([problem]);
    page.tell(runner(1, { mounts: [mount()] }));
    expect(told()).toEqual([
      'success: runner-1: /data/lake (s3://lake/team/a) is back'
    ]);
    page.tell(runner(1, { mounts: [FAILING] }));
    expect(told()).toHaveLength(2);
  });

  test('that it works again is told to those who have hidden the problem', () => {
    page.tell(runner(1, { mounts: [FAILING] }));
    Notification.manager.dismiss();
    page.tell(runner(1, { mounts: [FAILING] }));
    expect(told()).toEqual([]);
    page.tell(runner(1, { mounts: [mount()] }));
    expect(told()).toHaveLength(1);
  });

  test('mounts of others, and of runners that are gone, are not told', () => {
    page.tell(runner(1, { mine: false, mounts: [FAILING] }));
    expect(told()).toEqual([]);
    page.tell(runner(1, { mounts: [FAILING] }));
    expect(told()).toHaveLength(1);
    page.tell();
    expect(told()).toEqual([]);
  });

  test('the details show the runner as it is now', () => {
    page.tell(runner(1, { mounts: [FAILING] }));
    page.tell(runner(1, { mounts: [FAILING, mount({ id: '1' })] }));
    const [notification] = Notification.manager.notifications;
    const [action] = notification?.options.actions ?? [];
    action?.callback(new MouseEvent('click'));
    expect(page.shown[0]?.mounts).toHaveLength(2);
  });
});
