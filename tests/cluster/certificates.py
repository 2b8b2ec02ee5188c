"""The certificates of a cluster: one authority, and what each component shows the others."""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.cluster.place import API_ADDRESS, ENTRANCE, NODE, NODE_ADDRESS

MASTERS = "system:masters"
API_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
# File, name, group, names and addresses it serves under. The API server knows who calls by the name and the group.
ROWS: tuple[tuple[str, str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("apiserver", "kube-apiserver", "", API_NAMES, ("127.0.0.1", NODE_ADDRESS, API_ADDRESS)),
    ("kubelet", f"system:node:{NODE}", "system:nodes", (NODE,), (NODE_ADDRESS, "127.0.0.1")),
    ("apiserver-kubelet", "kube-apiserver-kubelet", MASTERS, (), ()),
    ("front-proxy", "front-proxy-client", "", (), ()),
    ("admin", "admin", MASTERS, (), ()),
    ("kube-controller-manager", "system:kube-controller-manager", "", (), ()),
    ("kube-scheduler", "system:kube-scheduler", "", (), ()),
    ("kube-proxy", "system:kube-proxy", "", (), ()),
    ("traefik", "traefik", "", (f"*.{ENTRANCE}",), ()),
)
CLIENTS = ("admin", "kubelet", "kube-controller-manager", "kube-scheduler", "kube-proxy")


@dataclass(frozen=True)
class Authority:
    """Who signs the certificates of a cluster."""

    name: x509.Name
    key: ec.EllipticCurvePrivateKey

    def sign(self, name: x509.Name, public: ec.EllipticCurvePublicKey, *extensions: x509.ExtensionType) -> bytes:
        """Return a certificate as PEM, good for a year."""
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder(self.name, name, public, x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=365))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def write(folder: Path) -> None:
    """Write ca.crt, a pair of files for each row, the key of service accounts, and a kubeconfig for each client."""
    folder.mkdir(parents=True, mode=0o700)
    authority = Authority(_name("kino-cluster"), ec.generate_private_key(ec.SECP256R1()))
    root = x509.BasicConstraints(ca=True, path_length=0)
    (folder / "ca.crt").write_bytes(authority.sign(authority.name, authority.key.public_key(), root))
    _write_key(folder / "ca.key", authority.key)
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    for file, name, group, names, addresses in ROWS:
        key = ec.generate_private_key(ec.SECP256R1())
        served = [
            *(x509.DNSName(text) for text in names),
            *(x509.IPAddress(ipaddress.ip_address(text)) for text in addresses),
        ]
        extensions = [both, x509.SubjectAlternativeName(served)] if served else [both]
        (folder / f"{file}.crt").write_bytes(authority.sign(_name(name, group), key.public_key(), *extensions))
        _write_key(folder / f"{file}.key", key)
    accounts = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    _write_key(folder / "accounts.key", accounts)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    (folder / "accounts.pub").write_bytes(accounts.public_key().public_bytes(serialization.Encoding.PEM, form))
    for client in CLIENTS:
        (folder / f"{client}.kubeconfig").write_text(yaml.safe_dump(_kubeconfig(folder, client)))


def _name(name: str, group: str = "") -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)] if group else []
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))


def _kubeconfig(folder: Path, client: str) -> dict[str, object]:
    pair = {"client-certificate": str(folder / f"{client}.crt"), "client-key": str(folder / f"{client}.key")}
    cluster = {"server": "https://127.0.0.1:6443", "certificate-authority": str(folder / "ca.crt")}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "kino", "cluster": cluster}],
        "users": [{"name": client, "user": pair}],
        "contexts": [{"name": "kino", "context": {"cluster": "kino", "user": client}}],
        "current-context": "kino",
    }
