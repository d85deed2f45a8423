"""Which environment variables go from a Jupyter client's process to the kernel.  Pure.

jupyter_server hands its whole environment to every kernel.  A runner is another place, often
another machine, so only the difference goes there: what the kernelspec sets, what the server set
for this very kernel, and what the profile names.  Tokens of the hub, PATH, HOME and whatever
describes the client's own Python stay where they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

# Never sent, unless the profile names it: it describes the client's machine, session or rights.
_PRIVATE = re.compile(
    r"""
    PATH | HOME | PWD | OLDPWD | SHLVL | _ | TMPDIR | USER | LOGNAME | SHELL
    | KUBECONFIG | SSH_.* | DBUS_.* | DISPLAY | WAYLAND_DISPLAY
    | PYTHON.* | VIRTUAL_ENV.* | CONDA_.* | LD_.* | DYLD_.* | XDG_.*
    | KUBERNETES_.* | JUPYTERHUB_.* | JPY_API_TOKEN | JUPYTER_TOKEN | JUPYTER_.*DIR
    | JUPYTER_PATH | JUPYTER_CONFIG_PATH
    """,
    re.VERBOSE,
)
# Never sent at all: the kernel would watch a process that does not exist where it runs.
_IMPOSSIBLE = frozenset({"JPY_PARENT_PID", "JPY_INTERRUPT_EVENT"})
# Always sent: what jupyter_server says of this very kernel.
_ALWAYS = frozenset({"JPY_SESSION_NAME"})


def difference(
    env: Mapping[str, str], base: Mapping[str, str], forward: Iterable[str] = ()
) -> dict[str, str]:
    """What to send of ``env``, the environment a client wants its kernel to have.

    ``base`` is the client process's own; ``forward`` are the names that the profile lists.
    """
    named = frozenset(forward)
    return {
        name: value
        for name, value in env.items()
        if name not in _IMPOSSIBLE and _goes(name, value, base, named)
    }


def _goes(name: str, value: str, base: Mapping[str, str], named: frozenset[str]) -> bool:
    if name in named or name in _ALWAYS:
        return True
    return base.get(name) != value and not _PRIVATE.fullmatch(name)
