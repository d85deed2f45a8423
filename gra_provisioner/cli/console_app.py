"""The program that ``gra console`` runs: ``jupyter console``, for a kernel that is not its own.

By itself it refuses to interrupt such a kernel, but ends it at ``exit``.
"""

from __future__ import annotations

from jupyter_console.app import ZMQTerminalIPythonApp

# What IPython would end the kernel for.
_LEAVE = frozenset({"exit", "exit()", "quit", "quit()"})


class _Gra:
    """In the place of the manager of a kernel that was started here."""

    def interrupt_kernel(self) -> None:
        """Done by gra, which gets the same Ctrl-C from the terminal."""


class Console(ZMQTerminalIPythonApp):  # type: ignore[misc]
    """The console of a kernel that goes on when it is left."""

    def init_shell(self) -> None:
        """The shell, which is left by the words that would end the kernel."""
        super().init_shell()
        self.kernel_manager = _Gra()
        run_cell = self.shell.run_cell

        def run_or_leave(cell: str, store_history: bool = True) -> None:
            if cell.strip() in _LEAVE:
                self.shell.ask_exit()
            else:
                run_cell(cell, store_history)

        self.shell.run_cell = run_or_leave


if __name__ == "__main__":
    Console.launch_instance()
