"""A namespace of a cluster as one process sees it: one client and one watch, shared by all.

Every kernel of a Jupyter server has a provisioner and a backend of its own; what costs
connections and requests is counted by event loop and cluster, and closed with the last user.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping

from .client import Client
from .kubeconfig import Target
from .naming import MANAGED_BY, RUNNER
from .reflector import Reflector
from .seen import SeenRunners
from .websocket import WebsocketTransport

Key = tuple[Target, str | None, str | None, str]


class Cluster:
    """The client and the pods' reflector.  Got by :func:`acquire`, given back by :meth:`release`.

    ``claimed`` are names that a launch of this process is about to use, ``provided`` the ConfigMaps
    with agents that this process knows to be there, ``started`` the uids of runners whose start it
    has seen, ``seen`` what the pods of the last list were found to be; ``last_prune`` is when
    finished runners were last looked for (the loop's time).
    """

    def __init__(self, client: Client, pods: Reflector) -> None:
        self.client = client
        self.pods = pods
        self.claimed: set[str] = set()
        self.provided: set[str] = set()
        self.started: set[str] = set()
        self.seen = SeenRunners()
        self.last_prune = float("-inf")
        # Whether exec must be used in place of port-forward, which is not allowed.
        self.by_exec = False
        self.connections: weakref.WeakSet[WebsocketTransport] = weakref.WeakSet()
        self.users = 0
        self.forget: Callable[[], object] = lambda: None

    async def release(self) -> None:
        """Give the share back; with the last one, all connections are closed."""
        self.users -= 1
        if self.users == 0:
            self.forget()
            connections = list(self.connections)
            for connection in connections:
                connection.abort()
            try:
                await asyncio.gather(
                    self.pods.close(), *(connection.wait_closed() for connection in connections)
                )
            finally:
                await self.client.close()


# By loop, because connections belong to one: gra's background loop has them for all kernels.
_clusters: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Key, Cluster]] = (
    weakref.WeakKeyDictionary()
)


def acquire(target: Target, environ: Mapping[str, str], only: str = "") -> Cluster:
    """A share in the running loop's view of the cluster.  Makes no request.

    ``only`` is the name of the one runner that is to be seen; all are without it.
    """
    key = (target, environ.get("KUBECONFIG"), environ.get("HOME"), only)
    clusters = _clusters.setdefault(asyncio.get_running_loop(), {})
    cluster = clusters.get(key)
    if cluster is None:
        client = Client(target, environ)
        selector = "=".join(MANAGED_BY)
        if only:
            selector += f",{RUNNER}={only}"
        cluster = clusters[key] = Cluster(client, Reflector(client, "pods", selector))
        cluster.forget = lambda: clusters.pop(key)
    cluster.users += 1
    return cluster
