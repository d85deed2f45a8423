"""The command line of s3fs for a mount, without a credential on it.  Pure.

Its options: https://github.com/s3fs-fuse/s3fs-fuse/wiki/Fuse-Over-Amazon, for 1.90 and later.
"""

from __future__ import annotations

import re
from typing import Dict, List, NamedTuple, Optional, Tuple

from .mount import ANONYMOUS, Mount
from .signing import DEFAULT_REGION, Credentials

# s3fs waits 4 s after each refused connection.  So an outage of 28 s is survived; as it may make
# four such requests for one call, a server that is gone for ever ends as an I/O error after 112 s.
_RETRIES = 7
# What may be changed by a mount's options.
_DEFAULTS = {
    "connect_timeout": "5",
    "readwrite_timeout": "10",
    "retries": str(_RETRIES),
    # How long what another runner has changed may be seen as it was, in seconds.
    "stat_cache_expire": "10",
    "max_stat_cache_size": "100000",
    "multipart_size": "10",
}
_MB = 1 << 20
# s3fs flushes a file after so much was written (MB), and refuses less.
_LEAST_DIRTY = 50
#: Of Debian 12.
OLDEST = (1, 90)
_MOST_DIRTY = 1024


class Cache(NamedTuple):
    """The folder for files that are read and written, and how large it can become, in bytes."""

    folder: str
    size: int


def parse_version(text: str) -> Tuple[int, int]:
    """The version in what ``s3fs --version`` says; the oldest that is known where there is none."""
    found = re.search(r"V(\d+)\.(\d+)", text)
    return (int(found.group(1)), int(found.group(2))) if found else OLDEST


def command(
    mount: Mount, folder: str, cache: Cache, is_root: bool, version: Tuple[int, int]
) -> List[str]:
    """s3fs in the foreground, which shows the mount's prefix at ``folder``."""
    options: Dict[str, Optional[str]] = {
        **_DEFAULTS,
        **_bounds(cache, version),
        **{name: value or None for name, value in mount.options},
        "url": mount.endpoint,
        "endpoint": mount.region or DEFAULT_REGION,
        "sigv4": None,
        "uid": str(mount.uid),
        "gid": str(mount.gid),
        "mp_umask": mount.umask,
        "tmpdir": cache.folder,
        "listobjectsv2": None,
        # What S3 refuses is to s3fs an empty file that nobody may read, and Linux sees to that.
        # Its own check lets `uid` read everything, and `umask` would give permissions to all.
        "default_permissions": None,
    }
    if mount.path_style:
        options["use_path_request_style"] = None
    if mount.read_only:
        options["ro"] = None
    if mount.credentials == ANONYMOUS:
        options["public_bucket"] = "1"
    if is_root:
        # The kernel's user is not the one that runs s3fs; others need this user's permission.
        options["allow_other"] = None
    source = f"{mount.bucket}:/{mount.prefix}" if mount.prefix else mount.bucket
    words = ["s3fs", source, folder, "-f"]
    for name, value in options.items():
        words += ["-o", name if value is None else f"{name}={value}"]
    return words


def _bounds(cache: Cache, version: Tuple[int, int]) -> Dict[str, Optional[str]]:
    """How much of the cache stays free, and how much of a file is written before it is flushed.

    Where the space is used up, s3fs uploads a file in parts while it is written; it is in the
    bucket, whole, once it is closed.  1.90 fails to do so: it gives an I/O error.  What helps is to
    flush such a file to the bucket again and again, if what may be used is a multiple of what is
    flushed at once, and the program writes whole pages.
    """
    total = cache.size // _MB
    free = min(_MOST_DIRTY, total // (4 if total // 4 >= _LEAST_DIRTY else 8))
    dirty = max(_LEAST_DIRTY, min(_MOST_DIRTY, total // 4))
    return {
        "ensure_diskfree": str(free),
        "max_dirty_data": str(dirty if version <= OLDEST else -1),
        "parallel_count": str(max(1, min(5, total // 50))),
    }


def environment(
    credentials: Optional[Credentials], ca: str, base: Dict[str, str]
) -> Dict[str, str]:
    """The variables of s3fs: ``base`` and the key.

    Neither other variables nor a file of the home folder can name another key.
    """
    names: Tuple[str, ...] = ("PATH", "LANG", "TZ")
    env = {name: base[name] for name in names if name in base}
    env["HOME"] = "/nonexistent"
    if ca:
        env["CURL_CA_BUNDLE"] = ca
    if credentials is not None:
        env["AWSACCESSKEYID"] = credentials.access_key
        env["AWSSECRETACCESSKEY"] = credentials.secret_key
        if credentials.session_token:
            env["AWSSESSIONTOKEN"] = credentials.session_token
    return env
