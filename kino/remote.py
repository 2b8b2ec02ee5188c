"""Media behind URLs: fetched only where a deployment allows it, and never from its own network.

A name is resolved once, every address it has is checked, and the connection goes to the address that was checked, again
after each redirect; so neither a redirect nor a name whose address changes leads inside. Proxies are not consulted.
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from tempfile import TemporaryFile
from threading import Timer
from typing import BinaryIO
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from kino.errors import DeadlineExceededError, InvalidArgumentError, UnavailableError

_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK_BYTES = 1 << 16
_TUNNELS = tuple(IPv6Network(network) for network in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"))


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host as the system knows them."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def is_url(uri: str) -> bool:
    """Tell whether a uri leads outside, instead of into the store."""
    return uri.partition("://")[0].lower() in _PORTS


@dataclass(frozen=True)
class Remote:
    """What may be fetched from URLs: nothing unless `allowed`, and within the bounds of size and time.

    Args:
        max_seconds: of the whole fetch, redirects included, from the first connection on.
        resolve: the addresses of (host, port).
        connect: a connection to (address, port) within a timeout in seconds.
    """

    allowed: bool = False
    max_bytes: int = 256 << 20
    max_seconds: float = 60.0
    max_redirects: int = 5
    resolve: Callable[[str, int], list[str]] = resolve
    connect: Callable[[tuple[str, int], float], socket.socket] = socket.create_connection

    def fetch(self, url: str, file: BinaryIO, field: str = "uri") -> None:
        """Write what an http or https URL holds to a file.

        Raises:
            InvalidArgumentError: URLs are not allowed, this one is malformed, leads to an address that is not public
                or to more than the bounds allow, or its server refuses.
            UnavailableError: its server is not found, cannot be reached or breaks off.
            DeadlineExceededError: it took too long.
        """
        if not self.allowed:
            raise InvalidArgumentError(field, url, "an upload: this deployment fetches no URLs")
        deadline, place = time.monotonic() + self.max_seconds, url
        for _ in range(self.max_redirects + 1):
            parts = _checked_url(place, field)
            with self._answer(parts, deadline, field) as answer:
                target = answer.getheader("Location")
                if answer.status not in _REDIRECTS or not target:
                    if answer.status != 200:
                        bound = f"a file that can be fetched; the answer was {answer.status}"
                        raise InvalidArgumentError(field, url, bound)
                    for chunk in self._body(answer, deadline, field):
                        file.write(chunk)
                    return
            place = urljoin(place, target)
        raise InvalidArgumentError(field, url, f"behind at most {self.max_redirects} redirects")

    def open(self, url: str, field: str = "uri") -> BinaryIO:
        """Return what a URL holds as a seekable file that is gone once it is closed; raises as `fetch`."""
        with ExitStack() as stack:
            file = stack.enter_context(TemporaryFile())
            self.fetch(url, file, field)
            file.seek(0)
            stack.pop_all()
            return file

    @contextmanager
    def _answer(self, parts: SplitResult, deadline: float, field: str) -> Iterator[HTTPResponse]:
        """Yield the answer to a GET; its connection is cut at the deadline, whatever it is doing then."""
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        target = quote(f"{parts.path or '/'}{'?' * bool(parts.query)}{parts.query}", safe="/?:@!$&'()*+,;=%~")
        with ExitStack() as stack:
            with self._named_errors(deadline, field):
                address = self._public_address(host, port, parts.geturl(), field)
                left = max(deadline - time.monotonic(), 0.001)
                connection = HTTPConnection(host, port, timeout=left)
                stack.callback(connection.close)
                plain = stack.enter_context(self.connect((address, port), left))
                connection.sock = _secured(plain, host) if parts.scheme == "https" else plain
                clock = Timer(left, _cut, (connection.sock,))
                stack.callback(clock.cancel)
                clock.start()
                if isinstance(connection.sock, ssl.SSLSocket):
                    connection.sock.do_handshake()
                connection.request("GET", target, headers={"Accept-Encoding": "identity", "User-Agent": "kino"})
                answer = connection.getresponse()
            yield answer

    def _body(self, answer: HTTPResponse, deadline: float, field: str) -> Iterator[bytes]:
        """Yield the body of an answer in parts, as long as it promised and no longer than is allowed."""
        promised, done = answer.length, 0
        while True:
            with self._named_errors(deadline, field):
                chunk = b"" if (promised or 0) > self.max_bytes else answer.read(_CHUNK_BYTES)
                done += len(chunk)
                if max(done, promised or 0) > self.max_bytes:
                    raise InvalidArgumentError(field, f"over {self.max_bytes} bytes", f"at most {self.max_bytes} bytes")
                if time.monotonic() >= deadline:  # the end may be where the connection was cut
                    raise TimeoutError
                if not chunk and promised is not None and done != promised:
                    raise IncompleteRead(b"", promised - done)
            if not chunk:
                return
            yield chunk

    @contextmanager
    def _named_errors(self, deadline: float, field: str) -> Iterator[None]:
        """Turn what the network says into typed errors."""
        try:
            yield
        except (OSError, HTTPException) as error:
            if time.monotonic() >= deadline:
                raise DeadlineExceededError(f"{field} took over {self.max_seconds:g} s to fetch") from error
            raise UnavailableError(f"{field} cannot be fetched: its server does not answer as it should") from error

    def _public_address(self, host: str, port: int, url: str, field: str) -> str:
        addresses = self.resolve(host, port)
        if not addresses or not all(is_public(address) for address in addresses):
            raise InvalidArgumentError(field, url, "at a public address")
        return addresses[0]


def is_public(address: str) -> bool:
    """Tell whether an address lies in the public internet: not loopback, private, link-local, shared or a tunnel."""
    known: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(known, IPv6Address):
        if any(known in network for network in _TUNNELS):
            return False
        known = known.ipv4_mapped or known
    return known.is_global and not known.is_multicast


NOTHING_REMOTE = Remote()
"""Refuses every URL."""


def _checked_url(url: str, field: str) -> SplitResult:
    bound = "an http or https URL with a host, without a user"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _PORTS and parts.hostname and "@" not in parts.netloc and parts.port != 0
    except ValueError as error:
        raise InvalidArgumentError(field, url, bound) from error
    if not usable:
        raise InvalidArgumentError(field, url, bound)
    return parts


def _secured(plain: socket.socket, host: str) -> ssl.SSLSocket:
    """Return a connection that will be encrypted, and whose certificate has to be the host's."""
    context = ssl.create_default_context()
    return context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):  # it has ended by itself at this very moment
        connection.shutdown(socket.SHUT_RDWR)
