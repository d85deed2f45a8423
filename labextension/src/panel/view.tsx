import type { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import type { Runner } from '../api/types';
import { duration } from '../model/format';
import type { IRunnerModel } from '../model/model';
import { type Document, type Group, groupOf, rowsOf } from '../model/rows';
import { Filters } from './filters';
import { RunnerList } from './list';
import type { IRowActions } from './row';
import type { PanelState } from './state';

/** The panel's body. */
export function RunnersView(props: {
  model: IRunnerModel;
  state: PanelState;
  documents: ReadonlyMap<string, Document>;
  actions: IRowActions & { create(): void; refresh(): void };
  onShown: (names: readonly string[]) => void;
  /** In seconds since the epoch. */
  now: number;
  trans: TranslationBundle;
}): React.JSX.Element {
  const { model, state, documents, actions, now, trans } = props;
  const { version, runners } = model;
  const { view } = state;
  const rows = React.useMemo(
    () => rowsOf(runners.values(), documents, view),
    // The map is the same object whatever is in it: its version tells.
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [version, runners, documents, view]
  );
  const { counts, hasOthers } = React.useMemo(
    () => summed(runners.values()),
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [version, runners]
  );
  const samples = React.useCallback(
    (runner: Runner) => model.samples(runner),
    [model]
  );
  const isOld =
    model.isLoaded && (model.connection === 'away' || !!model.stale);
  return (
    <div className="gra-Panel-body">
      {runners.size > 0 && (
        <Filters
          state={state}
          counts={counts}
          hasOthers={hasOthers}
          trans={trans}
        />
      )}
      <Notice model={model} now={now} actions={actions} trans={trans} />
      {rows.length > 0 ? (
        <RunnerList
          rows={rows}
          state={state}
          samples={samples}
          withOwner={hasOthers && view.showOthers}
          isOld={isOld}
          now={now}
          actions={actions}
          onShown={props.onShown}
          trans={trans}
        />
      ) : (
        <Nothing
          isLoaded={model.isLoaded}
          isAway={model.connection === 'away'}
          isEmpty={runners.size === 0}
          onCreate={() => actions.create()}
          onClear={() =>
            state.setView({ search: '', groups: new Set(), showOthers: true })
          }
          trans={trans}
        />
      )}
    </div>
  );
}

/** Says that what is shown is old, and why. */
function Notice(props: {
  model: IRunnerModel;
  now: number;
  actions: { refresh(): void };
  trans: TranslationBundle;
}): React.JSX.Element {
  const { model, now, trans } = props;
  const { problem, stale } = model;
  let message = '';
  let hint = '';
  if (model.connection === 'away' && problem) {
    message = problem.message;
    hint = problem.hint;
  } else if (stale) {
    const age = duration(now - stale.since, trans);
    message = trans.__('What is shown is %1 old: %2', age, stale.message);
    hint = stale.hint;
  }
  return (
    <div role="status" className={message ? 'gra-Notice' : ''}>
      {message && (
        <>
          <span className="gra-Notice-text" title={`${message} ${hint}`}>
            {message} {hint}
          </span>
          <button
            className="jp-mod-styled jp-mod-minimal"
            onClick={() => props.actions.refresh()}
          >
            {trans.__('Try again')}
          </button>
        </>
      )}
    </div>
  );
}

function Nothing(props: {
  isLoaded: boolean;
  isAway: boolean;
  isEmpty: boolean;
  onCreate: () => void;
  onClear: () => void;
  trans: TranslationBundle;
}): React.JSX.Element {
  const { trans } = props;
  if (!props.isLoaded) {
    return (
      <div className="gra-Empty">
        {!props.isAway && <p>{trans.__('Looking for runners…')}</p>}
      </div>
    );
  }
  if (!props.isEmpty) {
    return (
      <div className="gra-Empty">
        <p>{trans.__('No runner is as the filters ask for.')}</p>
        <button className="jp-mod-styled" onClick={props.onClear}>
          {trans.__('Show all')}
        </button>
      </div>
    );
  }
  return (
    <div className="gra-Empty">
      <p>{trans.__('No runners.')}</p>
      <p>
        {trans.__(
          'A notebook whose kernel is a runner shows here, with what it uses and why it does not start.'
        )}
      </p>
      <button className="jp-mod-styled jp-mod-accept" onClick={props.onCreate}>
        {trans.__('New runner…')}
      </button>
    </div>
  );
}

function summed(runners: Iterable<Runner>): {
  counts: Map<Group, number>;
  hasOthers: boolean;
} {
  const counts = new Map<Group, number>();
  let hasOthers = false;
  for (const runner of runners) {
    const group = groupOf(runner.status);
    counts.set(group, (counts.get(group) ?? 0) + 1);
    hasOthers ||= !runner.mine;
  }
  return { counts, hasOthers };
}
