"""Which cluster, as whom and in which namespace: credentials as kubectl resolves them.

A kubeconfig (several files merged, ``KUBECONFIG`` or ``~/.kube/config``) or, inside a cluster, the
pod's service account.  Reading, exec plugins and OIDC are the ``kubernetes`` library's; the errors
are gra's own, which name the file and the field.

See https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, kube_config
from kubernetes.aio.config.exec_provider import ExecProvider
from kubernetes.aio.config.incluster_config import InClusterConfigLoader
from kubernetes.aio.config.kube_config import ConfigNode, KubeConfigLoader, KubeConfigMerger

from ...errors import KubeconfigError
from ..service_account import SERVICE_ACCOUNT, in_cluster

# A credential plugin may wait for its user's log in.  Everything else waits for it.
_LOADED_WITHIN = 300.0
_SECTIONS = ("clusters", "contexts", "users")


@dataclass(frozen=True)
class Target:
    """What the configuration says about the cluster.  Empty: as kubectl finds it.

    ``kubeconfig`` has the form of the variable ``KUBECONFIG``: paths joined by ``:``.
    """

    context: str = ""
    namespace: str = ""
    kubeconfig: str = ""


@dataclass(frozen=True)
class Credentials:
    """A cluster's address and how to be let in.  ``origin`` says where that was found."""

    configuration: Configuration
    namespace: str
    context: str
    origin: str


async def load_credentials(target: Target, environ: Mapping[str, str], folder: Path) -> Credentials:
    """Read the credentials anew.  Called at the first request, and when they are refused.

    ``folder`` gets the client certificate and its key if the kubeconfig has them inline: Python's
    TLS reads them from files only.  It may be removed as soon as they have been read.

    In a cluster the pod's own service account is used unless a context or a kubeconfig is named:
    a kubeconfig that happens to lie there says nothing about where runners belong.

    Raises :class:`~gra_provisioner.errors.KubeconfigError`.
    """
    if in_cluster(environ) and not target.context and not target.kubeconfig:
        return _from_service_account(target, environ)
    paths, source = _paths(target, environ)
    merged = _merge(paths, source)
    try:
        return await _from_kubeconfig(merged, target, os.pathsep.join(paths), folder)
    finally:
        _forget(folder)


def _from_service_account(target: Target, environ: Mapping[str, str]) -> Credentials:
    configuration = Configuration()
    loader = InClusterConfigLoader(
        str(SERVICE_ACCOUNT / "token"), str(SERVICE_ACCOUNT / "ca.crt"), environ=dict(environ)
    )
    try:
        loader.load_and_set(configuration)
        namespace = target.namespace or (SERVICE_ACCOUNT / "namespace").read_text().strip()
    except (ConfigException, OSError) as error:
        raise KubeconfigError(
            f"The pod's service account cannot be used: {error}",
            hint="Mount its token into the pod, or name a context in gra's configuration.",
            reason="ServiceAccountUnusable",
        ) from None
    return Credentials(configuration, namespace, "", "the pod's service account")


def _paths(target: Target, environ: Mapping[str, str]) -> tuple[list[str], str]:
    """The files to read, and what named them."""
    if target.kubeconfig:
        text, source = target.kubeconfig, "the configuration of gra (kubernetes.kubeconfig)"
    elif environ.get("KUBECONFIG"):
        text, source = environ["KUBECONFIG"], "the variable KUBECONFIG"
    else:
        home = environ.get("HOME") or str(Path.home())
        text, source = str(Path(home, ".kube", "config")), "kubectl's default"
    return [str(Path(path).expanduser()) for path in text.split(os.pathsep) if path], source


def _merge(paths: Sequence[str], source: str) -> KubeConfigMerger:
    there = [path for path in paths if Path(path).exists()]
    if not there:
        raise KubeconfigError(
            f"There is no kubeconfig: {' and '.join(paths)} ({source}) does not exist.",
            hint="Name the right file in KUBECONFIG or GRA_KUBECONFIG, or set GRA_BACKEND=local.",
            reason="KubeconfigMissing",
        )
    for path in there:
        problem = _unreadable(Path(path))
        if problem:
            raise KubeconfigError(
                f"The kubeconfig {path} ({source}) {problem}.",
                hint=f"`kubectl --kubeconfig {path} config view` should print it.",
            )
    try:
        merged = KubeConfigMerger(os.pathsep.join(there))
    except (yaml.YAMLError, OSError, ValueError, LookupError, AttributeError, TypeError):
        # Its text may quote a token.
        raise KubeconfigError(
            f"The kubeconfig {' and '.join(there)} ({source}) changed while it was read.",
            hint="Try again.",
        ) from None
    for section in _SECTIONS:
        for entry in merged.config.value[section]:
            # The library's name for it, which its errors quote, has all that is in it.
            entry.name = f"{section}[name={entry.value['name']}]"
    return merged


