import {
  ReactWidget,
  showDialog,
  Dialog,
  Clipboard
} from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { LabIcon, checkIcon, copyIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { ApiError } from '../api/errors';
import type { Client } from '../api/client';
import type { Mount, RunnerEvent } from '../api/types';
import { phaseName } from '../model/format';
import { isUnwell, mountState, sourceOf } from '../model/mounts';
import { type Details, asText, timeOf } from './details';
import type { PhaseTime } from './events';
import { seconds, subject } from './text';

/** So many of the log's last lines are asked for. */
const LINES = 50;

/** Show all that is known of a start or an end; what is not is asked for. */
export async function showDetails(
  details: Details,
  client: Client,
  trans: TranslationBundle
): Promise<void> {
  await showDialog({
    title: subject(details.runner, details.document, trans),
    body: new DetailsBody(details, client, trans),
    buttons: [Dialog.okButton({ label: trans.__('Close') })],
    defaultButton: 0
  });
}

class DetailsBody extends ReactWidget {
  constructor(
    private readonly details: Details,
    private readonly client: Client,
    private readonly trans: TranslationBundle
  ) {
    super();
    this.addClass('gra-Details');
  }

  protected override render(): React.ReactElement {
    return (
      <All details={this.details} client={this.client} trans={this.trans} />
    );
  }
}

interface IAllProps {
  details: Details;
  client: Client;
  trans: TranslationBundle;
}

function All({ details, client, trans }: IAllProps): React.ReactElement {
  const [known, setKnown] = React.useState(details);
  const [problem, setProblem] = React.useState('');
  React.useEffect(() => {
    const abort = new AbortController();
    complete(details, client).then(
      found => {
        if (!abort.signal.aborted) {
          setKnown(found);
        }
      },
      (error: unknown) => {
        if (!abort.signal.aborted) {
          setProblem(error instanceof Error ? error.message : String(error));
        }
      }
    );
    return () => abort.abort();
  }, [details, client]);

  const { reason, message, hint, mounts, phases, events, log } = known;
  return (
    <>
      <div className="gra-Details-all" tabIndex={0}>
        {reason && <div className="gra-Details-reason">{reason}</div>}
        {message && <p className="gra-Details-message">{message}</p>}
        {hint && <p className="gra-Details-hint">{hint}</p>}
        {mounts && mounts.length > 0 && (
          <Mounts mounts={mounts} trans={trans} />
        )}
        {phases.length > 0 && <Phases phases={phases} trans={trans} />}
        {events && events.length > 0 && (
          <Events events={events} trans={trans} />
        )}
        {log && log.length > 0 && (
          <section>
            <h3>{trans.__('Last lines of the log')}</h3>
            <pre
              className="gra-Details-log"
              tabIndex={0}
              aria-label={trans.__('Last lines of the log')}
            >
              {log.join('\n')}
            </pre>
          </section>
        )}
        {problem && <p className="gra-Details-hint">{problem}</p>}
      </div>
      <Copy text={() => asText(known, trans)} trans={trans} />
    </>
  );
}

function sinceWhen(since: number, trans: TranslationBundle): string {
  const time = new Date(since * 1000).toLocaleTimeString();
  return trans.__('since %1', time);
}

function Mounts(props: {
  mounts: readonly Mount[];
  trans: TranslationBundle;
}): React.ReactElement {
  const { mounts, trans } = props;
  return (
    <section>
      <h3>{trans.__('Buckets')}</h3>
      <ul className="gra-Details-mounts">
        {mounts.map(mount => (
          <li key={mount.id}>
            <div>
              <strong>{mount.path}</strong> {sourceOf(mount)} ·{' '}
              {mountState(mount.state, trans)}
              {mount.since !== null && <> · {sinceWhen(mount.since, trans)}</>}
            </div>
            {isUnwell(mount) && (
              <div className="gra-Details-mountProblem">
                <strong>{mount.reason}</strong> {mount.message}{' '}
                <span className="gra-Details-hint">{mount.hint}</span>
              </div>
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}

function Phases(props: {
  phases: readonly PhaseTime[];
  trans: TranslationBundle;
}): React.ReactElement {
  const { phases, trans } = props;
  return (
    <section>
      <h3>{trans.__('Where the time went')}</h3>
      <table>
        <tbody>
          {phases.map((each, index) => (
            <tr key={index}>
              <th scope="row">{phaseName(each.phase, trans)}</th>
              <td className="gra-Details-time">
                {seconds(each.seconds, trans)}
              </td>
              <td>{each.message}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Events(props: {
  events: readonly RunnerEvent[];
  trans: TranslationBundle;
}): React.ReactElement {
  const { events, trans } = props;
  return (
    <section>
      <h3>{trans.__('What the cluster said')}</h3>
      <table>
        <tbody>
          {events.map((event, index) => (
            <tr key={index} data-type={event.type}>
              <td className="gra-Details-time">{timeOf(event)}</td>
              <th scope="row">
                {event.reason}
                {event.count > 1 && ` ×${event.count}`}
              </th>
              <td>{event.message}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Copy(props: {
  text: () => string;
  trans: TranslationBundle;
}): React.ReactElement {
  const { text, trans } = props;
  const [isCopied, setCopied] = React.useState(false);
  return (
    <button
      type="button"
      className="gra-Details-copy jp-Dialog-button jp-mod-styled jp-mod-reject"
      onClick={() => {
        Clipboard.copyToSystem(text());
        setCopied(true);
      }}
    >
      <LabIcon.resolveReact icon={isCopied ? checkIcon : copyIcon} tag="span" />
      <span aria-live="polite">
        {isCopied ? trans.__('Copied') : trans.__('Copy')}
      </span>
    </button>
  );
}

/** Ask for what is not known.  Of a runner that is gone the server may know nothing any more. */
async function complete(details: Details, client: Client): Promise<Details> {
  const { runner, runnerUid } = details;
  if (!runner) {
    return details;
  }
  const [mounts, events, log] = await Promise.all([
    details.mounts ??
      orNothing(async () => {
        const found = await client.get(runner);
        // The name may be another's by now.
        return runnerUid && found.uid !== runnerUid ? [] : found.mounts;
      }),
    details.events ??
      orNothing(async () => {
        return await client.listEvents(runner, runnerUid);
      }),
    details.log ??
      orNothing(async () =>
        (await client.logs(runner, { tail: LINES })).map(line => line.text)
      )
  ]);
  return { ...details, mounts, events, log };
}

async function orNothing<T>(ask: () => Promise<T>): Promise<T | null> {
  try {
    return await ask();
  } catch (error) {
    // It is gone (404), or there is no log (409).
    if (error instanceof ApiError && [404, 409].includes(error.status)) {
      return null;
    }
    throw error;
  }
}
