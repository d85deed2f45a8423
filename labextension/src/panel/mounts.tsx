import type { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import type { Runner } from '../api/types';
import {
  mountProblem,
  mountState,
  sourceOf,
  unwellMounts
} from '../model/mounts';

/** The buckets of a runner: how many there are, and what is wrong with those that do not work. */
export function Mounts(props: {
  runner: Runner;
  trans: TranslationBundle;
}): React.JSX.Element {
  const { runner, trans } = props;
  const unwell = unwellMounts(runner);
  const all = runner.mounts
    .map(
      mount =>
        `${mount.path}: ${sourceOf(mount)} (${mountState(mount.state, trans)})`
    )
    .join('\n');
  return (
    <>
      <div className="gra-Row-mounts" title={all}>
        <svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">
          <path d="M1.5 2.5h9L9.5 11h-7zM1.5 2.5q4.5 2.5 9 0" />
        </svg>
        <span>{runner.mounts.map(mount => mount.path).join(', ')}</span>
      </div>
      {unwell.map(mount => (
        <div key={mount.id} className="gra-Row-problem gra-mod-mount">
          <svg
            className="gra-Row-warning"
            viewBox="0 0 12 12"
            width="12"
            height="12"
            aria-hidden="true"
          >
            <path d="M6 1L11.5 11H.5zM6 4.5v3M6 9.3v.2" />
          </svg>
          {mountProblem(mount, trans)}
          {mount.hint && <span className="gra-Row-hint"> {mount.hint}</span>}
        </div>
      ))}
    </>
  );
}
