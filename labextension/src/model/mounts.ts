import type { TranslationBundle } from '@jupyterlab/translation';

import type { Mount, MountState, Runner } from '../api/types';

/** Whether a mount does not work, or does not work any more. */
export function isUnwell(mount: Mount): boolean {
  return mount.state === 'failing' || mount.state === 'failed';
}

/** The mounts of a runner that do not work. */
export function unwellMounts(runner: Runner): readonly Mount[] {
  return runner.mounts.filter(isUnwell);
}

/** What is mounted: `s3://lake/team/a`. */
export function sourceOf({ bucket, prefix }: Mount): string {
  return prefix ? `s3://${bucket}/${prefix}` : `s3://${bucket}`;
}

/** What a mount does, in a word or two. */
export function mountState(
  state: MountState,
  trans: TranslationBundle
): string {
  switch (state) {
    case 'waiting':
      return trans.__('Waiting for credentials');
    case 'starting':
      return trans.__('Mounting');
    case 'mounted':
      return trans.__('Mounted');
    case 'failing':
      return trans.__('Failing');
    case 'failed':
      return trans.__('Not mounted');
  }
}

/** What is wrong with a mount: `/data/lake does not work: The endpoint does not answer.` */
export function mountProblem(mount: Mount, trans: TranslationBundle): string {
  const why = mount.message || mount.reason;
  return mount.state === 'failing'
    ? trans.__('%1 does not work: %2', mount.path, why)
    : trans.__('%1 is not mounted: %2', mount.path, why);
}
