import type { Session } from '@jupyterlab/services';

import type { Document } from './rows';

/** The server's documents by the ids of their kernels: renames show there at once. */
export function documentsOf(
  sessions: Iterable<Session.IModel>
): Map<string, Document> {
  const documents = new Map<string, Document>();
  for (const session of sessions) {
    if (session.kernel) {
      const { path, name, type } = session;
      documents.set(session.kernel.id, {
        path,
        name: name || (path.split('/').pop() ?? path),
        type
      });
    }
  }
  return documents;
}
