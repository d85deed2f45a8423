"""What is remembered of directories in runners, and told of runners that end too soon."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gra_provisioner.errors import (
    GraError,
    ResultsNotFetched,
    RunnerEnded,
    StateFolderError,
    Unreachable,
)
from gra_provisioner.runner import Resources, Runner, RunnerLabels, RunnerSpec, Workspace
from gra_provisioner.tunnel.process import RemoteProcess
from gra_provisioner.workspace.courier import Courier
from gra_provisioner.workspace.records import Record, Records
from tests.support.far_ends import far_end

RUNNER = Runner("runner-3", "u-3", "kubernetes", "small", RunnerLabels("me"), 0.0)
RECORD = Record("runner-3", "u-3", "/nb", "origin", None, "/workspace", (".git",), 100)


class Place:
    """A runner in a folder here, until it ends."""

    def __init__(self, root: Path) -> None:
        self.here, self.there = root / "here", root / "there"
        for folder in (self.here, self.there):
            folder.mkdir()
        self.records = Records(root / "state" / "workspaces")
        self.ended: GraError | None = None
        self.courier = Courier(self.records, self._start, {"HOME": str(root / "home")})

    def _start(
        self, runner: Runner, argv: Sequence[str], cwd: str | None
    ) -> AbstractAsyncContextManager[RemoteProcess]:
        @asynccontextmanager
        async def start() -> AsyncIterator[RemoteProcess]:
            if self.ended is not None:
                raise self.ended
            async with far_end(self.there)._start(argv) as process:
                yield process

        return start()

    async def bring(self, *, keep: bool = False) -> list[str]:
        workspace = Workspace(sync="notebook", keep=keep, sync_limit=1000)
        spec = RunnerSpec("small", Resources(1, 1, 1), workspace=workspace)
        surveyed = await self.courier.survey(spec, str(self.here))
        assert surveyed is not None
        phases: list[str] = []
        await self.courier.bring(RUNNER, spec, surveyed, lambda phase, _: phases.append(phase))
        return phases


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_a_profile_that_says_nothing_has_nothing_copied(place: Place) -> None:
    spec = RunnerSpec("small", Resources(1, 1, 1))
    assert await place.courier.survey(spec, str(place.here)) is None
    assert await place.courier.fetch(RUNNER) is None


async def test_results_come_back_once_and_are_then_forgotten(place: Place) -> None:
    assert await place.bring() == ["syncing"]
    (place.there / "result").write_text("1")
    returned = await place.courier.fetch(RUNNER)
    assert returned is not None
    assert returned.summary == f"runner-3: 1 file, 1 B, copied back to {place.here}"
    assert await place.courier.fetch(replace(RUNNER, uid="u-4")) is None
    await place.courier.forget(RUNNER.uid)
    assert await place.courier.fetch(RUNNER) is None
    assert not list((place.here.parent / "state" / "workspaces").iterdir())


async def test_of_a_runner_that_has_ended_it_is_told_what_is_lost(place: Place) -> None:
    await place.bring()
    place.ended = RunnerEnded("It was idle.")
    returned = await place.courier.fetch(RUNNER)
    assert returned is not None
    (notice,) = returned.notices
    assert notice.endswith("and is lost: It was idle.")


async def test_of_a_kept_workspace_it_is_told_that_it_stays(place: Place) -> None:
    await place.bring(keep=True)
    (place.there / "large").write_bytes(bytes(2000))
    returned = await place.courier.fetch(RUNNER)
    assert returned is not None
    assert "It stays in the workspace" in returned.lost
    place.ended = RunnerEnded("It was idle.")
    returned = await place.courier.fetch(RUNNER)
    assert returned is not None
    assert "it stays in the workspace: It was idle." in returned.lost


async def test_nothing_is_lost_once_another_process_has_it(place: Place) -> None:
    await place.bring()
    await place.courier.fetch(RUNNER)
    place.ended = RunnerEnded("It was deleted.")
    returned = await place.courier.fetch(RUNNER)
    assert returned is not None
    assert not returned.notices


async def test_a_runner_that_cannot_be_reached_keeps_its_results(place: Place) -> None:
    await place.bring()
    place.ended = Unreachable("Nobody answers.")
    with pytest.raises(ResultsNotFetched, match=r"Nobody answers\. It is in runner-3"):
        await place.courier.fetch(RUNNER)


def test_records_are_private_and_read_as_they_were_written(tmp_path: Path) -> None:
    records = Records(tmp_path / "workspaces")
    name = os.fsdecode(b"\xff\n")
    record = replace(RECORD, files={name: (1, 2, 3)}, fetched=True)
    records.write(record)
    assert records.read("u-3") == record
    assert (tmp_path / "workspaces").stat().st_mode & 0o777 == 0o700
    (path,) = (tmp_path / "workspaces").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"form": 2}', b'{"form": 1}'])
def test_a_record_that_is_none_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "u-3.json").write_bytes(content)
    assert Records(tmp_path).read("u-3") is None


def test_records_of_runners_long_gone_go(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.write(RECORD)
    os.utime(tmp_path / "u-3.json", (0, 0))
    records.write(replace(RECORD, uid="u-4"))
    assert records.read("u-3") is None
    assert records.read("u-4") is not None


def test_one_at_a_time_deals_with_a_record(tmp_path: Path) -> None:
    records = Records(tmp_path)
    first = records.lock("u-3")
    assert first is not None
    assert records.lock("u-3") is None
    records.unlock(first)
    second = records.lock("u-3")
    assert second is not None
    records.unlock(second)


def test_a_uid_is_no_path(tmp_path: Path) -> None:
    with pytest.raises(StateFolderError):
        Records(tmp_path).read("../u")
