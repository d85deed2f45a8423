"""Start a process in a session of its own, or say precisely why it could not be started.

The caller owns the wait: the agent is pid 1 of its runner and reaps every child itself, so
nothing here waits for, polls or watches one.
"""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from typing import Callable, Mapping, NamedTuple, Optional, Sequence, Tuple

from .failure import AgentError


class ExitStatus(NamedTuple):
    """How a process ended: by itself with ``code``, or by ``signal``.  The other is None."""

    code: Optional[int]
    signal: Optional[int]

    @classmethod
    def from_wait(cls, status: int) -> ExitStatus:
        """The meaning of a status word of waitpid(2)."""
        if os.WIFSIGNALED(status):
            return cls(None, os.WTERMSIG(status))
        return cls(os.WEXITSTATUS(status), None)


def spawn(
    argv: Sequence[str],
    env: Mapping[str, str],
    cwd: Optional[str],
    stdio: Tuple[int, int, int],
    in_child: Optional[Callable[[], None]] = None,
) -> int:
    """Start a process in a session of its own with the given descriptors; its pid.

    ``in_child`` runs in the child before the program does, and may only make system calls.  The
    caller's reaper waits for the child.

    Raises :class:`AgentError`: ``InvalidRequest`` (names the field), ``ExecutableNotFound``,
    ``ExecutableInvalid``, ``WorkingDirectoryMissing``, ``PermissionDenied`` or
    ``ProcessStartFailed``.  No error shows an argument or a value of the environment.
    """
    _check_request(argv, env, cwd)
    try:
        child = subprocess.Popen(
            argv,
            stdin=stdio[0],
            stdout=stdio[1],
            stderr=stdio[2],
            cwd=cwd,
            env=env,
            # Safe with threads as well, as long as it does no more than a system call.
            preexec_fn=in_child,  # noqa: PLW1509
            start_new_session=True,
        )
    except OSError as error:
        raise _explain(error, argv[0], env, cwd) from error
    except subprocess.SubprocessError as error:
        raise AgentError(
            "TerminalUnavailable", f"{argv[0]} could not be given its terminal."
        ) from error
    # The reaper waits for it.  Told that it is over, Popen neither polls nor warns.
    child.returncode = 0
    return child.pid


def _check_request(argv: Sequence[str], env: Mapping[str, str], cwd: Optional[str]) -> None:
    if isinstance(argv, str):
        raise AgentError("InvalidRequest", "argv: must be a list of strings.")
    if not argv or not argv[0]:
        raise AgentError("InvalidRequest", "argv: the command is empty.")
    for index, argument in enumerate(argv):
        _check_text(f"argv[{index}]", argument)
    for name, value in env.items():
        _check_text("env", name)
        if not name or "=" in name:
            raise AgentError("InvalidRequest", f"env: {name!r} is no name of a variable.")
        _check_text(f"env[{name!r}]", value)
    if cwd is not None:
        _check_text("cwd", cwd)


def _check_text(field: str, text: str) -> None:
    if not isinstance(text, str):
        raise AgentError("InvalidRequest", f"{field}: must be a string.")
    if "\0" in text:
        raise AgentError("InvalidRequest", f"{field}: contains a null character.")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        # Without its cause, which carries the text.
        raise AgentError("InvalidRequest", f"{field}: cannot be encoded.") from None


def _explain(
    error: OSError, executable: str, env: Mapping[str, str], cwd: Optional[str]
) -> AgentError:
    """Why fork(2), chdir(2) or execve(2) failed, looking at what is there."""
    details = {"errno": error.errno, "executable": executable}
    if cwd is not None:
        unusable = _explain_cwd(cwd)
        if unusable is not None:
            return unusable
    found = _find(executable, env, cwd)
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES) and found is None:
        where = "" if os.sep in executable else f" on PATH ({':'.join(os.get_exec_path(env))})"
        return AgentError(
            "ExecutableNotFound",
            f"{executable} was not found in the runner{where}.",
            "Check the name, or install the program in the runner.",
            details,
        )
    if error.errno == errno.ENOENT:
        return AgentError(
            "ExecutableNotFound",
            f"{found} exists, but not the interpreter or loader that it needs.",
            "Check the first line of the file (#!), or its architecture.",
            details,
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return AgentError(
            "PermissionDenied",
            f"{found} may not be executed by user id {os.geteuid()}.",
            "Make it executable (chmod +x), or run a program that is.",
            details,
        )
    if error.errno == errno.ENOEXEC:
        return AgentError(
            "ExecutableInvalid",
            f"{found} is not a program of this machine's kind.",
            "A script needs a first line that names its interpreter (#!).",
            details,
        )
    return not_started(error)


def _explain_cwd(cwd: str) -> Optional[AgentError]:
    """What is wrong with the working directory, or None."""
    try:
        is_folder = stat.S_ISDIR(os.stat(cwd).st_mode)
    except PermissionError:
        return _forbidden_cwd(cwd)
    except OSError:
        return _missing_cwd(cwd, "does not exist in the runner")
    if not is_folder:
        return _missing_cwd(cwd, "is not a directory")
    return None if os.access(cwd, os.X_OK) else _forbidden_cwd(cwd)


def _missing_cwd(cwd: str, what: str) -> AgentError:
    return AgentError(
        "WorkingDirectoryMissing",
        f"The working directory {cwd} {what}.",
        "Name a directory that exists in the runner.",
        {"cwd": cwd},
    )


def _forbidden_cwd(cwd: str) -> AgentError:
    return AgentError(
        "PermissionDenied",
        f"The working directory {cwd} may not be entered by user id {os.geteuid()}.",
        "Name another directory, or let this user enter it (chmod +x).",
        {"cwd": cwd},
    )


def _find(executable: str, env: Mapping[str, str], cwd: Optional[str]) -> Optional[str]:
    """The file that was to be executed, wherever execvp(3) would have seen one."""
    folders = [""] if os.sep in executable else os.get_exec_path(env)
    candidates = (os.path.join(cwd or "", folder, executable) for folder in folders)
    return next((path for path in candidates if os.path.lexists(path)), None)


def not_started(error: OSError) -> AgentError:
    """The error for a cause that has nothing to do with the request (out of processes, files)."""
    return AgentError(
        "ProcessStartFailed",
        f"The process could not be started: {error.strerror}.",
        details={"errno": error.errno},
    )
