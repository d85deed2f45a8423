"""A directory into another one and back, by two processes as with a runner."""

from __future__ import annotations

import os
import socket
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from gra_provisioner import workspace
from gra_provisioner.errors import FolderNotCopied, ResultsNotFetched
from gra_provisioner.runner import Workspace
from gra_provisioner.workspace import sync
from gra_provisioner.workspace.records import Record
from gra_provisioner.workspace.survey import survey
from gra_provisioner.workspace.sync import Returned
from gra_provisioner.workspace.transfer import TransferFailed
from tests.support.far_ends import far_end
from tests.support.pythons import needs_no_more_than_python_38, oldest

ODD_NAMES = [
    "with space.txt",
    "new\nline.txt",
    "ü 数据.txt",
    "-rf",
    "~",
    "a" * 255,
    "..hidden",
    os.fsdecode(b"not \xff utf-8.bin"),
]


@dataclass
class Pair:
    """The notebook's directory and the runner's, and what happens between them."""

    here: Path
    there: Path
    messages: list[str]
    home: Path
    python: str = sys.executable
    remembered: Record | None = None

    async def send(self, stays: bool = False, **workspace: object) -> Record:
        settings = Workspace(sync="notebook", **workspace)  # type: ignore[arg-type]
        surveyed = survey(str(self.here), settings, str(self.home))
        return await sync.send(
            *(far_end(self.there, self.python), "runner-3", "3f0c", surveyed, None, stays),
            self.messages.append,
        )

    async def take_back(self, record: Record) -> Returned:
        """Fetch, as whoever remembers only what was sent at first."""
        returned, remembered = await sync.take_back(far_end(self.there, self.python), record)
        assert remembered.fetched is not bool(returned.left)
        self.remembered = remembered
        sync.check_complete(returned, record)
        return returned


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    pair = Pair(tmp_path / "here", tmp_path / "there", [], tmp_path / "home")
    for folder in (pair.here, pair.there, pair.home):
        folder.mkdir()
    return pair


