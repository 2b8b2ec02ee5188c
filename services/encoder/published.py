"""Turns prompts into the embeddings that a published model reads, by its own text encoders. Text in, arrays out."""

from collections.abc import Sequence

import torch

from kino.execution import Execution
from kino.manifest import Manifest
from kino.media import Frames
from kino.parts import Parts
from kino.registry import Registry
from services.encoder.engine import Rows, Space, check_picture, check_towers
from services.encoder.families.text import Texts


class PublishedEncoder:
    """A family's text encoders on one device.

    Args:
        family: its text encoders.
        device: as torch names it.
        execution: as published if None.
    """

    runtime, preset, states_fps = "torch", "", False

    def __init__(
        self,
        family: type[Texts],
        manifest: Manifest,
        registry: Registry,
        device: str = "cpu",
        execution: Execution | None = None,
    ) -> None:
        self.manifest = manifest
        self.texts = family(Parts(manifest, registry, execution), torch.device(device))
        self.spaces = {
            tower: Space(manifest.digest, width, rows) for tower, (rows, width) in self.texts.settings.texts.items()
        }

    @property
    def digest(self) -> str:
        """SHA-256 of the version."""
        return self.manifest.digest

    @property
    def reads_pictures(self) -> bool:
        """Whether a text comes with the picture that its video begins with."""
        return self.texts.reads_pictures

    @torch.inference_mode()
    def encode(
        self,
        prompt: str,
        fps: int | None = None,
        towers: Sequence[str] = (),
        picture: Frames | None = None,
    ) -> Rows:
        """The embeddings of a text; see `Engine`."""
        check_towers(towers, self.spaces)
        check_picture(picture, self.reads_pictures)
        if fps is not None:
            raise ValueError(f"fps is {fps}, must be left out: the texts of these models say no frame rate")
        made = self.texts.encode(prompt) if picture is None else self.texts.encode_beside(picture, prompt)
        return {name: made[name].float().cpu().numpy() for name in towers or self.spaces}
