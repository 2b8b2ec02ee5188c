"""Servers and channels, all with the same limits, health, reflection, retries and interceptors."""

import json
import os
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from kino.errors import InvalidArgumentError
from kino.interceptors import ServerInterceptor, client_interceptors
from kino.telemetry import MetricsServer

S = TypeVar("S")

MAX_MESSAGE_BYTES = 64 << 20
UNARY_SECONDS = 60.0
_TLS = "https://"
_KEEPALIVE_SECONDS = 30
_CONNECTION_SECONDS = 30  # a client connects anew this often, and so finds the servers that were added meanwhile
_LIMITS = [("grpc.max_send_message_length", MAX_MESSAGE_BYTES), ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
_SERVER_OPTIONS = [
    *_LIMITS,
    ("grpc.so_reuseport", 0),  # a second server on the same port is a mistake, not a second worker
    ("grpc.max_connection_age_ms", _CONNECTION_SECONDS * 1000),
    ("grpc.http2.max_ping_strikes", 0),  # a stream may be quiet for minutes, and clients make sure that it is alive
]
# Every call may be repeated: creating carries an idempotency key, the rest computes or reads.
_RETRIES = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 20, "tokenRatio": 0.5},
    "loadBalancingConfig": [{"round_robin": {}}],
}


class Server:
    """A grpc.aio server with `grpc.health.v1`, reflection, the project's interceptor and metrics over HTTP.

    It answers UNAVAILABLE, and its health says NOT_SERVING, until `ready(True)`.

    Args:
        host: address to listen on.
        port: 0 for any that is free; `start` returns the bound one.
        metrics_port: port of the Prometheus metrics, 0 for any that is free, None for none.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0, metrics_port: int | None = None) -> None:
        self.host, self.port, self.metrics_port = host, port, metrics_port
        self._interceptor = ServerInterceptor()
        self._server = grpc.aio.server(interceptors=[self._interceptor], options=_SERVER_OPTIONS)
        self._health = health.aio.HealthServicer()
        self._services = [health.SERVICE_NAME, reflection.SERVICE_NAME]
        self._metrics: MetricsServer | None = None
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    def add(self, servicer: S, add_to_server: Callable[[S, Any], None], full_name: str) -> None:
        """Serve a service, for example "kino.v1.TaeService"; before `start`."""
        add_to_server(servicer, self._server)
        self._services.append(full_name)

    async def start(self) -> int:
        """Listen, and return the bound port.

        Raises:
            OSError: a port is in use, or may not be bound; the message names it.
        """
        await self.ready(False)
        reflection.enable_server_reflection(self._services, self._server)
        if self.metrics_port is not None:
            self._metrics = MetricsServer(self.host, self.metrics_port)
            self.metrics_port = self._metrics.port
        try:
            self.port = self._server.add_insecure_port(_join(self.host, self.port))
        except RuntimeError:
            self._close_metrics()
            _explain_bind_failure(self.host, self.port)
            raise
        await self._server.start()
        return self.port

    async def ready(self, ready: bool) -> None:
        """Begin or cease to serve calls, and let health say so: every service's own, and "" for all."""
        self._interceptor.ready = ready
        serving = health_pb2.HealthCheckResponse.SERVING
        for service in ("", *self._services):
            await self._health.set(service, serving if ready else health_pb2.HealthCheckResponse.NOT_SERVING)

    async def wait(self) -> None:
        """Return when the server has stopped."""
        await self._server.wait_for_termination()

    async def stop(self, grace_seconds: float = 0) -> None:
        """Refuse new calls, let those under way end for so long, cancel the rest."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_seconds)
        self._close_metrics()

    def _close_metrics(self) -> None:
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None


def channel(address: str, unary_seconds: float | None = UNARY_SECONDS) -> grpc.aio.Channel:
    """Return a channel to an address that retries while the service is unavailable, with backoff.

    Its calls carry the request id and the trace of the call being served, and end no later than that. Make it in the
    event loop that uses it.

    Args:
        address: `host:port`; or `https://host`, with a port where it is not 443, for TLS. Its server is trusted by the
            authorities that the file SSL_CERT_FILE holds, as OpenSSL has it, or else by those that come with gRPC.
        unary_seconds: time allowed for a unary call that names no timeout; streams have no limit of their own.

    Raises:
        InvalidArgumentError: the address is of TLS and names no server.
    """
    options = [
        *_LIMITS,
        ("grpc.service_config", json.dumps(_RETRIES)),
        ("grpc.keepalive_time_ms", _KEEPALIVE_SECONDS * 1000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.initial_reconnect_backoff_ms", 100),  # a service that was restarted is found again soon
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),  # as is one that came back at another address
        ("grpc.use_local_subchannel_pool", 1),  # nor does a channel wait for what another one met at this address
    ]
    interceptors = client_interceptors(unary_seconds)
    if not address.startswith(_TLS):
        return grpc.aio.insecure_channel(address, options=options, interceptors=interceptors)
    return grpc.aio.secure_channel(_server(address), _trust(), options=options, interceptors=interceptors)


def _server(address: str) -> str:
    """The `host:port` of an address for TLS."""
    try:
        parsed = urlsplit(address)
        host, port = parsed.hostname, parsed.port
    except ValueError:
        host, port = None, None
    if not host or parsed.path.strip("/"):
        raise InvalidArgumentError("address", address, "host:port, or https://host with a port where it is not 443")
    return _join(host, port or 443)


def _trust() -> grpc.ChannelCredentials:
    """The authorities that servers are trusted by."""
    file = os.environ.get("SSL_CERT_FILE", "")
    return grpc.ssl_channel_credentials(Path(file).read_bytes() if file else None)


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _explain_bind_failure(host: str, port: int) -> None:
    """Raise the system's own reason why a port cannot be bound, which gRPC keeps to itself."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with closing(socket.socket(family, kind, protocol)) as probe:
        try:
            probe.bind(address)
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {_join(host, port)}: {error.strerror}") from None
