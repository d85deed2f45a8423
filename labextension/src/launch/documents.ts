/** An open notebook or console of this page. */
export interface OpenDocument {
  /** As the contents API has it. */
  path: string;
  /** The session's name: a notebook's file name, a console's title. */
  name: string;
  kernelId: string | null;
}

/**
 * The open document that a kernel is for.  Its id tells, but for a kernel that is being started:
 * only its document's path is known then, as that of a file of the server.
 */
export function findDocument<T extends OpenDocument>(
  documents: Iterable<T>,
  kernelId: string,
  file: string
): T | undefined {
  let found: T | undefined;
  let length = 0;
  for (const document of documents) {
    if (kernelId && document.kernelId === kernelId) {
      return document;
    }
    for (const path of pathsOf(document)) {
      const fits = file === path || file.endsWith(`/${path}`);
      // Of a/x.ipynb and x.ipynb the longer one says more.
      if (fits && path.length > length) {
        found = document;
        length = path.length;
      }
    }
  }
  return found;
}

/** A session without a file of its name, as a console's, is told by the name in its folder. */
function pathsOf(document: OpenDocument): readonly string[] {
  const { path, name } = document;
  const folder = path.slice(0, path.lastIndexOf('/') + 1);
  return name ? [path, folder + name] : [path];
}
