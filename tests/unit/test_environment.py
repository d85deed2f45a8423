"""What of a client's environment goes to the kernel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.environment import difference

BASE = {"PATH": "/usr/bin", "HOME": "/home/jo", "EDITOR": "vi", "JUPYTERHUB_API_TOKEN": "t0k3n"}

names = st.sampled_from(
    ["A", "B", "PATH", "HOME", "JUPYTERHUB_USER", "JPY_PARENT_PID", "JPY_SESSION_NAME", "LD_X"]
)
environments = st.dictionaries(names, st.sampled_from(["", "1", "2"]))


@pytest.mark.parametrize(
    ("change", "forward", "sent"),
    [
        ({}, (), {}),
        ({"OMP_NUM_THREADS": "1"}, (), {"OMP_NUM_THREADS": "1"}),
        ({"EDITOR": "emacs"}, (), {"EDITOR": "emacs"}),
        ({"EMPTY": ""}, (), {"EMPTY": ""}),
        # It describes the client's machine, whether it was changed or not.
        ({"PATH": "/other"}, (), {}),
        ({"PYTHONPATH": "/lib", "VIRTUAL_ENV": "/env", "LD_PRELOAD": "x.so"}, (), {}),
        ({"KUBECONFIG": "/k", "SSH_AUTH_SOCK": "/s", "KUBERNETES_SERVICE_HOST": "h"}, (), {}),
        ({"JUPYTERHUB_API_TOKEN": "other", "JPY_API_TOKEN": "t", "JUPYTER_TOKEN": "t"}, (), {}),
        ({"JUPYTER_DATA_DIR": "/d", "JUPYTER_PATH": "/p"}, (), {}),
        # The profile asks for it.
        ({}, ("EDITOR",), {"EDITOR": "vi"}),
        ({"PATH": "/other"}, ("PATH",), {"PATH": "/other"}),
        ({}, ("JUPYTERHUB_API_TOKEN",), {"JUPYTERHUB_API_TOKEN": "t0k3n"}),
        ({}, ("ABSENT",), {}),
        # jupyter_server's own word on this kernel.
        ({"JPY_SESSION_NAME": "a.ipynb"}, (), {"JPY_SESSION_NAME": "a.ipynb"}),
        # A process that does not exist where the kernel runs.
        ({"JPY_PARENT_PID": "5", "JPY_INTERRUPT_EVENT": "7"}, ("JPY_PARENT_PID",), {}),
        # Names that only begin like private ones.
        ({"PATHOLOGY": "1", "HOMEPAGE": "2", "USERS": "3"}, (), None),
    ],
)
def test_what_is_sent(
    change: dict[str, str], forward: tuple[str, ...], sent: dict[str, str] | None
) -> None:
    assert difference({**BASE, **change}, BASE, forward) == (change if sent is None else sent)


def test_a_session_name_goes_even_where_the_client_has_the_same() -> None:
    env = {"JPY_SESSION_NAME": "a.ipynb"}

    assert difference(env, env) == env


@given(environments, environments, st.sets(names))
def test_what_is_sent_is_of_the_environment_and_new_or_asked_for(
    env: dict[str, str], base: dict[str, str], forward: set[str]
) -> None:
    sent = difference(env, base, forward)

    assert sent.items() <= env.items()
    assert "JPY_PARENT_PID" not in sent
    for name in sent:
        new = base.get(name) != env[name]
        assert name in forward or name == "JPY_SESSION_NAME" or new
    assert (forward & env.keys()) - {"JPY_PARENT_PID"} <= sent.keys()


@given(environments)
def test_an_unchanged_environment_sends_nothing_but_the_session(env: dict[str, str]) -> None:
    assert difference(env, env).keys() <= {"JPY_SESSION_NAME"}
