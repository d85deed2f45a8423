"""What is done with a bucket in a runner: runs there, as code of a cell, and prints JSON.

``WHERE`` is put before it: ``lake`` (where the bucket is mounted), ``endpoint``, ``bucket``,
``key``, ``secret``, ``rounds``, ``size`` (bytes of a file) and ``listed`` (how many files a folder
has).
"""

import json
import os
import pathlib
import time

import botocore.config
import botocore.session
import s3fs

WHERE: dict = globals()["WHERE"]
_BLOCK = 1 << 20

server = botocore.session.get_session().create_client(
    "s3",
    region_name="us-east-1",
    endpoint_url=WHERE["endpoint"],
    aws_access_key_id=WHERE["key"],
    aws_secret_access_key=WHERE["secret"],
    config=botocore.config.Config(s3={"addressing_style": "path"}),
)
files = s3fs.S3FileSystem(
    key=WHERE["key"],
    secret=WHERE["secret"],
    client_kwargs={"endpoint_url": WHERE["endpoint"], "region_name": "us-east-1"},
    # What was listed before is not to be known.
    use_listings_cache=False,
)
lake, bucket, size = pathlib.Path(WHERE["lake"]), WHERE["bucket"], WHERE["size"]
data = os.urandom(_BLOCK) * (size // _BLOCK)


def write_mount(name):
    with (lake / name).open("wb") as file:
        file.write(data)


def write_fsspec(name):
    with files.open(f"{bucket}/{name}", "wb") as file:
        file.write(data)


def write_server(name):
    server.put_object(Bucket=bucket, Key=name, Body=data)


def _drained(file):
    count = 0
    while block := file.read(_BLOCK):
        count += len(block)
    if count != size:
        raise RuntimeError(f"{count} bytes instead of {size}")


def read_mount(name):
    with (lake / name).open("rb", buffering=0) as file:
        _drained(file)


def read_fsspec(name):
    with files.open(f"{bucket}/{name}", "rb") as file:
        _drained(file)


def read_server(name):
    _drained(server.get_object(Bucket=bucket, Key=name)["Body"])


def list_mount(folder):
    return sum(1 for _ in (lake / folder).iterdir())


def list_fsspec(folder):
    return len(files.ls(f"{bucket}/{folder}", detail=False))


def list_server(folder):
    pages = server.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=f"{folder}/", Delimiter="/"
    )
    return sum(len(page.get("Contents", ())) for page in pages)


def timed(what, *arguments):
    begun = time.perf_counter()
    result = what(*arguments)
    return time.perf_counter() - begun, result


found = {}


def note(kind, way, seconds):
    found.setdefault(kind, {}).setdefault(way, []).append(seconds)


WAYS = ("mount", "fsspec", "server")
for number in range(WHERE["rounds"] + 1):
    for way in WAYS if number % 2 else reversed(WAYS):
        functions = {kind: globals()[f"{kind}_{way}"] for kind in ("write", "read", "list")}
        written, _ = timed(functions["write"], f"written-{way}-{number}")
        # Written by the server's own client, so that nobody has it in a cache.
        fresh = f"read-{way}-{number}"
        write_server(fresh)
        read, _ = timed(functions["read"], fresh)
        listed, count = timed(functions["list"], f"many-{number}")
        if count != WHERE["listed"]:
            raise RuntimeError(f"{way} lists {count} files")
        for name in (f"written-{way}-{number}", fresh):
            server.delete_object(Bucket=bucket, Key=name)
        if number:
            # The first round is for what is done once.
            note("write", way, written)
            note("read", way, read)
            note("list", way, listed)
print(json.dumps(found))
