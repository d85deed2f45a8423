import type { ApiError } from '../api/errors';
import type { StartKernelRequest } from '../api/types';
import { type Bucket, bucketRequest } from './bucketForm';

export type OpenWith = 'notebook' | 'console' | 'nothing';

/** The fields of the form for a new runner, as they were typed.  Empty: as the profile has it. */
export interface Form {
  profile: string;
  cpu: string;
  memory: string;
  ephemeral_storage: string;
  gpu: string;
  image: string;
  idle: string;
  orphan: string;
  lifetime: string;
  /** In the place of the profile's, if there are any. */
  buckets: readonly Bucket[];
  openWith: OpenWith;
}

export type Field = keyof Form;

export const EMPTY_FORM: Form = {
  profile: '',
  cpu: '',
  memory: '',
  ephemeral_storage: '',
  gpu: '',
  image: '',
  idle: '',
  orphan: '',
  lifetime: '',
  buckets: [],
  openWith: 'notebook'
};

const SIZES = ['cpu', 'memory', 'ephemeral_storage', 'gpu'] as const;
const TIMES = ['idle', 'orphan', 'lifetime'] as const;

/** What is asked of the server: only what was typed. */
export function requestOf(form: Form, path: string): StartKernelRequest {
  const resources: Record<string, string | number> = {};
  for (const name of SIZES) {
    const text = form[name].trim();
    if (text) {
      resources[name] = name === 'gpu' ? wholeNumber(text) : compact(text);
    }
  }
  const ttl: Record<string, string | number> = {};
  for (const name of TIMES) {
    const text = form[name].trim();
    if (text) {
      ttl[name] = numberOr(compact(text));
    }
  }
  const image = form.image.trim();
  return {
    ...(form.profile && { profile: form.profile }),
    ...(image && { image }),
    ...(Object.keys(resources).length > 0 && { resources }),
    ...(Object.keys(ttl).length > 0 && { ttl }),
    ...(form.buckets.length > 0 && { s3: form.buckets.map(bucketRequest) }),
    ...(path && { path })
  };
}

/** Sizes and times as gra takes them: `2 GiB` is `2Gi`, `30 min` is `30m`. */
function compact(text: string): string {
  return text
    .replace(/\s+/g, '')
    .replace(/([KMGTP]i)B$/i, '$1')
    .replace(/min$/i, 'm');
}

function numberOr(text: string): string | number {
  return /^\d+(\.\d+)?$/.test(text) ? Number(text) : text;
}

/** What is no number is given as it is, so that the server can say what is wrong with it. */
function wholeNumber(text: string): number {
  return /^\d+$/.test(text) ? Number(text) : (text as unknown as number);
}

/** Which fields the server found wrong, without those of buckets. */
export function wrongFields(problem: ApiError | null): ReadonlySet<string> {
  const fields = problem?.details.fields;
  return new Set(
    Array.isArray(fields)
      ? fields
          .map(String)
          .filter(field => !field.startsWith('s3'))
          .map(field => field.split('.').pop() ?? '')
      : []
  );
}
