"""Signed Jupyter messages of the agent's own, to be put between the kernel's on iopub.

Source: https://jupyter-client.readthedocs.io/en/stable/messaging.html#the-wire-protocol
"""

from __future__ import annotations

import json
import os
import time
from typing import Any, Dict, List, Mapping, Optional


def stream_message(
    connection: Mapping[str, Any], parent: Optional[Mapping[str, Any]], text: str
) -> List[bytes]:
    """The frames of a ``stream`` message on stderr, in the output of ``parent``'s cell."""
    # hmac loads OpenSSL, 5 MB that an agent whose buffer never overflows does not need.
    import hmac

    header: Dict[str, Any] = {
        "msg_id": os.urandom(16).hex(),
        "msg_type": "stream",
        "username": "gra",
        "session": (parent or {}).get("session", os.urandom(16).hex()),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "version": "5.3",
    }
    content = {"name": "stderr", "text": text}
    parts = [json.dumps(part).encode() for part in (header, dict(parent or {}), {}, content)]
    key = str(connection.get("key", "")).encode()
    signature = b""
    if key:
        digest = str(connection.get("signature_scheme", "hmac-sha256")).partition("-")[2]
        signature = hmac.new(key, b"".join(parts), digest).hexdigest().encode()
    return [b"stream.stderr", b"<IDS|MSG>", signature, *parts]


def parent_header(frames: List[bytes]) -> Optional[Dict[str, Any]]:
    """The header of the request that a message answers, or None where there is none to be read."""
    try:
        value = json.loads(frames[frames.index(b"<IDS|MSG>") + 3])
    except (ValueError, IndexError, RecursionError):
        return None
    return value if isinstance(value, dict) and value else None


def dropped_text(count: int, size: int, why: str) -> str:
    """What the user reads where messages were dropped.  ``size`` is in bytes."""
    because = f"the disk for it is full ({why})" if why else "the runner's output buffer was full"
    plural = "message was" if count == 1 else "messages were"
    return f"\n[gra] {count:,} {plural} dropped here ({size / 1e6:,.1f} MB): {because}.\n"
