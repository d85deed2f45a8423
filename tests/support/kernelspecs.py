"""Kernelspecs for tests: the same kernel on gra, or bare, as ``--kernel`` says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

IPYKERNEL_ARGV = ("python", "-m", "ipykernel_launcher", "-f", "{connection_file}")
BASH_ARGV = ("python", "-m", "bash_kernel", "-f", "{connection_file}")


class KernelSpecs:
    """Writes kernelspecs into one data folder of Jupyter.

    With ``on_runners`` a spec is written as ``gra kernelspec install`` does; else it starts
    the kernel's own command, so that a test can be tried against jupyter_client alone.
    """

    def __init__(self, data: Path, *, on_runners: bool) -> None:
        self._folder = data / "kernels"
        self._on_runners = on_runners

    def install_all(self, source: Path) -> None:
        """Install the kernelspecs of the source tree, as the wheel does."""
        for spec in source.iterdir():
            if (spec / "kernel.json").is_file():
                shutil.copytree(spec, self._folder / spec.name)

    def write(
        self,
        name: str,
        *,
        kernel_argv: Sequence[str] = IPYKERNEL_ARGV,
        language: str = "python",
        env: Mapping[str, str] | None = None,
        interrupt_mode: str = "signal",
        config: Mapping[str, Any] | None = None,
    ) -> str:
        """Write the kernelspec ``name`` and return its name.

        ``config`` goes over the provisioner's own: profile ``small`` and ``kernel_argv``.
        """
        spec: dict[str, Any] = {
            "argv": list(kernel_argv),
            "display_name": name,
            "language": language,
            "interrupt_mode": interrupt_mode,
            "env": dict(env or {}),
            "metadata": {},
        }
        if self._on_runners:
            profile = (config or {}).get("profile", "small")
            spec["argv"] = [
                *("python", "-m", "gra_provisioner", "kernel"),
                *("--profile", profile, "-f", "{connection_file}"),
            ]
            spec["metadata"]["kernel_provisioner"] = {
                "provisioner_name": "gra",
                "config": {
                    "profile": profile,
                    "kernel_argv": list(kernel_argv),
                    **(config or {}),
                },
            }
        folder = self._folder / name
        folder.mkdir(parents=True)
        (folder / "kernel.json").write_text(json.dumps(spec))
        return name
