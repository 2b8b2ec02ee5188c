"""What makes steps of published transformers faster: compiled blocks, and blocks that are not computed again."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from kino.adapters import Chosen
from kino.adopted import READING
from kino.execution import CACHE_STEPS, Execution


class Shortcuts:
    """The shortcuts of one engine. Runs must not take turns step by step: what is kept is that of the last one.

    Args:
        networks: transformers on their device; they are changed.

    Raises:
        ValueError: the class of one knows no cache, or it has a single block.
    """

    def __init__(self, networks: Collection[Any], execution: Execution) -> None:
        self._cached = networks if execution.cache else ()
        self._stack, self._is_compiled = ExitStack(), execution.compiled
        self._calls: Counter[Any] = Counter()
        for network in self._cached:
            _keep(network, execution.cache)
            network.register_forward_pre_hook(self._enter)
        for network in networks if execution.compiled else ():
            _compile(network)

    @contextmanager
    def step(self, index: int, is_first: bool) -> Iterator[None]:
        """Compute a step, of this index from 0, with what was kept of the steps before, if anything may be."""
        if is_first or self.resumes(index):
            for network in self._cached:
                network._reset_stateful_cache()
        self._calls.clear()
        with self._stack:
            yield

    def _enter(self, network: Any, _: object) -> None:
        """Keep what the first call of every step leaves apart from the second's, which is of another text."""
        self._stack.enter_context(network.cache_context(str(self._calls[network])))
        self._calls[network] += 1

    def check(self, adapters: Sequence[Chosen]) -> None:
        """Refuse adapters where blocks are compiled, since those no longer ask for any; raises `ValueError`."""
        if adapters and self._is_compiled:
            raise ValueError(f"adapters is {adapters[0].manifest.version!r}, must be left out: the model is compiled")

    def resumes(self, steps: int) -> bool:
        """Whether a run can go on after so many steps, bit for bit."""
        return not self._cached or steps % CACHE_STEPS == 0


def _keep(network: Any, threshold: float) -> None:
    refused, name = f"--cache is {threshold:g}, must be left out", type(network).__name__
    if not hasattr(network, "enable_cache"):
        raise ValueError(f"{refused}: {name} knows none")
    with READING:
        from diffusers import FirstBlockCacheConfig
    try:
        network.enable_cache(FirstBlockCacheConfig(threshold=threshold))
    except IndexError as error:  # the first block and the last one cannot be told apart
        raise ValueError(f"{refused}: this {name} has a single block, and none after it to leave out") from error
    except ValueError as error:
        raise ValueError(f"{refused}: the blocks of {name} know none") from error


def _compile(network: Any) -> None:
    """Compile the blocks that repeat; where a class does not name them, the whole network."""
    if network._repeated_blocks:
        network.compile_repeated_blocks()
    else:
        network.compile()