def tree(folder: Path) -> dict[str, bytes | None]:
    """All files by path; folders have no content."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if not path.name.startswith(".gra-")
    }


def own_files(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".gra-*") if "sent" not in path.name]


async def test_a_directory_is_in_the_runner_as_it_is_here(pair: Pair) -> None:
    for name in ODD_NAMES:
        (pair.here / name).write_bytes(os.fsencode(name))
    (pair.here / "data" / "deep").mkdir(parents=True)
    (pair.here / "empty").mkdir()
    script = pair.here / "data" / "deep" / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o750)
    os.utime(script, ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))
    (pair.here / "large.bin").write_bytes(os.urandom(3 << 20))

    await pair.send()

    assert tree(pair.there) == tree(pair.here)
    copied = (pair.there / "data" / "deep" / "run.sh").stat()
    assert stat.S_IMODE(copied.st_mode) == 0o750
    assert copied.st_mtime_ns == 1_600_000_000_123_456_789
    assert pair.messages[0] == f"runner-3: copying {len(ODD_NAMES) + 2} files, 3 MiB"
    assert not own_files(pair.there)


async def test_what_the_kernel_made_and_changed_comes_back_and_nothing_else(pair: Pair) -> None:
    (pair.here / "input.csv").write_text("1")
    (pair.here / "script.py").write_text("old")
    record = await pair.send()
    untouched = (pair.here / "input.csv").stat()
    for name in ODD_NAMES:
        (pair.there / name).write_bytes(os.fsencode(name))
    (pair.there / "script.py").write_text("new")
    (pair.there / "out" / "figures").mkdir(parents=True)
    (pair.there / "out" / "figures" / "a.png").write_bytes(b"png")
    (pair.there / "out" / "empty").mkdir()
    (pair.there / "out" / "figures" / "a.png").chmod(0o640)

    returned = await pair.take_back(record)

    assert tree(pair.here) == tree(pair.there)
    assert {entry.path for entry in returned.files} == {
        *ODD_NAMES,
        "script.py",
        "out/figures/a.png",
    }
    assert stat.S_IMODE((pair.here / "out/figures/a.png").stat().st_mode) == 0o640
    assert (pair.here / "input.csv").stat() == untouched
    assert not returned.notices
    assert returned.summary.startswith(f"runner-3: {len(ODD_NAMES) + 2} files, ")
    # Nobody needs to fetch it twice.
    assert not (await pair.take_back(record)).files
    assert not own_files(pair.here)


async def test_a_file_that_the_kernel_deleted_stays_here(pair: Pair) -> None:
    (pair.here / "input.csv").write_text("1")
    record = await pair.send()
    (pair.there / "input.csv").unlink()
    assert not (await pair.take_back(record)).files
    assert tree(pair.here) == {"input.csv": b"1"}


async def test_a_file_that_changed_on_both_sides_is_there_twice(pair: Pair) -> None:
    (pair.here / "table.csv").write_text("old")
    (pair.here / "same.csv").write_text("old")
    record = await pair.send()
    for folder, text in ((pair.here, "mine"), (pair.there, "runner's")):
        (folder / "table.csv").write_text(text)
        (folder / "same.csv").write_text("both")
        (folder / "new").write_text(text)

    returned = await pair.take_back(record)

    assert tree(pair.here) == {
        "table.csv": b"mine",
        "table.runner-3.csv": b"runner's",
        "new": b"mine",
        "new.runner-3": b"runner's",
        "same.csv": b"both",
    }
    (notice,) = returned.notices
    assert "table.csv is table.runner-3.csv" in notice
    # Nor is that overwritten.
    (pair.there / "table.csv").write_text("again")
    await pair.take_back(record)
    assert (pair.here / "table.runner-3.csv").read_text() == "runner's"
    assert (pair.here / "table.runner-3.2.csv").read_text() == "again"


async def test_what_changes_again_after_it_came_back_comes_back_again(pair: Pair) -> None:
    record = await pair.send()
    for text in ("first", "second", "third"):
        (pair.there / "result").write_text(text)
        await pair.take_back(record)
        assert pair.remembered is not None
        record = pair.remembered
        assert tree(pair.here) == {"result": text.encode()}


async def test_a_change_that_keeps_size_and_time_comes_back(pair: Pair) -> None:
    (pair.here / "a").write_text("one")
    record = await pair.send()
    before = (pair.there / "a").stat()
    (pair.there / "a").write_text("two")
    os.utime(pair.there / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    await pair.take_back(record)
    assert (pair.here / "a").read_text() == "two"


@pytest.mark.parametrize("kind", ["link", "file", "folder"])
async def test_what_is_in_the_way_of_a_result_stays(pair: Pair, kind: str) -> None:
    outside = pair.home / "outside"
    outside.mkdir()
    (outside / "a.txt").write_text("theirs")
    record = await pair.send()
    (pair.there / "out").mkdir()
    (pair.there / "out" / "a.txt").write_text("result")
    (pair.there / "b.txt").write_text("result")
    match kind:
        case "link":
            (pair.here / "out").symlink_to(outside)
            (pair.here / "b.txt").symlink_to(outside / "a.txt")
        case "file":
            (pair.here / "out").write_text("a file")
            (pair.here / "b.txt").write_text("mine")
        case "folder":
            (pair.here / "out" / "a.txt").mkdir(parents=True)
            (pair.here / "b.txt").mkdir()

    returned = await pair.take_back(record)

    assert (outside / "a.txt").read_text() == "theirs"
    assert list(outside.iterdir()) == [outside / "a.txt"]
    assert (pair.here / "b.runner-3.txt").read_text() == "result"
    assert (pair.here / returned.beside["out/a.txt"]).read_text() == "result"
    assert not (pair.here / "b.txt").is_file() or kind != "folder"


async def test_links_devices_and_sockets_are_copied_neither_way(pair: Pair) -> None:
    secret = pair.home / "secret"
    secret.write_text("secret")
    (pair.here / "link").symlink_to(secret)
    (pair.here / "folder").symlink_to(pair.home)
    os.mkfifo(pair.here / "pipe")
    record = await pair.send()
    assert tree(pair.there) == {}
    (pair.there / "passwd").symlink_to(secret)
    (pair.there / "home").symlink_to(pair.home)
    os.mkfifo(pair.there / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(pair.there / "s"))

    returned = await pair.take_back(record)

    assert not (pair.here / "passwd").exists()
    assert not returned.files
    (notice,) = returned.notices
    assert "passwd (a symbolic link)" in notice
    assert "fifo (a device, socket or pipe)" in notice


async def test_what_is_excluded_is_copied_neither_way(pair: Pair) -> None:
    for folder in (".git", "data/raw", "src/__pycache__"):
        (pair.here / folder).mkdir(parents=True)
        (pair.here / folder / "file").write_text("here")
    (pair.here / "data" / "small").write_text("")
    record = await pair.send(sync_exclude=(".git", "data/raw", "__pycache__", "*.tmp"))
    assert tree(pair.there) == {"data": None, "data/small": b"", "src": None}
    (pair.there / ".git" / "hooks").mkdir(parents=True)
    (pair.there / ".git" / "hooks" / "post-checkout").write_text("evil")
    (pair.there / "a.tmp").write_text("")
    await pair.take_back(record)
    assert not (pair.here / ".git" / "hooks").exists()
    assert not (pair.here / "a.tmp").exists()


def test_too_much_is_refused_with_the_largest_folders(pair: Pair) -> None:
    (pair.here / "data" / "raw").mkdir(parents=True)
    for number in range(3):
        (pair.here / "data" / "raw" / f"{number}").write_bytes(bytes(400 << 10))
    (pair.here / "notes.txt").write_bytes(bytes(100))
    with pytest.raises(FolderNotCopied) as refused:
        survey(str(pair.here), Workspace(sync="notebook", sync_limit=1 << 20), str(pair.home))
    assert refused.value.code == "FolderTooLarge"
    assert "1.2 MiB, more than the 1 MiB" in refused.value.message
    assert "data/ 1.2 MiB in 3 files; notes.txt 100 B" in refused.value.message
    assert "sync_exclude" in refused.value.hint


def test_the_home_directory_goes_without_its_hidden_files(pair: Pair) -> None:
    (pair.home / ".ssh").mkdir()
    (pair.home / ".ssh" / "id_ed25519").write_text("key")
    (pair.home / "nb" / ".hidden").mkdir(parents=True)
    found = survey(str(pair.home), Workspace(sync="notebook"), str(pair.home))
    assert {entry.path for entry in found.entries} == {"nb", "nb/.hidden"}
    for folder in (pair.home.parent, Path("/")):
        with pytest.raises(FolderNotCopied) as refused:
            survey(str(folder), Workspace(sync="notebook"), str(pair.home))
        assert refused.value.code == "FolderTooWide"


async def test_results_over_the_limit_stay_in_the_runner_and_that_is_said(pair: Pair) -> None:
    record = await pair.send(sync_limit=1 << 20)
    (pair.there / "model.bin").write_bytes(bytes(2 << 20))
    (pair.there / "small.csv").write_text("1")
    with pytest.raises(ResultsNotFetched) as told:
        await pair.take_back(record)
    assert tree(pair.here) == {"small.csv": b"1"}
    assert "model.bin (2 MiB, all together is more than 1 MiB)" in told.value.message
    assert f"It is in runner-3, in {pair.there}." in told.value.message
    assert "--discard" in told.value.hint


async def test_results_whose_directory_is_gone_stay_in_the_runner(pair: Pair) -> None:
    record = await pair.send()
    (pair.there / "result").write_text("1")
    pair.here.rmdir()
    with pytest.raises(ResultsNotFetched) as told:
        await pair.take_back(record)
    assert f"{pair.here} is gone" in told.value.message
    pair.here.mkdir()
    assert (await pair.take_back(record)).files


async def test_a_result_that_cannot_be_written_here_is_tried_again(pair: Pair) -> None:
    record = await pair.send()
    name = "n" * 250
    (pair.there / name).mkdir()
    (pair.there / name / "x").write_text("1")
    (pair.there / "fine").write_text("1")
    # In the way, and no name beside it is short enough: it is cut.
    (pair.here / name).write_text("in the way")
    returned = await pair.take_back(record)
    cut = returned.beside[f"{name}/x"]
    assert len(os.fsencode(cut.partition("/")[0])) <= 255
    assert (pair.here / cut).read_text() == "1"


async def test_a_kept_workspace_gives_results_to_the_next_runner_that_nobody_has_got(
    pair: Pair,
) -> None:
    (pair.here / "input").write_text("1")
    (pair.here / "both").write_text("1")
    await pair.send(stays=True)
    # The first runner is gone without a word.
    (pair.there / "result").write_text("first")
    (pair.there / "input").write_text("newer there")
    (pair.there / "both").write_text("newer there")
    (pair.here / "both").write_text("newer here")

    record = await pair.send(stays=True)

    assert tree(pair.there) == {
        "input": b"newer there",
        "result": b"first",
        "both": b"newer here",
        "both.kept-runner-3": b"newer there",
    }
    (pair.there / "second").write_text("second")
    await pair.take_back(record)
    assert tree(pair.here) == tree(pair.there)


async def test_directories_that_share_a_workspace_do_not_get_each_others_files(
    pair: Pair, tmp_path: Path
) -> None:
    (pair.there / "archive").write_text("of long ago")
    (pair.here / "mine").write_text("1")
    other = Pair(tmp_path / "other", pair.there, [], pair.home)
    other.here.mkdir()
    (other.here / "theirs").write_text("2")
    first = await pair.send(stays=True)
    second = await other.send(stays=True)
    (pair.there / "result").write_text("3")
    await pair.take_back(first)
    assert tree(pair.here) == {"mine": b"1", "result": b"3"}
    (pair.there / "mine").write_text("4")
    await pair.take_back(first)
    await other.take_back(second)
    assert tree(pair.here) == {"mine": b"4", "result": b"3"}
    assert tree(other.here) == {"theirs": b"2", "result": b"3"}


async def test_what_a_workspace_had_before_does_not_come_back(pair: Pair) -> None:
    (pair.there / "archive").mkdir()
    (pair.there / "archive" / "large").write_text("of another notebook")
    (pair.there / "same").write_text("theirs")
    (pair.here / "same").write_text("mine")
    record = await pair.send(stays=True)
    assert tree(pair.there)["same"] == b"mine"
    assert tree(pair.there)["same.kept-runner-3"] == b"theirs"
    await pair.take_back(record)
    assert tree(pair.here) == {"same": b"mine"}


def test_the_far_end_needs_nothing_newer_than_python_38() -> None:
    here = Path(workspace.__file__).parent
    needs_no_more_than_python_38(*(here / f"{name}.py" for name in ("tree", "parcel", "far")))


async def test_a_runner_may_have_an_old_python(pair: Pair) -> None:
    pair.python = oldest()
    for name in ODD_NAMES:
        (pair.here / name).write_bytes(os.fsencode(name))
    record = await pair.send()
    assert tree(pair.there) == tree(pair.here)
    (pair.there / "result").write_text("1")
    (pair.there / ODD_NAMES[-1]).write_text("2")
    returned = await pair.take_back(record)
    assert len(returned.files) == 2
    assert tree(pair.there) == tree(pair.here)


async def test_a_far_end_that_does_not_go_on_is_given_up(tmp_path: Path) -> None:
    # An interpreter that only waits.
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 1000\n")
    python.chmod(0o700)
    with pytest.raises(TransferFailed, match="has carried nothing"):
        await far_end(tmp_path, str(python), stalled=0.2).ask("list")


async def test_the_far_ends_own_words_are_told(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).touch()
    with pytest.raises(TransferFailed, match="runner-3: there are more than 2 files and folders"):
        await far_end(tmp_path).ask("list", origin="", exclude=[], most=2)
