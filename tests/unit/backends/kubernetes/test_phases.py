"""How far a launch has come, and when it is given up: everything after a node was found."""

from __future__ import annotations

from typing import Any

import pytest

from gra_provisioner.backends.kubernetes.containers import kernel_hint
from gra_provisioner.backends.kubernetes.phases import (
    Phase,
    Progress,
    Reason,
    claims_of,
    launch_progress,
    overdue,
)
from tests.unit.backends.kubernetes.kubejson import IMAGE, make_event, make_pod, recorded

# Long after any of the recorded events, in seconds since the epoch.
LONG_AFTER = 4e9
WAITING = {"waiting": {"reason": "ContainerCreating"}}
SCHEDULED = make_event("Scheduled", "Successfully assigned team/runner-1 to node-1", at=0.1)
PULLING = make_event("Pulling", f'Pulling image "{IMAGE}"', at=1, container="runner")
PULLED = make_event("Pulled", f'Successfully pulled image "{IMAGE}"', at=9, container="runner")
CREATED = make_event("Created", "Created container: runner", at=10, container="runner")
STARTED = make_event("Started", "Started container runner", at=11, container="runner")
RUNNING = {"running": {"startedAt": "2023-11-14T22:13:31Z"}}


def failed(event: dict[str, Any] | None = None, state: Any = WAITING) -> Progress:
    return launch_progress(make_pod(state=state), [SCHEDULED, *([event] if event else [])])


# -- phases -----------------------------------------------------------------------------------


def test_a_launch_goes_through_its_phases_in_order() -> None:
    steps = [
        (make_pod(node=""), [], Phase.QUEUED),
        (make_pod(), [SCHEDULED], Phase.MOUNTING),
        (make_pod(state=WAITING), [SCHEDULED, PULLING], Phase.PULLING),
        (make_pod(state=WAITING), [SCHEDULED, PULLING, PULLED], Phase.STARTING),
        (make_pod(state=WAITING), [SCHEDULED, PULLING, PULLED, CREATED], Phase.STARTING),
        (make_pod(state=RUNNING, ready=True, phase="Running"), [], Phase.READY),
    ]
    for pod, events, phase in steps:
        progress = launch_progress(pod, events)
        assert progress.phase is phase
        assert progress.failure is None
        assert progress.message


def test_the_agent_can_be_dialled_from_the_event_on_before_the_status_says_running() -> None:
    progress = launch_progress(make_pod(state=WAITING), [SCHEDULED, PULLED, CREATED, STARTED])
    assert progress.started
    assert progress.phase is Phase.STARTING


def test_the_agent_can_be_dialled_without_the_right_to_read_events() -> None:
    assert launch_progress(make_pod(state=RUNNING, phase="Running")).started


def test_a_sidecar_that_started_is_not_the_runner() -> None:
    sidecar = make_event("Started", "Started container s3", container="s3")
    assert not launch_progress(make_pod(state=WAITING), [SCHEDULED, sidecar]).started


def test_events_on_an_earlier_runner_of_the_same_name_are_not_this_ones() -> None:
    earlier = make_event("Started", container="runner", uid="uid-0")
    assert not launch_progress(make_pod(state=WAITING), [earlier]).started


def test_the_image_that_is_being_pulled_is_named() -> None:
    message = launch_progress(make_pod(state=WAITING), [SCHEDULED, PULLING]).message
    assert message == f"pulling {IMAGE} on node-1"


def test_trouble_with_the_network_of_the_pod_is_shown_and_waited_for() -> None:
    trouble = make_event("FailedCreatePodSandBox", "Failed to create pod sandbox: no IPs left")
    progress = failed(trouble)
    assert progress.failure is None
    assert "no IPs left" in progress.message


def test_a_node_that_does_not_answer_is_shown_and_waited_for() -> None:
    conditions = {"Ready": {"status": "False"}, "ContainersReady": {"status": "True"}}
    progress = launch_progress(make_pod(state=RUNNING, conditions=conditions))
    assert progress.failure is None
    assert "Node node-1 does not answer" in progress.message


# -- images -----------------------------------------------------------------------------------

