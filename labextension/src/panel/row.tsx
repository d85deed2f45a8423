import type { TranslationBundle } from '@jupyterlab/translation';
import { caretDownIcon, caretRightIcon } from '@jupyterlab/ui-components';
import React from 'react';

import type { Runner } from '../api/types';
import { duration, sizes, stateName, statusName } from '../model/format';
import { INTENDED, type Mark, markOf } from '../model/marks';
import type { Document, GroupRow, RunnerRow } from '../model/rows';
import type { Sample } from '../model/store';
import { Mounts } from './mounts';
import { UsageMeters } from './usage';

/** What a row's parts do when they are clicked. */
export interface IRowActions {
  open(runner: Runner): void;
  delete(runner: Runner): void;
  menu(runner: Runner, button: HTMLElement): void;
  toggle(key: string): void;
}

/** The id of a row's element: what the list says is the active one. */
export function rowId(key: string): string {
  return `gra-row-${key}`;
}

/** A group's heading. */
export function GroupHeading(props: {
  row: GroupRow;
  isActive: boolean;
  withOwner: boolean;
  actions: IRowActions;
  trans: TranslationBundle;
}): React.JSX.Element {
  const { row, trans } = props;
  const status =
    row.group === 'ended' ? trans.__('Ended') : statusName(row.group, trans);
  const title = !props.withOwner
    ? status
    : row.mine
      ? trans.__('Mine: %1', status)
      : trans.__('Others: %1', status);
  const Caret = row.isCollapsed ? caretRightIcon : caretDownIcon;
  return (
    <div
      className="gra-Group"
      role="gridcell"
      aria-colspan={2}
      onClick={() => props.actions.toggle(row.key)}
    >
      <Caret.react tag="span" className="gra-Group-caret" />
      <span className="gra-Group-title">{title}</span>
      <span className="gra-Group-count">{row.count}</span>
    </div>
  );
}

/** A runner: what it is, what it does, what it uses, and why it does not. */
export const RunnerCells = React.memo(function RunnerCells(props: {
  row: RunnerRow;
  samples: readonly Sample[];
  lastSample: number;
  isDeleting: boolean;
  /** In whole seconds since the epoch. */
  now: number;
  actions: IRowActions;
  trans: TranslationBundle;
}): React.JSX.Element {
  const { row, isDeleting, now, actions, trans } = props;
  const { runner, document } = row;
  const state = isDeleting ? trans.__('Deleting') : stateName(runner, trans);
  const problem = !isDeleting && runner.reason !== '';
  const facts = [
    runner.profile,
    sizes(runner, trans),
    runner.node,
    runner.mine ? '' : runner.owner
  ].filter(Boolean);
  return (
    <>
      <div className="gra-Row-cell" role="gridcell">
        <div className="gra-Row-line">
          <StateMark runner={runner} isDeleting={isDeleting} />
          <span className="gra-Row-name">{runner.name}</span>
          <span className="gra-Row-state">{state}</span>
          <span className="gra-Row-age" title={born(runner, trans)}>
            {duration(now - runner.created, trans)}
          </span>
        </div>
        <div className="gra-Row-line gra-Row-facts">
          {document && (
            <DocumentLink
              document={document}
              onClick={() => actions.open(runner)}
              trans={trans}
            />
          )}
          <span title={facts.join(' · ')}>{facts.join(' · ')}</span>
        </div>
        {!isDeleting && (
          <UsageMeters runner={runner} samples={props.samples} trans={trans} />
        )}
        {runner.status === 'starting' && runner.message && !problem && (
          <div className="gra-Row-message">{runner.message}</div>
        )}
        {problem && (
          <div
            className={`gra-Row-problem ${INTENDED.has(runner.reason) ? 'gra-mod-intended' : ''}`}
          >
            {runner.message || runner.reason}
            {runner.hint && (
              <span className="gra-Row-hint"> {runner.hint}</span>
            )}
          </div>
        )}
        {!isDeleting && runner.mounts.length > 0 && (
          <Mounts runner={runner} trans={trans} />
        )}
      </div>
      <div className="gra-Row-actions" role="gridcell">
        <button
          className="gra-Row-button"
          tabIndex={-1}
          title={trans.__('More…')}
          aria-label={trans.__('More for %1', runner.name)}
          aria-haspopup="menu"
          onClick={event => {
            event.stopPropagation();
            actions.menu(runner, event.currentTarget);
          }}
        >
          <ButtonMark path="M3 8h.01M8 8h.01M13 8h.01" />
        </button>
        <button
          className="gra-Row-button"
          tabIndex={-1}
          disabled={isDeleting}
          title={trans.__('Delete…')}
          aria-label={trans.__('Delete %1', runner.name)}
          onClick={event => {
            event.stopPropagation();
            actions.delete(runner);
          }}
        >
          <ButtonMark path="M3.5 3.5l9 9M12.5 3.5l-9 9" />
        </button>
      </div>
    </>
  );
});

/** Drawn here: Lab's icons take longer than all else of a row, and rows come by the dozen. */
function ButtonMark(props: { path: string }): React.JSX.Element {
  return (
    <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={props.path} />
    </svg>
  );
}

function DocumentLink(props: {
  document: Document;
  onClick: () => void;
  trans: TranslationBundle;
}): React.JSX.Element {
  const { path, name } = props.document;
  return (
    <button
      className="gra-Row-document"
      tabIndex={-1}
      title={props.trans.__('Open %1', path)}
      onClick={event => {
        event.stopPropagation();
        props.onClick();
      }}
    >
      {name}
    </button>
  );
}

/** A mark for what a runner does: its form tells as much as its colour. */
function StateMark(props: {
  runner: Runner;
  isDeleting: boolean;
}): React.JSX.Element {
  const mark = props.isDeleting ? 'starting' : markOf(props.runner);
  return (
    <svg
      className={`gra-Mark gra-mod-${mark}`}
      viewBox="0 0 12 12"
      width="12"
      height="12"
      aria-hidden="true"
    >
      {SHAPES[mark]}
    </svg>
  );
}

const SHAPES: Record<Mark, React.JSX.Element> = {
  idle: <circle cx="6" cy="6" r="4" />,
  busy: <circle cx="6" cy="6" r="5" />,
  starting: <path d="M6 1.5A4.5 4.5 0 1 1 1.5 6" />,
  failed: <path d="M2 2l8 8M10 2l-8 8" />,
  ended: <rect x="2.5" y="2.5" width="7" height="7" />,
  unknown: <path d="M2.5 6h7" />
};

function born(runner: Runner, trans: TranslationBundle): string {
  const time = new Date(runner.created * 1000).toLocaleString();
  return trans.__('Made %1', time);
}
