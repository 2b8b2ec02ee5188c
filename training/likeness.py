"""Whether films show the person of a picture: python -m training.likeness --of films|nobody|reconstructions|renders.

Held-out people in held-out actions, each person as often. The identity encoder compares the faces that it finds in a
film with portraits of the 20 held-out people, none of which is the picture that the film was made from; a judge without
learned parts reads skin, hair and what the prompt said. Beside the films: true renders, those through the TAE, and
films made of the same words without anybody's picture.
"""

import argparse
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from kino.images import encode_png
from kino.limits import PEOPLE_SAMPLERS
from kino.models.dit import DiT, Texts
from kino.models.identity import FoundFace, Identity, cut
from kino.models.tae import TAE
from kino.presets import IDENTITY, PRESETS
from kino.prompts import with_frame_rate
from kino.registry import Registry
from kino.shapes import latent_grid
from training import checkpoint
from training.adherence import BATCH, Clip, reconstructions, renders
from training.data import to_pixels, to_signed
from training.people import SIDE, open_identity, portrait_faces, sample_people
from training.published import MODELS, PromptEncoder, open_dit, open_tae
from training.world.judge import judge
from training.world.looks import read_looks
from training.world.people import held_out_identities, nameless, sample_person
from training.world.portraits import portrait
from training.world.scene import Scene
from training.world.verdict import Rate

logger = logging.getLogger("training")
CLIP = Clip()
SAID = ("colour", "motion", "place", "camera")
"""What prompts say, and the judge reads."""

PORTRAITS = 8
"""Portraits of each person that a film is compared with."""

UPRIGHT_FRAMES = 3
"""Frames at the beginning of a spin in which the judge of looks takes a person for upright."""


class Eye:
    """The identity encoder, and what it knows of the held-out people: the mean row of some portraits of each."""

    def __init__(self, encoder: Identity) -> None:
        self.encoder = encoder
        rng = np.random.default_rng(6)
        with torch.inference_mode():
            rows = [
                encoder(portrait_faces(who, PORTRAITS, rng, encoder.config.size)).mean(0)
                for who in held_out_identities()
            ]
        self.known = F.normalize(torch.stack(rows), dim=-1)

    @torch.inference_mode()
    def faces(self, frames: NDArray[np.uint8]) -> Tensor | None:
        """The surest face of each frame uint8 [t h w 3] that shows one, cut out [n 3 s s]; None where none does."""
        found = []
        for picture in to_signed(frames[:, None])[:, :, 0]:
            faces = self.encoder.find(picture)
            if faces:
                found.append(self._cut(picture, faces[0]))
        return torch.stack(found) if found else None

    @torch.inference_mode()
    def tokens(self, picture: NDArray[np.uint8]) -> Tensor | None:
        """What the personalizer reads of a picture uint8 [h w 3] of one person [m d]; None for what it refuses."""
        signed = to_signed(picture[None, None])[0, :, 0]
        faces = self.encoder.find(signed)
        return self.encoder.tokens(self._cut(signed, faces[0])[None])[0] if len(faces) == 1 else None

    @torch.inference_mode()
    def nearest(self, frames: NDArray[np.uint8]) -> int | None:
        """Number of the held-out person whom a film is most like, None where no face is found."""
        faces = self.faces(frames)
        return None if faces is None else int((self.encoder(faces).mean(0) @ self.known.T).argmax())

    def _cut(self, picture: Tensor, face: FoundFace) -> Tensor:
        return cut(picture, face.x, face.y, face.reach, self.encoder.config.size)


def reference(scene: Scene, index: int, eye: Eye) -> tuple[NDArray[np.uint8], Tensor, int]:
    """A portrait of a scene's person that the finder takes, its tokens [m d], and how many it refused before."""
    assert scene.identity is not None
    rng = np.random.default_rng([7, index])
    for refused in range(100):
        picture, _ = portrait((scene.identity,), rng, SIDE, SIDE)
        tokens = eye.tokens(picture)
        if tokens is not None:
            return picture, tokens, refused
    raise ValueError(f"portraits of {scene.identity} are refused 100 times, must be found: train the encoder longer")


@torch.inference_mode()
def films(
    scenes: list[Scene],
    tokens: Tensor,
    shown: bool,
    personalizer: DiT,
    prompts: PromptEncoder,
    tae: TAE,
    given: argparse.Namespace,
) -> Iterator[NDArray[np.uint8]]:
    """Films of scenes from their sentences and the tokens of pictures [n m d]; without the tokens unless `shown`."""
    grid = latent_grid(CLIP.frames, CLIP.size)
    shape = (tae.config.latent_channels, grid.t, grid.h, grid.w)
    for start in range(0, len(scenes), BATCH):
        among, people = scenes[start : start + BATCH], tokens[start : start + BATCH]
        told = _texts(prompts, [with_frame_rate(nameless(scene), CLIP.fps) for scene in among], people, shown)
        nothing = _texts(prompts, [""] * len(among), people, False)
        how = given.steps, given.linear_steps, given.guidance, given.seed + start
        with torch.autocast("cpu", torch.bfloat16, enabled=given.bf16):
            latents = sample_people(personalizer, told, nothing, shape, *how)
        yield from to_pixels(tae.decode(latents, CLIP.frames))


