import type { TranslationBundle } from '@jupyterlab/translation';
import { useVirtualizer } from '@tanstack/react-virtual';
import React from 'react';

import type { Runner } from '../api/types';
import type { Row } from '../model/rows';
import type { Sample } from '../model/store';
import { GroupHeading, type IRowActions, RunnerCells, rowId } from './row';
import type { PanelState } from './state';

// In pixels: what a row is taken for until it is drawn.
const GROUP_HEIGHT = 28;
const RUNNER_HEIGHT = 64;
const OVERSCAN = 3;

/** The list of runners: only the rows that can be seen are in the page. */
export function RunnerList(props: {
  rows: readonly Row[];
  state: PanelState;
  samples: (runner: Runner) => readonly Sample[];
  withOwner: boolean;
  isOld: boolean;
  /** In seconds since the epoch. */
  now: number;
  actions: IRowActions;
  /** Told the runners that can be seen. */
  onShown: (names: readonly string[]) => void;
  trans: TranslationBundle;
}): React.JSX.Element {
  const { rows, state, actions, trans } = props;
  const scroller = React.useRef<HTMLDivElement>(null);
  const virtualizer = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: index =>
      rows[index]?.kind === 'group' ? GROUP_HEIGHT : RUNNER_HEIGHT,
    getItemKey: index => rows[index]?.key ?? index,
    overscan: OVERSCAN
  });
  const items = virtualizer.getVirtualItems();

  const shown = items
    .map(item => rows[item.index])
    .filter(row => row?.kind === 'runner')
    .map(row => row.runner.name)
    .join(' ');
  const { onShown } = props;
  React.useEffect(() => {
    onShown(shown ? shown.split(' ') : []);
  }, [shown, onShown]);

  // Of other rows the first are of interest.
  const { search, groups, sort, reversed } = state.view;
  React.useEffect(() => {
    scroller.current?.scrollTo({ top: 0 });
  }, [search, groups, sort, reversed]);

  React.useEffect(() => {
    const reveal = (): void => {
      const index = rows.findIndex(row => row.key === state.toReveal);
      if (index >= 0) {
        state.toReveal = null;
        virtualizer.scrollToIndex(index, { align: 'center' });
        scroller.current?.focus();
      }
    };
    // It may have been asked for before the panel was shown, or the row was known.
    reveal();
    state.revealed.connect(reveal);
    return () => {
      state.revealed.disconnect(reveal);
    };
  }, [rows, state, virtualizer]);

  const move = (index: number, event: React.KeyboardEvent): void => {
    const to = Math.max(0, Math.min(rows.length - 1, index));
    const row = rows[to];
    if (!row) {
      return;
    }
    event.preventDefault();
    virtualizer.scrollToIndex(to, { align: 'auto' });
    if (row.kind === 'group') {
      state.setActive(row.key);
    } else if (event.shiftKey) {
      state.select([...state.selection, row.key], row.key);
    } else {
      state.select([row.key], row.key);
    }
  };

  const onKeyDown = (event: React.KeyboardEvent<HTMLDivElement>): void => {
    const at = rows.findIndex(row => row.key === state.active);
    const row = rows[at];
    const page = Math.max(1, items.length - 2 * OVERSCAN);
    switch (event.key) {
      case 'ArrowDown':
        move(at + 1, event);
        return;
      case 'ArrowUp':
        move(at - 1, event);
        return;
      case 'PageDown':
        move(at + page, event);
        return;
      case 'PageUp':
        move(at - page, event);
        return;
      case 'Home':
        move(0, event);
        return;
      case 'End':
        move(rows.length - 1, event);
        return;
      case 'ArrowLeft':
      case 'ArrowRight':
        if (
          row?.kind === 'group' &&
          row.isCollapsed === (event.key === 'ArrowRight')
        ) {
          event.preventDefault();
          actions.toggle(row.key);
        }
        return;
      case 'a':
        if (event.ctrlKey || event.metaKey) {
          event.preventDefault();
          state.select(
            rows.filter(each => each.kind === 'runner').map(each => each.key)
          );
        }
        return;
      case ' ':
        event.preventDefault();
        if (row?.kind === 'group') {
          actions.toggle(row.key);
        } else if (row) {
          state.toggleSelected(row.key);
        }
        return;
      case 'Enter':
        event.preventDefault();
        if (row?.kind === 'group') {
          actions.toggle(row.key);
        } else if (row) {
          actions.open(row.runner);
        }
        return;
      case 'ContextMenu':
      case 'F10':
        if (row?.kind === 'runner' && (event.key !== 'F10' || event.shiftKey)) {
          const element = document.getElementById(rowId(row.key));
          if (element) {
            event.preventDefault();
            actions.menu(row.runner, element);
          }
        }
        return;
      case 'Escape':
        state.select([]);
        return;
    }
  };

  const onClick = (row: Row, event: React.MouseEvent): void => {
    scroller.current?.focus();
    if (row.kind === 'group') {
      state.setActive(row.key);
    } else if (event.ctrlKey || event.metaKey) {
      state.toggleSelected(row.key);
    } else if (event.shiftKey) {
      state.select(between(rows, state.active, row.key), row.key);
    } else {
      state.select([row.key], row.key);
    }
  };

  const activeIsDrawn = items.some(item => item.key === state.active);
  return (
    <div
      ref={scroller}
      className={`gra-List ${props.isOld ? 'gra-mod-old' : ''}`}
      role="treegrid"
      tabIndex={0}
      aria-label={trans.__('Runners')}
      aria-multiselectable="true"
      aria-rowcount={rows.length}
      {...(activeIsDrawn && {
        'aria-activedescendant': rowId(state.active ?? '')
      })}
      onKeyDown={onKeyDown}
    >
      <div
        className="gra-List-all"
        role="rowgroup"
        style={{ height: virtualizer.getTotalSize() }}
      >
        {items.map(item => {
          const row = rows[item.index];
          if (!row) {
            return null;
          }
          const isSelected = state.selection.has(row.key);
          const isActive = state.active === row.key;
          return (
            <div
              key={item.key}
              id={rowId(row.key)}
              ref={virtualizer.measureElement}
              data-index={item.index}
              {...(row.kind === 'runner' && {
                'data-runner': row.runner.name,
                'aria-level': 2,
                'aria-selected': isSelected
              })}
              {...(row.kind === 'group' && {
                'aria-level': 1,
                'aria-expanded': !row.isCollapsed
              })}
              className={[
                'gra-Row',
                `gra-mod-${row.kind}`,
                isSelected ? 'gra-mod-selected' : '',
                isActive ? 'gra-mod-active' : ''
              ].join(' ')}
              role="row"
              aria-rowindex={item.index + 1}
              style={{ transform: `translateY(${item.start}px)` }}
              onClick={event => onClick(row, event)}
              onContextMenu={() => {
                if (row.kind === 'runner' && !isSelected) {
                  state.select([row.key], row.key);
                }
              }}
              onDoubleClick={() => {
                if (row.kind === 'runner') {
                  actions.open(row.runner);
                }
              }}
            >
              {row.kind === 'group' ? (
                <GroupHeading
                  row={row}
                  isActive={isActive}
                  withOwner={props.withOwner}
                  actions={actions}
                  trans={trans}
                />
              ) : (
                <RunnerCells
                  row={row}
                  samples={props.samples(row.runner)}
                  lastSample={props.samples(row.runner).at(-1)?.time ?? 0}
                  isDeleting={state.deleting.has(row.key)}
                  now={stepped(props.now, row.runner)}
                  actions={actions}
                  trans={trans}
                />
              )}
            </div>
          );
        })}
      </div>
    </div>
  );
}

/** The time as a row needs it: what is minutes old changes every minute. */
function stepped(now: number, runner: Runner): number {
  const age = now - runner.created;
  return age < 60
    ? Math.floor(now)
    : runner.created + Math.floor(age / 60) * 60;
}

/** The keys of the runners from one row to another. */
export function between(
  rows: readonly Row[],
  from: string | null,
  to: string
): string[] {
  const start = rows.findIndex(row => row.key === from);
  const end = rows.findIndex(row => row.key === to);
  const first = start < 0 ? end : Math.min(start, end);
  return rows
    .slice(first, Math.max(start, end) + 1)
    .filter(row => row.kind === 'runner')
    .map(row => row.key);
}
