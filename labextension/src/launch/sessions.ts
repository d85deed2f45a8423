import type { ISessionContext, IWidgetTracker } from '@jupyterlab/apputils';
import type { Widget } from '@lumino/widgets';

import type { OpenDocument } from './documents';

/** An open document, and the way to its kernel. */
export interface OpenSession extends OpenDocument {
  readonly context: ISessionContext;
}

type Tracker = IWidgetTracker<Widget & { sessionContext: ISessionContext }>;

/** The notebooks and consoles that are open in this page. */
export function openSessions(
  trackers: readonly (Tracker | null)[]
): OpenSession[] {
  const sessions: OpenSession[] = [];
  for (const tracker of trackers) {
    tracker?.forEach(({ sessionContext }) => {
      sessions.push({
        context: sessionContext,
        path: sessionContext.path,
        name: sessionContext.name,
        kernelId: sessionContext.session?.kernel?.id ?? null
      });
    });
  }
  return sessions;
}

/** Start the kernel of a document again: in its runner while it has one, else in a new one. */
export async function restart(
  { context }: OpenSession,
  kernelName: string
): Promise<void> {
  const name = kernelName || context.kernelPreference.name;
  if (context.session?.kernel && !context.hasNoKernel) {
    await context.restartKernel();
  } else {
    await context.changeKernel(name ? { name } : {});
  }
}
