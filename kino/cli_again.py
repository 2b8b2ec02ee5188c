"""The command that makes the same again, as every command tells it."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

LOCAL = ("preset", "models", "data", "model")
"""Flags of services that run as long as the command."""
_FLAGS = {"silent": "no-sound"}  # those that are not called as the option is


def flags_again(given: argparse.Namespace, names: Sequence[str], seed: int) -> list[str]:
    """Return the flags of these names that were given, the seed that was drawn, and where things are."""
    flags: list[str] = []
    for name in (*names, "address", *LOCAL, "out"):
        value = seed if name == "seed" else getattr(given, name, None)
        flag = f"--{_FLAGS.get(name, name).replace('_', '-')}"
        if value is True:
            flags.append(flag)
        elif value is not None:
            flags += [word for one in (value if isinstance(value, list) else [value]) for word in (flag, str(one))]
    return flags


def program() -> str:
    """Return how the shell can call the program: by its name where that is found, else by the path it was called by."""
    called = Path(sys.argv[0])
    return "kino" if shutil.which("kino") or called.name != "kino" else str(called)
