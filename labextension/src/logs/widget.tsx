import { ReactWidget } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Message } from '@lumino/messaging';
import * as React from 'react';

import type { IRunners } from '../tokens';
import { LogModel } from './model';
import { LogPanel } from './view';

/** A runner's log in the main area, read while it can be seen. */
export class LogWidget extends ReactWidget {
  constructor(
    readonly runner: string,
    private readonly runners: IRunners,
    private readonly trans: TranslationBundle
  ) {
    super();
    this.addClass('gra-Logs');
    this._uid = runners.model.get(runner)?.uid;
    this._log = new LogModel(runners.client, runner);
    document.addEventListener('visibilitychange', this._onVisibility);
  }

  /** Begin anew if there is another runner of this name by now. */
  renew(): void {
    const uid = this.runners.model.get(this.runner)?.uid;
    const isOther = this._uid !== undefined && uid !== this._uid;
    this._uid = uid ?? this._uid;
    if (uid !== undefined && isOther) {
      this._log.dispose();
      this._log = new LogModel(this.runners.client, this.runner);
      this.update();
      this._onVisibility();
    }
  }

  override dispose(): void {
    document.removeEventListener('visibilitychange', this._onVisibility);
    this._log.dispose();
    super.dispose();
  }

  protected override render(): React.JSX.Element {
    return (
      <LogPanel
        log={this._log}
        runners={this.runners.model}
        isWrapped={this._isWrapped}
        onWrap={isWrapped => {
          this._isWrapped = isWrapped;
          this.update();
        }}
        trans={this.trans}
      />
    );
  }

  protected override onAfterAttach(msg: Message): void {
    super.onAfterAttach(msg);
    this._onVisibility();
  }

  protected override onAfterShow(msg: Message): void {
    super.onAfterShow(msg);
    this._onVisibility();
  }

  protected override onAfterHide(msg: Message): void {
    super.onAfterHide(msg);
    this._onVisibility();
  }

  protected override onActivateRequest(_: Message): void {
    this.node.querySelector<HTMLElement>('.gra-Logs-lines')?.focus();
  }

  private readonly _onVisibility = (): void => {
    if (this.isVisible && document.visibilityState === 'visible') {
      this._log.follow();
    } else {
      this._log.rest();
    }
  };

  private _log: LogModel;
  private _uid: string | undefined;
  private _isWrapped = true;
}
