import { type ITargetSource, targetsOf } from '../src/commands/targets';
import { RunnerStore } from '../src/model/store';
import { runner } from './runners';

function source(given: Partial<ITargetSource> = {}): ITargetSource {
  const model = new RunnerStore();
  for (const number of [1, 2, 3]) {
    model.put(runner(number), 0);
  }
  return {
    model,
    selection: new Set(),
    currentKernel: null,
    ...given
  };
}

function names(args: object, given: Partial<ITargetSource> = {}): string[] {
  return targetsOf(args, source(given)).map(({ name }) => name);
}

describe('the runners that a command is about', () => {
  test('are those that are named, whatever is selected', () => {
    const selection = new Set(['uid-2']);
    expect(names({ name: 'runner-1' }, { selection })).toEqual(['runner-1']);
    expect(names({ names: ['runner-3', 'gone'] }, { selection })).toEqual([
      'runner-3'
    ]);
  });

  test('are those that are selected, else that of the document in front', () => {
    const currentKernel = 'kernel-3';
    const selection = new Set(['uid-1', 'uid-2']);
    expect(names({}, { selection, currentKernel })).toEqual([
      'runner-1',
      'runner-2'
    ]);
    expect(names({}, { currentKernel })).toEqual(['runner-3']);
    const gone = new Set(['uid-9']);
    expect(names({}, { selection: gone, currentKernel })).toEqual(['runner-3']);
    expect(names({})).toEqual([]);
  });
});
