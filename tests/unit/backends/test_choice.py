"""Which backend is chosen: never a cluster that nobody chose for gra."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.backends.choice import Choice, choose
from gra_provisioner.profiles import load_config


def _choice(
    folder: Path, text: str = "", environ: Mapping[str, str] | None = None, in_cluster: bool = False
) -> Choice:
    file = folder / "config.toml"
    file.write_text(text, encoding="utf-8")
    environ = environ or {}
    return choose(load_config(environ, [file]), environ, in_cluster)


@pytest.mark.parametrize(
    ("text", "environ", "backend", "reason"),
    [
        ("", {}, "local", "no cluster is configured for gra: name a context or namespace"),
        ("", {"KUBECONFIG": "/k"}, "local", "no cluster is configured for gra: name a context"),
        ("", {"GRA_CONTEXT": "team"}, "kubernetes", "GRA_CONTEXT names the context 'team'"),
        ("", {"GRA_NAMESPACE": "n"}, "kubernetes", "GRA_NAMESPACE names the namespace 'n'"),
        ("", {"GRA_KUBECONFIG": "/k"}, "local", "GRA_KUBECONFIG names only a kubeconfig"),
        ("", {"GRA_BACKEND": "kubernetes"}, "kubernetes", 'sets backend to "kubernetes"'),
        ("kubernetes.context = 'c'", {}, "kubernetes", "config.toml names the context 'c'"),
        ("kubernetes.context = 'c'", {"GRA_BACKEND": "local"}, "local", 'sets backend to "local"'),
        ("kubernetes.context = ''", {}, "local", "no cluster is configured for gra"),
    ],
)
def test_the_reason_says_which_setting_decided_and_where(
    tmp_path: Path, text: str, environ: Mapping[str, str], backend: str, reason: str
) -> None:
    choice = _choice(tmp_path, text, environ)

    assert choice.backend == backend
    assert reason in choice.reason


def test_in_a_cluster_that_one_is_used_unless_local_is_asked_for(tmp_path: Path) -> None:
    assert _choice(tmp_path, in_cluster=True) == Choice(
        "kubernetes", "this process runs in a cluster"
    )
    assert _choice(tmp_path, "backend = 'local'", in_cluster=True).backend == "local"


_STRAY = st.dictionaries(
    st.sampled_from(["KUBECONFIG", "HOME", "KUBERNETES_SERVICE_HOST", "KUBERNETES_MASTER", "X"]),
    st.sampled_from(["", "/home/ada/.kube/config", "/a:/b", "10.0.0.1"]),
)


@given(_STRAY, st.sampled_from(["", "/k"]))
def test_nothing_of_the_environment_but_gras_own_variables_chooses_a_cluster(
    stray: Mapping[str, str], kubeconfig: str
) -> None:
    environ = {**stray, "GRA_KUBECONFIG": kubeconfig}
    assert choose(load_config(environ, []), environ, in_cluster=False).backend == "local"


@given(_STRAY, st.sampled_from(["GRA_CONTEXT", "GRA_NAMESPACE"]), st.booleans())
def test_a_named_context_or_namespace_always_chooses_the_cluster(
    stray: Mapping[str, str], variable: str, in_cluster: bool
) -> None:
    environ = {**stray, variable: "team"}
    choice = choose(load_config(environ, []), environ, in_cluster)
    assert choice.backend == "kubernetes"
    assert variable in choice.reason
