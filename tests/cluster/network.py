"""The network namespace of the cluster: no packet leaves it, and none of its addresses meets one of the machine."""

import subprocess
from pathlib import Path

from tests.cluster.place import INSIDE, NAMESPACE, NAMESPACE_FILE, NODE_ADDRESS


def make() -> None:
    """Make the namespace, with the node's address on a pair of links that both end in it.

    The default route leads nowhere: without one the addresses of services would be unreachable before the rules of
    kube-proxy see them.
    """
    _run("ip", "netns", "add", NAMESPACE)
    inside = ("ip", "-n", NAMESPACE)
    _run(*inside, "link", "set", "lo", "up")
    _run(*inside, "link", "add", "node0", "type", "veth", "peer", "name", "node0p")
    _run(*inside, "link", "set", "node0p", "up")
    _run(*inside, "addr", "add", f"{NODE_ADDRESS}/24", "dev", "node0")
    _run(*inside, "link", "set", "node0", "up")
    _run(*inside, "route", "add", "default", "dev", "node0")
    _run(*INSIDE, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.bridge.bridge-nf-call-iptables=1")


def remove() -> None:
    """Remove the namespace and those that its pods have left."""
    if NAMESPACE_FILE.exists():
        _run("ip", "netns", "del", NAMESPACE)
    for pod in Path("/run/netns").glob("cni-*"):
        _run("ip", "netns", "del", pod.name)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
