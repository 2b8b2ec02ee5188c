"""The processes of the cluster: started inside its network namespace, found again by their pid files."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.binaries import path
from tests.cluster.place import HOME, INSIDE, NODE, NODE_ADDRESS, POD_RANGE, SERVICE_RANGE

PKI = HOME / "pki"


@dataclass(frozen=True)
class Daemon:
    """A program of the cluster and its flags."""

    name: str
    program: Path
    flags: tuple[str, ...]

    @property
    def log(self) -> Path:
        """What it has written since the cluster came up."""
        return HOME / "run" / f"{self.name}.log"

    def start(self) -> None:
        """Start it in a session of its own."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*INSIDE, self.program, *self.flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (HOME / "run" / f"{self.name}.pid").write_text(str(process.pid))

    def pid(self) -> int | None:
        """Its process, None where it does not run: a number that another program has got by now is not it."""
        file = HOME / "run" / f"{self.name}.pid"
        if not file.exists():
            return None
        pid = int(file.read_text())
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")  # empty once it has ended
        except FileNotFoundError:
            return None
        return pid if os.fsencode(self.program) in command else None

    def resident(self) -> int:
        """Bytes of memory that it holds; none where it does not run."""
        pid = self.pid()
        if pid is None:
            return 0
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def stop(self, seconds: float = 20) -> None:
        """End it: politely, then by force."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            pid = self.pid()
            if pid is None:
                return
            os.kill(pid, number)
            deadline = time.monotonic() + seconds
            while self.pid() is not None and time.monotonic() < deadline:
                time.sleep(0.05)
        if self.pid() is not None:
            raise TimeoutError(f"{self.name} does not end; see {self.log}")


def _flags(**flags: object) -> tuple[str, ...]:
    return tuple(f"--{name.replace('_', '-')}={value}" for name, value in flags.items())


def _configured(name: str) -> tuple[str, ...]:
    """The kubeconfig of a component, for all that it asks of the API server."""
    file = PKI / f"{name}.kubeconfig"
    return _flags(kubeconfig=file, authentication_kubeconfig=file, authorization_kubeconfig=file)


CONTAINERD = Daemon("containerd", Path("/usr/bin/containerd"), (f"--config={HOME}/etc/containerd.toml",))
ETCD = Daemon(
    "etcd",
    path("etcd"),
    ("--unsafe-no-fsync", *_flags(data_dir=HOME / "etcd")),
)
API_SERVER = Daemon(
    "kube-apiserver",
    path("kube-apiserver"),
    _flags(
        etcd_servers="http://127.0.0.1:2379",
        bind_address="0.0.0.0",
        secure_port=6443,
        advertise_address=NODE_ADDRESS,
        allow_privileged="true",
        authorization_mode="Node,RBAC",
        enable_admission_plugins="NodeRestriction",
        client_ca_file=PKI / "ca.crt",
        tls_cert_file=PKI / "apiserver.crt",
        tls_private_key_file=PKI / "apiserver.key",
        kubelet_certificate_authority=PKI / "ca.crt",
        kubelet_client_certificate=PKI / "apiserver-kubelet.crt",
        kubelet_client_key=PKI / "apiserver-kubelet.key",
        kubelet_preferred_address_types="InternalIP",
        requestheader_client_ca_file=PKI / "ca.crt",
        requestheader_allowed_names="front-proxy-client",
        requestheader_extra_headers_prefix="X-Remote-Extra-",
        requestheader_group_headers="X-Remote-Group",
        requestheader_username_headers="X-Remote-User",
        proxy_client_cert_file=PKI / "front-proxy.crt",
        proxy_client_key_file=PKI / "front-proxy.key",
        service_account_issuer="https://kubernetes.default.svc.cluster.local",
        service_account_key_file=PKI / "accounts.pub",
        service_account_signing_key_file=PKI / "accounts.key",
        service_cluster_ip_range=SERVICE_RANGE,
    ),
)
CONTROLLERS = Daemon(
    "kube-controller-manager",
    path("kube-controller-manager"),
    (
        *_configured("kube-controller-manager"),
        *_flags(
            bind_address="127.0.0.1",
            client_ca_file=PKI / "ca.crt",
            requestheader_client_ca_file=PKI / "ca.crt",
            root_ca_file=PKI / "ca.crt",
            service_account_private_key_file=PKI / "accounts.key",
            cluster_signing_cert_file=PKI / "ca.crt",
            cluster_signing_key_file=PKI / "ca.key",
            use_service_account_credentials="true",
            leader_elect="false",
            cluster_cidr=POD_RANGE,
            service_cluster_ip_range=SERVICE_RANGE,
        ),
    ),
)
SCHEDULER = Daemon(
    "kube-scheduler",
    path("kube-scheduler"),
    (*_configured("kube-scheduler"), *_flags(bind_address="127.0.0.1", leader_elect="false")),
)
KUBELET = Daemon(
    "kubelet",
    path("kubelet"),
    _flags(
        config=HOME / "etc" / "kubelet.yaml",
        kubeconfig=PKI / "kubelet.kubeconfig",
        root_dir=HOME / "kubelet",
        cert_dir=PKI,
        hostname_override=NODE,
        node_ip=NODE_ADDRESS,
    ),
)
PROXY = Daemon("kube-proxy", path("kube-proxy"), _flags(config=HOME / "etc" / "kube-proxy.yaml"))
AFTER_API = (CONTROLLERS, SCHEDULER, KUBELET, PROXY)
CONTROL_PLANE = (CONTAINERD, ETCD, API_SERVER, *AFTER_API)
