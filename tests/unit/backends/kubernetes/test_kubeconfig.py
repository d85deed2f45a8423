"""Which cluster, as whom: from kubeconfigs that are right, and from all kinds that are not."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from gra_provisioner.backends.kubernetes.kubeconfig import Target, load_credentials
from gra_provisioner.errors import KubeconfigError

SECRET = "s3cr3t-token"


def kubeconfig(path: Path, **changes: Any) -> Path:
    """Write a kubeconfig with the contexts ``team`` (namespace ``lab``) and ``other``."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "other",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": SECRET}}],
        "contexts": [
            {"name": "team", "context": {"cluster": "c", "user": "u", "namespace": "lab"}},
            {"name": "other", "context": {"cluster": "c", "user": "u"}},
        ],
    }
    path.write_text(json.dumps({**content, **changes}))
    return path


async def refused(target: Target, environ: dict[str, str]) -> KubeconfigError:
    with (
        tempfile.TemporaryDirectory() as folder,
        pytest.raises(KubeconfigError) as caught,
    ):
        await load_credentials(target, environ, Path(folder))
    assert SECRET not in str(caught.value) + repr(caught.value.details)
    assert caught.value.hint
    return caught.value


async def test_the_named_context_brings_its_namespace(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path / "config")
    found = await load_credentials(Target(context="team"), {"KUBECONFIG": str(file)}, tmp_path)
    assert (found.context, found.namespace) == ("team", "lab")
    assert found.configuration.host == "https://127.0.0.1:1"
    assert found.configuration.api_key == {"BearerToken": f"Bearer {SECRET}"}
    assert str(file) in found.origin


async def test_without_a_name_it_is_the_current_context_and_the_namespace_default(
    tmp_path: Path,
) -> None:
    file = kubeconfig(tmp_path / "config")
    found = await load_credentials(Target(), {"KUBECONFIG": str(file)}, tmp_path)
    assert (found.context, found.namespace) == ("other", "default")


async def test_a_named_namespace_wins_over_that_of_the_context(tmp_path: Path) -> None:
    target = Target(context="team", namespace="mine")
    environ = {"KUBECONFIG": str(kubeconfig(tmp_path / "config"))}
    found = await load_credentials(target, environ, tmp_path)
    assert found.namespace == "mine"


async def test_several_files_are_merged_as_kubectl_does(tmp_path: Path) -> None:
    first = kubeconfig(tmp_path / "first", contexts=[], **{"current-context": ""})
    second = kubeconfig(tmp_path / "second")
    missing = tmp_path / "missing"
    environ = {"KUBECONFIG": f"{first}:{missing}:{second}"}
    found = await load_credentials(Target(context="team"), environ, tmp_path)
    assert found.namespace == "lab"


async def test_the_default_is_in_the_home_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    kubeconfig(tmp_path / ".kube" / "config")
    found = await load_credentials(Target(context="team"), {"HOME": str(tmp_path)}, tmp_path)
    assert found.context == "team"


async def test_a_missing_file_is_named_with_what_named_it(tmp_path: Path) -> None:
    error = await refused(Target(), {"KUBECONFIG": str(tmp_path / "nowhere")})
    assert error.code == "KubeconfigMissing"
    assert str(tmp_path / "nowhere") in error.message
    assert "KUBECONFIG" in error.message


async def test_a_missing_context_is_told_with_those_there_are(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path / "config")
    error = await refused(Target(context="tema"), {"KUBECONFIG": str(file)})
    assert error.code == "ContextMissing"
    assert "The context 'tema' is not in the kubeconfig" in error.message
    assert "team, other" in error.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"users: [{{token: {SECRET}}}", "is not valid YAML at line"),
        ("- a list", "is not a kubeconfig"),
        ("clusters: text", "clusters is to be a list"),
        ("", "is not a kubeconfig"),
    ],
)
async def test_a_broken_file_is_named_without_its_content(
    tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    error = await refused(Target(), {"KUBECONFIG": str(file)})
    assert error.code == "KubeconfigInvalid"
    assert said in error.message
    assert str(file) in error.message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"clusters": []}, "name c"),
        ({"clusters": [{"name": "c"}]}, "cluster"),
        (
            {"users": [{"name": "u", "user": {"client-certificate": "nowhere.crt"}}]},
            "nowhere.crt",
        ),
    ],
)
async def test_what_a_context_refers_to_must_be_there(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    file = kubeconfig(tmp_path / "config", **changes)
    error = await refused(Target(context="team"), {"KUBECONFIG": str(file)})
    assert "'team'" in error.message
    assert said in error.message


def with_plugin(path: Path, script: str) -> Path:
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", script],
        "interactiveMode": "Never",
    }
    return kubeconfig(path, users=[{"name": "u", "user": {"exec": plugin}}])


async def test_a_credential_plugin_is_asked(tmp_path: Path) -> None:
    answer = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": SECRET},
    }
    file = with_plugin(tmp_path / "config", f"print({json.dumps(answer)!r})")
    found = await load_credentials(Target(context="team"), {"KUBECONFIG": str(file)}, tmp_path)
    assert found.configuration.api_key == {"BearerToken": f"Bearer {SECRET}"}


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("import sys; sys.exit('you are not logged in')", "you are not logged in"),
        ("print('hello')", "decode"),
    ],
)
async def test_a_credential_plugin_that_fails_says_why(
    tmp_path: Path, script: str, said: str
) -> None:
    file = with_plugin(tmp_path / "config", script)
    error = await refused(Target(context="team"), {"KUBECONFIG": str(file)})
    assert error.code == "CredentialPluginFailed"
    assert said in error.message
    assert "kubectl --context team" in error.hint