_RESOLVE = (
    f'Failed to pull image "{IMAGE}": rpc error: code = {{}} desc = failed to pull and unpack '
    f'image "{IMAGE}": failed to resolve reference "{IMAGE}": {{}}'
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        # containerd 1.6 to 2.1
        (_RESOLVE.format("NotFound", f"{IMAGE}: not found"), Reason.IMAGE_NOT_FOUND),
        (
            _RESOLVE.format(
                "Unknown",
                "pull access denied, repository does not exist or may require authorization: "
                "server message: insufficient_scope: authorization failed",
            ),
            Reason.IMAGE_PULL_DENIED,
        ),
        (
            _RESOLVE.format("Unknown", "unexpected status code [manifests 1]: 401 Unauthorized"),
            Reason.IMAGE_PULL_DENIED,
        ),
        (
            _RESOLVE.format(
                "Unknown",
                "unexpected status from HEAD request to "
                "https://registry.example/v2/team/notebook/manifests/1: 403 Forbidden",
            ),
            Reason.IMAGE_PULL_DENIED,
        ),
        (
            _RESOLVE.format(
                "Unknown", "failed to authorize: failed to fetch oauth token: 401 Unauthorized"
            ),
            Reason.IMAGE_PULL_DENIED,
        ),
        (
            (
                f'Failed to pull image "{IMAGE}": rpc error: code = NotFound desc = failed to pull '
                f'and unpack image "{IMAGE}": no match for platform in manifest: not found'
            ),
            Reason.IMAGE_WRONG_PLATFORM,
        ),
        (
            f'Failed to pull image "{IMAGE}": SignatureValidationFailed: no signature',
            Reason.IMAGE_UNTRUSTED,
        ),
        # Docker and cri-dockerd
        (
            (
                f'Failed to pull image "{IMAGE}": Error response from daemon: manifest for {IMAGE} '
                "not found: manifest unknown: manifest unknown"
            ),
            Reason.IMAGE_NOT_FOUND,
        ),
        (
            (
                f'Failed to pull image "{IMAGE}": Error response from daemon: pull access denied '
                "for "
                "team/notebook, repository does not exist or may require 'docker login': denied"
            ),
            Reason.IMAGE_PULL_DENIED,
        ),
        (
            (
                f'Failed to pull image "{IMAGE}": Error response from daemon: Head '
                '"https://registry.example/v2/": no basic auth credentials'
            ),
            Reason.IMAGE_PULL_DENIED,
        ),
        # CRI-O
        (
            (
                f'Failed to pull image "{IMAGE}": initializing source docker://{IMAGE}: reading '
                "manifest 1 in registry.example/team/notebook: manifest unknown"
            ),
            Reason.IMAGE_NOT_FOUND,
        ),
        (
            (
                f'Failed to pull image "{IMAGE}": initializing source docker://{IMAGE}: reading '
                "manifest 1: unauthorized: access to the requested resource is not authorized"
            ),
            Reason.IMAGE_PULL_DENIED,
        ),
    ],
)
def test_what_the_registry_says_of_an_image_ends_the_launch_at_once(
    text: str, reason: Reason
) -> None:
    failure = failed(make_event("Failed", text, container="runner")).failure
    assert failure is not None
    assert failure.reason == reason
    assert text in failure.message
    assert IMAGE in failure.message
    assert failure.hint


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            _RESOLVE.format(
                "Unknown",
                'failed to do request: Head "https://registry.example/v2/": dial tcp: lookup '
                "registry.example: no such host",
            ),
            Reason.REGISTRY_UNREACHABLE,
        ),
        (
            _RESOLVE.format(
                "Unknown",
                "failed to authorize: failed to fetch anonymous token: Get "
                '"https://registry.example/token": dial tcp 192.0.2.1:443: i/o timeout',
            ),
            Reason.REGISTRY_UNREACHABLE,
        ),
        (
            _RESOLVE.format(
                "Unknown",
                "failed to do request: tls: failed to verify certificate: x509: certificate "
                "signed by unknown authority",
            ),
            Reason.REGISTRY_UNREACHABLE,
        ),
        (
            _RESOLVE.format("Unknown", "unexpected status from HEAD request: 503 Unavailable"),
            Reason.REGISTRY_UNREACHABLE,
        ),
        (
            _RESOLVE.format(
                "Unknown",
                "429 Too Many Requests - Server message: toomanyrequests: You have reached your "
                "unauthenticated pull rate limit.",
            ),
            Reason.REGISTRY_RATE_LIMIT,
        ),
        (
            (
                f'Failed to pull image "{IMAGE}": failed to extract layer: write /var: no space '
                "left "
                "on device"
            ),
            Reason.NODE_DISK_FULL,
        ),
        (f'Failed to pull image "{IMAGE}": something new', Reason.IMAGE_PULL_FAILED),
    ],
)
def test_a_registry_out_of_order_is_tried_again_once(text: str, reason: Reason) -> None:
    event = make_event("Failed", text, container="runner")
    waiting = {"waiting": {"reason": "ErrImagePull", "message": text}}

    first = launch_progress(make_pod(state=waiting), [SCHEDULED, PULLING, event])
    assert first.failure is None
    assert first.phase is Phase.PULLING
    assert text in first.message

    back_off = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
    for state, events in (
        (back_off, [event]),
        (waiting, [{**event, "count": 2}]),
        (waiting, [event, make_event("Failed", text, at=12, container="runner")]),
    ):
        failure = launch_progress(make_pod(state=state), [SCHEDULED, PULLING, *events]).failure
        assert failure is not None
        assert failure.reason == reason
        assert text in failure.message


