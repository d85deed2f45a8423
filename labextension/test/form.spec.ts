import { ApiError } from '../src/api/errors';
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
