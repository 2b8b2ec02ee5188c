"""Networks of the other library: read in the type that is asked for, in memory once."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kino import adopted
from tests import folders

WATCHED = """
import ctypes, gc, re, sys, threading
from pathlib import Path
import torch
from kino import adopted

def held():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10

def watch():
    while not done.wait(0.001):
        sizes.append(held())
        defaults.add(torch.get_default_dtype())

adopted.read_network(Path(sys.argv[1]), "T5EncoderModel", "bfloat16", ("decoder.", "lm_head."))  # with all it imports
gc.collect()
ctypes.CDLL(None).malloc_trim(0)  # what those have let go of is no part of what comes
sizes, defaults, done = [], set(), threading.Event()
before, watcher = held(), threading.Thread(target=watch, daemon=True)
watcher.start()
network = adopted.read_network(Path(sys.argv[2]), "T5EncoderModel", "bfloat16")
done.set()
watcher.join()
sizes.append(held())  # on a busy machine the watcher may have slept through the end
assert defaults == {torch.float32}, defaults
print(max(sizes) - before)
"""


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float32])
def test_a_network_of_half_precision_is_in_memory_once(stored: torch.dtype, tmp_path: Path) -> None:
    made = adopted.library()
    config = made.T5Config(vocab_size=16_384, d_model=512, d_kv=64, d_ff=8192, num_layers=4, num_heads=8)
    large = made.T5EncoderModel(config).to(stored)
    large.save_pretrained(tmp_path / "large")
    num_bytes = 2 * sum(parameter.numel() for parameter in large.parameters())
    given = (str(folders.t5(tmp_path / "small")), str(tmp_path / "large"))
    ended = subprocess.run(
        [sys.executable, "-c", WATCHED, *given], check=False, capture_output=True, text=True, encoding="utf-8"
    )
    assert ended.returncode == 0, ended.stderr
    peak = int(ended.stdout)
    assert 0.8 * num_bytes < peak < 1.5 * num_bytes  # twice as much and more where it is read in float32


def test_a_network_is_of_the_librarys_class_and_of_the_type_that_is_asked_for(tmp_path: Path) -> None:
    folder = folders.t5(tmp_path / "t5")
    whole, half = (
        adopted.read_network(folder, "T5EncoderModel", dtype, ("decoder.", "lm_head."))
        for dtype in ("float32", "bfloat16")
    )
    assert type(half) is type(whole) is adopted.library().T5EncoderModel
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(half.state_dict()[name], tensor.bfloat16(), rtol=0, atol=0)
