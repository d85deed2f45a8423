import {
  duration,
  phaseName,
  processors,
  size,
  sizeOf,
  sizes,
  stateName
} from '../src/model/format';
import { runner, trans } from './runners';

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1536, '1.5 KiB'],
  [2 ** 31, '2 GiB'],
  [1.25 * 2 ** 30, '1.3 GiB'],
  [120.4 * 2 ** 20, '120 MiB'],
  [2 ** 60, '1024 PiB']
])('%d bytes are %s', (bytes, text) => {
  expect(size(bytes)).toBe(text);
});

test.each([
  [1.2 * 2 ** 30, 2 ** 31, '1.2 of 2 GiB'],
  [2 ** 31, 2 ** 31, '2 of 2 GiB'],
  [0, 2 ** 31, '0 of 2 GiB'],
  // In the limit's unit there would be nothing to see.
  [10 * 2 ** 20, 2 ** 31, '10 MiB of 2 GiB']
])('%d of %d bytes are %s', (used, limit, text) => {
  expect(sizeOf(used, limit, trans)).toBe(text);
});

test.each([
  [-1, '0 s'],
  [59.9, '59 s'],
  [60, '1 min'],
  [3599, '59 min'],
  [7200, '2 h'],
  [172_800, '2 d']
])('%d seconds are %s', (seconds, text) => {
  expect(duration(seconds, trans)).toBe(text);
});

test.each([
  [2, '2'],
  [0.5, '0.50'],
  [1.26, '1.3']
])('%d processors are %s', (cpu, text) => {
  expect(processors(cpu)).toBe(text);
});

test('a size has what is known of it', () => {
  expect(sizes(runner(1), trans)).toBe('2 CPU, 2 GiB');
  const resources = {
    cpu: null,
    memory: null,
    ephemeral_storage: null,
    gpu: 1
  };
  expect(sizes(runner(1, { resources }), trans)).toBe('1 GPU');
});

test.each([
  [{ status: 'starting', phase: 'pulling' }, 'Pulling the image'],
  [{ status: 'starting', phase: '' }, 'Starting'],
  [{ kernel: 'busy' }, 'Busy'],
  [{ kernel: 'dead' }, 'Kernel dead'],
  [{ kernel: 'unknown' }, 'Running'],
  [{ status: 'lost', kernel: 'busy' }, 'Lost']
] as const)('%j is shown as %s', (given, text) => {
  expect(stateName(runner(1, given), trans)).toBe(text);
});

test('a phase of a later version is shown by its own name', () => {
  expect(phaseName('dreaming', trans)).toBe('dreaming');
});
