"""The options of one launch that several commands have: as typer's types, and as a layer.

:func:`launch_layer` makes of them the ``launch`` of :func:`gra_provisioner.profiles.resolve`, which
checks all values, so that an error says the same wherever a value came from.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer

from .completion import profile_names

#: How :func:`~gra_provisioner.profiles.resolve` names the layer in errors.
SOURCE = "command line"

_LIVES = ("orphan", "idle", "lifetime")
_LAUNCH = "Launch"

ProfileOption = Annotated[
    str | None,
    typer.Option(
        metavar="PROFILE", help="Default: the default profile.", autocompletion=profile_names
    ),
]
ImageOption = Annotated[
    str | None,
    typer.Option(metavar="IMAGE", help="Of the pod.", rich_help_panel=_LAUNCH),
]
CpuOption = Annotated[
    str | None,
    typer.Option(metavar="CPU", help="Processors, for example 2 or 500m.", rich_help_panel=_LAUNCH),
]
MemoryOption = Annotated[
    str | None, typer.Option(metavar="SIZE", help="For example 4Gi.", rich_help_panel=_LAUNCH)
]
GpuOption = Annotated[
    int | None, typer.Option(min=0, metavar="N", help="GPUs.", rich_help_panel=_LAUNCH)
]
EnvOption = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        "-e",
        metavar="NAME[=VALUE]",
        help="A variable of the kernel; without VALUE as it is here, and secret.",
        rich_help_panel=_LAUNCH,
    ),
]
TtlOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[KIND=]TIME",
        help="When it ends by itself: 8h, idle=2h, orphan=30m, lifetime=never.",
        rich_help_panel=_LAUNCH,
    ),
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--label", "-l", metavar="NAME=VALUE", help="To find it by.", rich_help_panel=_LAUNCH
    ),
]


def launch_layer(
    *,
    profile: str | None = None,
    image: str | None = None,
    cpu: str | None = None,
    memory: str | None = None,
    gpu: int | None = None,
    env: Iterable[str] | None = None,
    ttl: Iterable[str] | None = None,
    labels: Iterable[str] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> dict[str, Any]:
    """What was given, as a profile has it.  Raises :class:`typer.BadParameter`."""
    layer: dict[str, Any] = {"profile": profile, "image": image}
    layer["resources"] = _given({"cpu": cpu, "memory": _plain_number(memory), "gpu": gpu})
    layer["env"] = dict(_variable(text, environ) for text in env or ())
    layer["ttl"] = dict(_life(text) for text in ttl or ())
    layer["pod"] = _given({"labels": dict(label(text) for text in labels or ()) or None})
    return {name: value for name, value in layer.items() if value not in (None, {})}


def label(text: str) -> tuple[str, str]:
    """``team=a``.  Raises :class:`typer.BadParameter`."""
    name, has_value, value = text.partition("=")
    if not name or not has_value:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE.", param_hint="--label")
    return name, value


def variable(text: str, environ: Mapping[str, str] = os.environ) -> tuple[str, str, bool]:
    """(name, value, whether it was taken from here) of ``NAME=VALUE`` or ``NAME``.

    Raises :class:`typer.BadParameter`, which never shows a value.
    """
    name, has_value, value = text.partition("=")
    if not name:
        raise typer.BadParameter("'=…' names no variable.", param_hint="--env")
    if not has_value and name not in environ:
        raise typer.BadParameter(f"{name} is not set here: write NAME=VALUE.", param_hint="--env")
    return name, value if has_value else environ[name], not has_value


def _variable(text: str, environ: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    name, value, from_here = variable(text, environ)
    return name, {"value": value, "secret": from_here}


def _life(text: str) -> tuple[str, str | float]:
    kind, has_kind, time = text.partition("=")
    if not has_kind:
        kind, time = "lifetime", text
    if kind not in _LIVES:
        raise typer.BadParameter(
            f"{text!r}: {kind!r} is none of {', '.join(_LIVES)}.", param_hint="--ttl"
        )
    number = _plain_number(time)
    return kind, number if number is not None else time


def _plain_number(text: str | None) -> str | int | None:
    """A number as such: seconds, or bytes."""
    return int(text) if text is not None and text.isdecimal() and text.isascii() else text


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
