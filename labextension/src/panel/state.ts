import { type ISignal, Signal } from '@lumino/signaling';

import type { Runner } from '../api/types';
import { DEFAULT_VIEW, type View } from '../model/rows';

/**
 * What the user has chosen in the panel.  Runners are told apart by their uid, because names are
 * used again.
 */
export class PanelState {
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** Emitted when {@link toReveal} is set. */
  get revealed(): ISignal<this, void> {
    return this._revealed;
  }

  /** The uid of the runner that the list is to bring into view, until it has done so. */
  toReveal: string | null = null;

  get view(): View {
    return this._view;
  }

  /** Uids of the runners that commands are about. */
  get selection(): ReadonlySet<string> {
    return this._selection;
  }

  /** The key of the row that the keyboard is at. */
  get active(): string | null {
    return this._active;
  }

  /** Uids of runners that are being deleted by this page. */
  get deleting(): ReadonlySet<string> {
    return this._deleting;
  }

  setView(change: Partial<View>): void {
    this._view = { ...this._view, ...change };
    this._changed.emit();
  }

  toggleCollapsed(key: string): void {
    const collapsed = new Set(this._view.collapsed);
    if (!collapsed.delete(key)) {
      collapsed.add(key);
    }
    this.setView({ collapsed });
  }

  setActive(key: string | null): void {
    this._active = key;
    this._changed.emit();
  }

  select(selection: Iterable<string>, active = this._active): void {
    this._selection = new Set(selection);
    this._active = active;
    this._changed.emit();
  }

  toggleSelected(uid: string): void {
    const selection = new Set(this._selection);
    if (!selection.delete(uid)) {
      selection.add(uid);
    }
    this.select(selection, uid);
  }

  /** Show a runner whatever the filters are, and select it. */
  reveal(runner: Runner): void {
    this._view = {
      ...this._view,
      search: '',
      groups: new Set(),
      collapsed: new Set(),
      showOthers: this._view.showOthers || !runner.mine
    };
    this.select([runner.uid], runner.uid);
    this.toReveal = runner.uid;
    this._revealed.emit();
  }

  setDeleting(runner: Runner, isDeleting: boolean): void {
    const deleting = new Set(this._deleting);
    if (isDeleting) {
      deleting.add(runner.uid);
    } else {
      deleting.delete(runner.uid);
    }
    this._deleting = deleting;
    this._changed.emit();
  }

  private _view: View = DEFAULT_VIEW;
  private _selection: ReadonlySet<string> = new Set();
  private _deleting: ReadonlySet<string> = new Set();
  private _active: string | null = null;
  private readonly _changed = new Signal<this, void>(this);
  private readonly _revealed = new Signal<this, void>(this);
}
