"""The agent's command line: ``python agent.pyz --directory DIR (--socket PATH | --port N) …``.

Nothing secret is on it: what must stay private comes through the tunnel.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
from typing import Callable, List, Optional

from .link import Link
from .log import Log
from .server import Settings, serve
from .ttl import Ttl


def _seconds(text: str) -> Optional[float]:
    return None if text == "never" else float(text)


def parse(argv: List[str]) -> argparse.Namespace:
    """The options.  Exits with a message and code 2 if they are wrong."""
    parser = argparse.ArgumentParser(prog="agent", description="The agent of a gra runner.")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--socket", help="listen on this unix socket")
    place.add_argument("--port", type=int, help="listen on this port of 127.0.0.1")
    parser.add_argument("--directory", required=True, help="the runner's own directory")
    parser.add_argument("--uid", required=True, help="the runner's uid")
    parser.add_argument("--scope", choices=("cgroup", "processes"), default="cgroup")
    parser.add_argument("--orphan-ttl", type=_seconds, default=None, metavar="SECONDS|never")
    parser.add_argument("--idle-ttl", type=_seconds, default=None, metavar="SECONDS|never")
    parser.add_argument("--lifetime", type=_seconds, default=None, metavar="SECONDS|never")
    parser.add_argument("--memory", type=int, default=8 << 20, help="bytes kept in memory")
    parser.add_argument("--spill", type=int, default=1 << 30, help="bytes kept on disk")
    parser.add_argument("--log", help="write the log to this file, not to stdout")
    parser.add_argument("--last-word", help="write why the agent ended to this file")
    parser.add_argument("--s3-socket", help="where the pod's S3 sidecar listens")
    parser.add_argument("--ready-fd", type=int, help="close this descriptor once ready")
    return parser.parse_args(argv)


def main(argv: Optional[List[str]] = None) -> int:
    """Run the agent, a bridge to it, or what mounts S3 for it; the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["bridge"]:
        from .bridge import bridge

        return bridge(argv)
    if argv[:1] == ["s3-sidecar"]:
        from .s3.sidecar import main as mount

        return mount(argv[1:])
    options = parse(argv)
    # glibc gives every buffer of more than 128 KiB pages of its own, and asyncio reads into 256 KiB
    # at a time: a system call or three for each chunk, and a page kept for each that is kept.
    # Freeing one larger block raises that threshold for good (mallopt(3), M_MMAP_THRESHOLD).
    bytes(1 << 20)
    os.umask(0o077)
    log = Log(options.log)
    settings = Settings(
        options.directory,
        options.uid,
        options.scope,
        Ttl(options.orphan_ttl, options.idle_ttl, options.lifetime),
        options.memory,
        options.spill,
        options.s3_socket,
    )

    async def listen(link: Callable[[], Link]) -> asyncio.AbstractServer:
        loop = asyncio.get_running_loop()
        if options.socket:
            # Bound by its bare name: a path of more than 107 bytes fits no socket address.
            os.chdir(os.path.dirname(options.socket))
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            before = os.umask(0o177)
            sock.bind(os.path.basename(options.socket))
            os.umask(before)
            return await loop.create_unix_server(link, sock=sock, backlog=100)
        return await loop.create_server(link, "127.0.0.1", options.port, backlog=100)

    def on_ready() -> None:
        if options.ready_fd is not None:
            os.write(options.ready_fd, b"ready\n")
            os.close(options.ready_fd)

    reason = asyncio.run(serve(settings, log, listen, on_ready))
    word, _, message = reason.partition(": ")
    if options.last_word:
        with open(options.last_word, "w", encoding="utf-8") as file:
            json.dump({"reason": word, "message": message}, file)
    # As a shell has it.  With 0, Kubernetes takes an evicted pod for one that was done.
    return 128 + signal.SIGTERM if word == "Terminated" else 0
