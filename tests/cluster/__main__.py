"""The local cluster: python -m tests.cluster up|down|status."""

import argparse
import sys
import time

from tests.cluster import control


def main() -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("command", choices=("up", "down", "status"))
    command = parser.parse_args().command
    started = time.monotonic()
    if command == "status":
        print("up" if control.running() else "down")
        return 0 if control.running() else 1
    try:
        (control.up if command == "up" else control.down)()
    except (FileNotFoundError, RuntimeError, TimeoutError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"the cluster is {command} ({time.monotonic() - started:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
