import { Clipboard } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import {
  LabIcon,
  caretDownIcon,
  caretUpIcon,
  copyIcon,
  downloadIcon,
  filterIcon
} from '@jupyterlab/ui-components';
import * as React from 'react';

import type { IRunnerModel } from '../model/model';
import { MOST_LINES } from './buffer';
import { LogLines } from './lines';
import type { LogModel } from './model';
import { type Shown, asText, choose, step } from './search';

interface IProps {
  log: LogModel;
  runners: IRunnerModel;
  isWrapped: boolean;
  onWrap: (isWrapped: boolean) => void;
  trans: TranslationBundle;
}

/** A runner's log: what is searched for and shown above, its lines, and how it goes on below. */
export function LogPanel(props: IProps): React.JSX.Element {
  const { log, runners, isWrapped, onWrap, trans } = props;
  useChanges(log);
  const { lines, dropped, sources } = log.buffer;
  const [query, setQuery] = React.useState('');
  const [isFilter, setFilter] = React.useState(false);
  const [hidden, setHidden] = React.useState<ReadonlySet<string>>(new Set());
  const [isFollowed, setFollowed] = React.useState(true);
  const [current, setCurrent] = React.useState<number | null>(null);
  const input = React.useRef<HTMLInputElement>(null);

  const shown = React.useMemo(
    () => choose(lines, { query, isFilter, hidden }),
    [lines, query, isFilter, hidden]
  );
  const go = (by: 1 | -1): void => {
    const next = step(shown, current, by);
    setCurrent(next);
    if (next !== null) {
      setFollowed(false);
    }
  };
  const onKeyDown = (event: React.KeyboardEvent): void => {
    if (event.key === 'f' && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      event.stopPropagation();
      input.current?.focus();
      input.current?.select();
    }
  };
  const onSearchKeyDown = (event: React.KeyboardEvent): void => {
    if (event.key === 'Enter') {
      event.preventDefault();
      go(event.shiftKey ? -1 : 1);
    } else if (event.key === 'Escape') {
      setQuery('');
      setCurrent(null);
    }
  };
  const toggleSource = (source: string): void => {
    const after = new Set(hidden);
    if (!after.delete(source)) {
      after.add(source);
    }
    setHidden(after);
  };

  return (
    <div className="gra-Logs-body" onKeyDown={onKeyDown}>
      <div
        className="gra-Logs-toolbar"
        role="toolbar"
        aria-label={trans.__('Log of %1', log.runner)}
      >
        <input
          ref={input}
          className="gra-Logs-search jp-mod-styled"
          type="search"
          value={query}
          placeholder={trans.__('Search')}
          aria-label={trans.__('Search the log')}
          onChange={event => {
            setQuery(event.target.value);
            setCurrent(null);
          }}
          onKeyDown={onSearchKeyDown}
        />
        <span className="gra-Logs-count" role="status">
          {query && countOf(shown, current, trans)}
        </span>
        <Button
          icon={caretUpIcon}
          label={trans.__('Previous match')}
          isDisabled={shown.matches.length === 0}
          onClick={() => go(-1)}
        />
        <Button
          icon={caretDownIcon}
          label={trans.__('Next match')}
          isDisabled={shown.matches.length === 0}
          onClick={() => go(1)}
        />
        <Button
          icon={filterIcon}
          label={trans.__('Show only lines that match')}
          isPressed={isFilter}
          onClick={() => setFilter(!isFilter)}
        />
        <span className="gra-Logs-sources">
          {sources.map(source => (
            <button
              key={source}
              type="button"
              className="gra-Chip"
              aria-pressed={!hidden.has(source)}
              title={trans.__('Show what %1 wrote', source)}
              onClick={() => toggleSource(source)}
            >
              {source}
            </button>
          ))}
        </span>
        <span className="gra-Logs-space" />
        <button
          type="button"
          className="gra-Chip"
          aria-pressed={isFollowed}
          title={trans.__('Keep the last line in view')}
          onClick={() => setFollowed(!isFollowed)}
        >
          {trans.__('Follow')}
        </button>
        <button
          type="button"
          className="gra-Chip"
          aria-pressed={isWrapped}
          title={trans.__('Wrap long lines')}
          onClick={() => onWrap(!isWrapped)}
        >
          {trans.__('Wrap')}
        </button>
        <Button
          icon={copyIcon}
          label={trans.__('Copy the lines shown')}
          isDisabled={shown.lines.length === 0}
          onClick={() => Clipboard.copyToSystem(asText(shown.lines))}
        />
        <Button
          icon={downloadIcon}
          label={trans.__('Download the lines shown')}
          isDisabled={shown.lines.length === 0}
          onClick={() => download(`${log.runner}.log`, asText(shown.lines))}
        />
      </div>
      <LogLines
        shown={shown}
        query={query}
        current={current}
        dropped={dropped}
        isWrapped={isWrapped}
        isFollowed={isFollowed}
        onFollowed={setFollowed}
        trans={trans}
      />
      <div className="gra-Logs-status" role="status">
        {dropped > 0 &&
          `${trans.__('The last %1 lines.', MOST_LINES.toLocaleString())} `}
        {statusOf(log, runners, trans)}
      </div>
    </div>
  );
}

function Button(props: {
  icon: LabIcon;
  label: string;
  isPressed?: boolean;
  isDisabled?: boolean;
  onClick: () => void;
}): React.JSX.Element {
  const { icon, label, isPressed, isDisabled, onClick } = props;
  return (
    <button
      type="button"
      className="gra-Logs-button"
      title={label}
      aria-label={label}
      aria-pressed={isPressed}
      disabled={isDisabled}
      onClick={onClick}
    >
      <icon.react tag="span" elementSize="normal" />
    </button>
  );
}

function countOf(
  { lines, matches }: Shown,
  current: number | null,
  trans: TranslationBundle
): string {
  if (matches.length === 0) {
    return trans.__('No matches');
  }
  const at = matches.findIndex(index => lines[index]?.number === current);
  return at < 0
    ? trans._n('%1 match', '%1 matches', matches.length)
    : trans.__('%1 of %2', at + 1, matches.length);
}

/** Whether more is to come, and if not, why. */
function statusOf(
  log: LogModel,
  runners: IRunnerModel,
  trans: TranslationBundle
): string {
  switch (log.following) {
    case 'resting':
      return log.buffer.lines.length > 0 ? '' : trans.__('Reading the log…');
    case 'live':
      return log.buffer.lines.length > 0
        ? trans.__('Live')
        : trans.__('Nothing was written yet.');
    case 'away':
      return trans.__(
        'The server does not answer. The log goes on when it is back.'
      );
    case 'failed': {
      const { problem } = log;
      return problem ? `${problem.message} ${problem.hint}` : '';
    }
    case 'ended': {
      const message = runners.get(log.runner)?.message ?? '';
      const ended = trans.__('%1 has ended.', log.runner);
      return message ? `${ended} ${message}` : ended;
    }
  }
}

/** Render again whenever there is something new. */
function useChanges(log: LogModel): void {
  const [, count] = React.useReducer((version: number) => version + 1, 0);
  React.useEffect(() => {
    const changed = (): void => count();
    log.changed.connect(changed);
    return () => {
      log.changed.disconnect(changed);
    };
  }, [log]);
}

function download(name: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: 'text/plain' }));
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  // Once the browser has taken it.
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
