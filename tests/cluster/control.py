"""Bring the local cluster up and down."""

import shutil
import string

from tests.cluster import certificates, leftovers, network, programs
from tests.cluster.binaries import path
from tests.cluster.daemons import AFTER_API, API_SERVER, CONTAINERD, CONTROL_PLANE, ETCD
from tests.cluster.operators import OPERATORS
from tests.cluster.place import CONFIG, DNS_ADDRESS, HOME, NODE, POD_RANGE, SOCKET, STATE
from tests.cluster.tools import apply, kubectl, until


def running() -> bool:
    """Whether every part of the cluster runs."""
    return all(daemon.pid() for daemon in CONTROL_PLANE)


def up() -> None:
    """Bring up an empty cluster with DNS and the operators, unless it runs.

    Raises:
        FileNotFoundError: a program of the cluster has not been built, or is not installed.
        RuntimeError: the cluster refuses what it should run.
        TimeoutError: a part did not come up; its log in HOME/run says why.
    """
    if running():
        return
    built = (path("kubectl"), *(program.file for program in programs.PROGRAMS))
    for program in (*(daemon.program for daemon in CONTROL_PLANE), *built):
        if not program.exists():
            raise FileNotFoundError(f"{program} is missing; `make cluster-up` builds or installs it")
    down()
    _prepare()
    for daemon in (ETCD, API_SERVER, CONTAINERD):
        daemon.start()
    until(SOCKET.exists, 30, "containerd's start")
    for loaded in programs.PROGRAMS:
        programs.load(loaded)
    until(_serves, 120, "the API server's start")
    for daemon in AFTER_API:
        daemon.start()
    apply(_filled("coredns.yaml"))
    for operator in OPERATORS:
        operator.install()
    until(lambda: NODE in kubectl("get", "nodes", "--output=name"), 60, "the node's start")
    kubectl("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=60s")
    kubectl("rollout", "status", "deployment/coredns", "--namespace=kube-system", "--timeout=120s")
    for operator in OPERATORS:
        operator.wait()


def down() -> None:
    """End everything and wipe what it kept, but for the images."""
    for daemon in reversed(AFTER_API):
        daemon.stop()
    if CONTAINERD.pid() is not None:
        leftovers.end_containers()
    for daemon in (API_SERVER, ETCD, CONTAINERD):
        daemon.stop()
    leftovers.clear()
    network.remove()
    for name in STATE:
        if (HOME / name).exists():
            shutil.rmtree(HOME / name)


def memory() -> dict[str, float]:
    """Megabytes that each process of the cluster holds."""
    return {daemon.name: daemon.resident() / 1e6 for daemon in CONTROL_PLANE}


def _prepare() -> None:
    """Make the network, the certificates and the settings of every part."""
    network.make()
    certificates.write(HOME / "pki")
    for name in ("cni", "etc", "run"):
        (HOME / name).mkdir()
    for name in ("containerd.toml", "kubelet.yaml", "kube-proxy.yaml", "resolv.conf"):
        (HOME / "etc" / name).write_text(_filled(name))
    (HOME / "cni" / "10-pods.conflist").write_text(_filled("pods.conflist"))


def _filled(name: str) -> str:
    """A file of config/ with this machine's paths and the cluster's addresses."""
    return string.Template((CONFIG / name).read_text()).substitute(
        home=HOME,
        node=NODE,
        pods=POD_RANGE,
        dns=DNS_ADDRESS,
        pause=programs.PAUSE.image,
        coredns=programs.COREDNS.image,
    )


def _serves() -> bool:
    try:
        kubectl("get", "--raw=/readyz")
    except RuntimeError:
        return False
    return True
