"""Where the local cluster keeps its files, and its addresses: all inside a network namespace of its own."""

from pathlib import Path

import yaml

from tests.cluster.binaries import cache

CHART = Path(__file__).parents[2] / "charts" / "kino"
TAG = str(yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"])  # of the project's images

HOME = cache() / "cluster"
CONFIG = Path(__file__).parent / "config"
NAMESPACE = "kino-cluster"
NAMESPACE_FILE = Path("/run/netns") / NAMESPACE
NODE = "node1"
NODE_ADDRESS = "10.245.0.1"
POD_RANGE = "10.244.0.0/24"
SERVICE_RANGE = "10.96.0.0/16"
API_ADDRESS = "10.96.0.1"
DNS_ADDRESS = "10.96.0.10"
ENTRANCE = "traefik.svc.cluster.local"  # the names of hosts that clients outside ask for end so
KUBECONFIG = HOME / "pki" / "admin.kubeconfig"
SOCKET = HOME / "run" / "containerd.sock"
KEYS = {"AWS_ACCESS_KEY_ID": "kino-tests", "AWS_SECRET_ACCESS_KEY": "kino-tests-secret"}
INSIDE = ["nsenter", f"--net={NAMESPACE_FILE}"]

# What a start makes anew; the images that containerd keeps in HOME/containerd outlive it.
STATE = ("pki", "etc", "run", "etcd", "kubelet", "cni", "cni-ipam", "podlogs", "volumes")