def _texts(prompts: PromptEncoder, words: list[str], tokens: Tensor, known: bool) -> Texts:
    return prompts(words) | {IDENTITY: (tokens, torch.full(tokens.shape[:2], known))}


def measure(scenes: list[Scene], shown: Iterator[NDArray[np.uint8]], eye: Eye) -> dict[str, Rate]:
    """How often films show the person, the looks and what was said."""
    right: dict[str, list[bool]] = {name: [] for name in ("face", "person", "skin", "hair", *SAID, "all said")}
    for count, (scene, frames) in enumerate(zip(scenes, shown, strict=True), 1):
        assert scene.identity is not None
        nearest = eye.nearest(frames)
        right["face"].append(nearest is not None)
        right["person"].append(nearest is not None and held_out_identities()[nearest] == scene.identity)
        looks = read_looks(frames[: UPRIGHT_FRAMES if scene.motion == "spins" else None])
        right["skin"].append(looks is not None and looks[0] == scene.identity.skin)
        right["hair"].append(looks is not None and looks[1] == scene.identity.hair)
        verdict = judge(frames, CLIP.fps, person=True)
        said = [getattr(scene, name) == getattr(verdict, name) for name in SAID]
        for name, value in zip(SAID, said, strict=True):
            right[name].append(value)
        right["all said"].append(all(said))
        if count % len(held_out_identities()) == 0:
            counts = ", ".join(f"{name} {sum(values)}" for name, values in right.items())
            logger.info("of %d films: %s", count, counts)
    return {name: Rate(sum(values), len(values)) for name, values in right.items()}


def open_personalizer(run: Path | None, registry: Registry) -> DiT:
    """The published personalizer, or that of a run that is not published, with its averaged weights."""
    if run is None:
        return open_dit("mini", registry, "personalizer")
    config = PRESETS["mini"].personalizer
    assert config is not None
    personalizer, prefix = DiT(config), "personalizer."
    state = checkpoint.load(run)["average"]
    personalizer.load_state_dict({name.removeprefix(prefix): part for name, part in state.items() if prefix in name})
    return personalizer.eval()


def save_pictures(
    folder: Path, pictures: list[NDArray[np.uint8]], shown: Iterator[NDArray[np.uint8]]
) -> Iterator[NDArray[np.uint8]]:
    """Write each picture beside four frames of its film as PNG, and pass the films on."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, (picture, frames) in enumerate(zip(pictures, shown, strict=True)):
        four = frames[np.linspace(0, len(frames) - 1, 4).round().astype(int)]
        sheet = np.concatenate([picture, *four], axis=1)
        (folder / f"{index:03d}.png").write_bytes(encode_png(sheet))
        yield frames


def main() -> None:
    """Command line of the measurement; prints a table."""
    sampler = PEOPLE_SAMPLERS["mini"]
    parser = argparse.ArgumentParser(description="Measure whether films show the person of a picture.")
    parser.add_argument("--of", choices=("films", "nobody", "reconstructions", "renders"), default="films")
    parser.add_argument("--count", type=int, default=200, help="multiples of 20 show each person as often")
    parser.add_argument("--run", type=Path, help="folder of a personalizer's run; default: the published one")
    parser.add_argument("--steps", type=int, default=sampler.steps)
    parser.add_argument("--linear-steps", type=int, default=sampler.linear_steps)
    parser.add_argument("--guidance", type=float, default=sampler.guidance)
    parser.add_argument("--bf16", action="store_true", help="denoise in bf16, in two thirds of the time")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (%(default)s)")
    parser.add_argument("--scenes", type=int, default=1, help="seed of the held-out scenes; tune on others")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="write picture and film side by side")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(given.threads)
    registry = Registry(MODELS)
    eye = Eye(open_identity("mini", registry)[0])
    scenes = [sample_person(given.scenes, index, "held_out") for index in range(given.count)]
    if given.of == "renders":
        shown = renders(scenes, CLIP)
    elif given.of == "reconstructions":
        shown = reconstructions(scenes, CLIP, open_tae("mini", registry)[0])
    else:
        references = [reference(scene, index, eye) for index, scene in enumerate(scenes)]
        print(f"portraits refused: {sum(refused for _, _, refused in references)} beside {len(scenes)} taken")
        tokens, networks = torch.stack([token for _, token, _ in references]), PromptEncoder("mini", registry)
        personalizer, tae = open_personalizer(given.run, registry), open_tae("mini", registry)[0]
        shown = films(scenes, tokens, given.of == "films", personalizer, networks, tae, given)
        if given.pictures:
            shown = save_pictures(given.pictures, [picture for picture, _, _ in references], shown)
    rates = measure(scenes, shown, eye)
    print("\n".join(f"{name:9} {rate}" for name, rate in rates.items()))
    if given.out:
        figures = {name: {"right": rate.right, "count": rate.count} for name, rate in rates.items()}
        given.out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