def test_without_events_the_state_of_the_container_tells_of_the_image() -> None:
    message = (
        f'Back-off pulling image "{IMAGE}": ErrImagePull: failed to resolve reference '
        f'"{IMAGE}": {IMAGE}: not found'
    )
    failure = failed(state={"waiting": {"reason": "ImagePullBackOff", "message": message}}).failure
    assert failure is not None
    assert failure.reason == Reason.IMAGE_NOT_FOUND


def test_a_pull_secret_that_is_missing_is_named_where_the_pull_is_refused() -> None:
    missing = make_event(
        "FailedToRetrieveImagePullSecret",
        "Unable to retrieve some image pull secrets (regcred); attempting to pull the image may "
        "not succeed.",
    )
    denied = make_event("Failed", f'Failed to pull image "{IMAGE}": 401 Unauthorized', at=2)
    failure = launch_progress(make_pod(state=WAITING), [SCHEDULED, missing, denied]).failure
    assert failure is not None
    assert "regcred" in failure.hint


@pytest.mark.parametrize("by_event", [True, False])
def test_an_image_that_may_not_be_pulled_ends_the_launch(by_event: bool) -> None:
    text = f'Container image "{IMAGE}" is not present with pull policy of Never'
    event = make_event("ErrImageNeverPull", text, container="runner")
    state = {"waiting": {"reason": "ErrImageNeverPull", "message": text}}
    failure = failed(event).failure if by_event else failed(state=state).failure
    assert failure is not None
    assert failure.reason == Reason.IMAGE_NOT_ON_NODE
    assert text in failure.message
    assert "pod.image_pull_policy" in failure.hint


@pytest.mark.parametrize("by_event", [True, False])
def test_a_name_that_no_image_can_have_ends_the_launch(by_event: bool) -> None:
    text = (
        'Failed to apply default image tag "UPPER//x": couldn\'t parse image name "UPPER//x": '
        "invalid reference format"
    )
    event = make_event("InspectFailed", text, container="runner")
    state = {"waiting": {"reason": "InvalidImageName", "message": text}}
    failure = failed(event).failure if by_event else failed(state=state).failure
    assert failure is not None
    assert failure.reason == Reason.INVALID_IMAGE_NAME
    assert "invalid reference format" in failure.message


def test_the_image_of_a_sidecar_counts_too() -> None:
    text = 'Failed to pull image "s3:9": not found: manifest unknown'
    pod = make_pod(state=WAITING, spec={"initContainers": [{"name": "s3", "image": "s3:9"}]})
    failure = launch_progress(pod, [make_event("Failed", text, container="s3")]).failure
    assert failure is not None
    assert failure.details["image"] == "s3:9"


