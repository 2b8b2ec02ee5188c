"""The workers of one run: torchrun starts them, and each does its share of every batch; without it there is one.

Every worker holds the whole network and the same weights; gradients are averaged after each backward pass. What they
compute depends on the seed and on how many there are, not on which machine each is.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from training.meeting import fresh_store

_MEETING = timedelta(minutes=2)  # of the first wait for the others: who fails at it is started again by torchrun
_TIMEOUT = timedelta(hours=2)  # of every other: the first worker validates alone


@dataclass(frozen=True)
class Workers:
    """This worker among its like.

    Args:
        rank: its number; the first, 0, writes checkpoints and figures.
        count: how many there are.
        local_rank: its number on this machine.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait for the others."""
        if self.count > 1:
            dist.barrier()

    def agree(self, text: str) -> str:
        """Return the text that the first worker has."""
        if self.count == 1:
            return text
        box = [text]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def average_gradients(self, model: nn.Module) -> None:
        """Replace each gradient by its mean over the workers; one that nobody has stays absent."""
        if self.count == 1:
            return
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        present = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.int32)
        present = present.to(parameters[0].device)
        dist.all_reduce(present)
        used = [parameter for parameter, count in zip(parameters, present.tolist(), strict=True) if count]
        for parameter in used:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for group in _same_type([parameter.grad for parameter in used if parameter.grad is not None]):
            flat = torch.cat([gradient.flatten() for gradient in group])
            dist.all_reduce(flat)
            flat /= self.count
            for gradient, mean in zip(group, flat.split([gradient.numel() for gradient in group]), strict=True):
                gradient.copy_(mean.view_as(gradient))

    def average(self, terms: Mapping[str, float], device: torch.device) -> dict[str, float]:
        """Return the mean of each figure over the workers."""
        if self.count == 1:
            return dict(terms)
        values = torch.tensor(list(terms.values()), dtype=torch.float32, device=device)
        dist.all_reduce(values)
        return dict(zip(terms, (values / self.count).tolist(), strict=True))


ALONE = Workers()
"""Of a run without torchrun."""


def join() -> Workers:
    """Meet the other workers, as torchrun's environment says: by NCCL on GPUs, else by gloo. Alone there is no one.

    Raises:
        RuntimeError: they did not all come in time.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return ALONE
    local_rank = int(os.environ["LOCAL_RANK"])
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
    store, rank, count = next(rendezvous("env://", timeout=_MEETING))
    dist.init_process_group(
        "nccl" if torch.cuda.is_available() else "gloo",
        store=fresh_store(store, rank, count, _MEETING),
        rank=rank,
        world_size=count,
        timeout=_MEETING,
    )
    dist.distributed_c10d._set_pg_timeout(_TIMEOUT, dist.group.WORLD)  # as older versions of torch call `set_timeout`
    return Workers(dist.get_rank(), count, local_rank)


def leave(workers: Workers) -> None:
    """Part from the other workers at the end of a run."""
    if workers.count > 1:
        dist.destroy_process_group()


def _same_type(tensors: list[Tensor]) -> list[list[Tensor]]:
    groups: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.dtype, []).append(tensor)
    return list(groups.values())
