"""From what a client asks for to an order that can run: everything that can be refused is refused here."""

import secrets
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from kino import bounds, validate
from kino.errors import InvalidArgumentError
from kino.remote import NOTHING_REMOTE, Remote, is_url
from kino.store import Store
from kino.telemetry import request_id
from kino.v1 import graph_pb2, media_pb2
from services.graph import adapters
from services.graph.calls import GRAPH
from services.graph.fit import check_fit, fill_defaults
from services.graph.pipeline import Plan, check, contents
from services.graph.products import (
    edit_video,
    image_to_video,
    personalize_video,
    sound_for_video,
    text_to_image,
    text_to_sound,
    text_to_video,
    upscale_video,
)
from services.graph.products.text import Infos
from services.graph.rows import Order

_PRODUCTS: dict[str, Any] = {
    "text_to_video": text_to_video,
    "text_to_image": text_to_image,
    "sound_for_video": sound_for_video,
    "text_to_sound": text_to_sound,
    "edit_video": edit_video,
    "image_to_video": image_to_video,
    "personalize_video": personalize_video,
    "upscale_video": upscale_video,
}
_KEY_BOUND = "1 to 128 printable ASCII characters"
_SEED_RANGE = 1 << 32  # of drawn seeds: short enough to be read out

Describe = Callable[[Collection[str], Collection[str]], Awaitable[Infos]]


def check_key(key: str) -> str:
    """Return an idempotency key, 1 to 128 printable ASCII characters."""
    if not 1 <= len(key) <= 128 or not (key.isascii() and key.isprintable()):
        raise InvalidArgumentError("idempotency_key", key, _KEY_BOUND)
    return key


def keep_contents(spec: graph_pb2.GenerationSpec, store: Store, remote: Remote = NOTHING_REMOTE) -> None:
    """Move what a pipeline carries in itself, or names by URL, into the store; check that what it refers to is there.

    Raises:
        InvalidArgumentError: an address or a media type is malformed, or a URL may not be fetched.
        UnavailableError, DeadlineExceededError: a URL cannot be fetched now.
        kino.store.StoreError: an artifact is missing or damaged.
    """
    for content, field in contents(spec, "spec"):
        kind = content.WhichOneof("content")
        media_type = content.media_type if isinstance(content, media_pb2.Media) else "application/octet-stream"
        if kind == "uri" and isinstance(content, media_pb2.Media) and is_url(content.uri):
            with remote.open(content.uri, f"{field}.uri") as file:
                content.uri = store.put(file, media_type).uri
            continue
        try:
            if kind == "uri":
                store.stat(content.uri)
            elif kind == "data":
                content.uri = store.put(content.data, media_type).uri
        except ValueError as error:
            value = content.uri if kind == "uri" else media_type
            raise InvalidArgumentError(field, value, "what the store takes", message=f"{field}: {error}") from None


async def prepare(key: str, spec: graph_pb2.GenerationSpec, fresh: bool, describe: Describe) -> Order:
    """Return the order that a spec stands for.

    Args:
        spec: large contents by uri, as `keep_contents` leaves them.
        describe: tells what services say of themselves: all of the first, those of the second that there are.

    Raises:
        InvalidArgumentError: a field is out of bounds, or the pipeline is not sound.
        FailedPreconditionError: parts of the pipeline do not fit each other.
        UnavailableError: a service that the pipeline needs does not answer.
    """
    kind = spec.WhichOneof("product")
    seed = 0
    if kind is None:
        raise InvalidArgumentError("spec.product", None, f"one of {', '.join((*_PRODUCTS, 'pipeline'))}")
    if kind == "pipeline":
        pipeline = graph_pb2.Pipeline()
        pipeline.CopyFrom(spec.pipeline)
        plan = check(pipeline)
        infos = await describe([name for name in plan.components if name != GRAPH], ())
    else:
        product, expander = getattr(spec, kind), _PRODUCTS[kind]
        infos = await describe(expander.components(product), getattr(expander, "EITHER", ()))
        seed = _seed(product, f"spec.{kind}.seed")
        pipeline = expander.expand(product, f"spec.{kind}", infos, seed)
        adapters.give(pipeline, adapters.of_product(spec), f"spec.{kind}.adapters")
    adapters.settle(pipeline, infos, "" if kind == "pipeline" else f"spec.{kind}.adapters")
    fill_defaults(pipeline, infos)
    plan = check(pipeline)
    check_fit(plan, infos)
    return Order(key, spec, fresh, pipeline, seed, _outcome(plan), request_id.get())


def _seed(product: bounds.Seeded, field: str) -> int:
    if product.HasField("seed"):
        return validate.seed(product.seed, field)
    return secrets.randbelow(_SEED_RANGE)


def _outcome(plan: Plan) -> graph_pb2.Generation:
    stages = [
        graph_pb2.Stage(name=node.name, call=node.call.name, state=graph_pb2.STAGE_STATE_PENDING)
        for node in plan.nodes.values()
    ]
    return graph_pb2.Generation(stages=stages)
