import type { ErrorDocument } from './types';

/**
 * What the REST API said in the place of an answer: a reason for programs, a message and a hint
 * for people.
 */
export class ApiError extends Error {
  constructor(
    /** The HTTP status; 0 where there was no answer. */
    readonly status: number,
    document: ErrorDocument
  ) {
    super(document.message);
    this.name = 'ApiError';
    this.reason = document.reason;
    this.hint = document.hint;
    this.details = document.details;
  }

  readonly reason: string;
  readonly hint: string;
  readonly details: Record<string, unknown>;
}

/** The server did not answer: it is stopped, restarted, or the network is away. */
export const SERVER_AWAY = 'ServerUnreachable';

/** There was an answer, and not from gra's API: the server extension is not there. */
export const NO_API = 'NoApi';

/** Whether something is what the API gives for an error. */
export function isErrorDocument(value: unknown): value is ErrorDocument {
  const fields = value as Partial<ErrorDocument> | null;
  return (
    typeof fields === 'object' &&
    fields !== null &&
    typeof fields.reason === 'string' &&
    typeof fields.message === 'string' &&
    typeof fields.hint === 'string'
  );
}

/** The message and, where there is one, the hint of whatever was thrown. */
export function explain(error: unknown): string {
  if (error instanceof ApiError && error.hint) {
    return `${error.message} ${error.hint}`;
  }
  return error instanceof Error ? error.message : String(error);
}