# -- volumes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason", "name"),
    [
        (
            'MountVolume.SetUp failed for volume "keys" : secret "my-keys" not found',
            Reason.SECRET_MISSING,
            "my-keys",
        ),
        (
            'MountVolume.SetUp failed for volume "conf" : configmap "settings" not found',
            Reason.CONFIG_MAP_MISSING,
            "settings",
        ),
        (
            'MountVolume.SetUp failed for volume "keys" : references non-existent secret key: pem',
            Reason.SECRET_MISSING,
            "pem",
        ),
        (
            (
                'MountVolume.SetUp failed for volume "c" : configmap references non-existent '
                "config "
                "key: a.toml"
            ),
            Reason.CONFIG_MAP_MISSING,
            "a.toml",
        ),
    ],
)
def test_a_volume_of_what_does_not_exist_ends_the_launch(
    text: str, reason: Reason, name: str
) -> None:
    failure = failed(make_event("FailedMount", text)).failure
    assert failure is not None
    assert failure.reason == reason
    assert text in failure.message
    assert name in failure.details.values()


@pytest.mark.parametrize(
    "text",
    [
        (
            'MountVolume.SetUp failed for volume "keys" : failed to sync secret cache: timed out '
            "waiting for the condition"
        ),
        'MountVolume.SetUp failed for volume "keys" : object "team"/"my-keys" not registered',
        (
            'MountVolume.MountDevice failed for volume "pvc-1" : kubernetes.io/csi: driver name x '
            "not found in the list of registered CSI drivers"
        ),
        'MountVolume.SetUp failed for volume "nfs" : mount failed: exit status 32',
    ],
)
def test_a_volume_that_may_still_be_mounted_is_shown_and_waited_for(text: str) -> None:
    progress = failed(make_event("FailedMount", text))
    assert progress.failure is None
    assert progress.phase is Phase.MOUNTING
    assert text in progress.message


def test_a_missing_agent_is_for_the_backend_to_provide() -> None:
    missing = make_event(
        "FailedMount",
        'MountVolume.SetUp failed for volume "agent" : configmap "gra-agent-0123abcd" not found',
    )
    progress = failed(missing)
    assert progress.missing_agent
    assert progress.failure is None

    later = launch_progress(make_pod(state=WAITING), [SCHEDULED, missing, PULLED])
    assert not later.missing_agent


