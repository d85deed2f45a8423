"""The parts of the cluster: their commands, their configuration, and whether they are well."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import golang, images
from tests.cluster.commands import run
from tests.cluster.layout import (
    API_PORT,
    CGROUP,
    CNI_NETWORK,
    ETCD_PEER_PORT,
    ETCD_PORT,
    NODE_ADDRESS,
    NODE_NAME,
    POD_BRIDGE,
    POD_SUBNET,
    SERVICE_SUBNET,
    ClusterError,
    Layout,
)

ETCD_URL = f"http://127.0.0.1:{ETCD_PORT}"

# What a part that is well answers in.  A stopped one accepts the connection and says nothing.
_HEALTH_BOUND = 2.0


@dataclass(frozen=True)
class Part:
    """One of the programs.  ``problem`` says what is wrong with a running one, or None."""

    name: str
    command: tuple[str, ...]
    problem: Callable[[], str | None]


def all_parts(layout: Layout) -> tuple[Part, ...]:
    """The parts in the order in which they are started."""
    programs = {
        name: str(golang.built(module, layout.cache) / name)
        for module in golang.all_modules()
        for name in module.programs
    }
    pki = layout.pki
    etcd = Part(
        "etcd",
        (
            programs["etcd"],
            f"--data-dir={layout.state / 'etcd'}",
            f"--listen-client-urls={ETCD_URL}",
            f"--advertise-client-urls={ETCD_URL}",
            f"--listen-peer-urls=http://127.0.0.1:{ETCD_PEER_PORT}",
            # What it holds is not worth a slow disk's time.
            "--unsafe-no-fsync",
        ),
        _http(ETCD_PORT, "/health"),
    )
    containerd = Part(
        "containerd",
        ("containerd", f"--config={layout.config / 'containerd.toml'}"),
        lambda: _containerd_problem(layout),
    )
    apiserver = Part(
        "apiserver",
        (
            programs["kube-apiserver"],
            f"--etcd-servers={ETCD_URL}",
            f"--secure-port={API_PORT}",
            f"--advertise-address={NODE_ADDRESS}",
            f"--service-cluster-ip-range={SERVICE_SUBNET}",
            f"--client-ca-file={pki / 'ca.crt'}",
            f"--tls-cert-file={pki / 'apiserver.crt'}",
            f"--tls-private-key-file={pki / 'apiserver.key'}",
            f"--token-auth-file={pki / 'tokens.csv'}",
            # Nobody has that name; without these the other parts complain every few seconds.
            f"--requestheader-client-ca-file={pki / 'ca.crt'}",
            "--requestheader-allowed-names=front-proxy",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--kubelet-certificate-authority={pki / 'ca.crt'}",
            f"--kubelet-client-certificate={pki / 'apiserver-kubelet.crt'}",
            f"--kubelet-client-key={pki / 'apiserver-kubelet.key'}",
            # The node's name is in no DNS.
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki / 'service-accounts.crt'}",
            f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            # For mounts by privileged sidecars; Pod Security decides in each namespace.
            "--allow-privileged=true",
        ),
        _https(API_PORT, "/readyz", layout),
    )
    controller_manager = Part(
        "controller-manager",
        (
            programs["kube-controller-manager"],
            *_credentials(layout, "controller-manager"),
            f"--service-account-private-key-file={pki / 'service-accounts.key'}",
            f"--root-ca-file={pki / 'ca.crt'}",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            # Tests of lost nodes wait this long.
            "--node-monitor-period=1s",
            "--node-monitor-grace-period=8s",
            "--kube-api-qps=100",
            "--kube-api-burst=200",
        ),
        _https(10257, "/healthz", layout),
    )
    scheduler = Part(
        "scheduler",
        (
            programs["kube-scheduler"],
            *_credentials(layout, "scheduler"),
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        ),
        _https(10259, "/healthz", layout),
    )
    kubelet = Part(
        "kubelet",
        (
            programs["kubelet"],
            f"--config={layout.config / 'kubelet.json'}",
            f"--kubeconfig={layout.config / 'kubelet.conf'}",
            f"--root-dir={layout.kubelet}",
            f"--hostname-override={NODE_NAME}",
            f"--node-ip={NODE_ADDRESS}",
        ),
        _http(10248, "/healthz"),
    )
    proxy = Part(
        "proxy",
        (
            programs["kube-proxy"],
            f"--kubeconfig={layout.config / 'proxy.conf'}",
            f"--hostname-override={NODE_NAME}",
            "--proxy-mode=nftables",
            f"--cluster-cidr={POD_SUBNET}",
            "--healthz-bind-address=127.0.0.1:10256",
            # These would be written to sysctls, which is not allowed everywhere.
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
        ),
        _http(10256, "/livez"),
    )
    return (etcd, containerd, apiserver, controller_manager, scheduler, kubelet, proxy)


def configuration(layout: Layout) -> dict[Path, str]:
    """The parts' configuration files: content by path."""
    return {
        layout.config / "containerd.toml": _containerd_toml(layout),
        layout.config / "kubelet.json": json.dumps(_kubelet_configuration(layout), indent=1),
        layout.config / "cni" / "10-bridge.conflist": json.dumps(_cni(layout), indent=1),
    }


