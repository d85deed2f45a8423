"""Commands that are imported when they run, so that ``gra --help`` is there at once.

After "Lazily Loading Subcommands" of Click's documentation.  Help is plain text, because what typer
imports to draw boxes takes longer than all the rest.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup


def _quickly_checked(parameters: list[Any]) -> list[Any]:
    """The parameters, with values of their own for typer's flags (--help).

    To check that they are ``None``, typer would import pydantic.
    """
    for parameter in parameters:
        if not parameter.expose_value and parameter.default is None:
            parameter.default = False
    return parameters


class Command(TyperCommand):
    """A command whose help has a section for each ``rich_help_panel`` of its options."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _quickly_checked(super().get_params(ctx))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, options, then the other panels in the order of their first option."""
        panels: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
                panel = getattr(parameter, "rich_help_panel", None) or usual
                panels.setdefault(panel, []).append(record)
        for title, records in panels.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class LazyCommand(TyperCommand):
    """A command of which only the name and the short help are known until it is used."""

    def __init__(self, name: str, place: str, short_help: str) -> None:
        super().__init__(name, help=short_help, short_help=short_help)
        self._place = place

    def load(self) -> Any:
        """The command itself, made from the function or the typer app at its place."""
        module, _, attribute = self._place.partition(":")
        target = getattr(importlib.import_module(f".{module}", __package__), attribute)
        if isinstance(target, typer.Typer):
            group: Any = typer.main.get_command(target)
            group.name = self.name
            return group
        app = typer.Typer(
            add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
        )
        app.command(self.name, cls=Command)(target)
        return typer.main.get_command(app)

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> Any:
        """The context of the command itself: whoever runs or completes asks for it first."""
        return self.load().make_context(info_name, args, *more, **extra)


class LazyGroup(TyperGroup):
    """A group with the commands of a table: name, ``module:attribute`` in this package, help."""

    table: ClassVar[Mapping[str, tuple[str, str]]] = {}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name, (place, short_help) in self.table.items():
            self.add_command(LazyCommand(name, place, short_help), name)

    def get_params(self, ctx: Any) -> list[Any]:
        return _quickly_checked(super().get_params(ctx))
