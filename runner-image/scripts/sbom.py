"""Writes the image's software bill of materials: what is installed where this runs.

Run at the end of a build, in the image.  The document is CycloneDX 1.6
(https://cyclonedx.org/docs/1.6/json/).  It names Debian's packages as dpkg has them, Python's as
their metadata does, and the interpreter where it is not Debian's.  Of the same image it is the
same each time: its time is SOURCE_DATE_EPOCH, its number comes from its content.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import uuid
from collections.abc import Iterator
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

DPKG_STATUS = Path("/var/lib/dpkg/status")
OUTPUT = Path("/usr/share/gra/sbom.cdx.json")
# What is in there belongs to a Debian package.
DEBIANS_PYTHON = Path("/usr/lib/python3")

Component = dict[str, Any]


def paragraphs(text: str) -> Iterator[dict[str, str]]:
    """The fields of each paragraph of a Debian control file, continued lines left out."""
    for block in text.split("\n\n"):
        fields = {}
        for line in block.splitlines():
            name, colon, value = line.partition(":")
            if colon and not line.startswith((" ", "\t")):
                fields[name] = value.strip()
        if fields:
            yield fields


def debian_packages(status: str, distro: str) -> Iterator[Component]:
    """The installed packages of dpkg's status file.  ``distro`` is such as ``debian-13``."""
    for fields in paragraphs(status):
        if fields.get("Status", "").split()[-1:] != ["installed"]:
            continue
        name, version = fields["Package"], fields["Version"]
        # https://github.com/package-url/purl-spec/blob/main/types-doc/deb-definition.md
        purl = f"pkg:deb/debian/{quote(name)}@{quote(version, safe='')}"
        yield component(name, version, f"{purl}?arch={fields['Architecture']}&distro={distro}")


def python_packages() -> Iterator[Component]:
    """The Python packages that this interpreter finds, but for those that Debian has packed."""
    for distribution in metadata.distributions():
        if DEBIANS_PYTHON in Path(str(distribution.locate_file(""))).parents:
            continue
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        version = distribution.version
        found = component(name, version, f"pkg:pypi/{name}@{quote(version, safe='')}")
        expression = distribution.metadata.get("License-Expression")
        if expression:
            found["licenses"] = [{"expression": expression}]
        yield found


def interpreter() -> Iterator[Component]:
    """Python itself, where it is not one of dpkg's packages."""
    if sys.base_prefix != "/usr":
        version = platform.python_version()
        yield component("python", version, f"pkg:generic/python@{version}")


def component(name: str, version: str, purl: str) -> Component:
    """One component.  Its package URL is its reference in the document too."""
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def document(name: str, version: str, components: list[Component], moment: int) -> dict[str, Any]:
    """The bill of the image ``name``, made at ``moment`` (seconds since the epoch)."""
    ordered = sorted(components, key=lambda found: str(found["purl"]))
    content = json.dumps([name, version, ordered], sort_keys=True)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content)}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(moment, timezone.utc).isoformat(),
            "component": {
                "type": "container",
                "bom-ref": name,
                "name": name,
                "version": version,
            },
        },
        "components": ordered,
    }


def main() -> int:
    """Write the bill of this image.  Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    release = platform.freedesktop_os_release()
    distro = f"{release['ID']}-{release.get('VERSION_ID', release.get('VERSION_CODENAME', ''))}"
    found = [
        *debian_packages(DPKG_STATUS.read_text(encoding="utf-8"), distro),
        *python_packages(),
        *interpreter(),
    ]
    moment = int(os.environ.get("SOURCE_DATE_EPOCH") or 0)
    bill = document(arguments.name, arguments.version, found, moment)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(bill, indent=1, ensure_ascii=False)
    arguments.output.write_text(f"{text}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
