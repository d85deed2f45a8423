"""Draws a terminal session with gra, as it happens: ``python -m tools.draw_session``.

The commands are run, on a terminal of their own and with runners on this machine in a folder of
their own; what they say is drawn by rich into ``docs/images/session.svg``, which is kept in the
repository.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

import pexpect
from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "session.svg"
COLUMNS = 100
_BOUND = 120.0

SESSION = (
    "gra create --profile medium --label team=penguins --ttl 8h",
    "gra list",
    "gra exec runner-1 -- sh -c 'nproc; echo oops >&2; exit 3'; echo \"exit code $?\"",
    "echo 'print(sum(range(10**7)))' | gra exec runner-1",
    "gra exec --stream runner-1 -- seq 3",
    "gra logs --source agent runner-1",
    "gra get runner-9",
    "gra delete runner-1",
    "echo 'print(6 * 7)' | gra run -",
)


def said(command: str, environment: dict[str, str]) -> str:
    """What a command leaves on the terminal, with its colours."""
    terminal = pexpect.spawn(
        "bash", ["-c", command], env=environment, dimensions=(50, COLUMNS), timeout=_BOUND
    )
    terminal.expect(pexpect.EOF)
    raw: bytes = terminal.before or b""
    terminal.close()
    text = raw.decode().replace("\r\n", "\n")
    # Of a line that was rewritten in place the last state stays.
    return "\n".join(re.split(r"\r(?:\x1b\[K)?", line)[-1] for line in text.rstrip().split("\n"))


def main() -> None:
    """Run the session and draw it."""
    with tempfile.TemporaryDirectory(prefix="gra-session-") as folder:
        environment = {
            **os.environ,
            "GRA_STATE_DIR": folder,
            "GRA_BACKEND": "local",
            "GRA_OWNER": "ada",
            "TERM": "xterm-256color",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        console = Console(record=True, width=COLUMNS, file=sys.stdout, force_terminal=True)
        for command in SESSION:
            console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
            output = said(command, environment)
            if output:
                console.print(Text.from_ansi(output))
    picture = console.export_svg(title="gra")
    # Whoever looks at it is to load no fonts from elsewhere; those of the system will do.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    PICTURE.write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
