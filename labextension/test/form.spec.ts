import { ApiError } from '../src/api/errors';
import {
  type Bucket,
  bucketRequest,
  newBucket,
  wrongBucketFields
} from '../src/commands/bucketForm';
import { EMPTY_FORM, requestOf, wrongFields } from '../src/commands/form';

test('only what was typed is asked for', () => {
  expect(requestOf({ ...EMPTY_FORM, profile: 'small' }, '')).toEqual({
    profile: 'small'
  });
});

test('sizes and times are written as people write them', () => {
  const form = {
    ...EMPTY_FORM,
    cpu: '500m',
    memory: '3 GiB',
    ephemeral_storage: ' 10Gi ',
    gpu: '1',
    image: ' example.org/image:1 ',
    idle: '30 min',
    orphan: '3600',
    lifetime: 'never'
  };
  expect(requestOf(form, 'work')).toEqual({
    image: 'example.org/image:1',
    resources: {
      cpu: '500m',
      memory: '3Gi',
      ephemeral_storage: '10Gi',
      gpu: 1
    },
    ttl: { idle: '30m', orphan: 3600, lifetime: 'never' },
    path: 'work'
  });
});

test('what is no number is for the server to refuse', () => {
  const { resources } = requestOf({ ...EMPTY_FORM, gpu: 'two' }, '');
  expect(resources).toEqual({ gpu: 'two' });
});

test('the server’s word about fields is found at them', () => {
  const problem = new ApiError(422, {
    reason: 'InvalidRequest',
    message: 'wrong',
    hint: '',
    details: { source: 'request body', fields: ['resources.cpu', 'image'] }
  });
  expect([...wrongFields(problem)]).toEqual(['cpu', 'image']);
  expect(wrongFields(null).size).toBe(0);
});

function bucket(given: Partial<Bucket> = {}): Bucket {
  return { ...newBucket([], undefined), ...given };
}

test('a bucket is asked for with what was typed, and no more than its way takes', () => {
  const typed = {
    bucket: ' lake ',
    prefix: 'team/a',
    mount: '/data/lake',
    endpoint: 'https://s3.example.com',
    claim: 'lake',
    read_only: true
  };
  const place = { bucket: 'lake', prefix: 'team/a' };
  const server = { endpoint: 'https://s3.example.com' };
  expect(bucketRequest(bucket(typed))).toEqual({
    via: 's3fs',
    ...place,
    ...server,
    mount: '/data/lake',
    read_only: true
  });
  expect(bucketRequest(bucket({ ...typed, via: 'fsspec' }))).toEqual({
    via: 'fsspec',
    ...place,
    ...server
  });
  expect(bucketRequest(bucket({ ...typed, via: 'volume' }))).toEqual({
    via: 'volume',
    prefix: 'team/a',
    mount: '/data/lake',
    claim: 'lake',
    read_only: true
  });
});

test('credentials are a name, or nobody’s, or the server’s own', () => {
  const asked = (given: Partial<Bucket>): unknown =>
    bucketRequest(bucket(given)).credentials;
  expect(asked({})).toBeUndefined();
  expect(asked({ credentials: 'anonymous', name: 'x' })).toEqual({
    anonymous: true
  });
  expect(asked({ credentials: 'secret', name: ' lake-key ' })).toEqual({
    secret: 'lake-key'
  });
  expect(asked({ credentials: 'profile', name: 'team' })).toEqual({
    profile: 'team'
  });
  // A volume's are the cluster's affair.
  expect(asked({ credentials: 'anonymous', via: 'volume' })).toBeUndefined();
});

test('one more bucket is on the server of the one before it', () => {
  const first = bucket({ endpoint: 'https://s3.example.com', region: 'eu' });
  const second = newBucket([first], undefined);
  expect(second).toMatchObject({ endpoint: first.endpoint, region: 'eu' });
  expect(second.bucket).toBe('');
  expect(second.key).not.toBe(first.key);
});

test('the server’s word about a bucket’s fields is found at them, and nowhere else', () => {
  const refused = (...fields: string[]): ApiError =>
    new ApiError(422, {
      reason: 'InvalidRequest',
      message: 'wrong',
      hint: '',
      details: { source: 'request body', fields }
    });
  const both = [bucket(), bucket({ key: 2 })];
  const problem = refused('s3[1].bucket', 's3[0].credentials.profile');
  expect([...wrongBucketFields(problem, both, 0)]).toEqual(['name']);
  expect([...wrongBucketFields(problem, both, 1)]).toEqual(['bucket']);
  expect(wrongFields(problem).size).toBe(0);
  // Two in each other's way.
  expect([...wrongBucketFields(refused('s3'), both, 0)]).toEqual(['mount']);
  expect(wrongBucketFields(null, both, 0).size).toBe(0);
});

test('a profile that allows no sidecar is at the way that needs one', () => {
  const both = [bucket(), bucket({ key: 2, via: 'fsspec' })];
  for (const field of ['allow_privileged_sidecar', 's3_sidecar.image']) {
    const problem = new ApiError(422, {
      reason: 'InvalidConfiguration',
      message: 'wrong',
      hint: '',
      details: { field }
    });
    expect([...wrongBucketFields(problem, both, 0)]).toEqual(['via']);
    expect(wrongBucketFields(problem, both, 1).size).toBe(0);
  }
});

test('what keeps a bucket from being mounted is at the field that it is about', () => {
  const failed = (reason: string): ApiError =>
    new ApiError(502, {
      reason,
      message: 'wrong',
      hint: '',
      details: { bucket: 'lake', path: '/data/lake' }
    });
  const both = [
    bucket({ bucket: 'lake', mount: '/data/lake/' }),
    bucket({ bucket: 'lake', mount: '/data/other' })
  ];
  for (const [reason, field] of [
    ['S3BucketMissing', 'bucket'],
    ['S3EndpointUnreachable', 'endpoint'],
    ['S3SecretKeyWrong', 'credentials'],
    ['S3WrongRegion', 'region']
  ] as const) {
    expect([...wrongBucketFields(failed(reason), both, 0)]).toEqual([field]);
    expect(wrongBucketFields(failed(reason), both, 1).size).toBe(0);
  }
  expect(wrongBucketFields(failed('OOMKilled'), both, 0).size).toBe(0);
  // The agent names its place among all.
  const agents = new ApiError(502, {
    reason: 'S3TlsRefused',
    message: 'wrong',
    hint: '',
    details: { mount: '1', mounts: [] }
  });
  expect(wrongBucketFields(agents, both, 0).size).toBe(0);
  expect([...wrongBucketFields(agents, both, 1)]).toEqual(['endpoint']);
});
