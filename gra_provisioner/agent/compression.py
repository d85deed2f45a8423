"""Compression of DATA frames: with what, and whether a stream gains by it.  Shared by both ends.

Each frame is compressed by itself, so that neither end keeps anything between frames (a deflate
stream holds 256 KiB) and a resumed stream begins anywhere.  Output of kernels shrinks to a fifth at
the fastest level, which takes in some 150 MB/s: sooner there on any link slower than that, and a
waste on faster ones, and on what is compressed already.  So it is measured, stream by stream.
"""

from __future__ import annotations

import functools
import zlib
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Optional, Union

Bytes = Union[bytes, bytearray, memoryview]

# No frame smaller than this is worth the call.
LEAST = 1 << 10
# A frame that does not shrink to this part of its size is sent as it is.
_WORTH = 0.85
# The part of the compressor's speed below which a link is slow.  Above, what is saved on the link
# is mostly spent on the processor, which the kernel needs.
_SLOW = 0.5
# The speed that is taken for granted until it has been measured, in bytes a second.
_ASSUMED_SPEED = 100e6
# After a frame that did not shrink, how many bytes go as they are: doubled each time.
_SKIP = 1 << 20
_MOST_SKIPPED = 64 << 20
# After how many bytes a link is measured without compression again, where the compressor may be
# what is slow: doubled each time.
_PROBE_AFTER = 64 << 20
_MOST_BETWEEN_PROBES = 1 << 32


class Codec(NamedTuple):
    """A way to compress.  ``flag`` stands in the frame's header."""

    name: str
    flag: int
    compress: Callable[[Bytes], bytes]
    # ``expand(data, limit)``: at most ``limit`` + 1 bytes, so that too much can be told.
    expand: Callable[[Bytes, int], bytes]


def _deflate(data: Bytes) -> bytes:
    return zlib.compress(data, 1)


def _inflate(data: Bytes, limit: int) -> bytes:
    expander = zlib.decompressobj()
    try:
        expanded = expander.decompress(data, limit + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(expanded) <= limit and not expander.eof:
        raise ValueError("the compressed data has no end")
    return expanded


def _zstd(module: Any) -> Codec:
    def compress(data: Bytes) -> bytes:
        packed: bytes = module.compress(data, level=1)
        return packed

    def expand(data: Bytes, limit: int) -> bytes:
        expander = module.ZstdDecompressor()
        try:
            expanded: bytes = expander.decompress(data, limit + 1)
        except module.ZstdError as error:
            raise ValueError(str(error)) from None
        if len(expanded) <= limit and not expander.eof:
            raise ValueError("the compressed data has no end")
        return expanded

    return Codec("zstd", 2, compress, expand)


def _find_zstd() -> Optional[Codec]:
    # In the standard library from Python 3.14 on (PEP 784), and as its authors' backport.
    for package in ("compression", "backports"):
        try:
            module = __import__(f"{package}.zstd", fromlist=["zstd"])
        except ImportError:
            continue
        return _zstd(module)
    return None


@functools.lru_cache(maxsize=None)
def codecs() -> Mapping[str, Codec]:
    """What this Python can do, by name, the best first.  Looked for once, used by each session."""
    found = [_find_zstd(), Codec("zlib", 1, _deflate, _inflate)]
    return {codec.name: codec for codec in found if codec is not None}


def choose(ours: Mapping[str, Codec], theirs: Iterable[object]) -> Optional[Codec]:
    """The best of ours that the other end can expand."""
    known = list(theirs)
    return next((codec for name, codec in ours.items() if name in known), None)


class Choice:
    """Whether what one stream sends next is to be compressed.  Pure: measured by its user."""

    __slots__ = ("_between_probes", "_on", "_poor", "_skip", "_speed", "_until_probe")

    def __init__(self) -> None:
        self._on = False
        self._speed = 0.0
        self._skip = 0
        self._poor = 0
        self._between_probes = self._until_probe = _PROBE_AFTER

    @property
    def is_on(self) -> bool:
        """Whether the last frame that was large enough was compressed."""
        return self._on

    def applies(self, size: int, rate: float) -> bool:
        """Whether to compress a frame of ``size`` bytes.

        ``rate`` is how many bytes a second the other end has been taking of this stream while
        more waited for it, compressed or not; 0 if nothing ever had to wait.
        """
        if size < LEAST or not rate:
            return False
        if self._skip > 0:
            self._skip -= size
            return False
        is_slow = rate < _SLOW * (self._speed or _ASSUMED_SPEED)
        if not self._on:
            self._on = is_slow
        elif not is_slow and self._until_probe <= 0:
            # The link may have become faster than the compressor.  The next rate will tell.
            self._on = False
            self._between_probes = min(2 * self._between_probes, _MOST_BETWEEN_PROBES)
            self._until_probe = self._between_probes
        return self._on

    def measured(self, size: int, packed: int, seconds: float) -> bool:
        """What compressing has brought; whether the frame is to be sent compressed."""
        speed = size / max(seconds, 1e-6)
        self._speed = 0.8 * self._speed + 0.2 * speed if self._speed else speed
        self._until_probe -= size
        if packed <= size * _WORTH:
            self._poor = 0
            return True
        self._on = False
        self._skip = min(_SKIP << self._poor, _MOST_SKIPPED)
        self._poor = min(self._poor + 1, 10)
        return False
