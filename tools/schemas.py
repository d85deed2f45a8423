"""Writes the JSON Schemas of what the command line prints: ``python -m tools.schemas``.

They are made from the models in ``gra_provisioner/documents``.
"""

from __future__ import annotations

import json
from pathlib import Path

from gra_provisioner.documents.schemas import OF_COMMANDS, of_command

FOLDER = Path(__file__).parents[1] / "docs" / "schemas"


def schemas() -> dict[str, str]:
    """The content of each file, by its name."""
    return {
        f"{name}.json": json.dumps(of_command(name), indent=2, ensure_ascii=False) + "\n"
        for name in OF_COMMANDS
    }


def write(folder: Path = FOLDER) -> None:
    """Write all files, and remove those of commands that are no more."""
    folder.mkdir(exist_ok=True)
    for stale in {path.name for path in folder.glob("*.json")} - schemas().keys():
        (folder / stale).unlink()
    for name, text in schemas().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
