"""Clients outside: an Ingress and a GRPCRoute of the chart, behind a Traefik that ends TLS, by names of hosts."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from kino.client import Kino
from tests.cluster import operators, programs, release
from tests.cluster.place import DNS_ADDRESS, ENTRANCE, HOME
from tests.cluster.tools import apply, get, kubectl, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
BY_INGRESS, BY_ROUTE, BY_NOTHING = (f"{name}.{ENTRANCE}" for name in ("ingress", "gateway", "nobody"))
SECRET = "entrance"
NAMESPACE = "traefik"
ENTRANCES: release.Values = {
    "ingress": {"host": BY_INGRESS, "className": "traefik", "tlsSecret": SECRET},
    "route": {"gateway": "edge", "namespace": NAMESPACE, "listener": "films", "host": BY_ROUTE},
}
FILM = ("film", "a red ball bounces across a green meadow", "--seconds", "1", "--seed", "7", "--fresh")
CARRY = """
import sys
from pathlib import Path
from kino.client import Kino
with Kino(sys.argv[1]) as kino:
    uri = kino.artifacts.upload(Path(sys.argv[2]), "video/mp4")
    Path(sys.argv[3]).write_bytes(kino.artifacts.download(uri))
print(uri)
"""


def secret(namespace: str) -> dict[str, object]:
    """The certificate of all hosts, with the authority that signed it, as cert-manager leaves them."""
    files = {"tls.crt": "traefik.crt", "tls.key": "traefik.key", "ca.crt": "ca.crt"}
    content = {key: (HOME / "pki" / name).read_text() for key, name in files.items()}
    metadata = {"name": SECRET, "namespace": namespace}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": metadata,
        "stringData": content,
    }


def gateway() -> list[dict[str, object]]:
    """A class of gateways and one of it, whose listener takes routes of every namespace."""
    api = "gateway.networking.k8s.io/v1"
    listener = {
        "name": "films",
        "port": 443,
        "protocol": "HTTPS",
        "tls": {"certificateRefs": [{"name": SECRET}]},
        "allowedRoutes": {"namespaces": {"from": "All"}},
    }
    edge = {"gatewayClassName": "traefik", "listeners": [listener]}
    serving = {"controllerName": "traefik.io/gateway-controller"}
    return [
        {"apiVersion": api, "kind": "GatewayClass", "metadata": {"name": "traefik"}, "spec": serving},
        {"apiVersion": api, "kind": "Gateway", "metadata": {"name": "edge", "namespace": NAMESPACE}, "spec": edge},
    ]


def accepted() -> bool:
    """Whether the gateway has taken the chart's route."""
    parents = get("grpcroute", release.NAME, f"--namespace={release.NAMESPACE}").get("status", {}).get("parents", [])
    return {row["type"]: row["status"] for parent in parents for row in parent["conditions"]} == {
        "Accepted": "True",
        "ResolvedRefs": "True",
    }


@pytest.fixture(scope="module")
def traefik() -> None:
    """Traefik in the cluster, which `make cluster-test` has built."""
    programs.load(programs.TRAEFIK)
    operators.TRAEFIK.install()
    operators.TRAEFIK.wait()


@pytest.fixture(scope="module")
def entrances(installed: None, traefik: None) -> Iterator[None]:
    """The release with both entrances."""
    apply(yaml.safe_dump_all([secret(release.NAMESPACE), secret(NAMESPACE), *gateway()]))
    release.install({**release.TRIAL, "entrance": ENTRANCES})
    until(accepted, 60, "the gateway's word on the route")
    yield
    release.install(release.TRIAL)
    kubectl("delete", "gateway,secret", "edge", SECRET, f"--namespace={NAMESPACE}", "--ignore-not-found")


def outside(folder: Path, *command: str, trusted: bool = True) -> "subprocess.CompletedProcess[str]":
    """Run this Python where names of hosts are looked up in the cluster's DNS, which stands for the world's."""
    names = folder / "resolv.conf"
    names.write_text(f"nameserver {DNS_ADDRESS}\n")
    looking_there = ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', str(names))
    environment = {name: value for name, value in os.environ.items() if name != "SSL_CERT_FILE"}
    authorities = {"SSL_CERT_FILE": str(HOME / "pki" / "ca.crt")} if trusted else {}
    return subprocess.run(
        [*looking_there, sys.executable, *command],
        cwd=folder,
        env={**environment, **authorities},
        capture_output=True,
        text=True,
        check=False,
    )


def error(done: "subprocess.CompletedProcess[str]") -> dict[str, str]:
    """What a command says it failed with, when asked for JSON."""
    told: dict[str, str] = json.loads(done.stdout)["error"]
    return told


@pytest.mark.parametrize("host", [BY_INGRESS, BY_ROUTE])
def test_a_film_by_the_name_of_a_host_equals_that_of_the_service(
    entrances: None, kino: Kino, tmp_path: Path, host: str
) -> None:
    film = kino.film("a red ball bounces across a green meadow", seconds=1, seed=7)
    done = outside(tmp_path, "-m", "kino.cli", *FILM, "--address", f"https://{host}", "--out", "film.mp4")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "film.mp4").read_bytes() == film.video


@pytest.mark.parametrize("host", [BY_INGRESS, BY_ROUTE])
def test_files_larger_than_a_message_pass(entrances: None, kino: Kino, tmp_path: Path, host: str) -> None:
    (tmp_path / "there").write_bytes(os.urandom(80 << 20))
    done = outside(tmp_path, "-c", CARRY, f"https://{host}", "there", "back")
    assert done.returncode == 0, done.stderr
    sent = (tmp_path / "there").read_bytes()
    assert (tmp_path / "back").read_bytes() == sent == kino.artifacts.download(done.stdout.strip())


def test_a_host_that_nothing_serves_is_told(entrances: None, tmp_path: Path) -> None:
    done = outside(tmp_path, "-m", "kino.cli", *FILM, "--json", "--address", f"https://{BY_NOTHING}")
    assert (done.returncode, done.stderr) == (4, "")
    message = "no kino answers at this address, but HTTP status 404: it may be of another host"
    assert error(done) == {"code": "UNIMPLEMENTED", "message": message}


def test_a_host_that_clients_do_not_trust_is_told(entrances: None, tmp_path: Path) -> None:
    order = (*FILM, "--json", "--address", f"https://{BY_INGRESS}")
    done = outside(tmp_path, "-m", "kino.cli", *order, trusted=False)
    assert (done.returncode, error(done)["code"]) == (3, "UNAVAILABLE")
    assert "CERTIFICATE_VERIFY_FAILED" in error(done)["message"]
    assert "Traceback" not in done.stderr  # where gRPC has its own say


def test_helm_test_makes_a_film_through_the_ingress(entrances: None) -> None:
    release.helm("test", release.NAME, "--timeout=5m")
    done = get("pod", f"{release.NAME}-film-ingress", f"--namespace={release.NAMESPACE}")
    assert (done["status"]["phase"], done["spec"]["containers"][0]["args"][-1]) == (
        "Succeeded",
        f"https://{BY_INGRESS}",
    )
