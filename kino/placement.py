"""Networks of published models brought to their device, with what a deployment asks of them."""

from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from kino.adopted import READING
from kino.execution import Execution


def place(network: Any, device: torch.device, execution: Execution, waiting: list[Any]) -> Any:
    """A frozen network that lies on the CPU, made ready to compute on a device.

    Args:
        waiting: the networks beside it that take turns on the device; it is added where they do.
    """
    if execution.weights:
        quantise(network, execution.weights)
    if execution.offload == "layers":
        return _by_layers(network, device)
    if execution.offload == "networks":
        return _in_turns(network, device, waiting)
    return network.to(device)


def quantise(network: Any, weights: str) -> None:
    """Keep the matrices of a network in 8 bits, apart from those that its class keeps in float32."""
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_

    exact = getattr(network, "_keep_in_fp32_modules", None) or ()
    kept = {"int8": Int8WeightOnlyConfig, "float8": Float8WeightOnlyConfig}[weights]()
    quantize_(network, kept, filter_fn=lambda module, name: is_matrix(module, name, exact))
    network.requires_grad_(False)


def is_matrix(module: nn.Module, name: str, exact: Collection[str]) -> bool:
    """Whether a module of this name is a linear layer, and of none of the parts that are kept in float32."""
    return isinstance(module, nn.Linear) and not any(part in exact for part in name.split("."))


def _by_layers(network: Any, device: torch.device) -> Any:
    """A network each of whose layers comes to the device when it computes."""
    with READING:
        from diffusers.hooks import apply_group_offloading
    apply_group_offloading(
        network,
        onload_device=device,
        offload_type="leaf_level",
        use_stream=device.type == "cuda",  # the next layer comes while one computes
    )
    return network


def _in_turns(network: Any, device: torch.device, waiting: list[Any]) -> Any:
    """A network that sends the one which computed before it to the host, as its first does with the last."""
    with READING:
        from accelerate import cpu_offload_with_hook
    placed, hook = cpu_offload_with_hook(network, device, waiting[-1] if waiting else None)
    waiting.append(hook)
    if len(waiting) > 1:
        waiting[0].hook.prev_module_hook = hook
    return placed
