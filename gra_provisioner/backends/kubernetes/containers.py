"""Why a container was not started, and what its exit code says.

Sources: kubernetes ``pkg/kubelet/kuberuntime/kuberuntime_container.go`` (waiting reasons),
``pkg/kubelet/kubelet_pods.go`` and ``security_context_others.go`` (texts), ``pkg/volume``
(mounts); runc, crun and gVisor for a command that cannot be run.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from .images import pull_failure
from .podview import S3_SIDECAR, Container, Event, containers, mappings, number, runner_of, text
from .reasons import Explanation, Reason, explain, quote
from .sizes import known_resources

# ConfigMaps with the agent; the backend makes one where it is missing.
AGENT_CONFIG_MAP = "gra-agent-"

_LAST_LINES = 10
_NOT_STARTED = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
    | {"PreCreateHookError", "PreStartHookError", "PostStartHookError"}
)
#: The exits of a container that never ran, by containerd and by Docker.
NEVER_RAN = frozenset({"StartError", "ContainerCannotRun"})
# The kubelet tries these again, mostly with success.
_PASSING = re.compile(
    r"timed out waiting for the condition|deadline exceeded|is reserved for|Unavailable"
    r"|connection refused|connection error|not registered",
    re.IGNORECASE,
)
_SECRET = re.compile(
    r'secrets? "([^"]+)" not found'
    r"|couldn't find key (?P<key>\S+) in Secret [^/\s]*/(?P<of>\S+)"
    r"|references non-existent secret key: (?P<volume_key>\S+)"
)
_CONFIG_MAP = re.compile(
    r'configmaps? "([^"]+)" not found'
    r"|couldn't find key (?P<key>\S+) in ConfigMap [^/\s]*/(?P<of>\S+)"
    r"|references non-existent config key: (?P<volume_key>\S+)"
)
_NO_COMMAND = re.compile(
    r'exec: "?(?P<runc>[^":]+)"?: (?:stat [^:]+: )?(?:executable file not found|no such file)'
    r"|executable file `(?P<crun>[^`]+)` not found"
    r'|error finding executable "(?P<gvisor>[^"]+)"'
    r"|the file (?P<kata>\S+) was not found"
)
_NOT_EXECUTABLE = re.compile(
    r"exec: .*permission denied|exec format error|`\S+`: Permission denied"
)
_VOLUME = re.compile(r'for volume "([^"]+)"')
_USAGE = re.compile(r"^(?:usage: )?agent(?:\.pyz)?\b.*?(?:error:|\[-h\])", re.MULTILINE)


def start_failure(pod: Mapping[str, Any], events: Sequence[Event]) -> Explanation | None:
    """Why the runner's container can not be started any more, or ``None`` while it still may.

    ``events`` are those on the pod; without any, the pod's status alone decides.
    """
    for container in containers(pod):
        why = pull_failure(container, events) or _not_made(container) or _init_failed(container)
        if why is not None:
            return why
    return None


def mount_failure(pod: Mapping[str, Any], events: Sequence[Event]) -> Explanation | None:
    """What keeps a volume of the pod from being mounted: for ever (terminal), or until now.

    A missing ConfigMap with the agent is no failure: see :func:`agent_missing`.
    """
    latest: Explanation | None = None
    for event in events:
        if event.reason not in ("FailedMount", "FailedAttachVolume", "FailedMapVolume"):
            continue
        if _agent_named(event.message):
            continue
        volume = _VOLUME.search(event.message)
        why = _reference_missing(event.message, _source(pod, volume[1] if volume else ""))
        if why is not None:
            return why
        latest = explain(
            Reason.VOLUME_NOT_MOUNTED,
            f"A volume is not mounted yet: {quote(event.message)}",
            "The volume's server or driver must be reachable from the node.",
            volume=volume[1] if volume else None,
        )
    return latest


def agent_missing(events: Sequence[Event]) -> bool:
    """Whether the pod waits for the ConfigMap with the agent."""
    return any(e.reason == "FailedMount" and _agent_named(e.message) for e in events)


def _agent_named(message: str) -> bool:
    match = _CONFIG_MAP.search(message)
    return match is not None and (match[1] or "").startswith(AGENT_CONFIG_MAP)


def _source(pod: Mapping[str, Any], volume: str) -> str:
    """The name of the Secret or ConfigMap that a volume is made from, or ``""``."""
    for item in mappings(pod, "spec", "volumes"):
        if text(item, "name") == volume:
            sources = [item, *mappings(item, "projected", "sources")]
            names = [
                text(source, *path)
                for source in sources
                for path in (("secret", "secretName"), ("secret", "name"), ("configMap", "name"))
            ]
            return next(filter(None, names), "")
    return ""


def _reference_missing(sentence: str, source: str = "") -> Explanation | None:
    """``source`` is the object's name, where the sentence has only that of a key in it."""
    if _PASSING.search(sentence):
        return None
    for pattern, reason, kind in (
        (_SECRET, Reason.SECRET_MISSING, "Secret"),
        (_CONFIG_MAP, Reason.CONFIG_MAP_MISSING, "ConfigMap"),
    ):
        match = pattern.search(sentence)
        if match is None:
            continue
        name, key = match[1] or match["of"] or source, match["key"] or match["volume_key"]
        if key:
            what = f"The {kind} {name!r} has no key" if name else f"A {kind} has no key"
            what += f" {key!r}, which the runner needs"
        else:
            what = f"The {kind} {name!r}, which the runner needs, does not exist"
        hint = (
            f"Create the {kind} in the runners' namespace, or correct s3, pod.volumes, pod.env or "
            "pod.env_from in the profile."
        )
        return explain(reason, f"{what}: {quote(sentence)}", hint, name=name, key=key)
    return None


