"""The rows of sizes: one preset, one row. `1b`, `5b` and `30b` carry published numbers, `mini` and `nano` are ours."""

from dataclasses import dataclass, replace

from kino.limits import SAMPLERS, SOUND, VIDEO, SamplerDefaults, SoundLimits, VideoLimits
from kino.models.audio import AudioConfig
from kino.models.codec import CodecConfig
from kino.models.dit import DitConfig
from kino.models.identity import IdentityConfig
from kino.models.lm import LmConfig
from kino.models.tae import TaeConfig
from kino.models.text import TowerConfig
from kino.models.upsampler import UpsamplerConfig
from kino.models.vision import VisionConfig

IDENTITY = "identity"
"""Name of the tokens of a face among those of the text towers."""
EDITOR_TASKS = ("text", "image", "mark", "recolour", "replace", "remove", "add", "place", "style")
"""What an editor is asked for: a video from text, or that begins with a picture; an object painted over; the edits."""


@dataclass(frozen=True)
class Preset:
    """One family of networks that fit each other.

    Args:
        towers: text towers by name; empty where the row's towers are not ours to make.
        vision, t5: what the audio generator sees and reads by; None where they are not ours to make.
        upsampler: None in the paper's rows: of its 7B neither width nor depth is published.
        identity: what finds a face and tells whose it is; None where it is not ours to make.
    """

    name: str
    tae: TaeConfig
    dit: DitConfig
    towers: dict[str, TowerConfig]
    rewriter: LmConfig
    codec: CodecConfig
    vision: VisionConfig | None
    t5: TowerConfig | None
    audio: AudioConfig
    upsampler: UpsamplerConfig | None
    video: VideoLimits
    sampler: SamplerDefaults
    sound: SoundLimits
    identity: IdentityConfig | None = None

    @property
    def editor(self) -> DitConfig:
        """The generator with a condition on extra channels, laid out as in `kino.conditions`, and a vector per task."""
        return replace(self.dit, extra_channels=self.dit.latent_channels + 1, tasks=EDITOR_TASKS)

    @property
    def personalizer(self) -> DitConfig | None:
        """The generator with the tokens of an identity behind those of the text, as one more tower."""
        if self.identity is None:
            return None
        return replace(self.dit, text_widths=(*self.dit.text_widths, (IDENTITY, self.identity.token_width)))

    @property
    def text_shapes(self) -> dict[str, tuple[int, int]]:
        """Most rows of one text and their width, by tower; a tower that is published elsewhere may give up to 512."""
        return {
            name: (self.towers[name].max_rows if name in self.towers else 512, width)
            for name, width in self.dit.text_widths
        }


def text_widths(towers: dict[str, TowerConfig]) -> tuple[tuple[str, int], ...]:
    """Width of each tower's rows, in the order a generator concatenates them."""
    return tuple((name, tower.width) for name, tower in towers.items())


NANO_TOWERS = {
    "ul2": TowerConfig(259, 32, 1, 2, 64, 64, tokens="bytes"),
    "byt5": TowerConfig(259, 32, 1, 2, 64, 32, tokens="bytes", reads="quotes"),
    "metaclip": TowerConfig(259, 32, 1, 2, 64, 64, tokens="bytes", output="pooled"),
}
MINI_TOWERS = {
    "ul2": TowerConfig(1024, 192, 3, 3, 512, 64),
    "byt5": TowerConfig(384, 96, 2, 3, 256, 32, tokens="bytes", reads="quotes"),
    "metaclip": TowerConfig(1024, 192, 2, 3, 512, 64, output="pooled"),
}
# UL2 20B, ByT5-small and the MetaCLIP text tower (Movie Gen, section 3.2.2; the towers' own papers).
PAPER_TEXT_WIDTHS = (("ul2", 4096), ("byt5", 1472), ("metaclip", 1280))
# 2 x 2 patches of 1168 x 496, the longest side of the 768 px aspects, and 32 latent frames (Movie Gen, section 3.2.2).
PAPER_GRID = (32, 80, 80)
# The latent-diffusion autoencoder of compression 8, inflated (Movie Gen, section 3.1.1; arXiv 2112.10752, KL-f8).
PAPER_TAE = TaeConfig(16, (128, 256, 512, 512), encoder_blocks=2, decoder_blocks=3, attention=True)
# 128 channels at 25 Hz (Movie Gen, section 6.1); widths as in the Descript codec (arXiv 2306.06546), strides ours.
PAPER_CODEC = CodecConfig(128, (64, 128, 256, 512, 1024), (2, 8, 10, 12))
# 13B: 36 layers of 4608, T5-base rows, MetaCLIP's 1024 values a frame, windows of 30 s (Movie Gen, 6.1); heads ours.
PAPER_AUDIO = AudioConfig(4608, 36, 36, 18_432, 128, text_width=768, video_width=1024, max_latents=750)
# Llama 3 8B (arXiv 2407.21783, table 3).
PAPER_REWRITER = LmConfig(128_256, 4096, 32, 32, 8, 14_336, 8192, base=500_000.0)


