import { markOf } from '../src/model/marks';
import { sparklinePoints } from '../src/model/sparkline';
import { runner } from './runners';

test.each([
  [{}, 'idle'],
  [{ kernel: 'busy' }, 'busy'],
  [{ kernel: 'dead', reason: 'OutOfMemory' }, 'failed'],
  [{ status: 'starting' }, 'starting'],
  [{ status: 'starting', reason: 'ImageNotFound' }, 'failed'],
  [{ status: 'ended', reason: 'Orphaned' }, 'ended'],
  [{ status: 'ended', reason: 'Evicted' }, 'failed'],
  [{ status: 'lost' }, 'failed'],
  [{ status: 'unknown', reason: 'ClusterUnreachable' }, 'unknown']
] as const)('the mark of a runner that is %j is that of %s', (given, mark) => {
  expect(markOf(runner(1, given))).toBe(mark);
});

test('a line of looks ends at the right', () => {
  const points = sparklinePoints([0, 2], 2).split(' ');
  expect(points).toHaveLength(2);
  expect(points[1]).toBe('40.0,1.0');
  expect(points[0]).toMatch(/,11\.0$/);
});

test('what hardly uses anything is drawn over a quarter of the limit', () => {
  const height = (value: number) =>
    Number(sparklinePoints([value], 4).split(',')[1]);
  expect(height(1)).toBe(1);
  expect(height(0.5)).toBe(6);
  expect(sparklinePoints([], 4)).toBe('');
});
