import asyncio
import io
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from PIL import Image

from kino import wire
from kino.errors import FailedPreconditionError, InvalidArgumentError, KinoError, NotFoundError, from_rpc_error
from kino.images import PNG, encode_png
from kino.v1.encoder_pb2 import Embedding
from kino.v1.generator_pb2 import Sampling
from kino.v1.media_pb2 import Media
from kino.v1.personalizer_pb2 import (
    IdentifyRequest,
    IdentifyResponse,
    PersonalizeRequest,
    PersonalizeResponse,
    PersonalizerServiceDescribeRequest,
)
from kino.v1.personalizer_pb2_grpc import PersonalizerServiceStub
from kino.v1.progress_pb2 import PHASE_QUEUED, PHASE_RUNNING
from kino.v1.tensor_pb2 import DELIVERY_STORE
from services.personalizer.engine import PersonalizerEngine, Task
from tests.people import picture
from tests.services.conftest import Serve, Served
from tests.services.generator.harness import embeddings, rows


@pytest.fixture
async def served(serve: Serve) -> Served:
    return await serve("personalizer")


def tokens(seed: int = 3) -> Any:
    return np.random.default_rng(seed).standard_normal((2, 8), np.float32)


def identity(seed: int = 3, **changes: Any) -> Embedding:
    given: dict[str, Any] = {"tower": "identity", "embeddings": wire.encode(tokens(seed))}
    return Embedding(**given | changes)


def request(**changes: Any) -> PersonalizeRequest:
    given: dict[str, Any] = {
        "embeddings": embeddings(1),
        "unconditional": embeddings(2),
        "identity": identity(),
        "frames": 9,
        "height": 32,
        "width": 48,
        "seed": 3,
        "sampling": Sampling(steps=6, linear_steps=60, guidance=3.0),
    }
    return PersonalizeRequest(**given | changes)


async def events(served: Served, request: PersonalizeRequest) -> list[PersonalizeResponse]:
    try:
        return [event async for event in PersonalizerServiceStub(served.channel).Personalize(request)]
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error


async def identify(served: Served, image: Media, delivery: Any = 0) -> IdentifyResponse:
    try:
        asked = IdentifyRequest(image=image, delivery=delivery)
        answer: IdentifyResponse = await PersonalizerServiceStub(served.channel).Identify(asked)
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    return answer


def png(people: int) -> Media:
    return Media(media_type=PNG, data=encode_png(picture(people)))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


async def test_who_is_in_a_picture_is_served_as_in_process(served: Served) -> None:
    engine: PersonalizerEngine = served.servicer.engine
    person = engine.identify(picture(1))
    answer = await identify(served, png(1))
    assert answer.identity.tower == "identity"
    assert answer.identity.text_space == engine.manifest.spaces.vision != ""
    assert answer.model_digest == engine.manifest.digest
    np.testing.assert_array_equal(wire.decode(answer.identity.embeddings, "tokens", "m d"), person.tokens)
    assert (answer.face.x, answer.face.y, answer.face.reach) == pytest.approx(person.face[:3])
    stored = await identify(served, png(1), DELIVERY_STORE)
    assert served.store.get(stored.identity.embeddings.uri) == answer.identity.embeddings.data


ANIMATION = [Image.fromarray(picture(people)) for people in (1, 2)]


async def test_of_an_animation_the_first_picture_is_looked_at(served: Served) -> None:
    moving = encoded(ANIMATION[0], "PNG", save_all=True, append_images=ANIMATION[1:])
    answer = await identify(served, Media(media_type=PNG, data=moving))
    assert answer == await identify(served, png(1))


async def test_a_cmyk_picture_is_seen_in_rgb(served: Served) -> None:
    turned = Image.new("CMYK", (16, 64), (0, 255, 255, 0))
    red = np.asarray(Image.open(io.BytesIO(encoded(turned, "JPEG"))).convert("RGB"))
    with pytest.raises(ValueError, match=r"image is a picture of") as alone:
        served.servicer.engine.identify(red)
    with pytest.raises(InvalidArgumentError) as answered:
        await identify(served, Media(media_type="image/jpeg", data=encoded(turned, "JPEG")))
    assert answered.value.message == str(alone.value)


BOMB = encoded(Image.new("1", (20_000, 20_000)), "PNG")


@pytest.mark.parametrize(
    ("image", "kind", "message"),
    [
        (png(0), InvalidArgumentError, r"image is a picture of nobody that is known, must be one of one person"),
        (png(2), InvalidArgumentError, r"image is a picture of 2 people, must be one of one person"),
        (Media(media_type=PNG, data=b"she walks"), InvalidArgumentError, r"image is unreadable"),
        (Media(media_type="text/plain", data=b"she walks"), InvalidArgumentError, r"image.media_type is 'text/plain'"),
        (Media(media_type=PNG), InvalidArgumentError, r"image.content is '', must be data or a uri"),
        (Media(media_type=PNG, data=png(1).data[:60]), InvalidArgumentError, r"image is unreadable"),
        (Media(media_type=PNG, data=BOMB), InvalidArgumentError, r"image is (too large|20000x20000)"),
        (Media(media_type=PNG, uri="kino://sha256/" + "0" * 64), NotFoundError, r"is not in the store"),
        (Media(media_type=PNG, uri="http://10.0.0.1/face.png"), InvalidArgumentError, r"fetches no URLs"),
    ],
)
async def test_a_bad_picture_gets_a_typed_answer_and_the_next_one_is_served(
    served: Served, image: Media, kind: type[KinoError], message: str
) -> None:
    with pytest.raises(kind, match=message) as raised:
        await identify(served, image)
    if isinstance(raised.value, InvalidArgumentError):
        assert raised.value.field.startswith("image")
    assert (await identify(served, png(1))).HasField("face")


