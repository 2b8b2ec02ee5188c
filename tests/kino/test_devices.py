from pathlib import Path

import torch

from kino.devices import multiplies_bfloat16


def test_a_processor_multiplies_bfloat16_where_its_flags_say_so() -> None:
    flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")).split()
    assert multiplies_bfloat16(torch.device("cpu")) == ("avx512_bf16" in flags)
