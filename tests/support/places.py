"""The folders that a test's Jupyter and gra live in, apart from the user's own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Places:
    """All below ``root``, which is short: a unix socket's path has room for 107 bytes."""

    root: Path

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def config(self) -> Path:
        return self.root / "config"

    @property
    def runtime(self) -> Path:
        return self.root / "runtime"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def work(self) -> Path:
        """Where notebooks are, and the working directory of tests that need one."""
        return self.root / "work"

    @property
    def gra_state(self) -> Path:
        return self.state / "gra"

    @property
    def runners(self) -> Path:
        return self.gra_state / "runners"

    def make(self) -> None:
        for folder in (self.home, self.data, self.config, self.runtime, self.state, self.work):
            folder.mkdir(mode=0o700)

    def environment(self) -> dict[str, str]:
        """The variables that make Jupyter, IPython and gra use these folders."""
        return {
            "HOME": str(self.home),
            # In a virtual environment Jupyter would look into that first, and the tests would use,
            # and remove, the kernels that are installed there.
            "JUPYTER_PREFER_ENV_PATH": "0",
            "JUPYTER_DATA_DIR": str(self.data),
            "JUPYTER_CONFIG_DIR": str(self.config),
            "JUPYTER_RUNTIME_DIR": str(self.runtime),
            "IPYTHONDIR": str(self.home / ".ipython"),
            "XDG_STATE_HOME": str(self.state),
        }

    def runner_folders(self) -> list[Path]:
        if not self.runners.is_dir():
            return []
        return sorted(entry for entry in self.runners.iterdir() if entry.is_dir())

    def runner_records(self) -> dict[str, dict[str, Any]]:
        """The ``runner.json`` of each runner that has one, by the runner's name."""
        return {
            folder.name: json.loads(record.read_text())
            for folder in self.runner_folders()
            if (record := folder / "runner.json").is_file()
        }

    def write_profiles(self, toml: str) -> None:
        """Write the user's own configuration of gra."""
        folder = self.config / "gra"
        folder.mkdir(exist_ok=True)
        (folder / "config.toml").write_text(toml)
