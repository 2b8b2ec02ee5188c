"""The command line: `kino film`, `image`, `sound`, `edit`, `serve`, `status`, `models`, `store` and `generations`.

Starting up imports the standard library alone, so that `kino --help` is immediate; a command imports what it needs.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from kino.cli_flags import add_adapter, add_models, add_store, add_upscale

if TYPE_CHECKING:
    from kino.errors import KinoError

EXIT_OK = 0
EXIT_BAD_INPUT = 2
EXIT_UNAVAILABLE = 3
EXIT_FAILED = 4
EXIT_CANCELLED = 130
EXIT_TERMINATED = 143

EXIT_CODES = """exit codes:
  0    done
  2    bad input: an argument, a prompt, an unknown generation
  3    a service cannot be reached, is busy or too slow: the same command may work later
  4    failed for another reason
  130  cancelled, by Ctrl-C or by somebody else
  143  ended by SIGTERM; the generation is cancelled
"""
_BAD_INPUT = ("INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION", "OUT_OF_RANGE")
_UNAVAILABLE = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")
_UNSENT = ("quality", "seed", "fps", "steps", "linear_steps")
"""Fields of an order whose values no message may hold, so that the client refuses them by their own names."""

Command = Callable[[argparse.Namespace], Awaitable[int]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # what a test puts in a stream's place has none
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    given = _parser().parse_args(arguments)
    try:
        code = _run(given)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has seen enough; what is left in the buffer goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    return code


def _run(given: argparse.Namespace) -> int:
    from kino.errors import KinoError

    module, _, name = given.command.partition(":")
    command: Command = getattr(import_module(f"kino.{module}"), name)
    try:
        return asyncio.run(_until_told(command(given)))
    except KeyboardInterrupt:
        return _tell(given, "CANCELLED", "cancelled", EXIT_CANCELLED)
    except asyncio.CancelledError:
        return _tell(given, "CANCELLED", "ended by SIGTERM", EXIT_TERMINATED)
    except KinoError as error:
        error = _as_typed(given, error)
        details = {name: value for name in ("field", "value", "bound") if (value := getattr(error, name, ""))}
        return _tell(given, error.code.name, error.message, exit_code(error.code.name), details)
    except BrokenPipeError:
        raise
    except OSError as error:
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return _tell(given, "FAILED", text, EXIT_FAILED)


def _as_typed(given: argparse.Namespace, error: "KinoError") -> "KinoError":
    """Return the error; a field of the order, as the graph or the client names it, goes by the flag that was typed."""
    from kino.errors import InvalidArgumentError

    if not isinstance(error, InvalidArgumentError) or not (error.field.startswith("spec.") or error.field in _UNSENT):
        return error
    name = "size" if ".pixels." in error.field else error.field.rpartition(".")[2]
    name = "adapter" if ".adapters" in error.field else {"description": "prompt"}.get(name, name)
    if name not in given:
        return error
    is_flag = name not in ("prompt", "instruction") or given.command.startswith("cli_sound")
    typed = f"--{name.replace('_', '-')}" if is_flag else name
    return InvalidArgumentError(typed, error.value, error.bound, message=error.message.replace(error.field, typed, 1))


def exit_code(code: str) -> int:
    """Return the exit code for the name of a gRPC code."""
    if code in _BAD_INPUT:
        return EXIT_BAD_INPUT
    if code in _UNAVAILABLE:
        return EXIT_UNAVAILABLE
    return EXIT_CANCELLED if code == "CANCELLED" else EXIT_FAILED


async def _until_told(work: Awaitable[int]) -> int:
    """Await the command; SIGTERM cancels it, as `asyncio.run` does for Ctrl-C, so that it can end what it began."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