def _unreadable(path: Path) -> str:
    """What is wrong with a file; empty if it can be read as a kubeconfig."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        return "is not a text in UTF-8"
    except yaml.YAMLError as error:
        # Not the error's own text: it quotes the line, which may be a token.
        mark = getattr(error, "problem_mark", None)
        return f"is not valid YAML{'' if mark is None else f' at line {mark.line + 1}'}"
    if not isinstance(content, dict):
        return "is not a kubeconfig: it has no clusters, contexts and users"
    for section in _SECTIONS:
        entries = content.get(section) or []
        if not isinstance(entries, list) or not all(
            isinstance(entry, dict) and "name" in entry for entry in entries
        ):
            return f"is broken: {section} is to be a list of named entries"
    return ""


def _forget(folder: Path) -> None:
    """The library would name the files in ``folder`` again when it next sees their content."""
    cache = kube_config._temp_files
    for content in [key for key, path in cache.items() if folder in Path(path).parents]:
        del cache[content]


async def _from_kubeconfig(
    merged: KubeConfigMerger, target: Target, files: str, folder: Path
) -> Credentials:
    config = merged.config
    name = target.context or config.value.get("current-context") or ""
    known = [str(entry["name"]) for entry in config.value["contexts"]]
    if name not in known:
        said = (
            f"The context {name!r} is not" if name else "No context is named, and none is current"
        )
        raise KubeconfigError(
            f"{said} in the kubeconfig {files}; there are: {', '.join(known) or 'none'}.",
            hint="Set GRA_CONTEXT (kubernetes.context) to one of them.",
            reason="ContextMissing",
            details={"context": name, "contexts": known},
        )
    configuration = Configuration()
    # The library would otherwise wait and retry by itself, without a word.
    configuration.retries = None
    try:
        loader = KubeConfigLoader(
            config_dict=config,
            active_context=name,
            config_base_path=None,
            config_persister=lambda _: merged.save_changes(),
            temp_file_path=str(folder),
        )
        context = loader.current_context["context"]
        _check(loader, context)
        await asyncio.wait_for(loader.load_and_set(configuration), _LOADED_WITHIN)
    except asyncio.TimeoutError:
        raise KubeconfigError(
            f"The credentials of context {name!r} in {files} did not come within "
            f"{_LOADED_WITHIN:g} s.",
            hint=f"Run `kubectl --context {name} get pods` to see what their plugin waits for.",
            reason="CredentialPluginFailed",
        ) from None
    except aiohttp.ClientError as error:
        raise KubeconfigError(
            f"The identity provider of context {name!r} in {files} cannot be used: {error}",
            hint=f"Run `kubectl --context {name} get pods` to see what it wants; log in again.",
            reason="CredentialPluginFailed",
        ) from None
    except (ConfigException, ValueError, TypeError, AttributeError, LookupError, OSError) as error:
        raise KubeconfigError(
            f"The kubeconfig {files} is broken in context {name!r}: {error}",
            hint=f"`kubectl --context {name} get pods` shows whether kubectl can use it.",
        ) from None
    await _check_plugin(loader, configuration, name, files)
    authority = configuration.ssl_ca_cert
    if authority and folder in Path(authority).parents:
        # The text itself, which stays the same where the file's name does not.
        configuration.ssl_ca_cert = None
        configuration.ca_cert_data = Path(authority).read_text()
    namespace = target.namespace or str(context.get("namespace") or "default")
    return Credentials(configuration, namespace, name, f"context {name!r} of {files}")


def _check(loader: KubeConfigLoader, context: Mapping[str, Any]) -> None:
    """What the library does without a word, or with a word that does not help."""
    cluster, user = context["cluster"], context.get("user")
    values: Any = loader._cluster
    if not values.safe_get("server"):
        raise ConfigException(f"the cluster {cluster!r} has no server")
    proxy = values.safe_get("proxy-url")
    if proxy and not str(proxy).startswith(("http://", "https://")):
        scheme = str(proxy).partition(":")[0]
        raise ConfigException(f"the proxy-url of the cluster {cluster!r} is not http but {scheme}")
    if loader._user is None:
        if user:
            raise ConfigException(f"there is no user {user!r}")
        # Nobody in particular, which a cluster may let in.
        loader._user = ConfigNode("user", {})


async def _check_plugin(
    loader: KubeConfigLoader, configuration: Configuration, context: str, files: str
) -> None:
    """The library logs a credential plugin's failure and goes on as nobody."""
    user: Any = loader._user
    if not user or "exec" not in user or configuration.api_key or configuration.cert_file:
        return
    command = user["exec"].safe_get("command") or ""
    try:
        await asyncio.wait_for(ExecProvider(user["exec"]).run(), _LOADED_WITHIN)
    except asyncio.TimeoutError:
        why = f"it did not answer within {_LOADED_WITHIN:g} s"
    except (ConfigException, OSError, ValueError, TypeError) as error:
        why = str(error)
    else:
        why = "it answered with neither a token nor a certificate"
    raise KubeconfigError(
        f"The credential plugin {command!r} of context {context!r} in {files} failed: {why}",
        hint=f"Run `kubectl --context {context} get pods` to see what it wants; log in again.",
        reason="CredentialPluginFailed",
    )
