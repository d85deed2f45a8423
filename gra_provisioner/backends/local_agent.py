"""A local runner's agent: started as a detached process, and waited for until it listens."""

from __future__ import annotations

import asyncio
import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import agent as agent_package
from ..errors import RunnerStartError
from ..runner import RunnerSpec

# An agent is an interpreter that starts and listens; one that takes longer has a reason.
_START_WITHIN = 20.0
# Of the client's environment a runner gets only what says who and where the user is.
_RUNNER_ENV = ("LANG", "LANGUAGE", "TZ", "LOGNAME", "USER", "SHELL")


def start_agent(
    folder: Path, uid: str, spec: RunnerSpec, python: str, environ: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], int]:
    """Start the agent of the runner in ``folder``; its process, and the descriptor
    for :func:`until_ready`.

    Of ``environ`` it gets what says who and where the user is.  Raises OSError.
    """
    ready, child_ready = os.pipe()
    ttl = {
        "--orphan-ttl": spec.ttl.orphan,
        "--idle-ttl": spec.ttl.idle,
        "--lifetime": spec.ttl.lifetime,
    }
    command = [python, "-I", "-S", str(Path(agent_package.__file__).parent)]
    command += ["--directory", str(folder), "--socket", str(folder / "agent.sock")]
    command += ["--uid", uid, "--scope", "processes"]
    for option, seconds in ttl.items():
        command += [option, "never" if seconds is None else f"{seconds:g}"]
    command += ["--memory", str(spec.buffers.memory), "--spill", str(spec.buffers.spill)]
    command += ["--log", str(folder / "agent.log"), "--last-word", str(folder / "ended.json")]
    command += ["--ready-fd", str(child_ready)]
    errors = os.open(folder / "agent.err", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        child = subprocess.Popen(
            command,
            env=_runner_env(python, environ),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            start_new_session=True,
            pass_fds=(child_ready,),
        )
    except BaseException:
        os.close(ready)
        raise
    finally:
        os.close(child_ready)
        os.close(errors)
    return child, ready


def _runner_env(python: str, environ: Mapping[str, str]) -> dict[str, str]:
    env = {name: environ[name] for name in _RUNNER_ENV if name in environ}
    env.update({n: v for n, v in environ.items() if n.startswith("LC_")})
    try:
        user = pwd.getpwuid(os.getuid())
    except KeyError:
        # A uid without a name, as containers have: the client's word has to do.
        env["HOME"] = environ.get("HOME", "/")
    else:
        env["HOME"] = user.pw_dir
        env.setdefault("USER", user.pw_name)
    env.setdefault("LANG", "C.UTF-8")
    standard = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    env["PATH"] = f"{Path(python).parent}:{standard}"
    return env


async def until_ready(ready: int, child: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait until the agent listens.

    Raises :class:`~..errors.RunnerStartError` with its last words if it ends before, or takes too
    long.
    """
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(ready, readable.set)
    try:
        await asyncio.wait_for(readable.wait(), _START_WITHIN)
        word = os.read(ready, 16)
    except asyncio.TimeoutError:
        raise RunnerStartError(
            f"The agent (pid {child.pid}) started but did not listen within {_START_WITHIN:g} s.",
            hint="The host may be short of CPU or memory.",
        ) from None
    finally:
        loop.remove_reader(ready)
        os.close(ready)
    if not word:
        code = child.wait()
        lines = _tail(folder / "agent.err")
        said = "Its last lines:\n" + "\n".join(lines) if lines else "It wrote nothing."
        raise RunnerStartError(
            f"The agent ended with code {code} before it listened. {said}",
            hint="Its interpreter must be Python 3.8 or later and its folder writable.",
            details={"log": lines},
        )


def _tail(path: Path) -> Sequence[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()[-10:]
