import {
  type TranslationBundle,
  nullTranslator
} from '@jupyterlab/translation';

import type { Runner } from '../src/api/types';

/** Labels as they are written in the source. */
export const trans: TranslationBundle = nullTranslator.load('gra_provisioner');

/** A runner that is running, with what is given in place of the usual. */
export function runner(number: number, given: Partial<Runner> = {}): Runner {
  return {
    name: `runner-${number}`,
    uid: `uid-${number}`,
    backend: 'local',
    profile: 'small',
    created: 1_000_000 + number,
    status: 'running',
    kernel: 'idle',
    clients: 1,
    usage: { cpu: 0.5, memory: 2 ** 30, memory_limit: 2 ** 31 },
    reason: '',
    message: '',
    hint: '',
    phase: '',
    node: '',
    pid: null,
    resources: { cpu: 2, memory: 2 ** 31, ephemeral_storage: 2 ** 35, gpu: 0 },
    image: '',
    mounts: [],
    owner: 'ada',
    kernel_id: `kernel-${number}`,
    kernel_name: 'gra-small',
    notebook: null,
    client_host: null,
    labels: {},
    mine: true,
    ...given
  };
}

/** The same as the watch tells it, which asks no runner. */
export function watched(number: number, given: Partial<Runner> = {}): Runner {
  return runner(number, {
    kernel: 'unknown',
    clients: null,
    usage: { cpu: null, memory: null, memory_limit: null },
    ...given
  });
}
