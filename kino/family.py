"""What a family of published models is: the parts of its pipelines, and what these can do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kino.family_clips import Config, Configs
from kino.shapes import Clips, SoundLatents

TEXT_TO_VIDEO, IMAGE_TO_VIDEO, IMAGES, SOUND = "text to video", "image to video", "images", "sound"
ABILITIES = (TEXT_TO_VIDEO, IMAGE_TO_VIDEO, IMAGES, SOUND)
"""What a model can make, as `kino.v1.Ability` names it."""
_WIDTHS = ("d_model", "hidden_size")


def patches(config: Config) -> int:
    """Rows of a picture: one for each of its patches."""
    side: int = config["image_size"] // config["patch_size"]
    return side**2


def patches_and_whole(config: Config) -> int:
    """Rows of a picture: one for the whole beside those of its patches."""
    return 1 + patches(config)


def width(config: Config) -> int:
    """Numbers of a row of an encoder of text or of pictures."""
    found: int = next(config[key] for key in _WIDTHS if key in config)
    return found


@dataclass(frozen=True)
class Tower:
    """An encoder of a pipeline: its part, how many rows a text has at most, and how wide they are.

    Args:
        around: rows of what stands around a text or is merged, which are computed too and then cut off.
    """

    part: str
    rows: int | Callable[[Config], int]
    width: Callable[[Config], int] = width
    around: int = 0

    def shape(self, configs: Configs) -> tuple[int, int]:
        """Most rows and their width."""
        config = configs[self.part].get("text_config", configs[self.part])
        rows = self.rows if isinstance(self.rows, int) else self.rows(config)
        return rows, self.width(config)


@dataclass(frozen=True)
class Sampling:
    """Steps when a request does not say, and the guidance scale; None where the model was distilled to need none."""

    steps: int
    guidance: float | None


@dataclass(frozen=True)
class Family:
    """One family.

    Args:
        pipelines: classes of `diffusers` that it comes as, and what each can do.
        parts: classes that each part may be of, by component and part; a pipeline has no further networks.
        optional: parts that a pipeline may lack.
        towers: its encoders by name; those are there whose part is.
        read: settings of the pipeline that change what is computed.
        clips: the clips it makes, from the settings of its parts; raises `ValueError` for a variant that is not served.
        sampling: as `clips`.
        sound: the latents of the sound of its videos, from the settings of its parts; None where they come without.
        batches_texts: whether the prompt and what guidance moves away from go through the transformer at once.
        unites: setting of the pipeline under which it can do whatever any of the classes can.
        times_tokens: setting of the pipeline under which its transformer is told a time for each token of any clip.
    """

    pipelines: Mapping[str, tuple[str, ...]]
    parts: Mapping[str, Mapping[str, tuple[str, ...]]]
    towers: Mapping[str, Tower]
    clips: Callable[[Configs], Clips]
    sampling: Callable[[Configs], Sampling]
    optional: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    unites: str = ""
    times_tokens: str = ""
    sound: Callable[[Configs], SoundLatents] | None = None
    batches_texts: bool = True

    def abilities(self, pipeline: str, settings: Config) -> tuple[str, ...]:
        """What a pipeline of a class and of these settings can do."""
        if not settings.get(self.unites):
            return self.pipelines[pipeline]
        every = {ability for abilities in self.pipelines.values() for ability in abilities}
        return tuple(ability for ability in ABILITIES if ability in every)
