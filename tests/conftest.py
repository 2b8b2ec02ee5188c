"""What every test shares: one compute thread, Ctrl-C that is heard, checked tensor shapes, free ports."""

import os
import signal
import socket

# The suite runs one worker per core; torch reads this once, when a test first imports it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell lets what it runs in its background ignore Ctrl-C, and every process started from there would ignore it too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
from jaxtyping import install_import_hook

# The networks' shape annotations are enforced for the whole suite. The hook rewrites modules as they are first
# imported, so it has to stand before any test module is collected.
CHECKED_MODULES = ["kino.models", "kino.flow"]
install_import_hook(CHECKED_MODULES, "beartype.beartype")


@pytest.fixture
def free_port() -> int:
    """A TCP port on loopback that nobody listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
