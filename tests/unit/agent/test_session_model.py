"""Both ends of a session over links that are lost anywhere: nothing is lost or doubled."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gra_provisioner.agent.session import CONTROL
from tests.unit.agent.two_ends import AGENT, CLIENT, MOST_WRITTEN, SIDES, End, TwoEnds

sides = st.sampled_from(SIDES)
# How many bytes arrive: within a frame, or some frames.
pieces = st.one_of(st.integers(0, 40), st.integers(0, 2000))
# How much is written.
sizes = st.one_of(st.integers(0, 300), st.integers(0, MOST_WRITTEN))
# How many greetings of a new dial arrive: none, the client's, or both.
hellos = st.integers(0, 2)
# Which of those there are.
which = st.integers(0, 9)
# Less than is ever compressed, or more.
windows = st.one_of(st.integers(1, 400), st.integers(1024, 4000))

_DEEDS = ("open", "write", "consume", "finish", "reset")
# The client gives up dials that go on for too long.
_MOST_DIALS = 4


class Model(RuleBasedStateMachine):
    """All that may happen to a session, in any order."""

    @initialize(
        windows=st.tuples(windows, windows),
        flushes=st.booleans(),
        eager=st.booleans(),
        packs=st.booleans(),
        memory=st.sampled_from([1, 50, 300]),
        spill=st.one_of(st.just(0), st.integers(1, 1000)),
    )
    def start(self, windows: tuple[int, int], **how: Any) -> None:
        self.both = TwoEnds(windows, **how)
        self.both.dial()

    # -- the links --------------------------------------------------------------------------

    @precondition(lambda self: not self.both.dials())
    @rule(hellos=hellos)
    def dial(self, hellos: int) -> None:
        self.both.dial(hellos)

    @precondition(lambda self: 0 < len(self.both.dials()) < _MOST_DIALS)
    @rule(hellos=hellos)
    def dial_beside_a_link_that_is_suspected(self, hellos: int) -> None:
        self.both.dial(hellos)

    @precondition(lambda self: self.both.wires)
    @rule(
        first=sides,
        counts=st.tuples(pieces, pieces),
        agent_notices=st.booleans(),
        hellos=st.one_of(st.none(), hellos),
    )
    def cut(
        self, first: int, counts: tuple[int, int], agent_notices: bool, hellos: int | None
    ) -> None:
        self.both.cut(first, counts, agent_notices=agent_notices, hellos=hellos)

    @rule(side=sides)
    def give_up_the_link(self, side: int) -> None:
        self.both.lose(side)

    @precondition(lambda self: self.both.wires)
    @rule(which=which, side=sides)
    def notice_the_end_of_a_link(self, which: int, side: int) -> None:
        self.both.notice(self.both.wires[which % len(self.both.wires)], side)

    @rule(side=sides, budget=st.integers(1, 300))
    def pull(self, side: int, budget: int) -> None:
        self.both.pull(side, budget)

    @precondition(lambda self: self.both.wires)
    @rule(which=which, side=sides, count=pieces)
    def deliver(self, which: int, side: int, count: int) -> None:
        self.both.deliver(self.both.wires[which % len(self.both.wires)], side, count)

    @rule(counts=st.tuples(pieces, pieces))
    def exchange(self, counts: tuple[int, int]) -> None:
        for side in SIDES:
            self.both.pull(1 - side, 1 << 18)
            wire = self.both.carriers[side]
            if wire is not None:
                self.both.deliver(wire, side, counts[side])

    @precondition(lambda self: all(self.both.carriers))
    @rule(
        deeds=st.lists(st.tuples(st.sampled_from(_DEEDS), sides, which), min_size=1, max_size=5),
        counts=st.tuples(pieces, pieces),
        acknowledges=st.booleans(),
        arrives=st.booleans(),
    )
    def a_dial_is_slow_while_the_old_link_works(
        self,
        deeds: list[tuple[str, int, int]],
        counts: tuple[int, int],
        acknowledges: bool,
        arrives: bool,
    ) -> None:
        if len(self.both.dials()) < _MOST_DIALS:
            self.both.dial(hellos=0)
        for deed, side, which in deeds:
            if deed == "open":
                self.both.open(eager=(True, False), greets=10, says=10)
            elif deed == "write":
                self.write(side, which, [100])
            elif deed == "consume":
                self.consume(side, which, 400)
            elif deed == "finish":
                self.finish(side, which)
            else:
                self.reset(side, which)
            self.exchange(counts)
            if acknowledges:
                self.acknowledge(side)
        if arrives:
            self.a_greeting_arrives_late(0)

    @precondition(lambda self: any(wire.hello[AGENT] for wire in self.both.wires))
    @rule(which=which)
    def a_greeting_arrives_late(self, which: int) -> None:
        late = [wire for wire in self.both.wires if wire.hello[AGENT]]
        if not late:
            return
        wire = late[which % len(late)]
        self.both.deliver(wire, AGENT, 0)
        if wire.hello[CLIENT]:
            self.both.deliver(wire, CLIENT, 0)

    @rule()
    def deliver_everything(self) -> None:
        self.both.settle()

    @rule(side=sides)
    def ping(self, side: int) -> None:
        self.both.ping(side)

    @rule(side=sides)
    def acknowledge(self, side: int) -> None:
        self.both.acknowledge(side)

    # -- streams ----------------------------------------------------------------------------

    @rule(
        eager=st.tuples(st.booleans(), st.booleans()),
        echoes=st.booleans(),
        greets=st.sampled_from([0, 0, 10, 150]),
        says=st.sampled_from([0, 0, 5, 200]),
    )
    def open(self, eager: tuple[bool, bool], echoes: bool, greets: int, says: int) -> None:
        self.both.open(eager=eager, echoes=echoes, greets=greets, says=says)

    def _pick(self, side: int, which: int) -> End:
        ends = list(self.both.ends[side].values())
        live = [end for end in ends if not end.stream.closed] or ends
        return live[which % len(live)]

    @rule(side=sides, which=which, written=st.lists(sizes, min_size=1, max_size=4))
    def write(self, side: int, which: int, written: list[int]) -> None:
        end = self._pick(side, which)
        if not end.echoes:
            for size in written:
                end.write(size)

    @rule(side=sides, which=which, count=st.integers(1, 400))
    def consume(self, side: int, which: int, count: int) -> None:
        self._pick(side, which).consume(count)

    @rule(side=sides, which=which)
    def finish(self, side: int, which: int) -> None:
        end = self._pick(side, which)
        if end.stream.id != CONTROL and not end.echoes:
            end.finish()

    @rule(which=which)
    def finish_both(self, which: int) -> None:
        # Ends that cross on their way are rare else.
        for side in (CLIENT, AGENT):
            self.finish(side, which)

    @rule(side=sides, which=which)
    def reset(self, side: int, which: int) -> None:
        end = self._pick(side, which)
        if end.stream.id != CONTROL:
            end.reset()

    # -- what holds -------------------------------------------------------------------------

    @invariant()
    def nothing_is_lost_doubled_or_kept_without_bound(self) -> None:
        if hasattr(self, "both"):
            self.both.check()

    def teardown(self) -> None:
        if hasattr(self, "both"):
            self.both.heal_and_finish()


Model.TestCase.settings = settings(max_examples=400, stateful_step_count=40, deadline=None)
TestModel = Model.TestCase


class ModelAtLength(Model):
    """The same, for longer."""


ModelAtLength.TestCase.settings = settings(
    max_examples=5000, stateful_step_count=120, deadline=None
)


@pytest.mark.soak
@pytest.mark.timeout(1800)
class TestModelAtLength(ModelAtLength.TestCase):  # type: ignore[name-defined,misc]
    """The long search."""
