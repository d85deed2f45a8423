"""The subprotocol ``v4.channel.k8s.io``: the first byte of a message is its channel.

==========  ==========================  ===============================================
channel     port-forward of one port    exec with stdin, stdout and stderr
==========  ==========================  ===============================================
0           data, both ways             stdin
1           an error's text             stdout
2           not used                    stderr
3           not used                    a ``Status`` object, once the command has ended
==========  ==========================  ===============================================

Each channel of a port-forward first carries the port as two little-endian bytes.

See ``k8s.io/apimachinery/pkg/util/httpstream/wsstream`` and
``k8s.io/kubelet/pkg/cri/streaming/portforward/websocket.go``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress

from .framing import FramingUser

PROTOCOL = "v4.channel.k8s.io"


class ChannelFraming:
    """A :class:`~.framing.Framing`.

    ``inward`` is the channel that brings data, ``outward`` the one that takes it (both 0 for a
    port-forward), ``announced`` are the channels that begin with the port.
    """

    needs_ends = True

    def __init__(self, *, inward: int, outward: int = 0, announced: Iterable[int] = ()) -> None:
        self._inward = inward
        self._header = bytes([outward])
        self._announced = set(announced)
        # The channel of the message whose end is still to come.
        self._unfinished: int | None = None

    def opening(self) -> bytes:
        """See :class:`~.framing.Framing`."""
        return b""

    def header(self, size: int) -> bytes:
        """See :class:`~.framing.Framing`."""
        return self._header

    def receive(self, message: memoryview, is_last: bool, user: FramingUser) -> None:
        """See :class:`~.framing.Framing`."""
        channel, self._unfinished = self._unfinished, None
        if channel is None:
            if not message:
                return
            channel, message = message[0], message[1:]
        if not is_last:
            self._unfinished = channel
        if channel in self._announced:
            self._announced.discard(channel)
        elif channel == self._inward:
            user.on_data(message)
        else:
            user.on_trouble(_trouble(bytes(message)))


def _trouble(text: bytes) -> str:
    said = text.decode("utf-8", "replace")
    with suppress(ValueError):
        status = json.loads(said)
        if isinstance(status, dict):
            return "" if status.get("status") == "Success" else str(status.get("message", said))
    return said
