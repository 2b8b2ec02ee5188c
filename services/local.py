"""What needs no flags on a person's own machine: where results and models lie, and which ports are whose."""

import os
from collections.abc import Mapping
from pathlib import Path

from services.service import NAMES

GRAPH_PORT = 7000


def data_folder() -> Path:
    """Return where results are kept: `$XDG_DATA_HOME/kino`, or `~/.local/share/kino`."""
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "share") / "kino"


def ports(graph_port: int) -> Mapping[str, int]:
    """Return the port of every service: the graph's and those that follow it, or all 0, which is any that is free."""
    others = (name for name in NAMES if name != "graph")
    return {"graph": graph_port} | {name: graph_port and graph_port + n for n, name in enumerate(others, start=1)}


def ledger_url(data: Path) -> str:
    """Return the SQLAlchemy URL of the SQLite ledger in a data folder, given by its full path."""
    return f"sqlite:///{data / 'ledger.sqlite'}"
