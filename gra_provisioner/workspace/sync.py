"""A directory into a runner at its launch, and what changed in the runner back at its end."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import FolderNotCopied, GraError, ResultsNotFetched
from ..units import format_size
from .parcel import Folder, Refused, Written, unpack
from .plan import Plan, Side, equal_content, plan, to_compare, within
from .records import Record
from .survey import MOST_ENTRIES, Survey, counted, shown
from .transfer import FarEnd, TransferFailed
from .tree import FILE, Entry, TooMany, below, digests, excluder, listing, safe

# A stream's own bytes: headers of a file, and of the whole.
_PER_ENTRY = 16 << 10
_PER_STREAM = 1 << 20
# A transfer of so many bytes is told in tenths.
_TOLD_FROM = 8 << 20
_SHOWN = 5


@dataclass(frozen=True)
class Returned:
    """What came back from a runner.

    ``files`` were written, ``beside`` has, by path, where those are that were not written over a
    file that had changed here.  ``left`` stayed in the runner, since all together would be more
    than the limit, ``failed`` since they could not be written here: both with the reason.
    ``left_out`` are no files.  ``there`` is the directory in the runner.  ``lost`` says why nothing
    could come back any more.
    """

    runner: str
    folder: str
    there: str
    files: Sequence[Entry] = ()
    beside: Mapping[str, str] = dataclasses.field(default_factory=dict)
    left: Sequence[tuple[str, str]] = ()
    left_out: Sequence[tuple[str, str]] = ()
    lost: str = ""

    @property
    def notices(self) -> list[str]:
        """Sentences that a user should read: conflicts, and what is no file."""
        said = [self.lost] if self.lost else []
        if self.beside:
            pairs = [f"{path} is {other}" for path, other in sorted(self.beside.items())]
            said.append(
                f"{self.runner}: changed here as well, so the runner's lies beside: {_some(pairs)}."
            )
        if self.left_out:
            said.append(f"{self.runner}: not copied back: {_some(_described(self.left_out))}.")
        return said

    @property
    def summary(self) -> str:
        """``runner-3: 3 files, 1.2 MiB, copied back to /home/ada/nb``; empty if there were none."""
        if not self.files:
            return ""
        return f"{self.runner}: {counted(self.files)}, copied back to {self.folder}"


async def send(
    far: FarEnd,
    runner: str,
    uid: str,
    survey: Survey,
    directory: str | None,
    stays: bool,
    on_message: Callable[[str], None],
) -> Record:
    """Copy what was surveyed into a runner that has just started: what is to be remembered.

    What the runner's directory has of an earlier runner (``stays``) is not lost: a newer file there
    stays, and where both have changed the runner's lies beside.  ``on_message`` is told how it
    goes.  Raises :class:`~..errors.FolderNotCopied`, or what the tunnel does.
    """
    record = Record(
        runner,
        uid,
        survey.folder,
        survey.origin,
        directory,
        directory or "",
        survey.exclude,
        survey.limit,
        stays,
        {e.path: e.state for e in survey.entries if e.kind == FILE},
    )
    try:
        return await _send(far, record, survey, on_message)
    except (TransferFailed, OSError) as error:
        raise FolderNotCopied(
            f"{survey.folder} could not be copied into {runner}. {_sentence(error)}",
            hint='It is copied since the profile\'s workspace has sync = "notebook".',
        ) from error


async def _send(
    far: FarEnd, record: Record, survey: Survey, on_message: Callable[[str], None]
) -> Record:
    mark = f"kept-{record.runner}"
    there = await _there(far, record)
    here = Side({e.path: e for e in survey.entries}, _unchanged(survey.entries, there.before))
    planned = await asyncio.to_thread(plan, here, there.side, whole=True)
    compared = to_compare(here, there.side, planned)
    if compared:
        equal = await _equal(far, record.folder, compared)
        planned = await asyncio.to_thread(plan, here, there.side, whole=True, equal=equal)
    # What an earlier runner made, and nobody has got yet.
    pending = sorted(there.unsettled)
    said = f"{record.runner}: copying {counted(planned.files)}"
    on_message(said)
    answer, packed = await far.give(
        record.folder,
        planned.entries,
        _tenths(planned, said, on_message),
        origin=record.origin,
        exclude=record.exclude,
        most=MOST_ENTRIES,
        mark=mark,
        known=there.known,
        pending=pending,
        actions={path: action.over for path, action in planned.actions(displace=True).items()},
    )
    failed = [(str(path), str(why)) for path, why in answer.get("failed", ())]
    missing = {e.path for e in packed if e.kind == FILE} - set(answer.get("files", ()))
    if failed or missing:
        what = _described(failed) or sorted(missing)
        raise TransferFailed(f"Not written there: {_some(what)}.")
    states = {**record.files, **{e.path: e.state for e in packed if e.kind == FILE}}
    return dataclasses.replace(record, there=there.folder, files=states)


async def take_back(far: FarEnd, record: Record) -> tuple[Returned, Record]:
    """Copy what was changed or made in a runner to where the rest came from.

    Nothing is written before all of it has arrived.  Returns, too, what is to be remembered from
    then on.  Raises :class:`~..errors.ResultsNotFetched`, or what the tunnel does:
    :class:`~..errors.RunnerEnded` for one.
    """
    try:
        returned = await _take_back(far, record)
        if returned.files:
            record = await asyncio.to_thread(_with_written, record, returned)
    except (TransferFailed, Refused, OSError, TooMany) as error:
        raise not_fetched(record, error) from error
    return returned, dataclasses.replace(record, fetched=not returned.left)


def _with_written(record: Record, returned: Returned) -> Record:
    """The record with the states of what came back, which may be changed there once more."""
    came = {entry.path for entry in returned.files} - returned.beside.keys()
    found = listing(record.folder, record.exclude, MOST_ENTRIES)
    states = {e.path: e.state for e in found.entries if e.kind == FILE and e.path in came}
    return dataclasses.replace(record, files={**record.files, **states})


def check_complete(returned: Returned, record: Record) -> None:
    """Raise :class:`~..errors.ResultsNotFetched` where something stayed in the runner."""
    if returned.left:
        came = f"{returned.summary}. " if returned.summary else ""
        raise ResultsNotFetched(
            f"{came}Not all that was changed in {record.runner} was copied to {record.folder}: "
            f"{_some(_described(returned.left))}. {_where(record)}",
            hint=_way_out(record),
            details={"left": _described(returned.left), "notices": returned.notices},
        )


async def _take_back(far: FarEnd, record: Record) -> Returned:
    there = await _there(far, record)
    found = await asyncio.to_thread(listing, record.folder, record.exclude, MOST_ENTRIES)
    states = record.files
    target = Side(
        {e.path: e for e in found.entries},
        {e.path for e in found.entries if states.get(e.path) == e.state},
    )
    planned = await asyncio.to_thread(plan, there.side, target, whole=False)
    compared = to_compare(there.side, target, planned)
    equal = await _equal(far, record.folder, compared) if compared else frozenset[str]()
    planned = await asyncio.to_thread(plan, there.side, target, whole=False, equal=equal)
    chosen, left = within(planned, record.limit)
    over_limit = f"all together is more than {format_size(record.limit)}"
    stays = [(e.path, f"{format_size(e.size)}, {over_limit}") for e in left]
    returned = Returned(
        record.runner, record.folder, record.there, left=stays, left_out=there.left_out
    )
    if chosen.entries:
        written = await _fetch(far, record, chosen)
        returned = dataclasses.replace(
            returned,
            files=written.files,
            beside=written.beside,
            left=[*stays, *written.failed],
        )
    settled = [*returned.files, *(there.side.entries[path] for path in sorted(equal))]
    if settled:
        await far.ask("settle", entries=settled, origin=record.origin)
    return returned


async def _fetch(far: FarEnd, record: Record, chosen: Plan) -> Written:
    bound = chosen.size + len(chosen.entries) * _PER_ENTRY + _PER_STREAM
    # It has no name, so that nothing is left of it, and is where there must be room anyway.
    with tempfile.TemporaryFile(dir=record.folder) as spool:
        await far.take(chosen.entries, spool, bound)
        spool.seek(0)

        def write() -> Written:
            with Folder(record.folder, record.runner) as folder:
                return unpack(spool, folder, chosen.actions(displace=False))

        writing = asyncio.ensure_future(asyncio.to_thread(write))
        try:
            return await asyncio.shield(writing)
        finally:
            # What has begun is done whole.
            await asyncio.wait({writing})


# -- the far side -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _There:
    side: Side
    # Of files that are not settled: how they were when they were.
    before: Mapping[str, tuple[int, int, int]]
    left_out: Sequence[tuple[str, str]]
    # Whether what is settled is known; if not, it is another directory's.
    known: bool
    folder: str

    @property
    def unsettled(self) -> set[str]:
        return self.side.entries.keys() - self.side.settled if self.known else set()


async def _there(far: FarEnd, record: Record) -> _There:
    """What the runner has.  What it says is checked: code in it may say anything."""
    answer = await far.ask("list", origin=record.origin, exclude=record.exclude, most=MOST_ENTRIES)
    # Of many files it takes a while, in which the loop has other kernels to serve.
    return await asyncio.to_thread(_read_list, answer, record)


def _read_list(answer: Mapping[str, Any], record: Record) -> _There:
    try:
        # What is excluded does not come from there either: a runner is not to write to .git.
        excluded = below(excluder(record.exclude))
        entries = [e for e in map(_checked, answer["entries"]) if not excluded(e.path)]
        side = Side({e.path: e for e in entries}, frozenset(map(str, answer["settled"])))
        before = {str(path): _state(state) for path, state in answer["before"].items()}
        left_out = [(str(path), str(what)) for path, what in answer["left_out"]]
        return _There(side, before, left_out, answer["known"] is True, str(answer["folder"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TransferFailed(f"{record.runner} gives a list that is none: {error}.") from error


def _checked(item: Sequence[object]) -> Entry:
    path, kind, *numbers = item
    if not safe(path) or not isinstance(path, str) or kind not in ("file", "folder"):
        raise ValueError(f"{path!r} leads out of the directory")
    size, mtime, ctime, mode = (int(str(number)) for number in numbers)
    if size < 0:
        raise ValueError(f"{path!r} has a negative size")
    return Entry(path, kind, size, mtime, ctime, mode & 0o777)


def _state(state: Sequence[object]) -> tuple[int, int, int]:
    size, mtime, ctime = (int(str(number)) for number in state)
    return size, mtime, ctime


def _unchanged(
    entries: Sequence[Entry], before: Mapping[str, tuple[int, int, int]]
) -> frozenset[str]:
    """The paths here that are as they were sent: what went there has the times that it had here."""
    return frozenset(
        e.path for e in entries if e.path in before and before[e.path][:2] == (e.size, e.mtime)
    )


async def _equal(far: FarEnd, root: str, paths: Sequence[str]) -> frozenset[str]:
    def ours() -> dict[str, str]:
        with Folder(root) as folder:
            return digests(paths, folder.open)

    mine, answer = await asyncio.gather(
        asyncio.to_thread(ours), far.ask("digests", paths=list(paths))
    )
    theirs = answer.get("digests")
    return equal_content(mine, theirs if isinstance(theirs, dict) else {})


# -- sentences ----------------------------------------------------------------------------------


def _tenths(planned: Plan, said: str, on_message: Callable[[str], None]) -> Callable[[int], None]:
    """What tells each further tenth of a large transfer."""
    told = 0

    def on_bytes(sent: int) -> None:
        nonlocal told
        tenths = min(10, sent * 10 // max(1, planned.size))
        if planned.size >= _TOLD_FROM and tenths > told:
            told = tenths
            on_message(f"{said}: {told * 10} %")

    return on_bytes


def _described(items: Sequence[tuple[str, str]]) -> list[str]:
    return [shown(f"{path} ({what})") for path, what in items]


def _some(items: Sequence[str]) -> str:
    some = ", ".join(map(shown, items[:_SHOWN]))
    return some if len(items) <= _SHOWN else f"{some} and {len(items) - _SHOWN:,} more"


def _sentence(error: Exception) -> str:
    text = error.message if isinstance(error, GraError) else str(error)
    return f"{shown(text).rstrip('.')}."


def not_fetched(record: Record, error: Exception) -> ResultsNotFetched:
    """The error for what kept results from being copied back."""
    text = _sentence(error)
    if isinstance(error, OSError):
        why = "is gone" if error.errno == errno.ENOENT else f"cannot be used: {error.strerror}"
        text = f"{shown(record.folder)} {why}."
    return ResultsNotFetched(
        f"What was changed in {record.runner} was not copied to {record.folder}. {text} "
        f"{_where(record)}",
        hint=_way_out(record),
    )


def _where(record: Record) -> str:
    return f"It is in {record.runner}, in {record.there or 'its working directory'}."


def _way_out(record: Record) -> str:
    if record.stays:
        return "It stays in the workspace, which the next runner of this profile has."
    return (
        f"`gra delete {record.runner}` tries again; with --discard it deletes the runner with all "
        "that is in it."
    )
