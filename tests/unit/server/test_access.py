"""What a server lets be done with which owner's runners."""

from __future__ import annotations

from typing import get_args

import pytest

from gra_provisioner.errors import GraError, RunnerNotFound
from gra_provisioner.runner import Runner, RunnerLabels
from gra_provisioner.schema import Server
from gra_provisioner.server.access import Access, OtherOwners, not_found
from gra_provisioner.server.status import status_of


def _runner(owner: str) -> Runner:
    return Runner("runner-1", "u", "local", "small", RunnerLabels(owner), 0.0)


# (what is configured, whose it is): whether it is seen, whether it is used.
_RULES = {
    ("hidden", "ada"): (True, True),
    ("hidden", "bob"): (False, False),
    ("hidden", ""): (False, False),
    ("visible", "ada"): (True, True),
    ("visible", "bob"): (True, False),
    ("visible", ""): (True, False),
    ("managed", "ada"): (True, True),
    ("managed", "bob"): (True, True),
    ("managed", ""): (True, True),
}


def test_every_setting_is_tried() -> None:
    assert {setting for setting, _ in _RULES} == set(get_args(OtherOwners))
    assert Server.model_fields["other_owners"].annotation == OtherOwners


@pytest.mark.parametrize(("case", "rights"), _RULES.items())
def test_who_may_do_what(case: tuple[OtherOwners, str], rights: tuple[bool, bool]) -> None:
    setting, owner = case
    seen, used = rights
    access, runner = Access("ada", setting), _runner(owner)

    assert (access.may_see(runner), access.may_use(runner)) == (seen, used)
    assert access.is_mine(runner) == (owner == "ada")
    assert access.public(runner) == {**runner.public(), "mine": owner == "ada"}
    if seen:
        access.check_seen(runner)
    else:
        with pytest.raises(RunnerNotFound):
            access.check_seen(runner)
    if used:
        access.check_used(runner)
    else:
        with pytest.raises(GraError) as refused:
            access.check_used(runner)
        assert status_of(refused.value) == (403 if seen else 404)


def test_a_hidden_runner_cannot_be_told_from_one_that_is_not_there() -> None:
    with pytest.raises(RunnerNotFound) as hidden:
        Access("ada", "hidden").check_used(_runner("bob"))
    assert hidden.value.to_dict() == not_found("runner-1").to_dict()


def test_the_refusal_says_whose_it_is_and_what_would_allow_it() -> None:
    with pytest.raises(GraError) as refused:
        Access("ada", "visible").check_used(_runner("bob"))
    assert refused.value.code == "NotYourRunner"
    assert "bob" in refused.value.message
    assert "ada" in refused.value.message
    assert "server.other_owners" in refused.value.hint
