"""What a device can do: how much memory it has left, so that what cannot fit is refused early; its arithmetic."""

from pathlib import Path

import torch

_MEMORY = Path("/proc/meminfo")
_LIMIT = Path("/sys/fs/cgroup/memory.max")
_USED = Path("/sys/fs/cgroup/memory.current")


def free_bytes(device: torch.device) -> int:
    """Return the bytes that can still be allocated; on a CPU no more than the container's own limit leaves."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, to use again
        return int(free) + kept
    lines = dict(line.split(":") for line in _MEMORY.read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    if _LIMIT.exists() and (limit := _LIMIT.read_text().strip()) != "max":
        free = min(free, int(limit) - int(_USED.read_text()))
    return free


def room(num_bytes: int, device: torch.device) -> int:
    """How many times the device has so many bytes left, at least 1."""
    return max(1, free_bytes(device) // max(1, num_bytes))


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for products of bfloat16; without them it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def reserve(num_bytes: int, device: torch.device, purpose: str) -> None:
    """Check that the device has so many bytes left.

    An overcommitting system kills the process instead of refusing memory, so nothing later could say this.

    Raises:
        MemoryError: it has not.
    """
    free = free_bytes(device)
    if num_bytes > free:
        raise MemoryError(f"{purpose} takes about {num_bytes >> 20} MiB, {device} has {free >> 20} MiB left")