def _not_made(container: Container) -> Explanation | None:
    waiting, said = text(container.waiting, "reason"), text(container.waiting, "message")
    if waiting not in _NOT_STARTED or _PASSING.search(said):
        return None
    why = _reference_missing(said)
    if why is not None:
        return why
    if "runAsNonRoot" in said:
        return explain(
            Reason.RUNS_AS_ROOT,
            f"The image {container.image!r} would run as root, or as a user without a number: "
            f"{quote(said)}",
            "Set pod.user in the profile to the number of a user that is not root.",
        )
    return command_failure(container, said)


def _init_failed(container: Container) -> Explanation | None:
    if not container.init:
        return None
    looping = text(container.waiting, "reason") == "CrashLoopBackOff"
    end = container.previous if looping else container.terminated
    if end is None or number(end, "exitCode") in (0, None):
        return None
    if text(end, "reason") in NEVER_RAN:
        return command_failure(container, text(end, "message"))
    return explain(
        Reason.INIT_CONTAINER_FAILED,
        f"The container {container.name!r}, which must run before the runner, exited with code "
        f"{number(end, 'exitCode')}.{last_lines(text(end, 'message'))}",
        "Its log says more: `kubectl logs` with -c and its name.",
        container=container.name,
    )


def command_failure(container: Container, sentence: str) -> Explanation:
    """Why the container's command could not be run, from the container runtime's words."""
    image, said = container.described, quote(sentence or "the container runtime does not say why")
    match = _NO_COMMAND.search(sentence)
    if match is not None:
        command = next(name for name in match.groups() if name)
        if container.command in ("", command):
            return explain(
                Reason.NO_PYTHON,
                f"The image {image} has no {command!r}: {said}",
                f"It needs Python and s3fs. Correct {container.image_setting}."
                if container.name == S3_SIDECAR
                else "A runner's image needs Python 3.8 or later. If it has one elsewhere, give "
                "its path as pod.python in the profile.",
                image=container.image,
            )
    if _NOT_EXECUTABLE.search(sentence):
        return explain(
            Reason.PYTHON_NOT_EXECUTABLE,
            f"The image {image} has a {container.command or 'command'!r} that cannot be run: "
            f"{said}",
            "It must be executable for the runner's user (pod.user), and made for the node's "
            "kind of machine.",
            image=container.image,
        )
    return explain(
        Reason.CONTAINER_NOT_STARTED,
        f"The container {container.name!r} could not be started: {said}",
        "The container runtime of the node says why; the cluster's administrator can see more.",
        image=container.image,
    )


