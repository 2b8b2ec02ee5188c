"""Adapters as requests name them, measured against those that a generator has."""

from collections.abc import Mapping, Sequence

from kino import validate
from kino.adapters import ADAPTER, AdapterSettings, Chosen, versions_for
from kino.errors import FailedPreconditionError, InvalidArgumentError
from kino.manifest import Manifest
from kino.registry import Registry
from kino.store import NotFoundError
from kino.v1.generator_pb2 import Adapter
from kino.v1.info_pb2 import AdapterVersion, FloatRange, IntRange, Limits

MAX_ADAPTERS = 8
"""Most adapters of one request."""
MAX_WEIGHT = 4.0
"""Largest factor of an adapter's change, and with a minus the smallest."""
_MOST_NAMED = 20  # of the adapters that there are, in a message


def told(registry: Registry, base: str) -> list[AdapterVersion]:
    """The adapters of a version as its service tells them."""
    found = versions_for(registry, base)
    return [AdapterVersion(name=name, digest=manifest.digest) for name, manifest in found.items()]


def add_limits(limits: Limits) -> None:
    """Add to what a generator accepts how many adapters it takes, and their weights."""
    limits.adapters.CopyFrom(IntRange(minimum=0, maximum=MAX_ADAPTERS))
    limits.adapter_weight.CopyFrom(FloatRange(minimum=-MAX_WEIGHT, maximum=MAX_WEIGHT, default_value=1))


def choose(asked: Sequence[Adapter], field: str, registry: Registry, base: Manifest) -> tuple[Chosen, ...]:
    """The adapters that a request names, as the registry holds them.

    Args:
        base: the version that they change.

    Raises:
        InvalidArgumentError: they are too many, one is not there or there twice, or a weight is out of bounds.
        FailedPreconditionError: one was made for another version, or its name stands for another one than asked.
    """
    if not asked:
        return ()
    found = versions_for(registry, base.digest)
    for index, adapter in enumerate(asked):
        if adapter.name not in found:
            _refuse_others(adapter.name, f"{field}[{index}].name", registry, base)
    check(asked, field, {name: manifest.digest for name, manifest in found.items()})
    return tuple(Chosen(found[one.name], weight_of(one)) for one in asked)


def check(asked: Sequence[Adapter], field: str, digests: Mapping[str, str]) -> None:
    """Refuse adapters that a generator would refuse; raises as `choose`.

    Args:
        digests: of the adapters that it has, by name.
    """
    if len(asked) > MAX_ADAPTERS:
        raise InvalidArgumentError(field, f"{len(asked)} adapters", f"at most {MAX_ADAPTERS}")
    names: set[str] = set()
    for index, adapter in enumerate(asked):
        place = f"{field}[{index}]"
        if adapter.name not in digests:
            known = ", ".join(list(digests)[:_MOST_NAMED]) or "left out: the model has none"
            bound = f"one of {known}" if digests else known
            raise InvalidArgumentError(f"{place}.name", adapter.name, bound)
        if adapter.name in names:
            raise InvalidArgumentError(f"{place}.name", adapter.name, "there once")
        names.add(adapter.name)
        validate.real(weight_of(adapter), f"{place}.weight", -MAX_WEIGHT, MAX_WEIGHT)
        if adapter.digest not in ("", digests[adapter.name]):
            raise FailedPreconditionError(
                f"{place}.digest is {adapter.digest[:64]!r}, {adapter.name} is {digests[adapter.name]} by now"
            )


def weight_of(adapter: Adapter) -> float:
    """The factor of an adapter's change."""
    return adapter.weight if adapter.HasField("weight") else 1.0


def _refuse_others(name: str, field: str, registry: Registry, base: Manifest) -> None:
    """Say so where an adapter is there, but was made for another version."""
    try:
        manifest = registry.resolve(ADAPTER, name)
    except (NotFoundError, ValueError):
        return
    raise FailedPreconditionError(
        f"{field} is {name!r}, which was made for the version {AdapterSettings.of(manifest).base[:12]}, "
        f"this is {base.component}/{base.version} {base.digest[:12]}"
    )
