import type { Session } from '@jupyterlab/services';
import { type ITranslator, nullTranslator } from '@jupyterlab/translation';
import { ReactWidget, Toolbar } from '@jupyterlab/ui-components';
import type { IDisposable } from '@lumino/disposable';
import type { Message } from '@lumino/messaging';
import { PanelLayout, Widget } from '@lumino/widgets';
import React from 'react';

import { documentsOf } from '../model/documents';
import type { IRunnerModel } from '../model/model';
import type { Document } from '../model/rows';
import { runnerIcon } from './icons';
import type { IRowActions } from './row';
import type { PanelState } from './state';
import { RunnersView } from './view';

/** The id of the panel in the shell, and in saved layouts. */
export const PANEL_ID = 'gra-runners';

// In milliseconds: how often ages are drawn anew.
const TICK = 1000;

export interface IPanelOptions {
  model: IRunnerModel;
  state: PanelState;
  sessions: Session.IManager;
  actions: IRowActions & { create(): void; refresh(): void };
  translator?: ITranslator | null;
}

/** The panel of runners at the left. */
export class RunnersPanel extends Widget {
  constructor(options: IPanelOptions) {
    super();
    const trans = (options.translator ?? nullTranslator).load(
      'gra_provisioner'
    );
    this.id = PANEL_ID;
    this.title.icon = runnerIcon;
    this.title.caption = trans.__('Runners');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', trans.__('Runners'));
    this.addClass('gra-Panel');
    this.toolbar = new Toolbar();
    this.toolbar.addClass('gra-Panel-toolbar');
    this.toolbar.node.setAttribute('aria-label', trans.__('Runners toolbar'));
    const layout = new PanelLayout();
    layout.addWidget(this.toolbar);
    layout.addWidget(new PanelBody(options));
    this.layout = layout;
  }

  readonly toolbar: Toolbar;
}

class PanelBody extends ReactWidget {
  constructor(private readonly options: IPanelOptions) {
    super();
    this.addClass('gra-Panel-content');
    this._documents = documentsOf(options.sessions.running());
  }

  override dispose(): void {
    this.rest();
    super.dispose();
  }

  protected override onBeforeShow(message: Message): void {
    super.onBeforeShow(message);
    this.wake();
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    if (this.isVisible) {
      this.wake();
    }
  }

  protected override onAfterHide(message: Message): void {
    super.onAfterHide(message);
    this.rest();
  }

  protected override onBeforeDetach(message: Message): void {
    this.rest();
    super.onBeforeDetach(message);
  }

  protected override render(): React.JSX.Element {
    const { model, state, actions, translator } = this.options;
    return (
      <RunnersView
        model={model}
        state={state}
        documents={this._documents}
        actions={actions}
        onShown={this._onShown}
        now={Date.now() / 1000}
        trans={(translator ?? nullTranslator).load('gra_provisioner')}
      />
    );
  }

  /** Follow what changes for as long as the panel can be seen. */
  private wake(): void {
    if (this._inspection) {
      return;
    }
    const { model, state, sessions } = this.options;
    model.changed.connect(this._redraw);
    state.changed.connect(this._redraw);
    sessions.runningChanged.connect(this._onSessions);
    this._documents = documentsOf(sessions.running());
    this._inspection = model.inspect(() => this._shown);
    this._ticker = window.setInterval(() => {
      if (document.visibilityState === 'visible') {
        this.update();
      }
    }, TICK);
    this.update();
  }

  private rest(): void {
    const { model, state, sessions } = this.options;
    model.changed.disconnect(this._redraw);
    state.changed.disconnect(this._redraw);
    sessions.runningChanged.disconnect(this._onSessions);
    this._inspection?.dispose();
    this._inspection = null;
    window.clearInterval(this._ticker);
  }

  private readonly _redraw = (): void => this.update();

  private readonly _onSessions = (): void => {
    this._documents = documentsOf(this.options.sessions.running());
    this.update();
  };

  private readonly _onShown = (names: readonly string[]): void => {
    const isFirst = this._shown.length === 0 && names.length > 0;
    this._shown = names;
    if (isFirst && this._inspection) {
      // Not only at the next round.
      this._inspection.dispose();
      this._inspection = this.options.model.inspect(() => this._shown);
    }
  };

  private _documents: Map<string, Document>;
  private _shown: readonly string[] = [];
  private _inspection: IDisposable | null = null;
  private _ticker = 0;
}
