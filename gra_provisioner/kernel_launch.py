"""What the provisioner and those who start kernels through jupyter_client tell each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tornado.web import HTTPError

from .errors import GraError, LaunchError

#: The keyword of ``start_kernel`` by which a launch has settings of its own.
LAUNCH = "gra_launch"


@dataclass(frozen=True)
class LaunchSettings:
    """The layer of configuration of one kernel: ``launch`` of :func:`.profiles.resolve`.

    Given as the keyword :data:`LAUNCH` of a kernel manager's ``start_kernel``, which keeps it for
    the kernel's restarts (``KernelManager._launch_args``) and hands it to the provisioner's
    ``pre_launch``.  jupyter_server logs such keywords, so this shows nothing: variables are in it.
    """

    settings: Mapping[str, Any] = field(repr=False)
    source: str = "launch options"


class LaunchFailed(LaunchError, HTTPError):  # type: ignore[misc]
    """A failed launch, in the one form whose text every client shows.

    jupyter_server replaces the text of any exception but tornado's HTTPError by "Unhandled
    error" (``APIHandler.write_error``).  ``error`` is what it was made of.
    """

    def __init__(self, error: GraError) -> None:
        text = str(error)
        HTTPError.__init__(self, 500, text.replace("%", "%%"))
        LaunchError.__init__(
            self, error.message, hint=error.hint, details=error.details, reason=error.code
        )
        self.error = error
        # Tornado shows an instance's reason behind the status code, so it is one line of ASCII.
        self.reason = error.code  # type: ignore[misc]
        self.args = (text,)

    def __str__(self) -> str:
        return GraError.__str__(self)
