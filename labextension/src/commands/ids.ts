/** The commands of the extension.  Their arguments are in brackets. */
export const CommandIDs = {
  /** Show the panel; with {name} at that runner. */
  show: 'gra-provisioner:show-runner',
  /** Ask for everything again. */
  refresh: 'gra-provisioner:refresh',
  /** Ask for a profile and sizes, and start a kernel on a new runner. */
  create: 'gra-provisioner:create-runner',
  /** End runners, after asking: {names}, else those that are selected. */
  delete: 'gra-provisioner:delete-runner',
  /** Delete those that have ended by themselves. */
  prune: 'gra-provisioner:prune-runners',
  /** Open the runner's notebook or console: {name}. */
  open: 'gra-provisioner:open-document',
  newNotebook: 'gra-provisioner:new-notebook',
  newConsole: 'gra-provisioner:new-console',
  interrupt: 'gra-provisioner:interrupt-kernel',
  restart: 'gra-provisioner:restart-kernel',
  shutdown: 'gra-provisioner:shutdown-kernel',
  copyAttach: 'gra-provisioner:copy-attach-command',
  details: 'gra-provisioner:show-details',
  logs: 'gra-provisioner:open-logs',
  terminal: 'gra-provisioner:open-terminal'
} as const;
