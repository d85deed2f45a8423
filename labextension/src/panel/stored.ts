import type { IStateDB } from '@jupyterlab/statedb';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';

import { SORT_KEYS, type SortKey, type View } from '../model/rows';
import type { PanelState } from './state';

const KEY = 'gra-provisioner:view';

/** Take up how the list was shown when the page was left, and keep it for the next time. */
export async function restoreView(
  stateDB: IStateDB,
  state: PanelState
): Promise<void> {
  const stored = await stateDB.fetch(KEY);
  if (stored && typeof stored === 'object') {
    state.setView(viewOf(stored as ReadonlyPartialJSONObject));
  }
  let last = '';
  state.changed.connect(() => {
    const document = documentOf(state.view);
    const text = JSON.stringify(document);
    if (text !== last) {
      last = text;
      void stateDB.save(KEY, document);
    }
  });
}

/** What is kept of a view: the order and what is folded, not what was searched for. */
export function documentOf(view: View): ReadonlyPartialJSONObject {
  return {
    sort: view.sort,
    reversed: view.reversed,
    showOthers: view.showOthers,
    collapsed: [...view.collapsed].sort()
  };
}

/** The part of a view that was kept; what is not as it should be is left out. */
export function viewOf(stored: ReadonlyPartialJSONObject): Partial<View> {
  const { sort, reversed, showOthers, collapsed } = stored;
  return {
    ...(SORT_KEYS.includes(sort as SortKey) && { sort: sort as SortKey }),
    ...(typeof reversed === 'boolean' && { reversed }),
    ...(typeof showOthers === 'boolean' && { showOthers }),
    ...(Array.isArray(collapsed) && {
      collapsed: new Set(collapsed.map(String))
    })
  };
}
