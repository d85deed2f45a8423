"""Which way most of a connection's bytes go."""

from __future__ import annotations

import pytest

from gra_provisioner.traffic import Traffic

_MIB = 1 << 20


def _turns(mostly_sends: bool, moves: list[tuple[int, int]]) -> int:
    turned = []
    traffic = Traffic(mostly_sends=mostly_sends)
    traffic.on_turn = lambda: turned.append(1)
    for sent, received in moves:
        traffic.sent(sent)
        traffic.received(received)
    return len(turned)


@pytest.mark.parametrize(
    ("mostly_sends", "moves", "turns"),
    [
        (False, [(7 * _MIB, 0)], 0),
        (False, [(8 * _MIB, 0)], 1),
        (False, [(_MIB, 0)] * 24, 3),
        (False, [(0, _MIB)] * 100, 0),
        (True, [(_MIB, 0)] * 100, 0),
        (True, [(0, _MIB)] * 8, 1),
        # As much of either: it is good enough.
        (False, [(_MIB, _MIB)] * 100, 0),
        (True, [(_MIB, _MIB)] * 100, 0),
        (False, [(3 * _MIB, _MIB)] * 100, 0),
        (False, [(9 * _MIB, _MIB)] * 3, 3),
    ],
)
def test_a_turn_is_told_where_most_goes_the_other_way(
    mostly_sends: bool, moves: list[tuple[int, int]], turns: int
) -> None:
    assert _turns(mostly_sends, moves) == turns
