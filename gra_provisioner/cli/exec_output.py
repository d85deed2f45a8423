"""Where ``gra exec`` puts what a command writes: on our own stdout and stderr, or in JSON lines."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ..execution import Ended, PieceEncoder

if TYPE_CHECKING:
    from ..tunnel.process import Output


class Sink(Protocol):
    """Takes the pieces of an output and its end.  Blocks while nobody reads what it writes.

    Raises :class:`BrokenPipeError` once nobody ever will.
    """

    def take(self, piece: Output) -> None:
        """What came next."""
        ...

    def end(self, ended: Ended) -> None:
        """How the command ended, once all its output was taken."""
        ...


class SameStreams:
    """Byte by byte: stdout on stdout, stderr on stderr."""

    def take(self, piece: Output) -> None:
        """See :class:`Sink`."""
        _write_all(1 if piece.source == "stdout" else 2, piece.data)

    def end(self, ended: Ended) -> None:
        """The exit code says it."""


class JsonLines:
    """Each piece as an object in a line of its own on stdout; the last line is the end."""

    def __init__(self) -> None:
        self._encoders = {source: PieceEncoder(source) for source in ("stdout", "stderr")}

    def take(self, piece: Output) -> None:
        """See :class:`Sink`."""
        self._print(self._encoders[piece.source].encode(piece.data))

    def end(self, ended: Ended) -> None:
        """See :class:`Sink`."""
        for encoder in self._encoders.values():
            self._print(encoder.finish())
        self._print([ended.public()])

    def _print(self, objects: Iterable[Mapping[str, Any]]) -> None:
        lines = "".join(json.dumps(value) + "\n" for value in objects)
        _write_all(1, lines.encode())


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