def _tell(
    given: argparse.Namespace, code: str, message: str, exit_code: int, details: dict[str, str] | None = None
) -> int:
    if given.json:
        print(json.dumps({"error": {"code": code, "message": message, **(details or {})}}))
    else:
        print(f"kino: {message}", file=sys.stderr)
    return exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kino",
        description="A sentence becomes a film.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    scripts = argparse.ArgumentParser(add_help=False)
    scripts.add_argument("--json", action="store_true", help="print one JSON value, for scripts")
    local = argparse.ArgumentParser(add_help=False)
    local.add_argument("--preset", help="mini or nano (mini)")
    local.add_argument("--models", metavar="PATH", help="model registry (the one shipped with kino)")
    local.add_argument("--data", metavar="PATH", help="home of store and ledger ($XDG_DATA_HOME/kino)")
    remote = argparse.ArgumentParser(add_help=False)
    remote.add_argument(
        "--address", metavar="HOST:PORT", default=os.environ.get("KINO_ADDRESS"), help="a running graph ($KINO_ADDRESS)"
    )

    film = commands.add_parser("film", parents=[scripts, local, remote], help="make a film of a sentence")
    _add_film(film)
    film.set_defaults(command="cli_film:film")
    image = commands.add_parser("image", parents=[scripts, local, remote], help="make a picture of a sentence")
    _add_order(image)
    image.add_argument("-o", "--out", default="image.png", metavar="PATH", help="PNG (%(default)s)")
    _add_model(image)
    image.set_defaults(command="cli_film:image")
    sound = commands.add_parser(
        "sound", parents=[scripts, local, remote], help="make the sound of a video file, or of words alone"
    )
    _add_sound(sound)
    sound.set_defaults(command="cli_sound:sound")
    edit = commands.add_parser(
        "edit", parents=[scripts, local, remote], help="change a video as an instruction asks, and nothing else of it"
    )
    _add_edit(edit)
    edit.set_defaults(command="cli_edit:edit")
    add_upscale(commands.add_parser("upscale", parents=[scripts, local, remote], help="bring a video to full HD"))
    serve = commands.add_parser(
        "serve", parents=[scripts, local], help="run every service and the graph on this machine"
    )
    _add_serve(serve)
    serve.set_defaults(command="cli_serve:serve")
    status = commands.add_parser("status", parents=[scripts, remote], help="show the parts of a running graph")
    status.set_defaults(command="cli_graph:status")
    add_models(
        commands.add_parser(
            "models",
            parents=[scripts, remote],
            help="list, show, import, promote, rollback, gc: what a registry holds, or what a running graph accepts",
        )
    )
    add_store(commands.add_parser("store", help="prepare the bucket of a store, link to what it holds"), scripts)
    _add_generations(
        commands.add_parser("generations", help="create, get, list, watch, cancel, delete"), [scripts, remote]
    )
    return parser


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port", type=int, default=7000, help="the graph's; the services' follow. 0: free ones (%(default)s)"
    )
    parser.add_argument("--ray", action="store_true", help="run the graph on Ray Serve")
    parser.add_argument("--fetch-urls", action="store_true", help="take media by URL, from public addresses alone")
    _add_model(parser, adapted=False)


def _add_film(parser: argparse.ArgumentParser) -> None:
    _add_order(parser)
    _add_time(parser)
    add = parser.add_argument
    add(
        "--image",
        metavar="PATH",
        help="a picture to begin with; cut to the nearest aspect there is, evenly on both sides",
    )
    add("--identity", metavar="PATH", help="a picture of the person whom the film is of")
    add("--source-guidance", type=float, metavar="X", help="how closely to keep to the picture")
    add("-o", "--out", default="film.mp4", metavar="PATH", help="MP4; its contact sheet is a PNG beside it")
    _add_model(parser)


