"""Flags of commands, apart from the others': nothing but the standard library is imported here."""

import argparse


def add_store(parser: argparse.ArgumentParser, scripts: argparse.ArgumentParser) -> None:
    """Add what `kino store` takes."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    prepare = commands.add_parser("prepare", parents=[scripts], help="make the bucket; let what is scratch expire")
    link = commands.add_parser("link", parents=[scripts], help="print a URL that downloads an artifact without keys")
    for command, name in ((prepare, "prepare"), (link, "link")):
        command.add_argument("store", metavar="STORE", help="s3://bucket/prefix?endpoint=...")
        command.set_defaults(command=f"cli_store:{name}")
    prepare.add_argument("--scratch-days", type=int, default=7, metavar="N", help="days that it stays (%(default)s)")
    link.add_argument("uri", metavar="URI", help="kino://sha256/...")
    link.add_argument("--seconds", type=int, default=3600, metavar="N", help="that it holds (%(default)s)")
