"""Streams of files: whatever they are called, they come out as they went in."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gra_provisioner.workspace.parcel import Action, Folder, beside, pack, unpack
from gra_provisioner.workspace.tree import FILE, excluder, listing, safe

# Whatever Linux takes, which is anything but these two bytes.
_NAMES = (
    st.binary(min_size=1, max_size=40)
    .filter(lambda name: not set(name) & set(b"/\0") and name not in (b".", b".."))
    .map(os.fsdecode)
    .filter(lambda name: not name.startswith(".gra-"))
)
_FILES = st.dictionaries(
    st.lists(_NAMES, min_size=1, max_size=3).map("/".join),
    st.tuples(st.binary(max_size=2000), st.integers(0, 0o777), st.integers(-(2**60), 2**60)),
    max_size=6,
)


@settings(max_examples=60)
@given(_FILES)
def test_files_of_any_name_content_mode_and_time_are_the_same_at_the_other_end(
    files: dict[str, tuple[bytes, int, int]],
) -> None:
    with tempfile.TemporaryDirectory() as source, tempfile.TemporaryDirectory() as target:
        for path, (content, mode, mtime) in files.items():
            place = Path(source, path)
            if any(Path(source, *place.parts[:n]).is_file() for n in range(len(place.parts))):
                continue
            if place.is_dir() or not _makes(place.parent):
                continue
            place.write_bytes(content)
            place.chmod(mode)
            os.utime(place, ns=(mtime, mtime))
        before = listing(source, [], 1000)
        stream = io.BytesIO()
        with Folder(source) as folder:
            packed = pack(folder, before.entries, stream)
        assert packed == before.entries
        stream.seek(0)
        with Folder(target) as folder:
            written = unpack(stream, folder, {entry.path: Action() for entry in packed})
        assert not written.failed
        assert not written.beside
        after = listing(target, [], 1000)
        assert [_seen(entry) for entry in after.entries] == [_seen(e) for e in before.entries]
        for entry in before.entries:
            if entry.kind == FILE:
                assert Path(target, entry.path).read_bytes() == (
                    Path(source, entry.path).read_bytes()
                )


def _makes(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        return False
    return True


def _seen(entry: tuple[object, ...]) -> tuple[object, ...]:
    path, kind, size, mtime, _, mode = entry
    return path, kind, size, mtime, mode


@given(_NAMES, st.integers(1, 20))
def test_a_name_beside_another_is_another_one_that_fits(name: str, number: int) -> None:
    other = beside(name * 10, "runner-3", number)
    assert other != name
    assert ".runner-3" in other
    assert len(os.fsencode(other)) <= 255


@given(st.lists(_NAMES, max_size=4).map("/".join))
def test_a_path_of_names_is_safe(path: str) -> None:
    assert safe(path) == bool(path)


def test_patterns_are_names_wherever_they_are_and_paths_from_the_top() -> None:
    excluded = excluder([".git", "*.tmp", "data/raw", "/top", "build/"])
    for path in (".git", "a/.git", "x.tmp", "a/b.tmp", "data/raw", "top", "a/build", ".gra-x"):
        assert excluded(path, path.rpartition("/")[2]), path
    for path in ("git", "a/data/raw", "a/top", "data", "raw", "x.tmp2"):
        assert not excluded(path, path.rpartition("/")[2]), path
