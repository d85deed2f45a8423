"""The kernelspecs that start runners: made, found and removed, with Jupyter's own machinery.

The wheel brings ``gra``, ``gra-medium`` and ``gra-large``; :func:`install` writes one for any
other profile.  Called by ``gra kernelspec``.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager

from .errors import ConfigError, GraError
from .schema import Settings
from .units import format_count, format_size

PROVISIONER = "gra"

# As jupyter_client.kernelspec checks it, which itself only warns in most places.
_NAME = re.compile(r"[a-z0-9._-]+", re.ASCII | re.IGNORECASE)
_IPYKERNEL = frozenset({"ipykernel_launcher", "ipykernel"})
_LOGOS = "logo-*"


@dataclass(frozen=True)
class InstalledKernelSpec:
    """A kernelspec whose provisioner is gra, as it lies in ``resource_dir``.

    ``profile`` is ``None`` where it leaves the choice to the configured default.
    """

    name: str
    display_name: str
    language: str
    profile: str | None
    resource_dir: Path

    def public(self) -> dict[str, Any]:
        """As ``gra kernelspec list --json`` prints it, without values of an environment."""
        return {
            "name": self.name,
            "display_name": self.display_name,
            "language": self.language,
            "profile": self.profile,
            "resource_dir": str(self.resource_dir),
        }


def kernel_language(kernel_argv: Sequence[str]) -> str:
    """The language of the kernel that a command starts, empty where only the kernel knows."""
    return "python" if _IPYKERNEL.intersection(kernel_argv) else ""


def display_name(profile: str, settings: Settings, language: str = "python") -> str:
    """``Python 3 · medium runner (4 CPU, 8 GiB)``: Lab's kernel picker shows nothing else."""
    resources = settings.resources
    sizes = [f"{format_count(resources.cpu)} CPU", format_size(resources.memory)]
    if resources.gpu:
        sizes.append(f"{resources.gpu} GPU")
    title = "Python 3" if language == "python" else language[:1].upper() + language[1:]
    return f"{title} · {profile} runner ({', '.join(sizes)})"


def kernel_json(
    profile: str,
    settings: Settings,
    executable: str,
    *,
    language: str = "python",
    title: str | None = None,
) -> dict[str, Any]:
    """The content of ``kernel.json`` for a profile.

    ``executable`` is the Python that has gra; ``argv`` runs its launcher, for clients that
    ignore provisioners.  The format is that of
    https://jupyter-client.readthedocs.io/en/stable/kernels.html#kernel-specs.
    """
    # As ipykernel's own, but for "supported_encryption": the tunnel carries no CURVE.
    metadata = {"debugger": True} if _IPYKERNEL.intersection(settings.kernel_argv) else {}
    launcher = [executable, "-m", "gra_provisioner", "kernel", "--profile", profile]
    return {
        "argv": [*launcher, "-f", "{connection_file}"],
        "display_name": title or display_name(profile, settings, language),
        "language": language,
        "interrupt_mode": "signal",
        "kernel_protocol_version": "5.5",
        "metadata": {
            **metadata,
            "kernel_provisioner": {
                "provisioner_name": PROVISIONER,
                "config": {"profile": profile},
            },
        },
    }


def installed(manager: KernelSpecManager) -> list[InstalledKernelSpec]:
    """The kernelspecs that Jupyter finds and whose provisioner is gra, by name."""
    specs = []
    for name, directory in sorted(manager.find_kernel_specs().items()):
        content = _read_kernel_json(Path(directory))
        stanza = _provisioner_stanza(content)
        if stanza.get("provisioner_name") != PROVISIONER:
            continue
        config = stanza.get("config")
        specs.append(
            InstalledKernelSpec(
                name=name,
                display_name=str(content.get("display_name", name)),
                language=str(content.get("language", "")),
                profile=config.get("profile") if isinstance(config, Mapping) else None,
                resource_dir=Path(directory),
            )
        )
    return specs


def install(
    manager: KernelSpecManager,
    name: str,
    content: Mapping[str, Any],
    *,
    prefix: Path | None = None,
) -> Path:
    """Write a kernelspec with gra's logos and return its folder.

    Below ``prefix`` or, without one, for the user.  One of the same name is replaced if it is
    gra's, and refused otherwise.  Raises :class:`~gra_provisioner.errors.ConfigError` for a
    name that Jupyter does not take, :class:`~gra_provisioner.errors.GraError` where the folder
    cannot be written.
    """
    name = name.lower()
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"--name is {name!r}, must be letters, digits, '-', '.' and '_'", reason="InvalidName"
        )
    below = Path(prefix, "share", "jupyter", "kernels") if prefix else Path(manager.user_kernel_dir)
    destination = below.absolute() / name
    if destination.exists() and not _is_ours(destination):
        raise ConfigError(
            f"{destination} is the kernelspec of something else than gra",
            hint="Choose another --name.",
            reason="NotOurKernelSpec",
        )
    logos = _logos(manager)
    try:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, name)
            source.mkdir()
            for logo in logos:
                shutil.copyfile(logo, source / logo.name)
            text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
            (source / "kernel.json").write_text(text, encoding="utf-8")
            return Path(
                manager.install_kernel_spec(
                    str(source),
                    kernel_name=name,
                    user=prefix is None,
                    prefix=None if prefix is None else str(prefix),
                )
            )
    except OSError as error:
        raise GraError(
            f"{destination} cannot be written: {error.strerror}",
            hint="Install with --user, or below a --prefix that you may write to.",
            reason="KernelSpecNotWritable",
        ) from error


def remove(manager: KernelSpecManager, name: str) -> Path:
    """Remove a kernelspec of gra's and return the folder that it was in.

    Raises :class:`~gra_provisioner.errors.ConfigError` if there is none of that name or it is
    not gra's, :class:`~gra_provisioner.errors.GraError` if it cannot be removed.
    """
    directory = manager.find_kernel_specs().get(name.lower())
    if directory is None:
        ours = ", ".join(spec.name for spec in installed(manager)) or "none"
        raise ConfigError(
            f"there is no kernelspec {name!r}; those of gra are: {ours}",
            reason="UnknownKernelSpec",
        )
    if not _is_ours(Path(directory)):
        raise ConfigError(
            f"{directory} is the kernelspec of something else than gra",
            hint=f"jupyter kernelspec remove {name} removes any kernelspec.",
            reason="NotOurKernelSpec",
        )
    try:
        return Path(manager.remove_kernel_spec(name.lower()))
    except OSError as error:
        raise GraError(
            f"{directory} cannot be removed: {error.strerror}", reason="KernelSpecNotWritable"
        ) from error


def _read_kernel_json(directory: Path) -> Mapping[str, Any]:
    """The folder's ``kernel.json``, empty where there is none that Jupyter could use."""
    try:
        content = json.loads((directory / "kernel.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, Mapping) else {}


def _provisioner_stanza(content: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = content.get("metadata")
    stanza = metadata.get("kernel_provisioner") if isinstance(metadata, Mapping) else None
    return stanza if isinstance(stanza, Mapping) else {}


def _is_ours(directory: Path) -> bool:
    return _provisioner_stanza(_read_kernel_json(directory)).get("provisioner_name") == PROVISIONER


def _logos(manager: KernelSpecManager) -> list[Path]:
    """The logos of a kernelspec of gra's, else of the source tree; none is no error."""
    folders = [spec.resource_dir for spec in installed(manager)]
    folders.append(Path(__file__).parents[1] / "kernelspecs" / "gra")
    for folder in folders:
        if logos := sorted(folder.glob(_LOGOS)):
            return logos
    return []
