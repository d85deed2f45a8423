"""Where the test cluster's files are, and which addresses and ports it uses.

There is one cluster on a host: its bridges, ports and cgroups belong to the host.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

# On a bridge made for it, so that pods, and nobody outside of this host, reach the API server.
NODE_ADDRESS = "10.246.0.1"
NODE_NAME = "node1"
NODE_BRIDGE = "gra-node"
POD_BRIDGE = "gra-cni0"
CNI_NETWORK = "gra"
POD_SUBNET = "10.244.0.0/24"
SERVICE_SUBNET = "10.96.0.0/16"
# The first address of SERVICE_SUBNET, which the API server takes for itself.
API_SERVICE_ADDRESS = "10.96.0.1"
# kubelet and containers are below this cgroup, in every hierarchy there is.
CGROUP = "gra-cluster"

API_PORT = 16443
ETCD_PORT = 12379
ETCD_PEER_PORT = 12380

# A unix socket's path has room for 107 bytes; kubelet's longest is this far below its folder.
_LONGEST_SOCKET = "kubelet/pod-resources/kubelet.sock.0123456789"
_UNIX_PATH_MAX = 107


class ClusterError(Exception):
    """The cluster cannot be brought up or down.  The text says what to do about it."""


class NotPossibleHereError(ClusterError):
    """This host cannot have a cluster at all: the wrong system, or no right to make one."""


@dataclass(frozen=True)
class Layout:
    """The folders of the cluster."""

    cache: Path

    @classmethod
    def of_user(cls) -> Layout:
        """Below ``$XDG_CACHE_HOME``, or ``~/.cache``.

        The home is the user's own, not ``$HOME``, which tests set to a folder of theirs.
        """
        base = os.environ.get("XDG_CACHE_HOME") or Path(pwd.getpwuid(os.getuid()).pw_dir, ".cache")
        return cls(Path(base) / "gra" / "cluster")

    @property
    def state(self) -> Path:
        """Everything of the running cluster.  ``down`` removes it."""
        return self.cache / "state"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def config(self) -> Path:
        return self.state / "config"

    @property
    def logs(self) -> Path:
        return self.state / "log"

    @property
    def containerd(self) -> Path:
        return self.state / "containerd"

    @property
    def containerd_socket(self) -> Path:
        return self.containerd / "containerd.sock"

    @property
    def kubelet(self) -> Path:
        return self.state / "kubelet"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.config / "admin.conf"

    @property
    def definition(self) -> Path:
        """Holds the digest of what the running cluster was made from."""
        return self.state / "definition"

    def check(self) -> None:
        """Raises :class:`ClusterError` where the paths are too long for unix sockets."""
        if len(str(self.state / _LONGEST_SOCKET)) > _UNIX_PATH_MAX:
            raise ClusterError(
                f"{self.state} is too long a path for unix sockets; "
                "set XDG_CACHE_HOME to a folder with a shorter one"
            )
