import type { ApiError } from '../api/errors';
import type { BucketRequest, Profile } from '../api/types';

export type Via = NonNullable<BucketRequest['via']>;

/** Whose credentials a bucket is asked for with.  Keys cannot be typed: they would be kept. */
export type CredentialSource = 'server' | 'profile' | 'secret' | 'anonymous';

/** The fields of one bucket, as they were typed. */
export interface Bucket {
  /** Tells buckets of one form apart. */
  key: number;
  bucket: string;
  prefix: string;
  mount: string;
  endpoint: string;
  region: string;
  read_only: boolean;
  via: Via;
  claim: string;
  credentials: CredentialSource;
  /** The name of the Secret, or of the section of ~/.aws/credentials. */
  name: string;
}

/** What becomes of the buckets of a form. */
export type UpdateBuckets = (buckets: readonly Bucket[]) => readonly Bucket[];

export type BucketField = Exclude<keyof Bucket, 'key'>;

/** What a way to a bucket has no use for, so that it is neither asked for nor shown. */
const USELESS: Record<Via, ReadonlySet<BucketField>> = {
  s3fs: new Set(['claim']),
  volume: new Set(['bucket', 'endpoint', 'region', 'credentials', 'name']),
  fsspec: new Set(['mount', 'read_only', 'claim'])
};

/** Which fields a bucket has, with this way and these credentials. */
export function hasField(bucket: Bucket, field: BucketField): boolean {
  if (field === 'name') {
    return (
      bucket.via !== 'volume' &&
      (bucket.credentials === 'secret' || bucket.credentials === 'profile')
    );
  }
  return !USELESS[bucket.via].has(field);
}

/** One more bucket: on the server of the one before it, or of the profile's. */
export function newBucket(
  before: readonly Bucket[],
  profile: Profile | undefined
): Bucket {
  const last = before[before.length - 1];
  const theirs = profile?.settings?.s3[0];
  return {
    key: 1 + Math.max(0, ...before.map(({ key }) => key)),
    bucket: '',
    prefix: '',
    mount: '',
    endpoint: last?.endpoint ?? theirs?.endpoint ?? '',
    region: last?.region ?? theirs?.region ?? '',
    read_only: false,
    via: last?.via ?? theirs?.via ?? 's3fs',
    claim: '',
    credentials: last?.credentials ?? 'server',
    name: last?.name ?? ''
  };
}

/** What is asked of the server for a bucket: only what was typed. */
export function bucketRequest(bucket: Bucket): BucketRequest {
  const request: BucketRequest = { via: bucket.via };
  for (const field of [
    'bucket',
    'prefix',
    'mount',
    'endpoint',
    'region',
    'claim'
  ] as const) {
    const text = bucket[field].trim();
    if (text && hasField(bucket, field)) {
      request[field] = text;
    }
  }
  if (bucket.read_only && hasField(bucket, 'read_only')) {
    request.read_only = true;
  }
  if (hasField(bucket, 'credentials')) {
    switch (bucket.credentials) {
      case 'secret':
      case 'profile':
        request.credentials = { [bucket.credentials]: bucket.name.trim() };
        break;
      case 'anonymous':
        request.credentials = { anonymous: true };
        break;
      case 'server':
        break;
    }
  }
  return request;
}

/** What a profile must have for pods in which s3fs mounts. */
const OF_SIDECAR: ReadonlySet<string> = new Set([
  'allow_privileged_sidecar',
  's3_sidecar'
]);

/** What a mount that could not be made was about (docs/errors.md). */
const FIELD_OF_REASON: Record<string, BucketField> = {
  S3AccessDenied: 'bucket',
  S3AccessKeyUnknown: 'credentials',
  S3BucketMissing: 'bucket',
  S3ClockSkew: 'endpoint',
  S3CredentialsMissing: 'credentials',
  S3EndpointUnreachable: 'endpoint',
  S3MountPointUnusable: 'mount',
  S3NotS3: 'endpoint',
  S3SecretKeyWrong: 'credentials',
  S3ServerTrouble: 'endpoint',
  S3TlsRefused: 'endpoint',
  S3TokenExpired: 'credentials',
  S3WrongRegion: 'region'
};

/** Which fields of a bucket, by its place in the form, the server found wrong. */
export function wrongBucketFields(
  problem: ApiError | null,
  buckets: readonly Bucket[],
  index: number
): ReadonlySet<BucketField> {
  const wrong = new Set<BucketField>();
  const { details = {}, reason = '' } = problem ?? {};
  const fields: unknown[] = Array.isArray(details['fields'])
    ? details['fields']
    : [details['field'] ?? ''];
  for (const field of fields.map(String)) {
    const [, at, name] = /^s3\[(\d+)\]\.(\w+)/.exec(field) ?? [];
    if (name && Number(at) === index) {
      // What is wrong with credentials that have a name is that name.
      const isNamed = field.includes('.credentials.');
      wrong.add((isNamed ? 'name' : name) as BucketField);
    } else if (field === 's3') {
      wrong.add('mount');
    } else if (
      OF_SIDECAR.has(field.split('.')[0] ?? '') &&
      buckets[index]?.via === 's3fs'
    ) {
      wrong.add('via');
    }
  }
  const about = FIELD_OF_REASON[reason];
  const meant = buckets[index];
  if (about && meant && isMeant(meant, index, details)) {
    wrong.add(about);
  }
  return wrong;
}

/** Whether an error is about this bucket: the agent names its place, others what it is. */
function isMeant(
  bucket: Bucket,
  index: number,
  details: Record<string, unknown>
): boolean {
  const { mount, path, bucket: name } = details;
  if (mount !== undefined) {
    return mount === String(index);
  }
  return path
    ? bucket.mount.trim().replace(/\/+$/, '') === path
    : bucket.bucket.trim() === name;
}
