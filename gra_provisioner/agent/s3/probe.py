"""Looks whether a bucket can be used: one signed request, within less than 5 s."""

from __future__ import annotations

import calendar
import http.client
import socket
import ssl
import time
from email.utils import parsedate
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple, Union
from urllib.parse import urlsplit

from ..failure import AgentError
from . import answers
from .mount import Mount
from .signing import EMPTY_PAYLOAD, Credentials, encoded_path, encoded_query, signed_headers

# Of each wait on the network; a name's look-up has a bound of the resolver's own.
_WAIT = 3.0
#: After this many seconds a probe is given up by whoever asked for it.
BOUND = 4.5
_LARGEST = 1 << 16


class Target(NamedTuple):
    """Where a mount's requests go: ``host`` as a header has it, ``base`` before a key's path."""

    scheme: str
    name: str
    port: int
    host: str
    base: str


def target(mount: Mount) -> Target:
    """By path or by host name, as the mount says."""
    url = urlsplit(mount.endpoint)
    name = url.hostname or ""
    port = url.port or (443 if url.scheme == "https" else 80)
    base = url.path.rstrip("/")
    if mount.path_style:
        base += f"/{mount.bucket}"
    else:
        name = f"{mount.bucket}.{name}"
    shown = f"[{name}]" if ":" in name else name
    return Target(url.scheme, name, port, shown + (f":{url.port}" if url.port else ""), base)


def probe(
    mount: Mount,
    credentials: Optional[Credentials],
    now: Callable[[], float] = time.time,
    stage: Optional[List[str]] = None,
) -> Optional[AgentError]:
    """List one key below the mount's prefix; what is wrong, or None.  Blocks.

    ``stage`` is told what is under way, for one who gives up.
    """
    stage = [] if stage is None else stage
    where = target(mount)
    query = {"list-type": "2", "max-keys": "1"}
    if mount.prefix:
        query["prefix"] = f"{mount.prefix}/"
    path = where.base or "/"
    headers: Dict[str, str] = {"host": where.host}
    if credentials is not None:
        headers = signed_headers(
            "GET", where.host, path, query, credentials, mount.region, now(), payload=EMPTY_PAYLOAD
        )
    secrets = tuple(credentials) if credentials else ()
    try:
        status, answered, body = _ask(where, mount.ca, path, query, headers, stage)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return answers.of_exception(mount, error, stage[-1] if stage else "")
    return answers.of_answer(
        mount, status, answered, body, _ahead(answered.get("date"), now()), secrets
    )


def _ask(
    where: Target,
    ca: str,
    path: str,
    query: Dict[str, str],
    headers: Dict[str, str],
    stage: List[str],
) -> Tuple[int, Dict[str, str], str]:
    stage.append("looking its name up")
    found = socket.getaddrinfo(where.name, where.port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    stage.append("connecting")
    connection = http.client.HTTPConnection(where.name, where.port, timeout=_WAIT)
    sock: Union[socket.socket, ssl.SSLSocket] = socket.create_connection(
        (addresses[0], where.port), timeout=_WAIT
    )
    try:
        if where.scheme == "https":
            stage.append("the TLS handshake")
            context = ssl.create_default_context(cafile=ca or None)
            sock.settimeout(_WAIT)
            sock = context.wrap_socket(sock, server_hostname=where.name)
        stage.append("waiting for the answer")
        sock.settimeout(_WAIT)
        connection.sock = sock
        connection.putrequest(
            *("GET", f"{encoded_path(path)}?{encoded_query(query)}"),
            skip_host=True,
            skip_accept_encoding=True,
        )
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        body = response.read(_LARGEST).decode("utf-8", "replace")
        return response.status, {k.lower(): v for k, v in response.getheaders()}, body
    finally:
        connection.close()
        sock.close()


def _ahead(date: Optional[str], now: float) -> float:
    """How far the server's clock is ahead, in seconds, by its header ``Date``."""
    parsed = parsedate(date) if date else None
    if parsed is None:
        return 0.0
    try:
        return calendar.timegm(parsed) - now
    except (OverflowError, ValueError):
        return 0.0