def test_the_claims_of_a_pod_are_found() -> None:
    volumes = [
        {"name": "data", "persistentVolumeClaim": {"claimName": "home"}},
        {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}},
        {"name": "again", "persistentVolumeClaim": {"claimName": "home"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    assert claims_of(make_pod(spec={"volumes": volumes})) == ("home", "runner-1-scratch")


# -- the container ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "message", "expected"),
    [
        ("CreateContainerConfigError", 'secret "s3-keys" not found', Reason.SECRET_MISSING),
        (
            "CreateContainerConfigError",
            "couldn't find key token in Secret team/s3-keys",
            Reason.SECRET_MISSING,
        ),
        ("CreateContainerConfigError", 'configmap "env" not found', Reason.CONFIG_MAP_MISSING),
        (
            "CreateContainerConfigError",
            "couldn't find key A in ConfigMap team/env",
            Reason.CONFIG_MAP_MISSING,
        ),
        (
            "CreateContainerConfigError",
            (
                "container has runAsNonRoot and image will run as root (pod: "
                '"runner-1_team(uid-1)", '
                "container: runner)"
            ),
            Reason.RUNS_AS_ROOT,
        ),
        (
            "CreateContainerConfigError",
            (
                "container has runAsNonRoot and image has non-numeric user (jovyan), cannot verify "
                'user is non-root (pod: "runner-1_team(uid-1)", container: runner)'
            ),
            Reason.RUNS_AS_ROOT,
        ),
        ("CreateContainerError", "no command specified", Reason.CONTAINER_NOT_STARTED),
    ],
)
def test_a_container_that_cannot_be_made_ends_the_launch(
    reason: str, message: str, expected: Reason
) -> None:
    failure = failed(state={"waiting": {"reason": reason, "message": message}}).failure
    assert failure is not None
    assert failure.reason == expected
    assert message in failure.message
    assert failure.hint


@pytest.mark.parametrize(
    "message",
    [
        "context deadline exceeded",
        'failed to reserve container name "runner_runner-1": name is reserved for "0a1b"',
        "failed to sync secret cache: timed out waiting for the condition",
    ],
)
def test_a_container_that_is_made_again_is_waited_for(message: str) -> None:
    state = {"waiting": {"reason": "CreateContainerError", "message": message}}
    assert failed(state=state).failure is None


_RUNC = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: "
    "runc create failed: unable to start container process: "
)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (f'{_RUNC}exec: "python3": executable file not found in $PATH: unknown', Reason.NO_PYTHON),
        (
            (
                f"{_RUNC}error during container init: exec: "
                '"python3": executable file not found in $PATH: unknown'
            ),
            Reason.NO_PYTHON,
        ),
        (
            f'{_RUNC}exec: "python3": stat python3: no such file or directory: unknown',
            Reason.NO_PYTHON,
        ),
        ("crun: executable file `python3` not found in $PATH: No such file", Reason.NO_PYTHON),
        (
            f'{_RUNC}exec: "python3": permission denied: unknown',
            Reason.PYTHON_NOT_EXECUTABLE,
        ),
        (f"{_RUNC}exec python3: exec format error", Reason.PYTHON_NOT_EXECUTABLE),
        (
            (
                f'{_RUNC}error mounting "/var/lib/x" to rootfs at "/opt/gra": no such file or '
                "directory: unknown"
            ),
            Reason.CONTAINER_NOT_STARTED,
        ),
    ],
)
def test_a_command_that_cannot_be_run_ends_the_launch(message: str, expected: Reason) -> None:
    ended = {"exitCode": 128, "reason": "StartError", "message": message}
    progress = launch_progress(make_pod(phase="Failed", state={"terminated": ended}), [SCHEDULED])
    assert progress.failure is not None
    assert progress.failure.reason == expected
    assert message in progress.failure.message
    assert not progress.started


def test_an_agent_that_crashes_at_its_start_ends_the_launch_with_its_last_lines() -> None:
    log = "Traceback (most recent call last):\n  …\nSyntaxError: invalid syntax\n"
    ended = {"exitCode": 1, "reason": "Error", "message": log}
    failure = launch_progress(make_pod(phase="Failed", state={"terminated": ended})).failure
    assert failure is not None
    assert failure.reason == Reason.AGENT_CRASHED
    assert "SyntaxError: invalid syntax" in failure.message
    assert "code 1" in failure.message


def test_an_init_container_that_fails_ends_the_launch() -> None:
    status = {
        "initContainerStatuses": [
            {
                "name": "fetch",
                "state": {"terminated": {"exitCode": 3, "reason": "Error", "message": "no disk"}},
            }
        ]
    }
    pod = make_pod(phase="Failed", status=status, spec={"initContainers": [{"name": "fetch"}]})
    failure = launch_progress(pod).failure
    assert failure is not None
    assert failure.reason == Reason.INIT_CONTAINER_FAILED
    assert "fetch" in failure.message
    assert "no disk" in failure.message


def test_a_runner_deleted_while_it_starts_ends_the_launch() -> None:
    pod = make_pod(state=WAITING, metadata={"deletionTimestamp": "2023-11-14T22:13:30Z"})
    failure = launch_progress(pod, [SCHEDULED]).failure
    assert failure is not None
    assert failure.reason == Reason.DELETED_OUTSIDE_GRA


def test_a_node_that_sends_the_pod_back_ends_the_launch() -> None:
    status = {
        "reason": "OutOfcpu",
        "message": "Pod was rejected: Node didn't have enough resource: cpu, requested: 2000, "
        "used: 1900, capacity: 2000",
    }
    failure = launch_progress(make_pod(phase="Failed", status=status), [SCHEDULED]).failure
    assert failure is not None
    assert failure.reason == Reason.REJECTED_BY_NODE
    assert "requested: 2000" in failure.message