def explain_exit(pod: Mapping[str, Any], end: Mapping[str, Any]) -> Explanation:
    """What ``state.terminated`` of the runner's container says, if the agent said nothing."""
    runner = runner_of(pod)
    reason, message = text(end, "reason"), text(end, "message")
    code = number(end, "exitCode")
    if reason in NEVER_RAN:
        return command_failure(runner, message)
    if reason == "OOMKilled":
        limit = known_resources(pod).memory
        return explain(
            Reason.OOM_KILLED,
            f"The whole runner was killed: out of memory{_limit(runner)}.",
            "Use a profile with more memory. Files in memory (/dev/shm) count too.",
            code=code,
            **({} if limit is None else {"memory": {"limit": limit}}),
        )
    if reason == "ContainerStatusUnknown":
        return explain(
            Reason.AGENT_LOST,
            f"The runner is gone without a word: {quote(message)}",
            "Its node was restarted, or lost its containers.",
            code=code,
        )
    signum = number(end, "signal") or (code - 128 if code is not None and 128 < code < 160 else 0)
    if signum == signal.SIGTERM:
        return explain(
            Reason.TERMINATED,
            "The runner was told to end (SIGTERM).",
            "Nothing says who did; events on the pod may.",
            code=code,
        )
    if signum:
        # What was said before a SIGKILL has nothing to do with it.
        lines = "" if signum == signal.SIGKILL else last_lines(message)
        return explain(
            Reason.AGENT_KILLED,
            f"The runner's agent was killed by {_signal_name(signum)}.{lines}",
            "Somebody killed it, or its node ran out of memory.",
            code=code,
        )
    if code == 2 and _USAGE.search(message):
        return explain(
            Reason.AGENT_REFUSED_OPTIONS,
            f"The agent does not know its options.{last_lines(message)}",
            "Agent and pod are of different versions, or pod.patch changes the arguments.",
            code=code,
        )
    if code:
        return explain(
            Reason.AGENT_CRASHED,
            f"The runner's agent exited with code {code}.{last_lines(message)}",
            # Without a message of its own, Kubernetes takes the end of its log for one.
            "Its last lines say why."
            if message.strip()
            else "It has written nothing. Is pod.python in the profile a Python, 3.8 or later?",
            code=code,
        )
    return explain(
        Reason.AGENT_LOST, "The runner ended without saying why.", "Its log may tell.", code=code
    )


def kernel_hint(reason: str, stderr: Sequence[str], image: str, python: str = "python3") -> str:
    """What to do about a kernel that did not start, or ``""`` if nothing is known.

    ``reason`` and ``stderr`` are those of the agent's error, ``image`` and ``python`` the
    runner's.  The runner's file system is read-only, so what is missing belongs into the image.
    """
    if any("No module named" in line and "ipykernel" in line for line in stderr):
        return (
            f"The image {image!r} has no ipykernel. Add this line to its Containerfile:\n"
            f"RUN {python} -m pip install ipykernel"
        )
    if reason == "WorkingDirectoryMissing":
        return f"Correct working_dir in the profile, or make that folder in the image {image!r}."
    if reason == "KernelNotFound":
        return f"Correct kernel_argv in the profile, or install the program in the image {image!r}."
    return ""


def last_lines(message: str) -> str:
    """The end of a container's output, to follow a sentence."""
    lines = [line.rstrip() for line in message.strip().splitlines() if line.strip()][-_LAST_LINES:]
    return "\n".join([" Its last lines:", *lines]) if lines else ""


def _limit(container: Container) -> str:
    limit = text(container.spec, "resources", "limits", "memory")
    return f" (its limit is {limit})" if limit else ""


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
