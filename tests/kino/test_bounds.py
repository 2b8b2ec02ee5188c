import pytest

from kino import bounds
from kino.client_specs import (
    FilmOptions,
    edit_video,
    image_to_video,
    sound_for_video,
    text_to_image,
    text_to_sound,
    text_to_video,
)
from kino.errors import InvalidArgumentError
from kino.limits import editor_limits
from kino.v1.graph_pb2 import GenerationSpec


def test_what_a_row_can_make_passes() -> None:
    bounds.check(text_to_video("a ball", seconds=16, fps=16, size=(96, 112), steps=10, linear_steps=10), "mini")
    bounds.check(text_to_video("a ball", seconds=0.01, silent=True), "mini")
    bounds.check(text_to_image("a ball", aspect="21:9", guidance=1.0), "mini")
    bounds.check(text_to_sound(music="piano", seconds=600.0), "mini")
    bounds.check(sound_for_video("kino://sha256/00", "video/mp4"), "mini")
    bounds.check(edit_video("", "video/mp4", "make it snowy", source_guidance=30.0, new_sound=True), "mini")
    bounds.check(image_to_video("", "image/png", "a ball", seconds=16, steps=1000, silent=True), "mini")


def test_how_closely_to_keep_to_a_picture_is_a_scale_of_its_own() -> None:
    limits = editor_limits("mini")
    animated = image_to_video("", "image/png", "it grows").image_to_video
    edited = edit_video("", "video/mp4", "remove it").edit_video
    assert bounds.source_guidance(animated, "spec", limits) == 2
    assert bounds.source_guidance(edited, "spec", limits) == 1
    limits.ClearField("picture_guidance")
    assert bounds.source_guidance(animated, "spec", limits) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (FilmOptions(seconds=16.1), "spec.text_to_video.seconds is 16.1, must be from 0.125 to 16 at 16 fps"),
        (FilmOptions(seconds=16.1, silent=True), "seconds is 16.1, must be from 0.0625 to 16 at 16 fps"),
        (FilmOptions(seconds=0.01), "spec.text_to_video.seconds is 0.01, must be from 0.125 to 16 at 16 fps"),
        (FilmOptions(seconds=5, fps=60), "spec.text_to_video.seconds is 5.0, must be from 0.0333 to 4.27 at 60 fps"),
        (FilmOptions(fps=61), "spec.text_to_video.fps is 61, must be from 1 to 60"),
        (FilmOptions(aspect="2:1"), "spec.text_to_video.aspect is '2:1', must be one of 1:1, 16:9, "),
        (FilmOptions(size=(100, 96)), "spec.text_to_video.pixels.height is 100, must be a multiple of 16"),
        (FilmOptions(steps=1001), "spec.text_to_video.sampling.steps is 1001, must be from 1 to 1000"),
        (FilmOptions(linear_steps=49), "sampling.linear_steps is 49, must be at least the 50 steps"),
    ],
)
def test_what_it_cannot_is_refused_with_field_value_and_bound(options: FilmOptions, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        bounds.check(text_to_video("a ball", **options), "mini")
    assert message in refused.value.message


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (edit_video("", "video/mp4", "hello"), "spec.edit_video.instruction is 'hello', must be a change"),
        (edit_video("", "video/mp4", "remove it", source_guidance=0.9), "source_guidance is 0.9, must be from 1 to 30"),
        (edit_video("", "video/mp4", "remove it", steps=0), "spec.edit_video.sampling.steps is 0"),
        (image_to_video("", "image/png", "a ball", seconds=17), "spec.image_to_video.seconds is 17.0, must be from"),
        (image_to_video("", "image/png", "a ball", fps=61), "spec.image_to_video.fps is 61, must be from 1 to 60"),
        (image_to_video("", "image/png", "a ball", guidance=31.0), "sampling.guidance is 31.0, must be from 1 to 30"),
    ],
)
def test_edits_and_films_of_a_picture_have_bounds(spec: GenerationSpec, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        bounds.check(spec, "mini")
    assert message in refused.value.message
