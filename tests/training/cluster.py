"""A Kubernetes API server as far as the SDK of training jobs asks it, over real HTTP."""

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Api(ThreadingHTTPServer):
    """The few paths of a Kubernetes API server that the SDK asks for; `objects` is what it holds, by path.

    `created` is called with every object that is posted; `lost` readings more are answered with an error of its own.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, Any] = {}
        self.refusal: tuple[int, str] | None = None
        self.lost = 0
        self.created: Callable[[Any], None] = lambda body: None


class Handler(BaseHTTPRequestHandler):
    server: Api

    def answer(self, status: int, body: Any) -> None:
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        if self.server.lost:
            self.server.lost -= 1
            self.answer(503, {"message": "etcdserver: leader changed"})
            return
        path = self.path.partition("?")[0]
        if path in self.server.objects:
            self.answer(200, self.server.objects[path])
            return
        found = [value for key, value in self.server.objects.items() if key.rpartition("/")[0] == path]
        if path.rpartition("/")[2] in ("pytorchjobs", "pods"):
            self.answer(200, {"items": found})
        else:
            self.answer(404, {"message": f"{path.rpartition('/')[2]} not found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.refusal is not None:
            status, message = self.server.refusal
            self.answer(status, {"message": message})
            return
        body["metadata"]["creationTimestamp"] = "2026-01-02T03:04:05Z"
        self.server.objects[f"{self.path}/{body['metadata']['name']}"] = body
        self.server.created(body)
        self.answer(201, body)

    def do_DELETE(self) -> None:
        self.answer(200, self.server.objects.pop(self.path.partition("?")[0]))

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
