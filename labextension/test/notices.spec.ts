import { Notification } from '@jupyterlab/apputils';
import { nullTranslator } from '@jupyterlab/translation';
import { Signal } from '@lumino/signaling';

import type { Details } from '../src/launch/details';
import {
  KERNEL_DEATH,
  RUNNER_LAUNCH,
  RUNNER_RESULTS
} from '../src/launch/events';
import { Notices } from '../src/launch/notices';
import type { OpenSession } from '../src/launch/sessions';
import type { IRunners } from '../src/tokens';

// All of Lab's widgets would have to be loaded, which want more of a browser than there is.
jest.mock('@jupyterlab/apputils', () =>
  jest.requireActual<object>('@jupyterlab/apputils/lib/notification')
);

const GIB = 1024 ** 3;
const resources = { cpu: 1, ephemeral_storage: 0, gpu: 0 };

/** A page with one open notebook, whose server is the test. */
class Page {
  constructor() {
    const deleting = new Signal<object, string>(this);
    const changed = new Signal<object, void>(this);
    const profiles = [
      { name: 'small', settings: { resources: { ...resources, memory: GIB } } },
      {
        name: 'medium',
        settings: { resources: { ...resources, memory: 2 * GIB } }
      }
    ];
    const runners = {
      client: {
        deleting,
        profiles: () => Promise.resolve(profiles),
        startKernel: (body: unknown) => {
          this.asked.push(body);
          return Promise.resolve({ kernel: { id: 'new' } });
        }
      },
      model: { changed, connection: 'live', get: () => undefined }
    };
    const context = {
      session: { kernel: { id: 'a' } },
      hasNoKernel: false,
      kernelPreference: {},
      restartKernel: () => {
        this.asked.push('restart');
        return Promise.resolve();
      },
      changeKernel: (options: unknown) => {
        this.asked.push(options);
        return Promise.resolve();
      }
    };
    const session = {
      path: 'analysis.ipynb',
      name: 'analysis.ipynb',
      kernelId: 'a',
      context
    } as unknown as OpenSession;
    this.notices = new Notices({
      runners: runners as unknown as IRunners,
      sessions: () => [session],
      show: details => this.shown.push(details),
      trans: nullTranslator.load('test')
    });
    this.delete = name => deleting.emit(name);
    this.goAway = () => {
      runners.model.connection = 'away';
      changed.emit();
    };
  }

  launch(more: object): void {
    this.notices.handle({
      schema_id: RUNNER_LAUNCH,
      state: 'launching',
      phase: 'pulling',
      message: '',
      runner: 'runner-3',
      kernel_id: 'a',
      notebook: '/srv/analysis.ipynb',
      ...more
    });
  }

  async die(more: object): Promise<void> {
    this.notices.handle({
      schema_id: KERNEL_DEATH,
      runner: 'runner-3',
      kernel_id: 'a',
      kernel_name: 'gra',
      notebook: '/srv/analysis.ipynb',
      profile: 'small',
      reason: 'OutOfMemory',
      message: 'The kernel was killed: out of memory.',
      memory: { used: GIB, limit: GIB },
      ...more
    });
    await jest.advanceTimersByTimeAsync(0);
  }

  bringBack(more: object): void {
    this.notices.handle({
      schema_id: RUNNER_RESULTS,
      runner: 'runner-3',
      kernel_id: 'a',
      notebook: '/srv/analysis.ipynb',
      state: 'returned',
      message: 'runner-3: 2 files, 1 MiB, copied back to /srv.',
      ...more
    });
  }

  readonly notices: Notices;
  readonly delete: (name: string) => void;
  readonly goAway: () => void;
  readonly shown: Details[] = [];
  /** What was asked of the kernel and the server. */
  readonly asked: unknown[] = [];
}

function told(): string[] {
  return Notification.manager.notifications.map(({ message }) => message);
}

function press(label: string): void {
  const [notification] = Notification.manager.notifications;
  const action = notification?.options.actions?.find(
    each => each.label === label
  );
  if (!action) {
    throw new Error(`there is no ${label}`);
  }
  action.callback(new MouseEvent('click'));
}

