"""`kino serve`: every service and the graph on this machine, until it is told to end."""

import argparse
import asyncio
from contextlib import suppress

from kino.cli_local import flags_of, local_services
from kino.cli_view import print_json, print_table
from kino.errors import InvalidArgumentError


async def serve(given: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM, which let running work end first."""
    if not 0 <= given.port <= 65535:
        raise InvalidArgumentError("--port", given.port, "from 0 to 65535")
    flags = ["--port", str(given.port), "--log-level", "warning"]
    flags += flags_of(given.preset, given.models, given.data, given.model)
    flags += [flag for flag, wanted in (("--ray", given.ray), ("--fetch-urls", given.fetch_urls)) if wanted]
    async with local_services(flags, log_to_file=False) as services:
        if given.json:
            print_json(services.addresses)
        else:
            print_table(("service", "address"), services.addresses.items())
            print(f"\nkino film PROMPT --address {services.addresses['graph']}\nCtrl-C ends it.", flush=True)
        with suppress(asyncio.CancelledError):  # being told to end is how a server ends well
            await services.during(asyncio.Event().wait())
    return 0
