"""Both ends of a session in one place, and between them links that are lost at any byte.

The links are driven as :class:`~gra_provisioner.agent.link.Link`, the tunnel and the agent drive
them; what is in the bytes is not looked at.  Every end checks what it is told as it comes.
"""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from gra_provisioner.agent.buffer import Piece, SendBuffer, SpillFile
from gra_provisioner.agent.compression import Codec
from gra_provisioner.agent.session import Session, Stream, StreamHandler

CLIENT, AGENT = 0, 1
SIDES = (CLIENT, AGENT)
HIGH_WATER = 100
# No user of a stream writes more at a time.
MOST_WRITTEN = 2000
# What a piece in memory costs besides its bytes.
_OVERHEAD = 64
_AT_ONCE = 1 << 18


def content(stream: int, side: int, start: int, size: int) -> bytes:
    """What ``side`` writes at this place of the stream: the same bytes each time, else unlike."""
    key = stream * 7919 + side * 104729
    return bytes((key + at * at + (at >> 3)) % 251 for at in range(start, start + size))


class End:
    """The user of one stream at one end.

    One that is ``pushed_back`` writes while its buffer has room, as the relay of a kernel's
    channel does; others write whenever they are asked to.
    """

    def __init__(
        self,
        side: int,
        stream: Stream,
        *,
        eager: bool,
        echoes: bool = False,
        pushed_back: bool = False,
    ) -> None:
        self.side = side
        self.stream = stream
        self.eager = eager
        self.echoes = echoes
        self.pushed_back = pushed_back
        self.written = 0
        self.received = 0
        self.unconsumed = 0
        self.did_finish = False
        self.did_reset = False
        self.saw_finish = False
        self.saw_reset = ""
        self.paused = False
        self.owed_drain = False
        self.other: End | None = None
        stream.high_water = min(HIGH_WATER, stream.out.bound // 2) if pushed_back else HIGH_WATER

    def write(self, size: int) -> None:
        if self.did_finish or self.stream.closed or self.paused:
            return
        self.stream.write(content(self.stream.id, self.side, self.written, size))
        self.written += size
        if self.stream.backlog > self.stream.high_water:
            self.owed_drain = True
        if self.pushed_back and not self.stream.out.room:
            self.stream.hold()
            self.paused = self.owed_drain = True

    def finish(self) -> None:
        self.did_finish = True
        self.stream.finish()

    def reset(self) -> None:
        self.did_reset = self.did_reset or not self.stream.closed
        self.stream.reset("Tested", "reset by the test")

    def consume(self, count: int) -> None:
        count = min(count, self.unconsumed)
        self.unconsumed -= count
        self.stream.consumed(count)

    def _is_open(self) -> None:
        assert not self.saw_reset, "told something after its reset"
        assert not self.did_reset, "told something after it had reset"

    def on_data(self, data: memoryview) -> None:
        self._is_open()
        assert not self.saw_finish, "data after the end"
        assert len(data) > 0
        expected = content(self.stream.id, 1 - self.side, self.received, len(data))
        assert bytes(data) == expected, "bytes lost, doubled or garbled"
        self.received += len(data)
        self.unconsumed += len(data)
        assert self.unconsumed <= self.stream._session.window, "more than the window came"
        if self.echoes:
            self.write(len(data))
        if self.eager:
            self.consume(len(data))

    def on_finish(self) -> None:
        self._is_open()
        assert not self.saw_finish
        self.saw_finish = True
        if self.other is not None:
            assert self.other.did_finish, "finished, and nobody wanted it"
            assert self.received == self.other.written
        if self.echoes:
            self.finish()

    def on_reset(self, reason: str, message: str) -> None:
        self._is_open()
        assert reason in ("Tested", "StreamGone", "ClientLeft")
        self.saw_reset = reason

    def on_drain(self) -> None:
        self._is_open()
        assert self.owed_drain, "told to go on, and was not held"
        self.paused = self.owed_drain = False

    @property
    def ended(self) -> bool:
        return bool(self.saw_reset) or self.did_reset

    def check_bounds(self, window: int) -> None:
        """Neither memory nor what is on its way exceeds what was agreed."""
        out = self.stream.out
        if self.stream.closed:
            return
        assert out.sent - out.start <= window, "the sender is ahead of the window"
        if self.pushed_back:
            # The last piece is taken whole.
            assert out.waiting <= out.bound + MOST_WRITTEN
            assert out._held <= out.bound + 2 * (MOST_WRITTEN + _OVERHEAD)


@dataclass(eq=False)
class Wire:
    """One link: what is under way to each side, its greeting first.

    Once a side has closed its end, what it had sent still arrives; what comes for it is dropped.
    """

    epoch: int
    hello: list[dict[str, Any] | None] = field(default_factory=lambda: [None, None])
    bytes: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))
    closed: list[bool] = field(default_factory=lambda: [False, False])

    def close(self, side: int) -> None:
        self.closed[side] = True
        self.hello[side] = None
        self.bytes[side].clear()

    def has_for(self, side: int) -> bool:
        return self.hello[side] is not None or bool(self.bytes[side])


