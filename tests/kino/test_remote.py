import io
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kino.errors import DeadlineExceededError, InvalidArgumentError, UnavailableError
from kino.remote import Remote, is_public

PUBLIC = "93.184.216.34"
CONTENT = bytes(range(256)) * 1000


class Handler(BaseHTTPRequestHandler):
    """A server of a file, of redirects, and of trouble."""

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/film.mp4":
                self.answer(200, CONTENT, len(CONTENT))
            case "/short":
                self.answer(200, CONTENT[:1000], len(CONTENT))
            case "/endless":
                self.answer(200, CONTENT, None)
            case "/slow":
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                while not self.server.over.wait(0.02):  # type: ignore[attr-defined]
                    self.wfile.write(b"X")
                    self.wfile.flush()
            case "/to":
                self.answer(302, b"", 0, self.path.partition("?")[2])
            case _:
                self.answer(404, b"", 0)

    def answer(self, status: int, content: bytes, length: int | None, location: str = "") -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.over = threading.Event()  # type: ignore[attr-defined]
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_port
    server.over.set()  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


class World:
    """Names and their addresses; whatever address is public leads to the server of the test."""

    def __init__(self, port: int) -> None:
        self.port, self.dialled = port, list[str]()
        self.names = {"films.test": [[PUBLIC]], "other.test": [["8.8.8.8"]], "home.test": [["10.0.0.7"]]}

    def resolve(self, host: str, _: int) -> list[str]:
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        answers = self.names[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def connect(self, place: tuple[str, int], timeout: float) -> socket.socket:
        self.dialled.append(place[0])
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def remote(self, *, max_bytes: int = 1 << 20, max_seconds: float = 30.0, max_redirects: int = 5) -> Remote:
        return Remote(True, max_bytes, max_seconds, max_redirects, self.resolve, self.connect)


@pytest.fixture
def world(port: int) -> World:
    return World(port)


def fetched(remote: Remote, url: str) -> bytes:
    file = io.BytesIO()
    remote.fetch(url, file)
    return file.getvalue()


def test_nothing_is_fetched_unless_that_is_allowed(world: World) -> None:
    with pytest.raises(InvalidArgumentError, match="must be an upload: this deployment fetches no URLs"):
        fetched(Remote(resolve=world.resolve, connect=world.connect), "http://films.test/film.mp4")
    assert world.dialled == []


def test_a_file_is_fetched_from_the_address_that_was_checked(world: World) -> None:
    assert fetched(world.remote(), "http://films.test/film.mp4?size=full#start") == CONTENT
    assert fetched(world.remote(), "http://films.test/to?http://other.test/film.mp4") == CONTENT
    assert fetched(world.remote(), "http://films.test/to?/film.mp4") == CONTENT
    assert world.dialled == [PUBLIC, PUBLIC, "8.8.8.8", PUBLIC, PUBLIC]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "2001:0:1::1",
    ],
)  # fmt: skip
def test_addresses_inside_are_refused_before_anything_is_dialled(world: World, address: str) -> None:
    assert not is_public(address)
    world.names["films.test"] = [[PUBLIC, address]]
    with pytest.raises(InvalidArgumentError, match=r"uri is 'http://films\.test/film\.mp4', must be at"):
        fetched(world.remote(), "http://films.test/film.mp4")
    assert world.dialled == []


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_told_from_those_inside(address: str) -> None:
    assert is_public(address)


def test_the_system_resolves_names_unless_told_otherwise() -> None:
    for host in ("127.0.0.1", "localhost", "[::1]"):
        with pytest.raises(InvalidArgumentError, match="must be at a public address"):
            fetched(Remote(allowed=True), f"http://{host}:1/film.mp4")


def test_a_redirect_inside_is_refused(world: World) -> None:
    with pytest.raises(InvalidArgumentError, match=r"uri is 'http://home.test/film.mp4', must be at a public address"):
        fetched(world.remote(), "http://films.test/to?http://home.test/film.mp4")
    with pytest.raises(InvalidArgumentError, match="must be an http or https URL"):
        fetched(world.remote(), "http://films.test/to?file:///etc/passwd")
    assert world.dialled == [PUBLIC, PUBLIC]


def test_a_name_whose_address_changes_is_checked_each_time_it_is_dialled(world: World) -> None:
    world.names["films.test"] = [[PUBLIC], ["127.0.0.1"]]
    with pytest.raises(InvalidArgumentError, match="must be at a public address"):
        fetched(world.remote(), "http://films.test/to?/film.mp4")
    assert world.dialled == [PUBLIC]


def test_too_many_redirects_end(world: World) -> None:
    with pytest.raises(InvalidArgumentError, match="must be behind at most 1 redirects"):
        fetched(world.remote(max_redirects=1), "http://films.test/to?/to?/film.mp4")


@pytest.mark.parametrize("path", ["film.mp4", "endless"])
def test_size_is_bounded_whether_it_is_promised_or_not(world: World, path: str) -> None:
    assert fetched(world.remote(max_bytes=len(CONTENT)), f"http://films.test/{path}") == CONTENT
    file = io.BytesIO()
    with pytest.raises(InvalidArgumentError, match="uri is 'over 255999 bytes', must be at most 255999 bytes"):
        world.remote(max_bytes=len(CONTENT) - 1).fetch(f"http://films.test/{path}", file)
    assert file.tell() < len(CONTENT)


def test_a_server_that_drips_is_cut_off_in_time(world: World) -> None:
    with pytest.raises(DeadlineExceededError, match=r"uri took over 0\.3 s to fetch"):
        fetched(world.remote(max_seconds=0.3), "http://films.test/slow")


def test_a_file_that_breaks_off_is_not_taken_for_whole(world: World) -> None:
    with pytest.raises(UnavailableError, match="uri cannot be fetched: its server does not answer as it should"):
        fetched(world.remote(), "http://films.test/short")


def test_what_a_server_refuses_is_named(world: World) -> None:
    with pytest.raises(InvalidArgumentError, match="must be a file that can be fetched; the answer was 404"):
        fetched(world.remote(), "http://films.test/none")
    for url in ("http://nowhere.test/film.mp4", "https://films.test/film.mp4"):  # the second speaks no TLS
        with pytest.raises(UnavailableError, match="does not answer as it should"):
            fetched(world.remote(), url)


@pytest.mark.parametrize(
    "url",
    ["", "film.mp4", "file:///etc/passwd", "ftp://films.test/a", "http://", "http://a:b@films.test/", "http://[::1/",
     "http://films.test:0/", "http://films.test:99999/"],
)  # fmt: skip
def test_what_is_no_url_is_named(world: World, url: str) -> None:
    with pytest.raises(InvalidArgumentError, match="must be an http or https URL with a host, without a user"):
        fetched(world.remote(), url)
    assert world.dialled == []


def test_a_full_disk_is_not_blamed_on_the_server(world: World) -> None:
    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        world.remote().fetch("http://films.test/film.mp4", Full())
