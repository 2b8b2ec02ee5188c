"""Films of the person of a picture from the command line and the client, through real processes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kino.client import Kino
from kino.errors import InvalidArgumentError
from kino.footage import probe
from kino.images import encode_png
from tests.e2e.conftest import Finished, Served
from tests.people import picture

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

FEW = ("--steps", "2", "--seed", "3", "--seconds", "0.5")


def test_a_film_of_a_picture_without_an_address(kino: Callable[..., Finished], tmp_path: Path, served: Served) -> None:
    """The command starts what it needs; what it makes equals the film of services that run already."""
    (tmp_path / "face.png").write_bytes(encode_png(picture(1)))
    order = ("film", "--identity", "face.png", "she spins in the snow", *FEW)
    done = kino(*order, "--preset", "nano", "--data", "data", "--json")
    assert done.code == 0, done.err
    assert done.json["rewritten_prompt"].startswith("a person in a")
    info = probe(tmp_path / "film.mp4")
    assert (info.num_frames, info.height, info.width, info.num_tracks) == (8, 32, 32, 1)
    again = kino(*order, "--address", served.graph, "--fresh", "--out", "again.mp4")
    assert again.code == 0, again.err
    assert (tmp_path / "again.mp4").read_bytes() == (tmp_path / "film.mp4").read_bytes()
    assert "--identity face.png" in again.out


def test_a_picture_of_two_is_refused_with_the_field(
    kino: Callable[..., Finished], tmp_path: Path, served: Served
) -> None:
    (tmp_path / "two.png").write_bytes(encode_png(picture(2)))
    done = kino("film", "--identity", "two.png", "they spin", *FEW, "--address", served.graph)
    assert done.code == 2
    assert "image is a picture of 2 people, must be one of one person" in done.err


def test_the_personalizer_alone_does_what_the_graph_does(served: Served) -> None:
    with Kino(served.graph, services=served.addresses) as client:
        person = client.personalizer.identify(encode_png(picture(1)))
        assert person.identity.tower == "identity"
        assert client.personalizer.describe().digest == person.model_digest
        text = client.encoder.encode("a person in a red dress spins in the snow", fps=16)
        steps: list[int] = []
        latents = client.personalizer.personalize(
            text, person, frames=9, size=(32, 48), seed=5, steps=2, on_progress=lambda told: steps.append(told.step)
        )
        assert (latents.values.shape, latents.frames, steps[-1]) == ((16, 2, 4, 6), 9, 2)
        assert client.tae.decode(latents).shape == (9, 32, 48, 3)
        with pytest.raises(InvalidArgumentError, match="of nobody that is known"):
            client.personalizer.identify(encode_png(picture(0)))
