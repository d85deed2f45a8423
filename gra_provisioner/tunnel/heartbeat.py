"""The heartbeat channel, answered in the client's process.

A client sends a ping each second and takes the kernel for dead when nothing comes back within the
next (jupyter_client.channels.HBChannel).  A lost link says nothing of the kernel, so pings do not
go through the tunnel: they are answered until the runner tells of the kernel's end.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..agent import zmtp
from .standin import StandIn

if TYPE_CHECKING:
    from .channels import KernelChannels


class Heartbeat(StandIn):
    """One client's heartbeat connection: the kernel's REP socket as far as the client can tell."""

    def __init__(self, channels: KernelChannels) -> None:
        super().__init__(channels, "hb", "REP")

    def on_message(self, transport: asyncio.Transport, message: zmtp.Message) -> None:
        """See :class:`~gra_provisioner.agent.peer.Peer`."""
        if not message.command and message.frames and self._channels.alive:
            transport.write(zmtp.encode(message.frames))
