"""A client's own credentials for S3, looked up where the client runs.

They go to the runner's agent through the tunnel and are kept nowhere else: never in a pod's
description, an environment of a process but s3fs's own, or a file.

Source: https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
"""

from __future__ import annotations

import configparser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import MountError
from .runner import S3Credentials, S3Mount, Secret

#: The reason of an error about credentials that are not there.
MISSING = "S3CredentialsMissing"

_EXPORT = (
    "`aws configure export-credentials --format env` gives variables for any profile of AWS's, "
    "also one that logs in (SSO), takes a role or calls a program."
)


@dataclass(frozen=True)
class AccessKey:
    """What S3 is asked with.  ``repr`` shows nothing of it."""

    access_key: Secret
    secret_key: Secret
    session_token: Secret | None = None

    def document(self) -> dict[str, str]:
        """As the agent takes it in ``mounts.start``.  Holds the credentials."""
        found = {"access_key": self.access_key.value, "secret_key": self.secret_key.value}
        if self.session_token is not None:
            found["session_token"] = self.session_token.value
        return found

    def variables(self) -> dict[str, str]:
        """As AWS's libraries take it from the environment.  Holds the credentials.

        The token's variable is always there, empty where there is none: another one would not fit.
        """
        return {
            "AWS_ACCESS_KEY_ID": self.access_key.value,
            "AWS_SECRET_ACCESS_KEY": self.secret_key.value,
            "AWS_SESSION_TOKEN": self.session_token.value if self.session_token else "",
        }


def own_credentials(mounts: Sequence[S3Mount], environ: Mapping[str, str]) -> dict[int, AccessKey]:
    """The credentials of those mounts that take the client's own, by their place.

    ``environ`` is the environment of the client's process.  Called before a runner is made, so that
    nothing is made in vain, and before each start of a kernel, since they may be new ones then.

    Raises :class:`~gra_provisioner.errors.MountError` (``S3CredentialsMissing``).
    """
    return {
        index: _looked_up(mount, environ)
        for index, mount in enumerate(mounts)
        if mount.via != "volume" and mount.credentials.own
    }


def _looked_up(mount: S3Mount, environ: Mapping[str, str]) -> AccessKey:
    wanted = mount.credentials
    if wanted.source == "profile":
        return _from_file(mount, wanted.name, environ)
    if wanted.source == "default" and not environ.get(wanted.access_key):
        return _from_file(mount, environ.get("AWS_PROFILE") or "default", environ)
    return _from_environment(mount, wanted, environ)


def _from_environment(
    mount: S3Mount, wanted: S3Credentials, environ: Mapping[str, str]
) -> AccessKey:
    for name in (wanted.access_key, wanted.secret_key):
        if not environ.get(name):
            raise _missing(
                mount,
                f"the variable {name} is not set in the environment of the Jupyter client",
                f"Set {name} where Jupyter is started, or name other credentials of the bucket in "
                "the profile.",
            )
    token = environ.get(wanted.session_token) if wanted.session_token else None
    return AccessKey(
        Secret(environ[wanted.access_key]),
        Secret(environ[wanted.secret_key]),
        Secret(token) if token else None,
    )


def _from_file(mount: S3Mount, profile: str, environ: Mapping[str, str]) -> AccessKey:
    named = environ.get("AWS_SHARED_CREDENTIALS_FILE")
    home = environ.get("HOME") or str(Path.home())
    path = Path(named).expanduser() if named else Path(home, ".aws", "credentials")
    # No section is everyone's default here: [default] is a profile as any other.
    parser = configparser.RawConfigParser(default_section="\0", strict=False)
    problem = ""
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problem = f"there is no file {path}"
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        problem = f"{path} is not UTF-8"
    except configparser.Error:
        # Its text would show lines of the file.
        problem = f"{path} is not of the form of AWS's credentials"
    if problem:
        variables = ""
        if mount.credentials.source == "default":
            variables = "The variable AWS_ACCESS_KEY_ID is not set, and "
        raise _missing(
            mount,
            f"{variables}{problem}".replace("The variable", "the variable", 1),
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY where Jupyter is started, write the "
            f"file with `aws configure`, or name a Secret in the profile. {_EXPORT}",
        )
    if not parser.has_section(profile):
        known = ", ".join(parser.sections()) or "none"
        raise _missing(
            mount, f"{path} has no profile [{profile}]; it has: {known}", f"Name another. {_EXPORT}"
        )
    section = parser[profile]
    for name in ("aws_access_key_id", "aws_secret_access_key"):
        if not section.get(name):
            raise _missing(mount, f"the profile [{profile}] of {path} has no {name}", _EXPORT)
    token = section.get("aws_session_token")
    return AccessKey(
        Secret(section["aws_access_key_id"]),
        Secret(section["aws_secret_access_key"]),
        Secret(token) if token else None,
    )


def _missing(mount: S3Mount, problem: str, hint: str) -> MountError:
    return MountError(
        f"There are no credentials for {mount.url}: {problem}.",
        hint=hint,
        reason=MISSING,
        details={"bucket": mount.bucket, "path": mount.path},
    )
