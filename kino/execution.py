"""How networks compute where a deployment has less memory or time than they take; torch is not needed."""

from dataclasses import dataclass, replace

WEIGHTS = ("", "int8", "float8")
"""Types that matrices can be kept in; empty for their own."""
OFFLOADS = ("", "networks", "layers")
"""What leaves the device while it is not computing; empty for nothing."""
CACHE_STEPS = 5
"""Steps after which a cached run computes everything anew; such a run can go on from there alone."""
MAX_CACHE = 1.0
MAX_BATCH = 64


@dataclass(frozen=True)
class Execution:
    """How the text encoders and transformers of published models compute; of it all, ours know batches.

    Args:
        weights: one of `WEIGHTS`: int8 with a scale for each row, or float8 with a scale for each row.
        offload: one of `OFFLOADS`: whole networks wait in the memory of the host, or all layers do.
        compiled: whether the blocks of transformers are compiled at first use, for each size of clip and batch.
        cache: how far the first block's change may be, as a share of it, from that of the step before for the other
            blocks to be taken as they were then; 0 for never.
        batch: most requests of one shape that go through a transformer together.

    Raises:
        ValueError: there is no such type or place, cache or batch are out of their bounds, or both are asked for.
    """

    weights: str = ""
    offload: str = ""
    compiled: bool = False
    cache: float = 0.0
    batch: int = 1

    def __post_init__(self) -> None:
        for flag, value, known in (("weights", self.weights, WEIGHTS), ("offload", self.offload, OFFLOADS)):
            if value not in known:
                raise ValueError(f"--{flag} is {value!r}, must be one of {', '.join(filter(None, known))}")
        if not 0 <= self.cache <= MAX_CACHE:
            raise ValueError(f"--cache is {self.cache}, must be from 0 to {MAX_CACHE:g}")
        if not 1 <= self.batch <= MAX_BATCH:
            raise ValueError(f"--batch is {self.batch}, must be from 1 to {MAX_BATCH}")
        if self.cache and self.batch > 1:
            raise ValueError(f"--batch is {self.batch}, must be 1 with a cache: that follows the steps of one request")

    def check_own(self) -> None:
        """Refuse what models of our own do not take; raises `ValueError`."""
        other = replace(self, batch=1)
        if other != Execution():
            given = ", ".join(other.approximations) or f"offload {self.offload}"
            raise ValueError(f"execution is {given}, must be left out: it is for published models alone")

    @property
    def of_texts(self) -> "Execution":
        """What of this is for text encoders too."""
        return Execution(self.weights, self.offload)

    @property
    def approximations(self) -> tuple[str, ...]:
        """What makes results differ from those of the networks as published; where weights lie does not."""
        said = {
            f"weights in {self.weights}": self.weights,
            "compiled": self.compiled,
            f"cache {self.cache:g}": self.cache,
            "batches": self.batch > 1,
        }
        return tuple(words for words, holds in said.items() if holds)
