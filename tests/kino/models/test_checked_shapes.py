import pytest
import torch
from jaxtyping import TypeCheckError

from kino.models.dit import DiT
from kino.models.tae import TAE
from kino.presets import PRESETS


def test_a_clip_without_a_batch_axis_is_refused_by_the_annotations() -> None:
    with pytest.raises(TypeCheckError, match="parameter 'video'"):
        TAE(PRESETS["nano"].tae).encode(torch.zeros(3, 8, 32, 32))


def test_times_that_do_not_match_the_batch_are_refused_by_the_annotations() -> None:
    with pytest.raises(TypeCheckError, match="parameter 't'"):
        DiT(PRESETS["nano"].dit)(torch.zeros(2, 16, 1, 4, 4), torch.zeros(3), {})
