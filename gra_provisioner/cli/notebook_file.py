"""Notebooks on disk: read, checked and written for ``gra run``."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.warnings import MissingIDFieldWarning

from ..errors import ConfigError, GraError
from ..kernelspecs import kernel_language
from .outcome import LanguageMismatch

# As nbclient, by default.
_SKIP = "skip-execution"
_NO_NOTEBOOK = "its JSON is something else's"


def read_notebook(path: Path) -> NotebookNode:
    """The notebook in the newest format, without the outputs of the cells that will run.

    Raises :class:`OSError` where it cannot be read, and
    :class:`~gra_provisioner.errors.ConfigError` where it is none.
    """
    data = path.read_bytes()
    try:
        with warnings.catch_warnings():
            # Cells get the ids that they lack.
            warnings.simplefilter("ignore", MissingIDFieldWarning)
            notebook: NotebookNode = nbformat.reads(data.decode("utf-8-sig"), as_version=4)
    # NotJSONError and UnicodeDecodeError are ValueErrors.
    except (ValueError, nbformat.ValidationError) as error:
        problem = str(error).strip().partition("\n")[0][:200]
    # Of JSON that nbformat did not expect.
    except (AttributeError, KeyError, TypeError):
        problem = _NO_NOTEBOOK
    else:
        problem = "" if _is_usable(notebook) else _NO_NOTEBOOK
    if problem:
        raise ConfigError(
            f"{path} is not a notebook: {problem}",
            hint="Python code is run from a file whose name does not end with .ipynb.",
            reason="NotANotebook",
        )
    for _, cell in runnable(notebook):
        cell.outputs, cell.execution_count = [], None
    return notebook


def _is_usable(notebook: NotebookNode) -> bool:
    """Whether it has all that is needed to run and write it; of its metadata much may lack."""
    cells = notebook.get("cells")
    return (
        isinstance(notebook.get("metadata"), dict)
        and isinstance(cells, list)
        and all(
            isinstance(cell, dict)
            and isinstance(cell.get("source"), str)
            and isinstance(cell.get("metadata"), dict)
            and (cell.get("cell_type") != "code" or isinstance(cell.get("outputs"), list))
            for cell in cells
        )
    )


def language_of(notebook: NotebookNode) -> str:
    """The language that a notebook is in by its own account, empty if it gives none."""
    for table, field in (("kernelspec", "language"), ("language_info", "name")):
        entry = notebook.metadata.get(table)
        if isinstance(entry, dict) and entry.get(field):
            return str(entry[field])
    return ""


def runnable(notebook: NotebookNode) -> Iterator[tuple[int, NotebookNode]]:
    """The cells that have code to run, with their places among all."""
    for place, cell in enumerate(notebook.cells):
        skipped = _SKIP in cell.metadata.get("tags", ())
        if cell.cell_type == "code" and cell.source.strip() and not skipped:
            yield place, cell


def check_language(
    path: Path, notebook: NotebookNode, profile: str, kernel_argv: Sequence[str], told: str = ""
) -> None:
    """Raises :class:`.outcome.LanguageMismatch` if the profile's kernel is not the notebook's.

    ``told`` is the language by the kernel's own account, once it has started.
    """
    kernel = told or kernel_language(kernel_argv)
    wanted = language_of(notebook)
    if not kernel or not wanted or wanted.casefold() == kernel.casefold():
        return
    raise LanguageMismatch(
        f"{path} is a notebook in {wanted}, the kernel of the profile {profile} is for {kernel}.",
        hint=f"Name a profile with a kernel for {wanted}: --profile.",
        details={"notebook": wanted, "kernel": kernel, "profile": profile},
    )


def require_writable(path: Path) -> None:
    """Make sure that the result can be written, before anything is run for it.

    Raises what :func:`write_notebook` does.
    """
    try:
        descriptor, temporary = _beside(path.resolve())
        os.close(descriptor)
        Path(temporary).unlink()
        if path.is_dir():
            raise IsADirectoryError(None, "Is a directory")
    except OSError as error:
        raise _not_writable(path, error) from None


def write_notebook(notebook: NotebookNode, path: Path) -> None:
    """Write the notebook as a whole or not at all; consecutive pieces of a stream become one.

    Raises :class:`~gra_provisioner.errors.GraError`.
    """
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = _merged(cell.outputs)
    text = nbformat.writes(notebook) + "\n"
    # Half of a surrogate pair, which no encoding has, stays as JSON writes it.
    data = text.encode("utf-8", "backslashreplace")
    # A link stays one.
    target = path.resolve()
    try:
        descriptor, temporary = _beside(target)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            Path(temporary).chmod(_mode(target))
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink()
            raise
    except OSError as error:
        raise _not_writable(path, error) from None


def _beside(path: Path) -> tuple[int, str]:
    return tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)


def _mode(path: Path) -> int:
    """The mode of the file that is replaced, or of one that open(2) makes."""
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _not_writable(path: Path, error: OSError) -> GraError:
    return GraError(
        f"{path} cannot be written: {error.strerror}",
        hint="Name another file with --output.",
        reason="NotebookNotWritable",
    )


def _merged(outputs: Sequence[NotebookNode]) -> list[NotebookNode]:
    """The outputs with each run of pieces of one stream as one, as JupyterLab has them."""
    merged: list[NotebookNode] = []
    texts: list[str] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if (
            last is not None
            and last.output_type == output.output_type == "stream"
            and last.name == output.name
        ):
            texts.append(output.text)
            continue
        if texts and last is not None:
            last.text += "".join(texts)
        texts = []
        merged.append(output)
    if texts:
        merged[-1].text += "".join(texts)
    return merged
