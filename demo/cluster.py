"""Runs a notebook on a pod of the test cluster, with a bucket of S3, and shows every step of it.

Called by ``make demo-cluster``, which needs root on Debian or Ubuntu.  The cluster, the images of
``runner-image/`` and an S3 server (versitygw) are this host's own; the rest is what every user has:
a profile, credentials in the environment, and the kernel ``gra``.  The notebook with its outputs is
written to ``build/demo``.  Exit code 0 means that the notebook ran, that what it wrote is in the
bucket, and that nothing is left.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import resources
from pathlib import Path

from demo.run import HERE, INTERRUPTED, Clock, run
from tests.cluster import lifecycle, runner_images
from tests.cluster.layout import NODE_ADDRESS, ClusterError, Layout
from tests.cluster.locks import Use
from tests.support.cluster import Cluster
from tests.support.s3 import S3Server

BUCKET = "lake"
PREFIX = "team/a"
_OUTPUT = Path("build/demo")
_MOUNTS = Path("/proc/self/mountinfo")
# What the notebook writes.
_WRITTEN = ("counts.csv", "log.txt", "mass.parquet", "mass.png")
_CONFIG = """
backend = "kubernetes"

[profiles.small]
image = "{runner}"
allow_privileged_sidecar = true
s3_sidecar = {{image = "{sidecar}"}}

[profiles.small.pod]
requests = {{cpu = "100m", memory = "256Mi", ephemeral_storage = "1Mi"}}

[[profiles.small.s3]]
bucket = "{bucket}"
prefix = "{prefix}"
mount = "/data/lake"
endpoint = "{endpoint}"
region = "{region}"
"""


@contextmanager
def cluster_as_before(clock: Clock) -> Iterator[Cluster]:
    """The test cluster, which is taken down at the end unless it was up before.

    ``GRA_KEEP_CLUSTER=1`` leaves it up.
    """
    layout = Layout.of_user()
    keep = not lifecycle.status(layout).is_down or os.environ.get("GRA_KEEP_CLUSTER") == "1"
    try:
        clock.say("bringing the test cluster up, and building what the cache does not have")
        lifecycle.up(layout, clock.say)
        # No test stops a part of it meanwhile.
        with Use(layout) as use:
            use.shared()
            yield Cluster(layout.kubeconfig, layout)
    finally:
        if not keep:
            lifecycle.down(layout)


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process, and so of the Jupyter client, while the block runs."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def mounts_on_node(layout: Layout) -> list[str]:
    """Where the node, which is this host, has file systems of s3fs that pods brought."""
    found = []
    for line in _MOUNTS.read_text().splitlines():
        words = line.split()
        # The mount point, and behind the hyphen the type: proc(5).
        point, kind = words[4], words[words.index("-") + 1]
        if kind == "fuse.s3fs" and point.startswith(f"{layout.state}/"):
            found.append(point)
    return found


def configuration(server: S3Server) -> str:
    """What the user has in ``gra/config.toml``."""
    return _CONFIG.format(
        runner=runner_images.RUNNER,
        sidecar=runner_images.SIDECAR,
        bucket=BUCKET,
        prefix=PREFIX,
        endpoint=server.endpoint,
        region=server.region,
    )


def findings(server: S3Server) -> dict[str, bool]:
    """What must be true after the notebook, and whether it is."""
    written = [f"{PREFIX}/results/{name}" for name in _WRITTEN]
    keys = server.keys(BUCKET, f"{PREFIX}/results/")
    return {
        "what the notebook wrote is in the bucket": set(written) <= set(keys),
        "no mount is left on the node": not mounts_on_node(Layout.of_user()),
    }


def demonstrate(clock: Clock) -> bool:
    """Run the demo.  Returns whether all was as it should be."""
    with ExitStack() as stack:
        cluster = stack.enter_context(cluster_as_before(clock))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gra-demo-")))
        server = stack.enter_context(S3Server(folder / "s3", NODE_ADDRESS))
        clock.say(f"an S3 server at {server.endpoint}")
        key = server.add_user("ada")
        server.make_bucket(BUCKET)
        server.give_bucket(BUCKET, "ada")
        table = resources.files("palmerpenguins") / "data" / "penguins.csv"
        server.put(BUCKET, f"{PREFIX}/penguins.csv", table.read_bytes())
        clock.say(f"bucket {BUCKET!r} has {', '.join(server.keys(BUCKET))}")
        namespace = stack.enter_context(cluster.namespace("gra-demo"))
        label = "pod-security.kubernetes.io/enforce=privileged"
        cluster.kubectl("label", "--overwrite", "namespace", namespace, label)
        clock.say(f"namespace {namespace!r}, which allows privileged pods: the mount's container")
        text = configuration(server)
        (folder / "config" / "gra").mkdir(parents=True)
        (folder / "config" / "gra" / "config.toml").write_text(text)
        clock.say(f"gra/config.toml:\n{textwrap.indent(text.strip(), ' ' * 12)}")
        stack.enter_context(
            variables(
                {
                    "JUPYTER_CONFIG_DIR": str(folder / "config"),
                    "GRA_KUBECONFIG": str(cluster.kubeconfig),
                    "GRA_NAMESPACE": namespace,
                    "AWS_ACCESS_KEY_ID": key.access_key,
                    "AWS_SECRET_ACCESS_KEY": key.secret_key,
                }
            )
        )
        clock.say(
            "the bucket's key is in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and only here"
        )
        succeeded = asyncio.run(run(HERE / "lake.ipynb", "gra", _OUTPUT, clock))
        clock.say(f"the bucket has now: {', '.join(server.keys(BUCKET))}")
        found = findings(server)
        for finding, true in found.items():
            clock.say(f"{'ok' if true else 'FAILED'}: {finding}")
        return succeeded and all(found.values())


def main() -> int:
    """Run the demo and say what failed.  Returns the exit code."""
    clock = Clock()
    try:
        return 0 if demonstrate(clock) else 1
    except (AssertionError, ClusterError) as error:
        clock.say(f"FAILED: {error}")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