async def test_a_film_is_served_as_in_process_bit_for_bit(served: Served) -> None:
    engine: PersonalizerEngine = served.servicer.engine
    task = Task(rows(1), rows(2), tokens(), 9, 32, 48, 3, steps=6, linear_steps=60, guidance=3.0)
    *_, state = engine.generate(task)
    seen = await events(served, request())
    assert [event.WhichOneof("event") for event in seen] == ["progress"] * 8 + ["result"]
    progress = [(event.progress.phase, event.progress.step, event.progress.of) for event in seen[:-1]]
    assert progress == [(PHASE_QUEUED, 0, 0), *((PHASE_RUNNING, step, 6) for step in range(7))]
    result = seen[-1].result
    assert result.latents.data == state.x_t.tobytes()
    assert (result.latent_space, result.model_digest) == (engine.manifest.spaces.latent, engine.manifest.digest)


async def test_two_people_at_once_get_the_bytes_of_each_alone(served: Served) -> None:
    asked = [request(identity=identity(seed)) for seed in (3, 4)]
    alone = [(await events(served, one))[-1].result.latents.data for one in asked]
    together = [seen[-1].result.latents.data for seen in await asyncio.gather(*(events(served, one) for one in asked))]
    assert together == alone
    assert alone[0] != alone[1]


@pytest.mark.parametrize("delivery", [0, DELIVERY_STORE])
async def test_going_on_from_a_checkpoint_gives_the_undisturbed_bytes(served: Served, delivery: Any) -> None:
    seen = await events(served, request(checkpoint_every=2, delivery=delivery))
    checkpoints = [event.checkpoint for event in seen if event.HasField("checkpoint")]
    assert [checkpoint.step for checkpoint in checkpoints] == [2, 4]
    for checkpoint in checkpoints:
        resumed = await events(served, request(resume_from=checkpoint, delivery=delivery))
        assert resumed[-1].result.latents == seen[-1].result.latents


async def test_cancelling_leaves_the_worker_idle_within_a_step(served: Served) -> None:
    passes: list[None] = []
    served.servicer.engine.network.register_forward_hook(lambda *_: passes.append(None))
    call = PersonalizerServiceStub(served.channel).Personalize(request(sampling=Sampling(steps=1000)))
    async for event in call:
        if event.progress.step >= 3:
            break
    call.cancel()
    assert (await events(served, request(sampling=Sampling(steps=1))))[-1].HasField("result")
    assert len(passes) < 500


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"identity": None}, InvalidArgumentError, r"identity.tower is '', must be one of identity"),
        ({"identity": identity(tower="ul2")}, InvalidArgumentError, r"identity.tower is 'ul2', must be"),
        ({"identity": identity(text_space="ab12")}, FailedPreconditionError, r"identity.text_space is 'ab12'"),
        ({"identity": identity(embeddings=wire.encode(np.zeros((3, 8), np.float32)))}, InvalidArgumentError,
         r"identity is float32 \[3, 8\], must be float32 \[2, 8\]"),
        ({"embeddings": embeddings(1)[:2]}, InvalidArgumentError, r"embeddings is of ul2, byt5, must be one each of"),
        ({"frames": 0}, InvalidArgumentError, r"frames is 0, must be from 1 to 256"),
        ({"checkpoint_every": 0}, InvalidArgumentError, r"checkpoint_every is 0, must be from 1 to 1000"),
    ],
)  # fmt: skip
async def test_a_bad_request_gets_a_typed_answer_and_the_next_one_is_served(
    served: Served, changes: dict[str, Any], kind: type[KinoError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        await events(served, request(**changes))
    assert (await events(served, request(sampling=Sampling(steps=1))))[-1].HasField("result")


async def test_the_part_says_what_it_accepts(served: Served) -> None:
    info = (await PersonalizerServiceStub(served.channel).Describe(PersonalizerServiceDescribeRequest())).info
    manifest = served.servicer.engine.manifest
    assert (info.component, info.version, info.digest) == ("personalizer", "nano", manifest.digest)
    assert info.latent_space.digest == manifest.spaces.latent
    assert {space.tower: space.digest for space in info.text_spaces} == manifest.spaces.text
    assert info.limits.frames.maximum == 256


async def test_a_preset_that_knows_no_identities_is_refused(serve: Serve) -> None:
    with pytest.raises(ValueError, match=r"preset is '30b', must be one of nano, mini"):
        await serve("personalizer", preset="30b")
