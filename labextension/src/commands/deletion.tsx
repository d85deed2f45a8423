import { Dialog, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import type { Client } from '../api/client';
import { explain } from '../api/errors';
import type { Runner } from '../api/types';
import { type Document, documentOf } from '../model/rows';
import type { PanelState } from '../panel/state';
import { endRunners } from './ending';

// How many are named in the question.
const MOST_NAMED = 8;

export interface IDeletionOptions {
  client: Client;
  state: PanelState;
  documents: ReadonlyMap<string, Document>;
  trans: TranslationBundle;
}

/** What is lost when a runner is deleted, in the words of whoever works with it. */
export function lossOf(runner: Runner, trans: TranslationBundle): string[] {
  if (runner.status === 'ended' || runner.status === 'lost') {
    return [trans.__('the log of what it did')];
  }
  const losses: string[] = [];
  if (runner.kernel === 'busy') {
    losses.push(trans.__('what its kernel is computing now'));
  }
  if (runner.kernel !== 'none' && runner.kernel !== 'dead') {
    losses.push(trans.__('all variables of its kernel'));
  }
  if (runner.backend === 'kubernetes') {
    losses.push(trans.__('files in it that are on no storage of their own'));
  }
  return losses;
}

/** Ask whether runners are to be deleted; says what is lost. */
export async function confirmDeletion(
  runners: readonly Runner[],
  options: IDeletionOptions
): Promise<boolean> {
  const { trans } = options;
  const result = await showDialog({
    title:
      runners.length === 1
        ? trans.__('Delete %1?', runners[0]?.name ?? '')
        : trans.__('Delete %1 runners?', runners.length),
    body: <Losses runners={runners} {...options} />,
    buttons: [
      Dialog.cancelButton({ label: trans.__('Cancel') }),
      Dialog.warnButton({
        label: trans.__('Delete'),
        ariaLabel: trans.__('Delete for good')
      })
    ],
    defaultButton: 0
  });
  return result.button.accept;
}

/** Ask whether a runner's kernel is to be restarted or ended. */
export async function confirmKernelEnd(
  runner: Runner,
  how: 'restart' | 'shutdown',
  trans: TranslationBundle
): Promise<boolean> {
  const isRestart = how === 'restart';
  const result = await showDialog({
    title: isRestart
      ? trans.__('Restart the kernel of %1?', runner.name)
      : trans.__('Shut down the kernel of %1?', runner.name),
    body: isRestart
      ? trans.__('All its variables are lost. The runner and its files stay.')
      : trans.__('All its variables are lost, and its runner ends with it.'),
    buttons: [
      Dialog.cancelButton({ label: trans.__('Cancel') }),
      Dialog.warnButton({
        label: isRestart ? trans.__('Restart') : trans.__('Shut Down')
      })
    ],
    defaultButton: 0
  });
  return result.button.accept;
}

function Losses(props: {
  runners: readonly Runner[];
  documents: ReadonlyMap<string, Document>;
  trans: TranslationBundle;
}): React.JSX.Element {
  const { runners, documents, trans } = props;
  const rest = runners.length - MOST_NAMED;
  return (
    <div className="gra-Losses">
      <p>{trans.__('This cannot be undone. Lost are:')}</p>
      <ul>
        {runners.slice(0, MOST_NAMED).map(runner => {
          const document = documentOf(runner, documents);
          return (
            <li key={runner.uid}>
              <strong>{runner.name}</strong>
              {document && <> ({document.path})</>}
              {runner.mine ? '' : ` – ${trans.__('of %1', runner.owner)}`}
              {': '}
              {lossOf(runner, trans).join(', ')}
            </li>
          );
        })}
        {rest > 0 && <li>{trans.__('and of %1 more the same', rest)}</li>}
      </ul>
      {runners.some(runner => documentOf(runner, documents)) && (
        <p>{trans.__('Notebook files stay.')}</p>
      )}
    </div>
  );
}

/** Delete runners, a few at a time; what could not be done is told. */
export async function deleteRunners(
  runners: readonly Runner[],
  options: IDeletionOptions
): Promise<void> {
  const { client, state, trans } = options;
  const failures: { runner: Runner; error: unknown }[] = [];
  for (const runner of runners) {
    state.setDeleting(runner, true);
  }
  await endRunners(client, runners, (runner, error) => {
    state.setDeleting(runner, false);
    if (error !== null) {
      failures.push({ runner, error });
    }
  });
  if (failures.length > 0) {
    await showDialog({
      title:
        failures.length === 1
          ? trans.__('%1 was not deleted', failures[0]?.runner.name ?? '')
          : trans.__('%1 runners were not deleted', failures.length),
      body: (
        <ul className="gra-Losses">
          {failures.slice(0, MOST_NAMED).map(({ runner, error }) => (
            <li key={runner.uid}>
              <strong>{runner.name}</strong>: {explain(error)}
            </li>
          ))}
        </ul>
      ),
      buttons: [Dialog.okButton({ label: trans.__('Close') })]
    });
  }
}