describe('what is told of kernels', () => {
  let page: Page;

  beforeEach(() => {
    jest.useFakeTimers();
    page = new Page();
  });

  afterEach(() => {
    page.notices.dispose();
    Notification.dismiss();
    jest.useRealTimers();
  });

  it('is nothing for a quick start', async () => {
    page.launch({});
    await jest.advanceTimersByTimeAsync(1500);
    page.launch({ state: 'ready' });
    await jest.advanceTimersByTimeAsync(5000);
    expect(told()).toEqual([]);
  });

  it('is how far a slow start is', async () => {
    page.launch({});
    await jest.advanceTimersByTimeAsync(3000);
    expect(told()).toEqual([
      expect.stringMatching(/^runner-3 for analysis.ipynb: Pulling the image… /)
    ]);
  });

  it('is a failure with its reason, details and another try', () => {
    page.launch({
      state: 'failed',
      reason: 'ImageNotFound',
      message: 'runner-3 did not start. There is no such image.',
      hint: 'Look at its name.'
    });
    expect(told()).toEqual([
      'analysis.ipynb could not start: There is no such image. Look at its name.'
    ]);
    press('Show details');
    expect(page.shown[0]?.reason).toBe('ImageNotFound');
    press('Try again');
    expect(page.asked).toEqual(['restart']);
  });

  it('is nothing of the documents of other pages', async () => {
    const other = { kernel_id: 'b', notebook: '/srv/other.ipynb' };
    page.launch(other);
    await jest.advanceTimersByTimeAsync(5000);
    page.launch({ ...other, state: 'failed' });
    await page.die(other);
    expect(told()).toEqual([]);
  });

  it('is a start without a document, too', async () => {
    page.launch({ kernel_id: 'b', notebook: undefined });
    await jest.advanceTimersByTimeAsync(3000);
    expect(told()).toHaveLength(1);
  });

  it('ends when the server is gone', async () => {
    page.launch({});
    await jest.advanceTimersByTimeAsync(3000);
    page.goAway();
    expect(told()).toEqual([]);
    await jest.advanceTimersByTimeAsync(3000);
    expect(told()).toEqual([]);
  });

  it('is what memory ran out, and the next larger profile', async () => {
    await page.die({});
    expect(told()).toEqual([
      'analysis.ipynb: out of memory, 1 of 1 GiB. Pick medium, or free memory.'
    ]);
    press('Restart with medium');
    await jest.advanceTimersByTimeAsync(0);
    expect(page.asked).toEqual([
      {
        profile: 'medium',
        resources: { ...resources, memory: 2 * GIB },
        path: 'analysis.ipynb',
        name: 'gra'
      },
      { id: 'new' }
    ]);
  });

  it('is no accident where this page has deleted the runner', async () => {
    page.delete('runner-3');
    await page.die({ reason: 'Deleted', message: 'It was deleted.' });
    expect(told()).toEqual([]);
    // The next runner of that name is another one.
    page.launch({ state: 'ready' });
    await page.die({ reason: 'KilledBySignal', message: 'It was killed.' });
    expect(told()).toEqual(['analysis.ipynb: It was killed.']);
  });

  it('is what came back, for a moment, on the page of its document', () => {
    page.bringBack({ kernel_id: 'b', notebook: '/srv/other.ipynb' });
    expect(told()).toEqual([]);
    page.bringBack({});
    expect(told()).toEqual([
      'analysis.ipynb: 2 files, 1 MiB, copied back to /srv.'
    ]);
    expect(Notification.manager.notifications[0]?.options.autoClose).toBe(5000);
  });

  it('is what did not come back, on every page, until it was seen', () => {
    page.bringBack({
      kernel_id: 'b',
      notebook: '/srv/other.ipynb',
      state: 'failed',
      reason: 'ResultsNotFetched',
      message: 'What was changed was not copied to /srv. The disk is full.',
      hint: 'Make room.'
    });
    expect(told()).toEqual([
      'other.ipynb: What was changed was not copied to /srv. The disk is full. Make room.'
    ]);
    press('Show details');
    expect(page.shown[0]?.reason).toBe('ResultsNotFetched');
  });

  it('is remembered for its details', async () => {
    page.launch({ state: 'ready', message: 'It is ready.' });
    expect(page.notices.latest('runner-3')?.message).toBe('It is ready.');
    await jest.advanceTimersByTimeAsync(10);
    await page.die({});
    expect(page.notices.latest('runner-3')?.reason).toBe('OutOfMemory');
    expect(page.notices.latest('runner-4')).toBeNull();
  });
});
