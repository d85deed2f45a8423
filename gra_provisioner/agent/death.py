"""Why a kernel ended, in words.  Pure: from what the agent saw to what a user can act on."""

from __future__ import annotations

import signal as signals
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

# The kernel charges memory by the batch, so the peak can stay a little below the limit.
_REACHED = 0.98


class Exit(NamedTuple):
    """What is known of a kernel that ended.

    ``requested`` says who asked for it (``"shutdown"``, ``"signal"``) or is empty.  ``oom`` is
    whether the system's out-of-memory killer struck while it ran.  ``memory_peak`` is the most that
    the whole runner has used, ``memory_limit`` what it may use.  Sizes are bytes.
    """

    code: Optional[int]
    signal: Optional[int]
    requested: str
    oom: bool
    stderr: Sequence[str]
    memory_limit: Optional[int] = None
    memory_peak: Optional[int] = None


def signal_name(number: int) -> str:
    """``signal 9 (SIGKILL)``."""
    try:
        return f"signal {number} ({signals.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


_HINTS = {
    signals.SIGKILL: "If nobody killed it on purpose, memory may have run short: use a larger "
    "profile or free memory. The system's log tells more.",
    signals.SIGSEGV: "A compiled library crashed. `import faulthandler; faulthandler.enable()` "
    "in the first cell shows where.",
    signals.SIGABRT: "A compiled library gave up. Its last lines are in the runner's log.",
    signals.SIGBUS: "A memory-mapped file was cut short, or shared memory is full.",
}


def explain(end: Exit) -> Dict[str, Any]:
    """The report of an exit: ``code``, ``signal``, ``requested``, ``reason``, ``message``,
    ``hint``, ``stderr``, the kernel's last lines, and ``memory``: where that ran out, how much of
    it was ``used`` and is the ``limit``, as far as is known.  JSON types.
    """
    lines: List[str] = list(end.stderr)
    hint = ""
    if end.oom:
        reason = "OutOfMemory"
        message, hint = _out_of_memory(end.memory_limit, end.memory_peak)
    elif end.signal is not None:
        reason = "KilledBySignal"
        message = f"The kernel was killed by {signal_name(end.signal)}."
        hint = _HINTS.get(signals.Signals(end.signal), "") if _known(end.signal) else ""
    elif end.code:
        reason = "ExitCode"
        message = f"The kernel exited with code {end.code}."
        hint = "Its last lines say why." if lines else ""
    else:
        reason = "Exited"
        message = "The kernel exited with code 0."
        hint = "Code in the kernel ended the process, for example os._exit(0)."
    return {
        "code": end.code,
        "signal": end.signal,
        "requested": end.requested,
        "reason": reason,
        "message": message,
        "hint": hint,
        "stderr": lines,
        "memory": _memory(end),
    }


def _memory(end: Exit) -> Optional[Dict[str, int]]:
    if not end.oom or not end.memory_limit:
        return None
    limit = {"limit": end.memory_limit}
    return limit if end.memory_peak is None else {"used": end.memory_peak, **limit}


def _out_of_memory(limit: Optional[int], peak: Optional[int]) -> Tuple[str, str]:
    """Message and hint.  Files that were read count as used until the limit is reached, so only a
    runner that stayed below it tells something: others took the memory.
    """
    message = "The kernel was killed: out of memory."
    hint = "Use a profile with more memory, or free memory before this point."
    if not limit:
        return message, hint
    if peak is None:
        return f"{message} The runner may use {_size(limit)}.", hint
    used = f"The runner used {_size(peak)} of the {_size(limit)} that it may use."
    if peak >= limit * _REACHED:
        return f"{message} {used}", hint
    hint = (
        "Others on the node used the rest. A profile that asks for as much memory as it may use "
        "(pod.requests.memory) is safe from that."
    )
    return f"The kernel was killed: its node was out of memory. {used}", hint


def _size(count: int) -> str:
    """The size to three digits: ``256 MiB``, ``1.5 GiB``."""
    value, unit = float(count), "bytes"
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if value < 1000 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.3g} {unit}"


def _known(number: int) -> bool:
    return number in {item.value for item in signals.Signals}
