import { LabIcon } from '@jupyterlab/ui-components';

import runnerSvg from '../../style/icons/runner.svg';

/** A pod that plays: the panel, its commands, settings. */
export const runnerIcon = new LabIcon({
  name: 'gra-provisioner:runner',
  svgstr: runnerSvg
});
