import type { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import type { Runner } from '../api/types';
import { processors, sizeOf, size } from '../model/format';
import { HEIGHT, WIDTH, sparklinePoints } from '../model/sparkline';
import type { Sample } from '../model/store';

interface IMeter {
  label: string;
  text: string;
  used: number;
  /** Null where there is no limit: then there is no bar. */
  limit: number | null;
  history: readonly number[];
}

/** What a runner uses, as bars with what they were before. */
export function UsageMeters(props: {
  runner: Runner;
  samples: readonly Sample[];
  trans: TranslationBundle;
}): React.JSX.Element | null {
  const { runner, samples, trans } = props;
  const { cpu, memory } = runner.usage;
  const memoryLimit = runner.usage.memory_limit ?? runner.resources.memory;
  if (runner.status !== 'running' || (cpu === null && memory === null)) {
    return null;
  }
  return (
    <div className="gra-Usage">
      {cpu !== null && (
        <Meter
          label={trans.__('CPU')}
          text={processors(cpu)}
          used={cpu}
          limit={runner.resources.cpu}
          history={samples.map(sample => sample.cpu ?? 0)}
        />
      )}
      {memory !== null && (
        <Meter
          label={trans.__('Memory')}
          text={
            memoryLimit === null
              ? size(memory)
              : sizeOf(memory, memoryLimit, trans)
          }
          used={memory}
          limit={memoryLimit}
          history={samples.map(sample => sample.memory ?? 0)}
        />
      )}
    </div>
  );
}

function Meter(props: IMeter): React.JSX.Element {
  const { label, text, used, limit, history } = props;
  const share = limit ? Math.min(1, used / limit) : 0;
  const level =
    share > 0.9 ? 'gra-mod-full' : share > 0.75 ? 'gra-mod-high' : '';
  return (
    <span className="gra-Meter" title={`${label}: ${text}`}>
      <span className="gra-Meter-label" aria-hidden="true">
        {label}
      </span>
      {limit ? (
        <span
          className={`gra-Meter-bar ${level}`}
          role="meter"
          aria-label={label}
          aria-valuemin={0}
          aria-valuemax={limit}
          aria-valuenow={Math.min(used, limit)}
          aria-valuetext={text}
        >
          <span style={{ width: `${(share * 100).toFixed(1)}%` }} />
        </span>
      ) : (
        <span />
      )}
      <Sparkline values={history} highest={limit ?? 0} />
      <span className="gra-Meter-text">{text}</span>
    </span>
  );
}

function Sparkline(props: {
  values: readonly number[];
  highest: number;
}): React.JSX.Element {
  return (
    <svg
      className="gra-Sparkline"
      height={HEIGHT}
      preserveAspectRatio="none"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      aria-hidden="true"
    >
      <polyline points={sparklinePoints(props.values, props.highest)} />
    </svg>
  );
}
