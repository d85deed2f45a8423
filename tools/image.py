"""Builds the images of ``runner-image/`` by whichever of buildah, podman and docker there is.

``python -m tools.image [--base IMAGE] [--tag TAG] [--prefix PREFIX]``, called by ``make image``.
Their bills of materials are written to ``build/image``.  The test cluster builds the same files on
a base of its own (``tests/cluster/runner_images.py``).

What this host needs to reach Debian and PyPI (certificates, an index, a proxy) holds in the build
too, and stays in no layer (``tools/image_settings.py``).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gra_provisioner import __version__

from .image_settings import host_settings

ROOT = Path(__file__).parent.parent
CONTEXT = ROOT / "runner-image"
#: The targets of the Containerfile, and so the images.
TARGETS = ("s3fs-sidecar", "runner")
#: Where each image has its bill of materials.
SBOM = "/usr/share/gra/sbom.cdx.json"

_PROGRAMS = ("buildah", "podman", "docker")
_OUTPUT = ROOT / "build" / "image"
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


class ImageError(Exception):
    """An image cannot be built here.  The text says why."""


@dataclass(frozen=True)
class Builder:
    """A program that builds images.  ``words``: the program, and options that it always gets."""

    words: tuple[str, ...]

    @property
    def is_docker(self) -> bool:
        return Path(self.words[0]).name == "docker"

    @property
    def is_buildah(self) -> bool:
        return Path(self.words[0]).name == "buildah"

    def build_command(
        self, target: str, name: str, arguments: Mapping[str, str], secrets: Mapping[str, Path]
    ) -> list[str]:
        """The command that builds ``target`` as ``name``, with these build arguments."""
        options = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        options += [f"--secret=id={key},src={path}" for key, path in secrets.items()]
        if self.is_docker:
            # Their values come from the environment; the other builders pass them on unasked.
            options += [f"--build-arg={key}" for key in _PROXIES if key in os.environ]
        else:
            # All files get that time.  Steps of the first image are not done again for the second.
            options += ["--layers", f"--timestamp={arguments['SOURCE_DATE_EPOCH']}"]
        file = CONTEXT / "Containerfile"
        options += [f"--file={file}", f"--target={target}", f"--tag={name}"]
        return [*self.words, "build", *options, str(CONTEXT)]

    def read(self, name: str, path: str) -> str:
        """A file of an image, as text."""
        if not self.is_buildah:
            return run([*self.words, "run", "--rm", "--entrypoint", "cat", name, path])
        container = run([*self.words, "from", "--pull-never", name]).strip()
        try:
            return run([*self.words, "run", container, "--", "cat", path])
        finally:
            run([*self.words, "rm", container])


def find_builder() -> Builder:
    """The builder of this host.  Raises :class:`ImageError` where there is none."""
    for program in _PROGRAMS:
        found = shutil.which(program)
        if found is not None:
            return Builder((found,))
    raise ImageError(
        "there is no buildah, podman or docker; on Debian: sudo apt-get install buildah"
    )


def run(command: Sequence[str]) -> str:
    """Run a program to its end; what it wrote on standard output.

    Raises :class:`ImageError` with what it wrote on standard error if it fails.
    """
    done = subprocess.run(command, check=False, text=True, capture_output=True)
    if done.returncode != 0:
        raise ImageError(f"{command[0]} ended with {done.returncode}\n{done.stderr}".rstrip())
    return done.stdout


def arguments_for(base: str | None, moment: int) -> dict[str, str]:
    """The Containerfile's build arguments.  ``moment``: the time of all files, since the epoch."""
    chosen = {"BASE": base} if base else {}
    return {**chosen, "SOURCE_DATE_EPOCH": str(moment), "VERSION": __version__}


def _moment() -> int:
    """``SOURCE_DATE_EPOCH``, or else when what the images are made from was last changed.

    https://reproducible-builds.org/specs/source-date-epoch/
    """
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return int(given)
    command = ("git", "-C", str(ROOT), "log", "-1", "--format=%ct", "--", str(CONTEXT))
    try:
        return int(run(command).strip() or 0)
    except (ImageError, FileNotFoundError):
        return 0


def build(base: str | None, prefix: str, tag: str) -> None:
    """Build all images and write their bills of materials.  Raises :class:`ImageError`."""
    builder = find_builder()
    arguments = arguments_for(base, _moment())
    _OUTPUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gra-image-") as folder:
        secrets = host_settings(Path(folder))
        for target in TARGETS:
            name = f"{prefix}/{target}:{tag}"
            command = builder.build_command(target, name, arguments, secrets)
            exit_code = subprocess.run(command, check=False).returncode
            if exit_code != 0:
                raise ImageError(f"{builder.words[0]} ended with {exit_code}; {name} is not built")
            bill = _OUTPUT / f"{target}.cdx.json"
            bill.write_text(builder.read(name, SBOM), encoding="utf-8")
            print(f"built {name}; its bill of materials: {bill.relative_to(ROOT)}")


def main() -> int:
    """Build as the command line asks for it.  Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--base", help="the image to start from (default: the Containerfile's)")
    parser.add_argument("--prefix", default="localhost/gra", help="what names begin with")
    parser.add_argument("--tag", default=__version__)
    options = parser.parse_args()
    try:
        build(options.base or None, options.prefix, options.tag)
    except ImageError as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