def _add_order(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("prompt", nargs="?", metavar="PROMPT", help="what to show; - reads standard input ($KINO_PROMPT)")
    add("--negative-prompt", metavar="TEXT", help="what to move away from")
    add("--aspect", metavar="W:H", help="width to height, for example 16:9")
    add("--size", metavar="WIDTHxHEIGHT", help="in pixels, in place of an aspect")
    add("--verbatim", action="store_true", default=None, help="encode the prompt as it is, without the rewriter")
    _add_sampling(parser)


def _add_model(parser: argparse.ArgumentParser, adapted: bool = True) -> None:
    if adapted:
        add_adapter(parser)
    parser.add_argument(
        "--model", metavar="NAME", help="an imported model in the place of ours; the prompt goes to it as it is"
    )


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--seed", type=int, metavar="N", help="the same seed makes the same bytes; drawn where left out")
    add("--steps", type=int, metavar="N", help="denoising steps")
    add("--linear-steps", type=int, metavar="N", help="steps of the uniform schedule that the sampler follows at first")
    add("--guidance", type=float, metavar="X", help="how strictly to follow the prompt; 1 is no guidance")
    add("--fresh", action="store_true", help="compute everything anew, even what is stored already")


def _add_sound(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("video", nargs="?", metavar="VIDEO", help="the video to be heard, any common file of up to ten minutes")
    add("--prompt", metavar="TEXT", help="what is heard; with a video, left out to go by the pictures alone")
    add("--music", metavar="TEXT", help="style and mood of the music; left out for none")
    add("--seconds", type=float, metavar="X", help="length of a sound without a video")
    _add_sampling(parser)
    add("-o", "--out", metavar="PATH", help="MP4 for a video (NAME-sound.mp4), else .wav, .flac or .m4a (sound.wav)")


def _add_edit(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("video", metavar="VIDEO", help="the video to be changed, any common file of up to 16 s")
    add("instruction", metavar="INSTRUCTION", help='what to change, for example "make the ball blue"')
    _add_sampling(parser)
    add("--source-guidance", type=float, metavar="X", help="how closely to keep to the video")
    add("--new-sound", action="store_true", default=None, help="make the sound anew instead of keeping it")
    add("-o", "--out", metavar="PATH", help="MP4 (NAME-edited.mp4); its contact sheet is a PNG beside it")


def _add_time(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, metavar="X", help="length")
    parser.add_argument("--fps", type=int, metavar="N", help="frames per second")
    parser.add_argument("--quality", metavar="NAME", help="standard, or hd for full HD (standard)")
    parser.add_argument("--no-sound", dest="silent", action="store_true", default=None, help="leave the sound out")


def _add_generations(parser: argparse.ArgumentParser, parents: list[argparse.ArgumentParser]) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    create = commands.add_parser("create", parents=parents, help="ask for one and return at once")
    _add_order(create)
    _add_time(create)
    create.add_argument("--image", action="store_true", help="a picture instead of a film")
    create.add_argument(
        "--pipeline", metavar="PATH", help="JSON of a kino.v1.Pipeline instead of a prompt; - reads standard input"
    )
    create.add_argument(
        "--key", metavar="TEXT", help="idempotency key: the same key and order return the same generation"
    )
    create.set_defaults(command="cli_graph:create")
    for name, text in (
        ("get", "show one"),
        ("watch", "follow one until it has ended"),
        ("cancel", "cancel one, down to the sampler"),
        ("delete", "forget one that has ended"),
    ):
        command = commands.add_parser(name, parents=parents, help=text)
        command.add_argument("id", metavar="ID")
        command.set_defaults(command=f"cli_graph:{name}")
        if name in ("get", "watch"):
            command.add_argument("--out", metavar="FOLDER", help="write its artifacts there once it has succeeded")
    link = commands.add_parser("link", parents=parents, help="print a URL that downloads an artifact for a while")
    link.add_argument("uri", metavar="URI", help="kino://sha256/...")
    link.add_argument("--seconds", type=int, default=3600, metavar="N", help="how long it opens (%(default)s)")
    link.set_defaults(command="cli_graph:link")
    listing = commands.add_parser("list", parents=parents, help="newest first")
    listing.add_argument(
        "--state", action="append", default=[], choices=("queued", "running", "succeeded", "failed", "cancelled")
    )
    listing.add_argument("--limit", type=int, default=20, metavar="N", help="at most so many (%(default)s)")
    listing.set_defaults(command="cli_graph:list_generations")


if __name__ == "__main__":
    sys.exit(main())