def paper_row(name: str, width: int, layers: int, heads: int, hidden: int) -> Preset:
    """A row of the paper's family: 768 px, up to 16 s; its towers are published elsewhere and loaded from there."""
    return Preset(
        name=name,
        tae=PAPER_TAE,
        dit=DitConfig(width, layers, heads, hidden, PAPER_TEXT_WIDTHS, PAPER_GRID),
        towers={},
        rewriter=PAPER_REWRITER,
        codec=PAPER_CODEC,
        vision=None,
        t5=None,
        audio=PAPER_AUDIO,
        upsampler=None,
        video=VIDEO[name],
        sampler=SAMPLERS[name],
        sound=SOUND[name],
    )


PRESETS: dict[str, Preset] = {
    "nano": Preset(
        name="nano",
        tae=TaeConfig(
            16, (16, 16), encoder_blocks=1, decoder_blocks=1, attention=True, temporal_patch=4, spatial_patch=4
        ),
        dit=DitConfig(64, 2, 2, 128, text_widths(NANO_TOWERS), max_grid=(32, 32, 32)),
        towers=NANO_TOWERS,
        rewriter=LmConfig(259, 32, 1, 2, 2, 64, 512, tokens="bytes"),
        codec=CodecConfig(8, (8, 16, 16), (10, 12), patch=16),
        vision=VisionConfig(16, (8, 16), 16),
        t5=TowerConfig(259, 32, 1, 2, 64, 512, tokens="bytes"),
        audio=AudioConfig(32, 2, 2, 64, 8, text_width=32, video_width=16, max_latents=50),
        upsampler=UpsamplerConfig(
            (8, 12, 16), 1, start_noise=0.03, window_frames=3, overlap_frames=1, window_tokens=6, overlap_tokens=2
        ),
        video=VIDEO["nano"],
        sampler=SAMPLERS["nano"],
        sound=SOUND["nano"],
        identity=IdentityConfig(32, (8, 16), 16, (8, 16), 16, 2),
    ),
    "mini": Preset(
        name="mini",
        tae=TaeConfig(
            16, (96, 160), encoder_blocks=1, decoder_blocks=2, attention=False, temporal_patch=4, spatial_patch=4
        ),
        dit=DitConfig(320, 5, 5, 640, text_widths(MINI_TOWERS), max_grid=(32, 16, 16), later_position_gain=0.3),
        towers=MINI_TOWERS,
        rewriter=LmConfig(1024, 160, 4, 4, 2, 320, 384),
        codec=CodecConfig(32, (64, 128, 192), (10, 12), patch=16),
        vision=VisionConfig(48, (48, 96, 128), 128),
        t5=TowerConfig(512, 128, 2, 4, 256, 160),
        audio=AudioConfig(192, 6, 6, 768, 32, text_width=128, video_width=128, max_latents=100, video_kernel=9),
        upsampler=UpsamplerConfig((48, 96, 128)),
        video=VIDEO["mini"],
        sampler=SAMPLERS["mini"],
        sound=SOUND["mini"],
        identity=IdentityConfig(96, (16, 32, 48), 48, (24, 48, 80), 128, 4),
    ),
    "1b": paper_row("1b", 1536, 24, 16, 4096),
    "5b": paper_row("5b", 3072, 32, 24, 8192),
    "30b": paper_row("30b", 6144, 48, 48, 16_384),
}
