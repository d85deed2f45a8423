"""What ``gra get`` shows of mounts."""

from __future__ import annotations

import io

from rich.console import Console

from gra_provisioner.cli.mounts import brief, mounts_table, source, warnings, why
from gra_provisioner.runner import MountState, MountStatus
from tests.support.sample_runners import FULL, NOW


def test_each_mount_is_a_line_with_its_state_and_reason() -> None:
    out = io.StringIO()
    Console(file=out, width=200).print(mounts_table(FULL.mounts, NOW))
    assert [line.rstrip() for line in out.getvalue().splitlines()] == [
        "MOUNT       BUCKET            STATE    SINCE  REASON",
        "/data/lake  s3://lake/team/a  mounted  2m     -",
        "/data/logs  s3://logs         failed   1m     S3BucketMissing",
    ]


def test_what_does_not_work_is_said_with_what_to_do() -> None:
    assert list(warnings(FULL.mounts)) == [
        f"Warning: {why(FULL.mounts)}",
        "Hint: Look at its name.",
    ]
    assert list(warnings(FULL.mounts[:1])) == []
    assert why(FULL.mounts[:1]) == ""


def test_states_that_pass_are_no_warnings() -> None:
    for state in (MountState.WAITING, MountState.STARTING):
        mount = MountStatus("0", "lake", "", "/data/lake", state)
        assert list(warnings([mount])) == []
        assert brief([mount]) == f"/data/lake:{state.value}"
        assert source(mount) == "s3://lake"


def test_a_mount_that_fails_without_a_word_is_not_passed_over() -> None:
    mount = MountStatus("0", "lake", "", "/data/lake", MountState.FAILING, "S3Stuck")
    assert why([mount]) == "/data/lake (s3://lake) is failing: S3Stuck"


def test_names_of_buckets_do_not_steer_the_terminal() -> None:
    mount = MountStatus("0", "a\x1b[2J", "", "/d", MountState.MOUNTED, since=None)
    out = io.StringIO()
    Console(file=out, width=80).print(mounts_table([mount], NOW))
    assert "\x1b[2J" not in out.getvalue()
