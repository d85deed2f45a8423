"""One ZMQ client's connection to a kernel's channel, seen from the client's side of the tunnel."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

from ..agent import zmtp
from ..agent.stream import Stream, StreamHandler
from .joined import Joined
from .obituary import (
    Obituary,
    Requests,
    iopub_messages,
    kernel_info_message,
    shell_messages,
)
from .standin import StandIn

if TYPE_CHECKING:
    from .channels import KernelChannels

log = logging.getLogger(__name__)

# Requests beyond this are passed on unread: a cell of more than 8 MiB.
_READ_REQUESTS = 8 << 20
# How long requests to a new kernel wait for the client's iopub to be there again, and how often
# that is looked at.
_SUBSCRIBED_WITHIN = 1.0
_LOOK_EVERY = 0.02
# A client that neither reads nor closes its end is cut off.
_CLOSE_WITHIN = 1.0
# The same, where the reason of a death stands behind output that is still to be read.
_READ_WITHIN = 30.0


def close_gently(transport: asyncio.Transport, within: float = _CLOSE_WITHIN) -> None:
    """Close a connection so that nothing that is under way in it gets lost.

    A socket that is simply closed forgets what the peer has sent and nobody has read yet.  So
    only the writing end is closed; libzmq answers with the end of its own, and what came before
    that has been read.
    """
    if transport.is_closing():
        return
    transport.write_eof()
    transport.resume_reading()
    asyncio.get_running_loop().call_later(within, transport.abort)


class _Late:
    """Requests on one shell connection that came when the kernel had ended.

    With plain sockets they would wait in the client's queue until the next kernel is there.
    Here the connection is still open, so they are kept instead, and given to the next kernel
    when the same socket (known by its READY command) has connected again and both sides have
    said READY: what comes earlier is an error to libzmq.
    """

    def __init__(self, channels: KernelChannels) -> None:
        self._channels = channels
        self._client_ready = b""
        self._kernel_ready = False
        self._kept: list[list[bytes]] = []

    def on_client_ready(self, ready: bytes) -> list[list[bytes]]:
        """The client's READY has come: the requests that now go to the kernel, behind it."""
        self._client_ready = ready
        return self._waiting()

    def on_kernel_ready(self) -> list[list[bytes]]:
        """The kernel's READY has come: the requests that now go to it."""
        self._kernel_ready = True
        return self._waiting()

    def keep(self, frames: list[bytes]) -> None:
        """A request that no kernel has got."""
        if not frames:
            log.warning("a request of more than %d bytes to a dead kernel is lost", _READ_REQUESTS)
            return
        self._kept.append(frames)

    def close(self) -> None:
        """The connection is gone: leave what was kept for the next."""
        if self._kept:
            self._channels.late.setdefault(self._client_ready, []).extend(self._kept)
            self._kept = []

    def _waiting(self) -> list[list[bytes]]:
        if not self._kernel_ready or not self._client_ready:
            return []
        return self._channels.late.pop(self._client_ready, [])


