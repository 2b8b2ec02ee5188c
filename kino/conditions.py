"""What an editor is given beside the noisy latents, as extra channels: a video, a first picture, or nothing.

Channels are [latents of the source (c) | mask (1)]. To edit, the source is the whole video and the mask 0. To bring a
picture to life, the source is the picture at every frame, and the mask is 1 at frame 0 alone: what stays where it was
is beside each frame that shows it (Stable Video Diffusion, arXiv 2311.15127, section 4.2). For text alone all are zero.
A picture is encoded as a video of one frame, which has one latent frame, as if it stood still for eight; the
autoencoder looks both ways in time, so that this is near the latent of a video that begins with it, not equal to it.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def from_video(latents: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b e t h w"]:
    """The condition of an edit, from the latents of the video to be edited."""
    return torch.cat([latents, torch.zeros_like(latents[:, :1])], dim=1)


def from_picture(latents: Float[Tensor, "b c 1 h w"], frames: int) -> Float[Tensor, "b e {frames} h w"]:
    """The condition of a video of `frames` latent frames that starts with a picture, from the picture's latents."""
    mask = torch.zeros_like(latents[:, :1]).repeat(1, 1, frames, 1, 1)
    mask[:, :, 0] = 1
    return torch.cat([latents.expand(-1, -1, frames, -1, -1), mask], dim=1)


def nothing(like: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b e t h w"]:
    """The condition of a video from text alone, for latents of this shape."""
    return torch.zeros_like(from_video(like))
