"""A runner in which anything may say anything: nothing of it gets out of the directory."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gra_provisioner.errors import ResultsNotFetched
from gra_provisioner.execution import ProcessExit
from gra_provisioner.tunnel.process import STDOUT, Output
from gra_provisioner.workspace import sync
from gra_provisioner.workspace.parcel import Action, Folder, Refused, unpack
from gra_provisioner.workspace.records import Record
from gra_provisioner.workspace.transfer import FarEnd
from gra_provisioner.workspace.tree import listing

_FILE = ["evil", "file", 4, 1, 1, 0o777]


class Liar:
    """A process in a runner that answers what the test says."""

    def __init__(self, answers: Mapping[str, bytes]) -> None:
        self._answers = answers
        self._left: list[bytes] = []

    async def write(self, data: bytes) -> None:
        self._left = [self._answers[json.loads(data)["op"]]]

    def finish(self) -> None:
        pass

    async def read(self) -> Output | None:
        return Output(STDOUT, self._left.pop()) if self._left else None

    async def wait(self) -> ProcessExit:
        return ProcessExit(0, None)


class SlowLink(Liar):
    """A process that takes each piece only after a while, and answers once it has all."""

    def __init__(self, answers: Mapping[str, bytes]) -> None:
        super().__init__(answers)
        self.pieces = 0
        self._all = asyncio.Event()

    async def write(self, data: bytes) -> None:
        if self.pieces == 0:
            await super().write(data)
        self.pieces += 1
        await asyncio.sleep(0.05)

    def finish(self) -> None:
        self._all.set()

    async def read(self) -> Output | None:
        await self._all.wait()
        return await super().read()


def _far(**answers: bytes) -> FarEnd:
    @asynccontextmanager
    async def start(argv: Sequence[str]) -> AsyncIterator[Liar]:
        yield Liar(answers)

    return FarEnd(start, "runner-3")  # type: ignore[arg-type]


def _list(*entries: Any, **changes: Any) -> bytes:
    answer = {
        "entries": entries,
        "settled": [],
        "before": {},
        "left_out": [],
        "known": True,
        "folder": "/workspace",
    }
    return json.dumps({**answer, **changes}).encode()


def _tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return data.getvalue()


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = link
    info.pax_headers = {"mtime": "1.5", "GRA.ctime": "1"}
    return info


def _record(folder: Path) -> Record:
    return Record("runner-3", "uid", str(folder), "origin", None, "/workspace", (".git",), 100)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    "path",
    [
        "../evil",
        "/etc/evil",
        "a/../../evil",
        "a//b",
        "./evil",
        "a/./b",
        "",
        "..",
        "a\0b",
        "\ud800",
        5,
        None,
    ],
)
async def test_a_path_that_leads_out_is_refused(folder: Path, path: object) -> None:
    far = _far(list=_list([path, *_FILE[1:]]))
    with pytest.raises(ResultsNotFetched, match="gives a list that is none"):
        await sync.take_back(far, _record(folder))
    assert not list(folder.parent.rglob("*evil*"))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b"{",
        b"[" * 100_000,
        _list(["a", "link", 1, 1, 1, 1]),
        _list(["a", "file", -1, 1, 1, 1]),
        _list(["a", "file", "x", 1, 1, 1]),
        _list(["a"]),
        _list(5),
        _list(_FILE, before=[]),
        _list(_FILE, settled=3),
        _list(_FILE, left_out=[1]),
    ],
)
async def test_a_list_that_is_none_is_refused(folder: Path, answer: bytes) -> None:
    with pytest.raises(ResultsNotFetched):
        await sync.take_back(_far(list=answer), _record(folder))
    assert not list(folder.iterdir())


async def test_what_is_excluded_is_not_taken(folder: Path) -> None:
    hook = [".git/hooks/post-checkout", *_FILE[1:]]
    returned, _ = await sync.take_back(_far(list=_list(hook)), _record(folder))
    assert not returned.files


@pytest.mark.parametrize(
    "member",
    [
        _member("../evil"),
        _member("/tmp/evil"),
        _member("other"),
        _member("evil", tarfile.SYMTYPE, "/etc/passwd"),
        _member("evil", tarfile.LNKTYPE, "/etc/passwd"),
        _member("evil", tarfile.CHRTYPE),
        _member("evil", tarfile.FIFOTYPE),
    ],
    ids=["up", "absolute", "unasked", "symlink", "hardlink", "device", "fifo"],
)
async def test_a_stream_with_anything_else_in_it_is_refused(
    folder: Path, member: tarfile.TarInfo
) -> None:
    far = _far(list=_list(_FILE), send=_tar((member, b"")))
    with pytest.raises(ResultsNotFetched, match="the stream has"):
        await sync.take_back(far, _record(folder))
    assert not list(folder.iterdir())


async def test_a_stream_without_an_end_is_given_up(folder: Path) -> None:
    far = _far(list=_list(_FILE), send=bytes(4 << 20))
    with pytest.raises(ResultsNotFetched, match="more than the files have"):
        await sync.take_back(far, _record(folder))
    assert not list(folder.iterdir())


async def test_more_content_than_was_said_is_bounded_by_the_stream(folder: Path) -> None:
    stream = _tar((_member("evil"), b"x" * 1000))
    far = _far(list=_list(_FILE), send=stream, settle=b"{}")
    returned, _ = await sync.take_back(far, _record(folder))
    assert [entry.size for entry in returned.files] == [1000]


def test_a_file_that_ends_too_soon_is_not_written(folder: Path) -> None:
    stream = _tar((_member("evil"), b"x" * 5000))[:3000]
    with Folder(str(folder)) as here, pytest.raises(Refused):
        unpack(io.BytesIO(stream), here, {"evil": Action()})
    assert not list(folder.iterdir())


def test_a_bit_that_gives_others_rights_is_dropped(folder: Path) -> None:
    info = _member("evil")
    info.mode = 0o6755
    with Folder(str(folder)) as here:
        unpack(io.BytesIO(_tar((info, b"x"))), here, {"evil": Action()})
    assert (folder / "evil").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("mtime", ["nan", "inf", "x", "1e400", "9" * 30, ""])
def test_a_time_that_is_none_is_refused(folder: Path, mtime: str) -> None:
    info = _member("evil")
    info.pax_headers["mtime"] = mtime
    with Folder(str(folder)) as here, pytest.raises(Refused):
        unpack(io.BytesIO(_tar((info, b"x"))), here, {"evil": Action()})


async def test_a_slow_link_is_no_stalled_one(folder: Path) -> None:
    (folder / "large").write_bytes(bytes(4 << 20))
    link = SlowLink({"receive": b'{"files": ["large"]}'})

    @asynccontextmanager
    async def start(argv: Sequence[str]) -> AsyncIterator[Liar]:
        yield link

    far = FarEnd(start, "runner-3", stalled=0.4)  # type: ignore[arg-type]
    entries = listing(str(folder), [], 10).entries
    answer, packed = await far.give(str(folder), entries, lambda sent: None)
    assert answer == {"files": ["large"]}
    assert packed == entries
    assert link.pieces * 0.05 > 0.4