def _credentials(layout: Layout, name: str) -> tuple[str, ...]:
    path = layout.config / f"{name}.conf"
    return (
        f"--kubeconfig={path}",
        f"--authentication-kubeconfig={path}",
        f"--authorization-kubeconfig={path}",
    )


def _containerd_toml(layout: Layout) -> str:
    folder = layout.containerd
    # A JSON string is a TOML one.
    quoted = {
        name: json.dumps(str(path))
        for name, path in {
            "root": folder / "root",
            "state": folder / "state",
            "socket": layout.containerd_socket,
            "opt": folder / "opt",
            "cni": layout.config / "cni",
            "runc": folder / "runc",
        }.items()
    }
    return f"""\
version = 2
root = {quoted["root"]}
state = {quoted["state"]}
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = {quoted["socket"]}
[plugins."io.containerd.internal.v1.opt"]
path = {quoted["opt"]}
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{images.PAUSE}"
# Without CAP_SYS_RESOURCE no container would start.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = {quoted["runc"]}
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = {quoted["cni"]}
"""


def _kubelet_configuration(layout: Layout) -> dict[str, object]:
    """https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/"""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(layout.pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(layout.pki / "kubelet.key"),
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "failCgroupV1": False,
        "failSwapOn": False,
        # iptables may be missing.
        "makeIPTablesUtilChains": False,
        "podLogsDir": str(layout.state / "pod-logs"),
        "volumePluginDir": str(layout.state / "volume-plugins"),
        "clusterDNS": [],
        "podPidsLimit": 4096,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
        },
        # The tests' images cannot be pulled again.
        "imageGCHighThresholdPercent": 100,
        # Both show that the node is alive; the controller manager waits 8 s for one of them.
        "nodeStatusUpdateFrequency": "2s",
        "nodeLeaseDurationSeconds": 8,
    }


def _cni(layout: Layout) -> dict[str, object]:
    bridge = {
        "type": "bridge",
        "bridge": POD_BRIDGE,
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": POD_SUBNET}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": str(layout.state / "cni"),
        },
    }
    return {"cniVersion": "1.0.0", "name": CNI_NETWORK, "plugins": [bridge]}


def _http(port: int, path: str) -> Callable[[], str | None]:
    return lambda: _answer(
        http.client.HTTPConnection("127.0.0.1", port, timeout=_HEALTH_BOUND), path
    )


def _https(port: int, path: str, layout: Layout) -> Callable[[], str | None]:
    def problem() -> str | None:
        context = ssl.create_default_context()
        context.check_hostname = False
        # Some parts make a certificate of their own; nothing secret is sent.
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(layout.pki / "admin.crt", layout.pki / "admin.key")
        connection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=_HEALTH_BOUND, context=context
        )
        return _answer(connection, path)

    return problem


def _answer(connection: http.client.HTTPConnection, path: str) -> str | None:
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"{path} on port {connection.port}: {str(error) or type(error).__name__}"
    finally:
        connection.close()
    return None if response.status == 200 else f"{path} on port {connection.port}: {text.strip()}"


def _containerd_problem(layout: Layout) -> str | None:
    try:
        run(
            *("ctr", "--address", layout.containerd_socket, "--connect-timeout", "2s", "version"),
            doing="asking containerd",
            bound=_HEALTH_BOUND + 2,
        )
    except ClusterError as error:
        return str(error)
    return None
