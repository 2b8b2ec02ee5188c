"""Files that a command is given, looked at before anything is started: what a service would refuse is refused here."""

import mimetypes
from pathlib import Path

from kino.errors import InvalidArgumentError
from kino.footage import probe
from kino.images import decode_image
from kino.media import PICTURES, Limits, VideoInfo


def media_type(path: Path, kind: str, otherwise: str) -> str:
    """Return the type of a file by its name; what it is in truth, its bytes tell the service.

    Args:
        kind: "video" or "image"; a name that tells of neither stands for `otherwise`.
    """
    guessed, _ = mimetypes.guess_type(path.name)
    return guessed if guessed is not None and guessed.startswith(f"{kind}/") else otherwise


def check_video(path: Path, name: str, limits: Limits, max_seconds: float, min_frames: int = 1) -> VideoInfo:
    """Return what a video file holds.

    Args:
        name: of the argument, for messages.
        limits: under which the services read it.

    Raises:
        InvalidArgumentError: it is not there, is no video, breaks a limit, is too long or has too few frames.
    """
    _check_exists(path, name)
    try:
        info = probe(path, limits)
    except ValueError as error:
        raise InvalidArgumentError(name, str(path), "a video", message=f"{name} is {str(path)!r}: {error}") from None
    if info.num_frames < min_frames:
        raise InvalidArgumentError(name, str(path), f"a video of at least {min_frames} frames")
    if info.duration_seconds > max_seconds:
        seconds = float(info.duration_seconds)
        bound = f"a video of at most {max_seconds:g} s"
        raise InvalidArgumentError(name, str(path), bound, message=f"{name} is {seconds:.6g} s long, must be {bound}")
    return info


def check_picture(path: Path, name: str) -> None:
    """Refuse what is no picture; raises as `check_video`."""
    _check_exists(path, name)
    try:
        decode_image(path.read_bytes(), PICTURES)
    except ValueError as error:
        raise InvalidArgumentError(name, str(path), "a picture", message=f"{name} is {str(path)!r}: {error}") from None


def _check_exists(path: Path, name: str) -> None:
    if str(path).startswith(("http:/", "https:/")):  # a path has no slash twice
        raise InvalidArgumentError(name, str(path).replace(":/", "://", 1), "a file on this machine: download it first")
    if not path.is_file():
        raise InvalidArgumentError(name, str(path), "a file that exists")