class Packing(Session):
    """A session that compresses every frame that may be, whatever it gains."""

    def _compress(self, codec: Codec, stream: Stream, pieces: list[Piece], size: int) -> bytes:
        return codec.compress(b"".join(pieces))


class TwoEnds:
    """A client's and an agent's session, the users of their streams, and the links between.

    The client may dial while it has a link, as it does when it suspects that one; the first that
    answers is the one that it keeps.  ``windows`` are by side, ``flushes`` makes an end write as
    soon as it has something to say, ``packs`` compresses whatever it may, ``memory`` and ``spill``
    bound each buffer of the agent's.
    """

    def __init__(
        self,
        windows: tuple[int, int],
        *,
        flushes: bool,
        eager: bool,
        packs: bool = False,
        memory: int = 1 << 10,
        spill: int = 1 << 12,
    ) -> None:
        self.flushes = flushes
        # By side, then by stream: who uses it.
        self.ends: tuple[dict[int, End], dict[int, End]] = ({}, {})
        # All that have an end which is open, and which of them carries each side's session.
        self.wires: list[Wire] = []
        self.carriers: list[Wire | None] = [None, None]
        self.accepted = 0
        # The tokens of PINGs and PONGs, by the side that asked.
        self.asked: tuple[list[int], list[int]] = ([], [])
        self.answered: tuple[list[int], list[int]] = ([], [])
        self.said_bye = False
        # Which sides are inside a receive.
        self._corked = [False, False]
        self._eager = eager
        self._memory, self._spill = memory, spill
        self._folder = tempfile.TemporaryDirectory(prefix="gra-")
        self._spills: list[SpillFile] = []
        ticks = itertools.count()
        made = partial(Packing if packs else Session, "s", clock=lambda: next(ticks) / 100)
        self.sessions = (
            made(self._control(CLIENT), lambda: self._flush(CLIENT), window=windows[CLIENT]),
            made(
                self._control(AGENT),
                lambda: self._flush(AGENT),
                self._accept,
                window=windows[AGENT],
            ),
        )
        # Which sides are to acknowledge in a moment: their links' timers.
        self._due = [False, False]
        for side, session in enumerate(self.sessions):
            session.send_now = partial(self._send_now, side)
            session.acknowledge_soon = partial(self._acknowledge_soon, side)
            session.on_pong = self.answered[side].append
        self.sessions[AGENT].on_bye = self._on_bye

    # -- the users of streams ---------------------------------------------------------------

    def _control(self, side: int) -> Callable[[Stream], StreamHandler]:
        def handler(stream: Stream) -> StreamHandler:
            return self._pair(End(side, stream, eager=self._eager))

        return handler

    def _pair(self, end: End) -> End:
        mine, others = self.ends[end.side], self.ends[1 - end.side]
        assert end.stream.id not in mine, "a stream was opened twice"
        mine[end.stream.id] = end
        end.other = others.get(end.stream.id)
        if end.other is not None:
            end.other.other = end
        return end

    def _accept(self, stream: Stream) -> StreamHandler:
        target = stream.target
        pushed_back = not target["echoes"]
        if pushed_back:
            spill = SpillFile(self._folder.name, self._spill) if self._spill else None
            self._spills += [spill] if spill is not None else []
            stream.out = SendBuffer(self._memory, spill)
        end = End(
            AGENT,
            stream,
            eager=target["eager"],
            echoes=target["echoes"],
            pushed_back=pushed_back,
        )
        self._pair(end)
        # In pieces, of which nothing leaves before all are written.
        for _ in range(4):
            end.write(target["greets"])
        return end

    def open(
        self, *, eager: tuple[bool, bool], echoes: bool = False, greets: int = 0, says: int = 0
    ) -> End:
        """Open a stream, of which each end speaks at once; the client's end."""

        def handler(stream: Stream) -> StreamHandler:
            end = self._pair(End(CLIENT, stream, eager=eager[CLIENT]))
            # A handler may speak as it is made.
            end.write(says)
            return end

        target = {"eager": eager[AGENT], "echoes": echoes, "greets": greets}
        return self.ends[CLIENT][self.sessions[CLIENT].open(target, handler).id]

    # -- what the links do for the sessions -------------------------------------------------

    def _flush(self, side: int) -> None:
        if self.flushes and not self._corked[side]:
            self.pull(side, _AT_ONCE)

    def _send_now(self, side: int, header: bytes, data: Piece) -> bool:
        wire = self.carriers[side]
        if not self.flushes or self._corked[side] or wire is None:
            return False
        self._put(wire, side, header + bytes(data))
        return True

    def _acknowledge_soon(self, side: int) -> None:
        assert not self._due[side], "asked again before it was done"
        self._due[side] = True

    def _put(self, wire: Wire, side: int, data: bytes) -> None:
        if not wire.closed[1 - side]:
            wire.bytes[1 - side].extend(data)

    def pull(self, side: int, budget: int) -> None:
        """Let a side write: once, or all it has if it writes by itself."""
        wire = self.carriers[side]
        while wire is not None and (pieces := self.sessions[side].pull(budget)):
            self._put(wire, side, b"".join(map(bytes, pieces)))
            if not self.flushes:
                return

    def acknowledge(self, side: int) -> None:
        """The time has come for a side to acknowledge, if it asked for that."""
        if self._due[side]:
            self._due[side] = False
            self.sessions[side].acknowledge()

    def ping(self, side: int) -> None:
        """Ask the other side for a sign of life."""
        token = len(self.asked[side])
        self.asked[side].append(token)
        self.sessions[side].ping(token)

    def _on_bye(self) -> None:
        self.said_bye = True
        self.sessions[AGENT].end("ClientLeft", "the client has left")

    # -- the links --------------------------------------------------------------------------

    def dials(self) -> list[Wire]:
        """The client's dials and its link."""
        return [wire for wire in self.wires if not wire.closed[CLIENT]]

    def dial(self, hellos: int = 2) -> None:
        """The client dials, beside the link that it has, if any; so many greetings arrive."""
        client = self.sessions[CLIENT]
        client.epoch += 1
        wire = Wire(client.epoch)
        wire.hello[AGENT] = json.loads(json.dumps(client.hello()))
        self.wires.append(wire)
        for side in (AGENT, CLIENT)[:hellos]:
            self.deliver(wire, side, 0)

    def deliver(self, wire: Wire, side: int, count: int) -> None:
        """The next ``count`` bytes of a link, or the greeting, arrive at a side."""
        hello = wire.hello[side]
        if hello is not None:
            wire.hello[side] = None
            self._greeted(wire, side, hello)
            return
        data = bytes(wire.bytes[side][:count])
        del wire.bytes[side][:count]
        if data and self.carriers[side] is wire:
            self._corked[side] = True
            self.sessions[side].receive(data)
            self._corked[side] = False
            self._flush(side)

    def _greeted(self, wire: Wire, side: int, hello: dict[str, Any]) -> None:
        session = self.sessions[side]
        if side == AGENT:
            if wire.epoch <= self.accepted:
                wire.close(AGENT)
                self._tidy()
                return
            self.accepted = wire.epoch
            self.lose(AGENT)
            if not wire.closed[CLIENT]:
                wire.hello[CLIENT] = json.loads(json.dumps(session.hello()))
        else:
            self.lose(CLIENT)
            for other in self.dials():
                if other is not wire:
                    other.close(CLIENT)
        self.carriers[side] = wire
        self._tidy()
        self._corked[side] = True
        session.link_up(hello)
        self._corked[side] = False
        self._flush(side)

    def lose(self, side: int) -> None:
        """A side learns that its link is gone, or makes an end of it."""
        wire, self.carriers[side] = self.carriers[side], None
        self._due[side] = False
        self.sessions[side].link_down()
        if wire is not None:
            wire.close(side)
            self._tidy()

    def notice(self, wire: Wire, side: int) -> None:
        """A side comes to the end of a link that the other has closed, if it has read all."""
        if wire.closed[1 - side] and not wire.closed[side] and not wire.has_for(side):
            if self.carriers[side] is wire:
                self.lose(side)
            else:
                wire.close(side)
                self._tidy()

    def _tidy(self) -> None:
        self.wires = [
            wire
            for wire in self.wires
            if not all(wire.closed) and not (wire.closed[CLIENT] and self._is_spent(wire))
        ]

    def _is_spent(self, wire: Wire) -> bool:
        return self.carriers[AGENT] is not wire and not wire.has_for(AGENT)

    def cut(
        self, first: int, counts: tuple[int, int], *, agent_notices: bool, hellos: int | None
    ) -> None:
        """Lose the client's link after so many bytes to each side, and its other dials.

        The agent may learn of it only when the client dials again, at once with so many greetings
        that arrive, or later if ``hellos`` is None.
        """
        wire = self.carriers[CLIENT] or self.carriers[AGENT]
        if wire is not None:
            for side in (first, 1 - first):
                self.pull(1 - side, _AT_ONCE)
                self.deliver(wire, side, counts[side])
        self.lose(CLIENT)
        for other in self.dials():
            other.close(CLIENT)
        for other in self.wires:
            other.hello[AGENT] = None
            other.bytes[AGENT].clear()
        self._tidy()
        if agent_notices:
            self.lose(AGENT)
        if hellos is not None:
            self.dial(hellos)

    def settle(self) -> None:
        """Let everything arrive that is under way or said in answer."""
        # With a window of one byte, each that is written and echoed takes two rounds.
        for _ in range(100_000):
            for side in SIDES:
                self.pull(side, 1 << 20)
            if not any(wire.has_for(side) for wire in self.wires for side in SIDES):
                return
            for wire in list(self.wires):
                for side in SIDES:
                    self.deliver(wire, side, 1 << 20)
        raise AssertionError("the two ends never stop talking")

    # -- what holds -------------------------------------------------------------------------

    def check(self) -> None:
        """What holds at any moment."""
        for side, ends in enumerate(self.ends):
            window = self.sessions[1 - side].window
            for end in ends.values():
                end.check_bounds(window)
                assert end.stream.closed or end.stream.backlog <= end.written
                if end.other is not None:
                    assert end.received <= end.other.written
                    # What has been let go of has arrived.
                    if not end.stream.closed:
                        assert end.stream.out.start <= end.other.received
            assert set(self.answered[side]) <= set(self.asked[side])
            assert self.answered[side] == sorted(set(self.answered[side]))
        for spill in self._spills:
            assert len(spill) <= spill.limit
        assert list(Path(self._folder.name).iterdir()) == [], "a spill file has a name"

    def heal_and_finish(self) -> None:
        """The network is well and everybody reads: all arrives, all that was to end has ended."""
        try:
            self.cut(CLIENT, (0, 0), agent_notices=False, hellos=2)
            # Everybody reads all there is, for as long as that lets more come.
            while True:
                self.settle()
                waiting = [end for ends in self.ends for end in ends.values() if end.unconsumed]
                if not any(self._due) and all(end.stream.closed for end in waiting):
                    break
                for end in waiting:
                    end.consume(end.unconsumed)
                for side in SIDES:
                    self.acknowledge(side)
            self.check()
            self._check_the_end()
            self._leave()
        finally:
            self.close()

    def close(self) -> None:
        """Remove what is on the disk."""
        for spill in self._spills:
            spill.close()
        self._folder.cleanup()

    def _check_the_end(self) -> None:
        client, agent = self.sessions
        assert all(self.carriers), "the link was lost"
        assert set(client.streams) == set(agent.streams)
        for id, mine in self.ends[CLIENT].items():
            other = mine.other
            if other is None:
                # It was reset before the agent heard of it.
                assert mine.did_reset
                assert id not in client.streams
                continue
            pair = (mine, other)
            if any(end.ended for end in pair):
                assert any(end.did_reset for end in pair), "reset, and nobody wanted it"
                for end in pair:
                    done = end.did_finish and end.saw_finish
                    assert end.ended or done, "one end was not told of the reset"
                    assert end.stream.closed
            else:
                assert (mine.received, other.received) == (other.written, mine.written)
                assert (mine.saw_finish, other.saw_finish) == (other.did_finish, mine.did_finish)
                both_finished = mine.did_finish and other.did_finish
                assert (id not in client.streams) == both_finished
                for end in pair:
                    assert both_finished or end.stream.unacknowledged == 0
                    assert both_finished or not end.owed_drain, "never told to go on"
        for spill in self._spills:
            assert len(spill) == 0
            assert spill._fd is None or os.fstat(spill._fd).st_size == 0, "disk kept for nothing"

    def _leave(self) -> None:
        """The client says goodbye: the agent's streams end, each told once."""
        left = [self.ends[AGENT][id] for id in self.sessions[AGENT].streams]
        self.sessions[CLIENT].bye()
        self.settle()
        assert self.said_bye
        assert self.sessions[AGENT].streams == {}
        assert all(end.saw_reset == "ClientLeft" for end in left)
        assert all(spill._fd is None for spill in self._spills), "a file is kept open"
