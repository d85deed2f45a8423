import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';
import { type ISignal, Signal } from '@lumino/signaling';

import { ApiError, NO_API, SERVER_AWAY, isErrorDocument } from './errors';
import { readEvents, type ServerEvent } from './sse';
import type {
  CreateRequest,
  ListQuery,
  LogLine,
  LogQuery,
  MadeRunner,
  Profile,
  Ready,
  Runner,
  RunnerEvent,
  RunnerList,
  StartKernelRequest,
  StartedKernel
} from './types';

/** Below the server's base URL. */
export const ROOT = 'gra/api';

type Parameter = string | number | boolean | string[] | null | undefined;

/** What a request may have beside its path. */
interface IRequest {
  method?: 'GET' | 'POST' | 'DELETE';
  query?: Record<string, Parameter>;
  body?: unknown;
  signal?: AbortSignal;
}

/**
 * The REST API of the server extension (docs/rest.md), over Lab's own connection to its server.
 *
 * All methods throw {@link ApiError}; one that was given up throws the signal's reason.
 */
export class Client {
  constructor(readonly settings: ServerConnection.ISettings) {}

  /** Whether there is a server extension, and it can be used. */
  async ready(): Promise<Ready> {
    return await this.json<Ready>('ready');
  }

  async list(query: ListQuery, signal?: AbortSignal): Promise<RunnerList> {
    return await this.json<RunnerList>('runners', {
      query,
      ...(signal && { signal })
    });
  }

  async get(name: string): Promise<Runner> {
    return await this.json<Runner>(`runners/${name}`);
  }

  async create(body: CreateRequest, signal?: AbortSignal): Promise<MadeRunner> {
    return await this.json<MadeRunner>('runners', {
      method: 'POST',
      body,
      ...(signal && { signal })
    });
  }

  /** Start a kernel of this Jupyter server on a runner that is made for it. */
  async startKernel(body: StartKernelRequest): Promise<StartedKernel> {
    return await this.json<StartedKernel>('kernels', { method: 'POST', body });
  }

  /** Emitted with a runner's name before it is asked to end: that is no accident then. */
  get deleting(): ISignal<this, string> {
    return this._deleting;
  }

  async delete(name: string): Promise<void> {
    this._deleting.emit(name);
    await this.request(`runners/${name}`, { method: 'DELETE' });
  }

  async profiles(): Promise<Profile[]> {
    return (await this.json<{ profiles: Profile[] }>('profiles')).profiles;
  }

  /** What the cluster has said about a runner; of one that is gone where its uid is known. */
  async listEvents(name: string, uid: string): Promise<RunnerEvent[]> {
    const query = { uid: uid || undefined };
    const path = `runners/${name}/events`;
    return (await this.json<{ events: RunnerEvent[] }>(path, { query })).events;
  }

  async logs(name: string, query: LogQuery): Promise<LogLine[]> {
    const answer = await this.json<{ lines: LogLine[] }>(
      `runners/${name}/logs`,
      { query }
    );
    return answer.lines;
  }

  /** A runner's log as it is written: events `line`, and `end` as the last. */
  followLogs(
    name: string,
    query: LogQuery,
    signal: AbortSignal,
    onActivity: () => void = () => undefined
  ): AsyncGenerator<ServerEvent> {
    const asked = { ...query, follow: true };
    return this.events(`runners/${name}/logs`, asked, signal, onActivity);
  }

  /**
   * All runners and what becomes of them: events `added`, `modified`, `deleted`, `synced` once all
   * that there were have been told, `stale` and `fresh`.
   */
  watch(
    signal: AbortSignal,
    onActivity: () => void = () => undefined
  ): AsyncGenerator<ServerEvent> {
    return this.events('runners/watch', {}, signal, onActivity);
  }

  /** A request for JSON. */
  async json<T>(path: string, request: IRequest = {}): Promise<T> {
    const response = await this.request(path, request);
    return (await response.json()) as T;
  }

  private async *events(
    path: string,
    query: Record<string, Parameter>,
    signal: AbortSignal,
    onActivity: () => void
  ): AsyncGenerator<ServerEvent> {
    const response = await this.request(path, { query, signal });
    if (!response.body) {
      return;
    }
    onActivity();
    for await (const event of readEvents(response.body, onActivity)) {
      if (event.name === 'error' && isErrorDocument(event.data)) {
        throw new ApiError(response.status, event.data);
      }
      yield event;
    }
  }

  private async request(path: string, asked: IRequest): Promise<Response> {
    const url =
      URLExt.join(this.settings.baseUrl, ROOT, path) + queryOf(asked.query);
    const init: RequestInit = {
      method: asked.method ?? 'GET',
      // With Lab's own (no-store) the time is added to the query, where the API takes only what it
      // knows.
      cache: 'no-cache',
      ...(asked.signal && { signal: asked.signal }),
      ...(asked.body !== undefined && { body: JSON.stringify(asked.body) })
    };
    let response: Response;
    try {
      response = await ServerConnection.makeRequest(url, init, this.settings);
    } catch (error) {
      asked.signal?.throwIfAborted();
      throw new ApiError(0, {
        reason: SERVER_AWAY,
        message: 'The Jupyter server does not answer.',
        hint: 'Runners go on. The page connects again when the server is back.',
        details: { cause: String(error) }
      });
    }
    if (!response.ok) {
      throw await asError(response, path);
    }
    return response;
  }

  private readonly _deleting = new Signal<this, string>(this);
}

/** The query of a URL, with its question mark; a list is given value by value. */
export function queryOf(query: Record<string, Parameter> = {}): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each != null) {
        parameters.append(name, String(each));
      }
    }
  }
  const text = parameters.toString();
  return text ? `?${text}` : '';
}

async function asError(response: Response, path: string): Promise<ApiError> {
  const text = await response.text();
  let document: unknown = null;
  try {
    document = JSON.parse(text);
  } catch {
    // A proxy's page, or that of a server without the extension.
  }
  if (isErrorDocument(document)) {
    return new ApiError(response.status, document);
  }
  return new ApiError(response.status, {
    reason: NO_API,
    message: `The server answered ${response.status} ${response.statusText} for ${ROOT}/${path}.`,
    hint: 'Is the server extension gra_provisioner enabled? jupyter server extension list',
    details: {}
  });
}
