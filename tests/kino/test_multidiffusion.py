from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from kino.multidiffusion import Axis, Frame, Item, Span, advance, ramp, spans


@pytest.mark.parametrize("length", [1, 3, 4, 5, 7, 13, 100])
@pytest.mark.parametrize(("window", "overlap"), [(4, 1), (4, 2), (7, 3), (1, 0)])
def test_windows_cover_everything_and_share_the_overlap(length: int, window: int, overlap: int) -> None:
    found = spans(length, window, overlap)
    assert found[0].start == 0
    assert found[-1].stop == length
    assert len({span.stop - span.start for span in found}) == 1
    assert all(span.stop - span.start <= window for span in found)
    assert all(after.start <= before.stop - overlap for before, after in pairwise(found))


def test_windows_are_as_few_as_can_be_and_even() -> None:
    assert spans(120, 48, 8) == [Span(0, 46), Span(37, 83), Span(74, 120)]
    assert spans(68, 48, 8) == [Span(0, 38), Span(30, 68)]
    assert spans(32, 4, 1)[:3] == [Span(0, 4), Span(3, 7), Span(6, 10)]
    assert len(spans(32, 4, 1)) == 11


def test_a_ramp_rises_over_the_overlap_and_falls_again() -> None:
    assert ramp(Span(3, 9), 2).tolist() == pytest.approx([1 / 4, 3 / 4, 1, 1, 3 / 4, 1 / 4])
    assert ramp(Span(0, 1), 2).tolist() == pytest.approx([1 / 4])
    assert ramp(Span(0, 3), 0).tolist() == [1, 1, 1]


def test_weights_of_neighbours_sum_to_one_where_they_share_exactly_the_overlap() -> None:
    left, right = ramp(Span(0, 6), 2), ramp(Span(4, 10), 2)
    assert (left[4:] + right[:2]).tolist() == pytest.approx([1, 1])


TIME, ROWS, COLUMNS = Axis.of(11, 4, 1), Axis.of(6, 4, 2), Axis.of(10, 4, 2)


def frames() -> list[Frame]:
    generator = torch.Generator().manual_seed(0)
    return [Frame(*torch.randn(2, 3, 6, 10, generator=generator)) for _ in range(11)]


def predict(x_t: Tensor, condition: Tensor) -> Tensor:
    """Something that no window says as another does: it depends on the means over the window."""
    return torch.tanh(condition - x_t) + x_t.mean(dim=(2, 3, 4), keepdim=True)


def whole(given: list[Frame], dt: float) -> Tensor:
    """One step of the whole video at once, straight from the definition."""
    x_t, condition = (torch.stack(part, dim=1)[None] for part in zip(*given, strict=True))
    total, mass = torch.zeros_like(x_t), torch.zeros(11, 6, 10)
    for span in TIME.spans:
        of_span, of_mass = torch.zeros_like(x_t[:, :, slice(*span)]), torch.zeros(6, 10)
        for rows in ROWS.spans:
            for columns in COLUMNS.spans:
                part = (..., slice(*rows), slice(*columns))
                weights = ramp(rows, 2)[:, None] * ramp(columns, 2)
                inner = (*part[:1], slice(*span), *part[1:])
                of_span[part] += weights * predict(x_t[inner], condition[inner])
                of_mass[part] += weights
        in_time = ramp(span, 1)[:, None, None]
        total[:, :, slice(*span)] += in_time * (of_span / of_mass)
        mass[slice(*span)] += in_time
    return (x_t + dt * total / mass)[0]


def test_a_stream_of_steps_equals_the_whole_video_at_once() -> None:
    given, items = frames(), iter(frames())
    stream: Iterator[Item] = items
    for dt in (0.25, 0.25, 0.5):
        stream = advance(stream, TIME, (ROWS, COLUMNS), predict, dt)
    done = [item for item in stream if item is not None]
    for dt in (0.25, 0.25, 0.5):
        state = whole(given, dt)
        given = [Frame(state[:, index], frame.condition) for index, frame in enumerate(given)]
    assert len(done) == 11
    torch.testing.assert_close(torch.stack([frame.x_t for frame in done], dim=1), state, atol=1e-5, rtol=0)
    assert all(torch.equal(one.condition, other.condition) for one, other in zip(done, frames(), strict=True))


def test_every_window_of_every_step_is_told_once() -> None:
    stream: Iterator[Item] = iter(frames())
    for _ in range(3):
        stream = advance(stream, TIME, (ROWS, COLUMNS), predict, 0.1)
    windows = len(TIME.spans) * len(ROWS.spans) * len(COLUMNS.spans)
    assert sum(item is None for item in stream) == 3 * windows


def test_no_more_frames_are_asked_for_than_the_windows_need() -> None:
    asked = 0

    def source() -> Iterator[Item]:
        nonlocal asked
        for frame in frames():
            asked += 1
            yield frame

    stream: Iterator[Item] = source()
    for _ in range(2):
        stream = advance(stream, TIME, (ROWS, COLUMNS), predict, 0.1)
    next(item for item in stream if item is not None)
    assert asked == 6  # the four frames of a window of the second step lie in the first two windows of the first