class Connection(Joined):
    """One ZMQ client's connection to one channel, and its stream."""

    def __init__(self, channels: KernelChannels, channel: str) -> None:
        super().__init__()
        self.channel = channel
        self.requests = Requests()
        self.kernel_finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Whether the kernel has said anything on this connection.
        self.heard = False
        self._channels = channels
        # Whether nothing can be written any more, as the client is to connect again.
        self._closing = False
        # Whether the client has said what it wants to hear (iopub).
        self.subscribed = False
        reads = channel in ("shell", "control", "iopub")
        self._late = _Late(channels) if channel == "shell" else None
        # Requests that wait for the client's iopub; what comes behind them waits as well.
        self._held: list[list[bytes]] | None = None
        self._client_ready = self._kernel_ready = False
        self._from_client = zmtp.Splitter(_READ_REQUESTS) if reads else None
        self._from_kernel = zmtp.Splitter() if reads else None
        self._notice = channels.notice if channel == "iopub" else b""

    @property
    def unsent(self) -> int:
        """Bytes that wait for the client to read."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def announce(self, obituary: Obituary) -> None:
        """Put gra's own messages behind the kernel's last one."""
        channels = self._channels
        if self._transport is None or self._from_kernel is None or not self._from_kernel.greeted:
            return
        if self._closing or not self._from_kernel.at_boundary:
            # The kernel died in the middle of a message.  The client's socket reads what is whole,
            # drops the half with the connection, and gets the reason when it connects again.
            channels.unanswered.pending.update(self.requests.pending)
            self._closing = True
            close_gently(self._transport, _READ_WITHIN)
        elif self.channel == "iopub":
            self._transport.write(iopub_messages(obituary, channels.signer))
        else:
            self._transport.write(shell_messages(obituary, self.requests, channels.signer))
            self.requests.pending.clear()

    def close(self) -> None:
        """Close the connection once both sides have read what the other had written."""
        self._closing = True
        if self._transport is not None:
            close_gently(self._transport)

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    # -- from the client: asyncio.Protocol --------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)
        self._channels.connections.add(self)
        tunnel = self._channels.tunnel
        if tunnel is None or tunnel.ended.done():
            # Kept without a greeting, so that the socket sends nothing until it is closed for
            # the next runner and connects again.
            return
        target = {"kind": "kernel", "channel": self.channel}
        self._stream = tunnel.open(target, self._handler)

    def _handler(self, stream: Stream) -> StreamHandler:
        return self

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        if self._from_client is not None:
            data = self._read_requests(self._from_client, data)
        self._send(data)

    def _read_requests(self, splitter: zmtp.Splitter, data: bytes) -> bytes:
        """Note what the client asks for; what of ``data`` is still to go to the kernel."""
        try:
            messages = splitter.feed(data)
        except zmtp.ZmtpError as error:
            self._stop_reading(error)
            return data
        if self._held is not None:
            self._held += [message.frames for message in messages if not message.command]
            return b""
        late = self._late
        finished = self.kernel_finished.done()
        for index, message in enumerate(messages):
            if zmtp.is_ready(message):
                self._client_ready = True
                self._tell()
                waiting = late.on_client_ready(message.frames[0]) if late is not None else []
                if waiting:
                    behind = [m.frames for m in messages[index + 1 :] if not m.command]
                    self._hold(waiting + behind)
                    return data[: message.end]
            elif self.channel == "iopub":
                # A message in ZMTP 3.0, a command in 3.1.
                self.subscribed = self._client_ready
            elif message.command:
                continue
            elif finished and late is not None:
                if not self._answered(message.frames):
                    late.keep(message.frames)
            else:
                self.requests.on_request(message.frames, self._channels.signer)
        return data

    def _answered(self, frames: list[bytes]) -> bool:
        """Whether gra has answered in the place of a kernel whose death is being told."""
        channels = self._channels
        info = channels.kernel_info
        if not info or not channels.telling or self._closing or self._transport is None:
            return False
        reply = kernel_info_message(frames, info, channels.signer)
        self._transport.write(reply)
        return bool(reply)

    def _hold(self, requests: list[list[bytes]]) -> None:
        """Give a new kernel these requests once the client listens to what it will say."""
        self._held = requests
        loop = asyncio.get_running_loop()
        loop.call_later(_LOOK_EVERY, self._release, loop.time() + _SUBSCRIBED_WITHIN)

    def _release(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        late = loop.time() > deadline
        splitter = self._from_client
        between = splitter is None or splitter.at_boundary
        if not between or not (late or self._channels.subscribed):
            if self._transport is not None:
                loop.call_later(_LOOK_EVERY, self._release, deadline)
            return
        held, self._held = self._held or [], None
        for frames in held:
            self.requests.on_request(frames, self._channels.signer)
            if self._stream is not None:
                self._stream.write(zmtp.encode(frames))

    def _tell(self) -> None:
        """Write the notice, if there is one, as soon as a message may follow the handshake."""
        splitter, transport = self._from_kernel, self._transport
        if not self._notice or transport is None or splitter is None or self._closing:
            return
        if self._client_ready and self._kernel_ready and splitter.at_boundary:
            transport.write(self._notice)
            self._notice = b""

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        self._transport = None
        self._channels.connections.discard(self)
        self.gone.set_result(None)
        if not self.kernel_finished.done():
            self.kernel_finished.set_result(None)
        if self._late is not None:
            for frames in self._held or ():
                self._late.keep(frames)
            self._late.close()
        if self._stream is not None:
            # What the client said last still goes to the kernel; what comes back is dropped.
            self._stream.finish()
            self._repay()

    # -- from the kernel: stream.StreamHandler ----------------------------------------------

    def on_data(self, data: memoryview) -> None:
        """See :class:`~gra_provisioner.agent.stream.StreamHandler`."""
        transport = self._transport
        if transport is None or self._closing:
            self._consume(len(data))
            return
        self.heard = True
        transport.write(data)
        if self._from_kernel is not None:
            self._read_replies(self._from_kernel, data)
        if self._paused:
            self._owed += len(data)
        else:
            self._consume(len(data))

    def on_finish(self) -> None:
        """See :class:`~gra_provisioner.agent.stream.StreamHandler`.  The kernel has ended.

        The client's connection stays, so that the reason can still be put into it.
        """
        if not self.kernel_finished.done():
            self.kernel_finished.set_result(None)

    def on_reset(self, reason: str, message: str) -> None:
        """See :class:`~gra_provisioner.agent.stream.StreamHandler`.  The socket reconnects."""
        if not self.kernel_finished.done():
            self.kernel_finished.set_result(None)
        self._stream = None
        # When the runner itself is gone, the reason is still to come.
        tunnel = self._channels.tunnel
        if tunnel is None or not tunnel.ended.done():
            self.close()

    def _read_replies(self, splitter: zmtp.Splitter, data: memoryview) -> None:
        try:
            messages = splitter.feed(data)
        except zmtp.ZmtpError as error:
            self._stop_reading(error)
            return
        for message in messages:
            if zmtp.is_ready(message):
                self._kernel_ready = True
                # The client has not seen this yet, so it cannot be in the middle of anything.
                waiting = self._late.on_kernel_ready() if self._late is not None else []
                if waiting:
                    self._hold(waiting)
            elif self.channel != "iopub" and not message.command:
                self.requests.on_reply(message.frames, self._channels.signer)
                if self.requests.kernel_info:
                    self._channels.kernel_info = self.requests.kernel_info
        self._tell()

    def _stop_reading(self, error: zmtp.ZmtpError) -> None:
        # Not ZMQ: passed on, and the kernel closes it.
        log.debug("%s: %s", self.channel, error)
        self._from_client = self._from_kernel = self._late = None


class LastWords(StandIn):
    """Stands in for a dead kernel's iopub or shell towards a client that connects again."""

    def __init__(self, channels: KernelChannels, channel: str, obituary: Obituary) -> None:
        socket_type = "PUB" if channel == "iopub" else "ROUTER"
        super().__init__(channels, channel, socket_type, _READ_REQUESTS)
        self._obituary = obituary
        self._late = _Late(channels)

    def close(self) -> None:
        """Close the connection once both sides have read what the other had written."""
        if self._transport is not None:
            close_gently(self._transport)

    def on_message(self, transport: asyncio.Transport, message: zmtp.Message) -> None:
        """See :class:`~gra_provisioner.agent.peer.Peer`."""
        if zmtp.is_ready(message):
            self._late.on_client_ready(message.frames[0])
            self._say(transport)
        elif self.channel == "shell" and not message.command:
            self._late.keep(message.frames)

    def _say(self, transport: asyncio.Transport) -> None:
        signer = self._channels.signer
        if self.channel == "iopub":
            transport.write(iopub_messages(self._obituary, signer))
        else:
            transport.write(shell_messages(self._obituary, self._channels.unanswered, signer))

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        self._late.close()
        super().connection_lost(exc)
