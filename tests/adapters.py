"""Tiny adapters with random numbers, made and written as PEFT and `diffusers` do it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict

from kino import parts

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
NEW = "new"


def trained(network: Any, seed: int, **settings: Any) -> dict[str, torch.Tensor]:
    """The tensors of a new adapter of a network of `diffusers`, by its own names; the network has it from then on."""
    parts.library()
    given: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": list(TARGETS)} | settings
    network.add_adapter(LoraConfig(**given), NEW)
    return numbered(get_peft_model_state_dict(network, adapter_name=NEW), seed)


def numbered(tensors: dict[str, torch.Tensor], seed: int, scale: float = 0.3) -> dict[str, torch.Tensor]:
    """Tensors of the same shapes with numbers that the seed decides."""
    random = torch.Generator().manual_seed(seed)
    return {name: scale * torch.randn(tensor.shape, generator=random) for name, tensor in sorted(tensors.items())}


def save(pipeline: Any, folder: Path, seed: int = 1, **settings: Any) -> Path:
    """Write an adapter of a pipeline's transformer as its pipeline does, with its settings inside the file."""
    tensors = trained(pipeline.transformer, seed, **settings)
    config = pipeline.transformer.peft_config[NEW].to_dict()
    pipeline.save_lora_weights(folder, transformer_lora_layers=tensors, transformer_lora_adapter_metadata=config)
    pipeline.transformer.delete_adapters(NEW)
    return folder


def save_peft(network: Any, folder: Path, seed: int = 1, targets: Sequence[str] = TARGETS, **settings: Any) -> Path:
    """Write an adapter of any network as PEFT does: settings beside the tensors."""
    parts.library()
    given: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": list(targets)} | settings
    wrapped = get_peft_model(network, LoraConfig(**given))
    tensors = numbered(get_peft_model_state_dict(wrapped), seed)
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            parameter.data = tensors[name.replace(".default", "")]
    wrapped.save_pretrained(str(folder))
    wrapped.unload()
    return folder
