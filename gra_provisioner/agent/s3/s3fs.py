"""The command line of s3fs for a mount, without a credential on it.  Pure.

Its options: https://github.com/s3fs-fuse/s3fs-fuse/wiki/Fuse-Over-Amazon, for 1.90 and later.
"""

from __future__ import annotations

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
_MOST_DIRTY = 1024


class Cache(NamedTuple):
    """The folder for files that are read and written, and how large it can become, in bytes."""

    folder: str
    size: int


def command(mount: Mount, folder: str, cache: Cache, is_root: bool) -> List[str]:
    """s3fs in the foreground, which shows the mount's prefix at ``folder``."""
    options: Dict[str, Optional[str]] = {
        **_DEFAULTS,
        **_bounds(cache),
        **{name: value or None for name, value in mount.options},
        "url": mount.endpoint,
        "endpoint": mount.region or DEFAULT_REGION,
        "sigv4": None,
        "uid": str(mount.uid),
        "gid": str(mount.gid),
        "umask": mount.umask,
        "mp_umask": mount.umask,
        "tmpdir": cache.folder,
        # As s3fs finds them: with the modes that files get which other programs have made.
        "complement_stat": None,
        "listobjectsv2": None,
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


def _bounds(cache: Cache) -> Dict[str, Optional[str]]:
    """How much of the cache one file may take before it is flushed, and how much stays free.

    s3fs 1.90 keeps what it has flushed until the space is used up, and can then only make room
    for a file of which nothing is unflushed.  So what may be used is three times what is flushed
    at once.  Later ones have no such trouble.
    """
    total = cache.size // _MB
    dirty = max(_LEAST_DIRTY, min(_MOST_DIRTY, total // 4))
    return {
        "ensure_diskfree": str(min(_MOST_DIRTY, total // (4 if total // 4 >= _LEAST_DIRTY else 8))),
        "max_dirty_data": str(dirty),
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
