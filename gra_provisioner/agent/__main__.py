"""Run as ``python …/agent`` or, from a zip archive that holds this package, as its main module."""

import os
import sys

if not __package__:
    # A local runner gives this folder to the interpreter, so it is first on the path.  Its
    # parent goes to the end instead: no module of ours may stand before the standard library's.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.remove(sys.path[0])
    sys.path.append(os.path.dirname(here))
if sys.argv[1:2] != ["s3-sidecar"]:
    # OpenSSL is 5 MB of memory that nothing else here uses: asyncio does without.
    sys.modules.setdefault("ssl", None)  # type: ignore[arg-type]

if __package__:
    from .main import main
else:
    from agent.main import main  # type: ignore[no-redef]

sys.exit(main())
