"""The flags of `kino models` and the like, apart from the others: nothing but the standard library is imported here."""

import argparse


def add_models(parser: argparse.ArgumentParser) -> None:
    """Add the flags and the commands of `kino models`."""
    where = "registry: a folder or s3://bucket (the one shipped with kino)"
    # The same options may stand before the command; left out after it, they keep what was said there.
    place = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    place.add_argument("--json", action="store_true", help="print one JSON value, for scripts")
    place.add_argument("--models", metavar="PLACE", help=where)
    parser.add_argument("--models", metavar="PLACE", help=where)
    parser.set_defaults(command="cli_models:listing")
    commands = parser.add_subparsers(metavar="COMMAND")
    commands.add_parser("list", parents=[place], help="every version of every component")
    show = commands.add_parser("show", parents=[place], help="one version: lineage, figures, files")
    take = commands.add_parser("import", parents=[place], help="publish a model of others, from its pipeline folder")
    take.add_argument("folder", metavar="FOLDER", help="in the format of diffusers: model_index.json and its parts")
    take.add_argument("--name", default="", help="of its versions, for --model (the folder's)")
    take.add_argument("--dtype", default="", help="float32, bfloat16 or float16, to compute in (as it is stored)")
    take.add_argument("--adapter", action="store_true", help="FOLDER is a LoRA adapter of --base, or its file")
    take.add_argument("--base", metavar="NAME", help="the imported model that the adapter was trained on")
    take.add_argument("--part", default="transformer", help="transformer_2 for the second expert's (%(default)s)")
    take.set_defaults(command="cli_import:take")
    _add_plan(commands.add_parser("plan", parents=[place], help="memory and time of a film of an imported model"))
    promote = commands.add_parser("promote", parents=[place], help="let an alias stand for a version")
    back = commands.add_parser("rollback", parents=[place], help="let an alias stand for what it stood for before")
    for command in (show, promote, back):
        command.add_argument("component", metavar="COMPONENT")
    for command in (show, promote):
        command.add_argument("version", metavar="VERSION", help="or an alias")
    for command in (promote, back):
        command.add_argument("--alias", default="production", help="the alias to move (%(default)s)")
    collect = commands.add_parser("gc", parents=[place], help="remove versions that nothing needs")
    collect.add_argument("--keep", type=int, default=3, metavar="N", help="newest of each component (%(default)s)")
    collect.add_argument("--dry-run", action="store_true", help="only show them")
    for command, name in ((show, "show"), (promote, "promote"), (back, "roll_back"), (collect, "collect")):
        command.set_defaults(command=f"cli_models:{name}")


def add_adapter(parser: argparse.ArgumentParser) -> None:
    """Add the flag of commands whose model adapters may change."""
    parser.add_argument(
        "--adapter",
        action="append",
        metavar="NAME[:WEIGHT]",
        help="an imported adapter of the model, as strong as its weight (1); again for several at once",
    )


def _add_plan(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("name", metavar="NAME", help="of its versions")
    add("--size", metavar="WIDTHxHEIGHT", help="in pixels (the model's)")
    add("--seconds", type=float, metavar="X", help="length (the model's)")
    add("--steps", type=int, metavar="N", help="denoising steps (the model's)")
    add("--dtype", default="", help="float32, bfloat16 or float16, to compute in (as it was imported)")
    add("--weights", default="", help="int8 or float8, as python -m services takes it")
    add("--offload", default="", help="networks or layers, as python -m services takes it")
    add("--tiled", action="store_true", help="decode pictures in tiles, as python -m services takes it")
    add("--device", default="cpu", help="where each service computes (%(default)s)")
    add("--device-memory", type=float, metavar="GIB", help="of each service's device (what this one has left)")
    add("--flops", metavar="N", help="operations per second of that device, such as 400T (measured on this one)")
    parser.set_defaults(command="cli_plan:plan")


def add_upscale(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `kino upscale`."""
    add = parser.add_argument
    add("video", metavar="VIDEO", help="any common file smaller than full HD, of up to 2048 frames")
    add("--seed", type=int, metavar="N", help="the same seed makes the same bytes; drawn where left out")
    add("--steps", type=int, metavar="N", help="denoising steps")
    add("--fresh", action="store_true", help="compute everything anew, even what is stored already")
    add("-o", "--out", metavar="PATH", help="MP4 (NAME-hd.mp4); its contact sheet is a PNG beside it")
    parser.set_defaults(command="cli_upscale:upscale")


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
