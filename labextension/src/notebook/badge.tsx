import { type ISessionContext, ReactWidget } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { IDisposable } from '@lumino/disposable';
import type { Message } from '@lumino/messaging';
import type { Widget } from '@lumino/widgets';
import * as React from 'react';

import type { Runner } from '../api/types';
import { size, sizeOf, sizes, stateName } from '../model/format';
import type { IRunnerModel } from '../model/model';

// In pixels: in a panel below, the badge has the runner's name only.
const NARROW = 1000;
const SMALL = 860;

/** What a badge needs of the page. */
export interface IBadgeOptions {
  /** The notebook or console whose toolbar it is in. */
  panel: Widget;
  context: ISessionContext;
  model: IRunnerModel;
  /** Show a runner in the panel. */
  show: (name: string) => void;
  trans: TranslationBundle;
}

/**
 * The runner of a notebook's kernel, in its toolbar: its name, its profile and how much memory it
 * uses.  Hidden for kernels that are in no runner.
 */
export class RunnerBadge extends ReactWidget {
  constructor(private readonly options: IBadgeOptions) {
    super();
    this.addClass('gra-Badge');
    const { context, model } = options;
    this.setHidden(!this.runner);
    context.kernelChanged.connect(this._onChanged);
    context.statusChanged.connect(this._onChanged);
    model.changed.connect(this._onChanged);
    this._resizes.observe(options.panel.node);
    // Asked only while somebody can see it.
    this._inspection = model.inspect(() =>
      this.isVisible && this.runner ? [this.runner.name] : []
    );
  }

  override dispose(): void {
    if (this.isDisposed) {
      return;
    }
    const { context, model } = this.options;
    context.kernelChanged.disconnect(this._onChanged);
    context.statusChanged.disconnect(this._onChanged);
    model.changed.disconnect(this._onChanged);
    this._inspection.dispose();
    this._resizes.disconnect();
    super.dispose();
  }

  protected override render(): React.JSX.Element | null {
    const { show, trans } = this.options;
    const { runner } = this;
    return runner ? (
      <Badge
        runner={runner}
        status={this.options.context.kernelDisplayStatus}
        onClick={() => show(runner.name)}
        trans={trans}
      />
    ) : null;
  }

  protected override onAfterShow(msg: Message): void {
    super.onAfterShow(msg);
    this.update();
  }

  private get runner(): Runner | undefined {
    const { context, model } = this.options;
    const id = context.session?.kernel?.id;
    return id ? model.ofKernel(id) : undefined;
  }

  private readonly _onChanged = (): void => {
    this.setHidden(!this.runner);
    this.update();
  };

  private readonly _inspection: IDisposable;
  private readonly _resizes = new ResizeObserver(([panel]) => {
    const width = panel?.contentRect.width ?? Infinity;
    this.toggleClass('gra-mod-narrow', width < NARROW);
    this.toggleClass('gra-mod-small', width < SMALL);
  });
}

function Badge(props: {
  runner: Runner;
  /** What Lab says of the kernel. */
  status: ISessionContext.KernelDisplayStatus;
  onClick: () => void;
  trans: TranslationBundle;
}): React.JSX.Element {
  const { runner, status, onClick, trans } = props;
  const state = stateOf(runner, status);
  const memory = memoryOf(runner, trans);
  const title = [
    trans.__('%1: %2', runner.name, stateName(runner, trans)),
    [runner.profile, sizes(runner, trans)].filter(each => each).join(' · '),
    memory && trans.__('Memory: %1', memory),
    runner.node && trans.__('Node: %1', runner.node),
    runner.message,
    trans.__('Click to show it among the runners.')
  ]
    .filter(each => each)
    .join('\n');
  return (
    <button
      type="button"
      className="gra-Badge-button"
      title={title}
      aria-label={title.replaceAll('\n', ', ')}
      onClick={onClick}
    >
      <span className="gra-Badge-dot" data-state={state} aria-hidden="true" />
      <span>{runner.name}</span>
      {runner.profile && (
        <span className="gra-Badge-profile"> · {runner.profile}</span>
      )}
      {memory && <span className="gra-Badge-memory"> · {memory}</span>}
    </button>
  );
}

/** What the dot shows by its form: filled, half, a ring, or crossed. */
function stateOf(
  runner: Runner,
  status: ISessionContext.KernelDisplayStatus
): 'idle' | 'busy' | 'starting' | 'dead' | 'unknown' {
  if (runner.status === 'ended' || runner.status === 'lost') {
    return 'dead';
  }
  switch (status) {
    case 'busy':
    case 'idle':
    case 'dead':
      return status;
    case 'starting':
    case 'restarting':
    case 'autorestarting':
    case 'initializing':
    case 'connecting':
      return 'starting';
    default:
      return 'unknown';
  }
}

function memoryOf(runner: Runner, trans: TranslationBundle): string {
  const { memory, memory_limit: limit } = runner.usage;
  if (memory === null) {
    return '';
  }
  const most = limit ?? runner.resources.memory;
  return most === null ? size(memory) : sizeOf(memory, most, trans);
}
