"""``gra kernelspec install | list | remove``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .launch_options import ProfileOption
from .options import JsonOption
from .output import cell, console, plain_table, print_json, reported_errors

if TYPE_CHECKING:
    from jupyter_client.kernelspec import KernelSpecManager

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Manage the kernels in Jupyter's picker that start runners.",
    rich_markup_mode=None,
)


def _manager() -> KernelSpecManager:
    from jupyter_client.kernelspec import KernelSpecManager

    # A kernelspec named "python3" that nobody installed is no concern of these commands.
    return KernelSpecManager(ensure_native_kernel=False)


def _installed_names() -> list[str]:
    """For the shell's completion."""
    from .. import kernelspecs

    return [spec.name for spec in kernelspecs.installed(_manager())]


@app.command("install")
def install(
    profile: ProfileOption = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name for clients. Default: gra-PROFILE.")
    ] = None,
    display_name: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Default: made from the profile's sizes.")
    ] = None,
    language: Annotated[
        str, typer.Option(metavar="LANGUAGE", help="Language of the profile's kernel_argv.")
    ] = "python",
    user: Annotated[bool, typer.Option("--user", help="For this user (the default).")] = False,
    sys_prefix: Annotated[
        bool, typer.Option("--sys-prefix", help="In the Python environment that gra is in.")
    ] = False,
    prefix: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Below FOLDER/share/jupyter/kernels.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Put a profile into Jupyter's kernel picker.

    Run it again after changing the profile's sizes: they are part of the display name.
    """
    if sum((user, sys_prefix, prefix is not None)) > 1:
        raise typer.BadParameter("Choose one of --user, --sys-prefix and --prefix.")
    from .. import kernelspecs
    from ..profiles import load_config

    with reported_errors(as_json):
        config = load_config(os.environ)
        chosen = profile or config.default_profile
        content = kernelspecs.kernel_json(
            chosen,
            config.profile(chosen, "option --profile"),
            sys.executable,
            language=language,
            title=display_name,
        )
        name = (name or f"gra-{chosen}").lower()
        below = Path(sys.prefix) if sys_prefix else prefix
        manager = _manager()
        folder = kernelspecs.install(manager, name, content, prefix=below)
    if as_json:
        print_json({"name": name, "resource_dir": str(folder), **content})
    else:
        typer.echo(f'installed {name}, "{content["display_name"]}", in {folder}')
    if str(folder.parent) not in manager.kernel_dirs:
        share = folder.parents[1]
        typer.echo(f"Jupyter does not look there unless JUPYTER_PATH names {share}.", err=True)


@app.command("list")
def list_kernelspecs(as_json: JsonOption = False) -> None:
    """Show the installed kernels that start runners."""
    from .. import kernelspecs

    with reported_errors(as_json):
        specs = kernelspecs.installed(_manager())
    if as_json:
        print_json([spec.public() for spec in specs])
        return
    if not specs:
        typer.echo("no kernelspecs of gra")
        return
    table = plain_table(["NAME", "PROFILE", "DISPLAY NAME", "FOLDER"])
    for spec in specs:
        values = [spec.name, spec.profile, spec.display_name, str(spec.resource_dir)]
        table.add_row(*map(cell, values))
    console().print(table)


@app.command("remove")
def remove(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", autocompletion=_installed_names)],
    as_json: JsonOption = False,
) -> None:
    """Remove kernels that start runners.  Running ones go on."""
    from .. import kernelspecs

    with reported_errors(as_json):
        manager = _manager()
        folders = {name: str(kernelspecs.remove(manager, name)) for name in names}
    if as_json:
        print_json({"removed": folders})
    else:
        typer.echo("\n".join(f"removed {name} from {folder}" for name, folder in folders.items()))
