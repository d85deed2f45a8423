"""The agent as one file: a zip archive that any Python 3.8 or later runs (``python agent.pyz``).

The same sources always give the same bytes, so that the archive can be named by its hash.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

from . import agent

_MAIN = """\
import sys

if sys.argv[1:2] != ["s3-sidecar"]:
    sys.modules.setdefault("ssl", None)

from agent.main import main

sys.exit(main())
"""
# The earliest time that a zip archive can name.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def build_agent_archive() -> bytes:
    """The archive's bytes."""
    folder = Path(agent.__file__).parent
    files = {
        f"agent/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in folder.rglob("*.py")
    }
    files["__main__.py"] = _MAIN.encode()
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return data.getvalue()


def archive_digest(archive: bytes) -> str:
    """The name of an archive's content: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(archive).hexdigest()[:16]