# -- time is up -------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", list(Phase))
def test_a_launch_that_took_too_long_says_what_did_not_happen(phase: Phase) -> None:
    why = overdue(Progress(phase, "pulling registry.example/x:1"), 600.4, 600.0)
    assert why.reason == Reason.START_TIMEOUT
    assert "600 s" in why.message
    assert phase.value in why.message
    assert "pulling registry.example/x:1." in why.message
    assert why.hint
    assert why.details["phase"] == phase.value


def test_trouble_with_the_api_server_is_said_where_time_is_up() -> None:
    why = overdue(Progress(Phase.PULLING, "pulling"), 60.0, 60.0, "connection refused")
    assert "may be out of date: connection refused." in why.message


# -- kernels ----------------------------------------------------------------------------------


def test_an_image_without_ipykernel_gets_the_line_that_adds_it() -> None:
    lines = ["/usr/bin/python3: No module named ipykernel_launcher"]
    hint = kernel_hint("KernelStartFailed", lines, "python:3.13", "/usr/bin/python3")
    assert "RUN /usr/bin/python3 -m pip install ipykernel" in hint
    assert "python:3.13" in hint


def test_nothing_is_guessed_of_other_kernels() -> None:
    assert kernel_hint("KernelStartFailed", ["Segmentation fault"], "python:3.13") == ""
    assert "kernel_argv" in kernel_hint("KernelNotFound", [], "python:3.13")


# -- as a real cluster told it ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("image-not-found", Reason.IMAGE_NOT_FOUND),
        ("image-denied", Reason.IMAGE_PULL_DENIED),
        ("image-forbidden", Reason.IMAGE_PULL_DENIED),
        ("image-never-pull", Reason.IMAGE_NOT_ON_NODE),
        ("image-invalid-name", Reason.INVALID_IMAGE_NAME),
        ("registry-unknown-host", Reason.REGISTRY_UNREACHABLE),
        ("unschedulable-too-large", Reason.TOO_LARGE_FOR_ANY_NODE),
        ("unschedulable-no-gpu", Reason.TOO_LARGE_FOR_ANY_NODE),
        ("unschedulable-full", Reason.CLUSTER_FULL),
        ("unschedulable-selector", Reason.NO_MATCHING_NODE),
        ("claim-missing", Reason.CLAIM_MISSING),
        ("claim-unbound", Reason.CLAIM_UNBOUND),
        ("claim-no-storage-class", Reason.CLAIM_UNBOUND),
        ("mount-secret-missing", Reason.SECRET_MISSING),
        ("mount-secret-key-missing", Reason.SECRET_MISSING),
        ("mount-config-map-missing", Reason.CONFIG_MAP_MISSING),
        ("env-secret-missing", Reason.SECRET_MISSING),
        ("env-secret-key-missing", Reason.SECRET_MISSING),
        ("env-config-map-missing", Reason.CONFIG_MAP_MISSING),
        ("runs-as-root", Reason.RUNS_AS_ROOT),
        ("no-python", Reason.NO_PYTHON),
        ("no-python-path", Reason.NO_PYTHON),
        ("python-not-executable", Reason.PYTHON_NOT_EXECUTABLE),
        ("crash-at-start", Reason.AGENT_CRASHED),
    ],
)
def test_real_failures_end_the_launch(file: str, reason: Reason) -> None:
    data = recorded(file)
    events, claims = data["events"], data.get("claim_events", [])
    failure = launch_progress(data["pod"], events, claims, now=LONG_AFTER).failure
    assert failure is not None
    assert failure.reason == reason
    assert failure.hint


@pytest.mark.parametrize(
    ("file", "phase"),
    [
        ("registry-broken", Phase.PULLING),
        ("registry-limit", Phase.PULLING),
        ("mount-agent-missing", Phase.MOUNTING),
        ("starting", Phase.STARTING),
        ("running", Phase.READY),
    ],
)
def test_real_launches_that_may_succeed_go_on(file: str, phase: Phase) -> None:
    data = recorded(file)
    progress = launch_progress(data["pod"], data["events"], now=LONG_AFTER)
    assert progress.failure is None
    assert progress.phase is phase
    assert progress.started is (file in ("starting", "running"))
    assert progress.missing_agent is (file == "mount-agent-missing")
