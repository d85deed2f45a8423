import type { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import { statusName } from '../model/format';
import { GROUPS, type Group, SORT_KEYS, type SortKey } from '../model/rows';
import type { PanelState } from './state';

/** Search, which statuses are shown, and the order. */
export function Filters(props: {
  state: PanelState;
  counts: ReadonlyMap<Group, number>;
  hasOthers: boolean;
  trans: TranslationBundle;
}): React.JSX.Element {
  const { state, counts, trans } = props;
  const { view } = state;
  const sortNames: Record<SortKey, string> = {
    name: trans.__('Name'),
    age: trans.__('Age'),
    notebook: trans.__('Notebook'),
    profile: trans.__('Profile'),
    cpu: trans.__('CPU'),
    memory: trans.__('Memory')
  };
  const toggle = (group: Group): void => {
    const groups = new Set(view.groups);
    if (!groups.delete(group)) {
      groups.add(group);
    }
    state.setView({ groups });
  };
  return (
    <div className="gra-Filters" role="search" aria-label={trans.__('Runners')}>
      <div className="gra-Filters-row">
        <input
          className="jp-mod-styled gra-Filters-search"
          type="search"
          value={view.search}
          placeholder={trans.__('Search runners')}
          aria-label={trans.__('Search runners')}
          onChange={event => state.setView({ search: event.target.value })}
        />
        <select
          className="jp-mod-styled gra-Filters-sort"
          value={view.sort}
          title={trans.__('Sort by')}
          aria-label={trans.__('Sort by')}
          onChange={event =>
            state.setView({ sort: event.target.value as SortKey })
          }
        >
          {SORT_KEYS.map(key => (
            <option key={key} value={key}>
              {sortNames[key]}
            </option>
          ))}
        </select>
        <button
          className="gra-Chip"
          aria-pressed={view.reversed}
          title={trans.__('The other way round')}
          aria-label={trans.__('The other way round')}
          onClick={() => state.setView({ reversed: !view.reversed })}
        >
          {view.reversed ? '↑' : '↓'}
        </button>
      </div>
      <div className="gra-Filters-row">
        {GROUPS.filter(
          group => (counts.get(group) ?? 0) > 0 || view.groups.has(group)
        ).map(group => (
          <button
            key={group}
            className="gra-Chip"
            aria-pressed={view.groups.has(group)}
            onClick={() => toggle(group)}
          >
            {statusName(group, trans)} {counts.get(group) ?? 0}
          </button>
        ))}
        {props.hasOthers && (
          <button
            className="gra-Chip"
            aria-pressed={view.showOthers}
            title={trans.__('Show runners of others')}
            onClick={() => state.setView({ showOthers: !view.showOthers })}
          >
            {trans.__('Others')}
          </button>
        )}
      </div>
    </div>
  );
}
