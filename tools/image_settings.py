"""What this host needs to reach Debian and PyPI, as files that a build gets as secrets."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path

# Where the Containerfile's steps find the certificates.
_CERTIFICATES = "/run/secrets/ca"
_DEBIANS_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# pip's other options name files of this host, or say what a build must not depend on.
_PIP_OPTIONS = frozenset(
    {"default-timeout", "extra-index-url", "index-url", "proxy", "retries", "timeout"}
    | {"trusted-host"}
)


def host_settings(folder: Path) -> dict[str, Path]:
    """Write the files into ``folder``; the path of each by the secret's name.

    ``ca``: the certificates that this host trusts, ``pip``: a pip.conf, ``apt``: an apt.conf.  They
    may hold passwords: the folder must be the caller's own.
    """
    found = {}
    certificates = _certificates()
    if certificates is not None:
        found["ca"] = folder / "ca"
        found["ca"].write_bytes(certificates.read_bytes())
    for name, text in (("pip", _pip_settings()), ("apt", _apt_settings("ca" in found))):
        if text:
            found[name] = folder / name
            found[name].write_text(text, encoding="utf-8")
    return found


def _certificates() -> Path | None:
    named = (os.environ.get(name) for name in ("PIP_CERT", "SSL_CERT_FILE"))
    usual = (ssl.get_default_verify_paths().cafile, _DEBIANS_CERTIFICATES)
    paths = (Path(name) for name in (*named, *usual) if name)
    return next((path for path in paths if path.is_file()), None)


def _pip_settings() -> str:
    """See https://pip.pypa.io/en/stable/topics/configuration/."""
    found: dict[str, str] = {}
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    files = (
        Path("/etc/pip.conf"),
        Path.home() / ".pip" / "pip.conf",
        Path(base) / "pip" / "pip.conf",
        Path(os.environ.get("PIP_CONFIG_FILE") or os.devnull),
    )
    for file in files:
        found |= _options_in(file)
    found |= _options_of(os.environ)
    lines = [f"{name} = {' '.join(value.split())}\n" for name, value in found.items()]
    return "".join(["[global]\n", *lines]) if lines else ""


def _options_in(file: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read(file, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return {}
    sections = [name for name in ("global", "install") if parser.has_section(name)]
    options = {name: value for section in sections for name, value in parser.items(section)}
    return {name: value for name, value in options.items() if name in _PIP_OPTIONS}


def _options_of(environ: Mapping[str, str]) -> dict[str, str]:
    variables = {name: f"PIP_{name.upper().replace('-', '_')}" for name in sorted(_PIP_OPTIONS)}
    return {name: environ[key] for name, key in variables.items() if environ.get(key)}


def _apt_settings(has_certificates: bool) -> str:
    """Proxies and time limits of apt on this host, where it has apt."""
    lines = []
    if shutil.which("apt-config"):
        command = ("apt-config", "dump", "Acquire")
        dump = subprocess.run(command, check=False, text=True, capture_output=True).stdout
        wanted = r'^Acquire::(?:https?::(?:\S*::)?(?:Proxy|Timeout)|Retries)\S* ".+";$'
        lines = re.findall(wanted, dump, re.MULTILINE)
    if has_certificates:
        lines.append(f'Acquire::https::CAInfo "{_CERTIFICATES}";')
    return "".join(f"{line}\n" for line in lines)
