"""What families can do, as the cases show that compare them with their library, and as README.md says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kino.families import FAMILIES
from kino.family import IMAGE_TO_VIDEO, IMAGES, SOUND, TEXT_TO_VIDEO
from kino.parts import module
from services.generator.families.table import DENOISERS
from tests.services.families import CASES

STREAMED = ("cogvideox", "hunyuan", "hunyuan-i2v", "wan")
"""Families whose videos are decoded piece by piece."""
README = Path(__file__).parents[2] / "README.md"
HEADER = ("| family | pipelines | text to video | picture to video | pictures | sound | decoded |", "| --- " * 7 + "|")


def builds(name: str) -> Callable[[], Any]:
    """What makes a tiny pipeline of a family."""
    return CASES[name].build


def shown(name: str) -> set[str]:
    """What the cases of a family make."""
    cases = [case for key, case in CASES.items() if key.split()[0] == name]
    kinds = {True: IMAGE_TO_VIDEO, False: TEXT_TO_VIDEO}
    made = {IMAGES if case.frames == 1 else kinds[bool(case.begins)] for case in cases}
    return made | {SOUND for case in cases if case.bands}


def told(name: str) -> str:
    """The line of a family in README.md."""
    pipelines = ", ".join(pipeline.removesuffix("Pipeline") for pipeline in FAMILIES[name].pipelines)
    makes = ("yes" if ability in shown(name) else "" for ability in (TEXT_TO_VIDEO, IMAGE_TO_VIDEO, IMAGES, SOUND))
    decoded = "piece by piece" if name in STREAMED else "whole"
    return f"| {' | '.join((name, pipelines, *makes, decoded))} |".replace("|  |", "| |").replace("|  |", "| |")


def test_every_family_can_what_its_cases_show_and_no_more() -> None:
    for name, row in FAMILIES.items():
        assert {ability for abilities in row.pipelines.values() for ability in abilities} == shown(name)


def test_the_readme_tells_what_the_cases_show() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    begin = lines.index(HEADER[0])
    expected = [*HEADER, *map(told, FAMILIES), ""]
    assert lines[begin : begin + len(expected)] == expected


def test_plans_know_how_texts_are_read() -> None:
    for name, row in FAMILIES.items():
        assert row.batches_texts == DENOISERS[name].batches_texts
    made = {name: module(f"pipelines.hunyuan_video.pipeline_hunyuan_video{name}") for name in ("", "_image2video")}
    plain, beside = (made[name].DEFAULT_PROMPT_TEMPLATE for name in ("", "_image2video"))
    assert FAMILIES["hunyuan"].towers["llama"].around == plain["crop_start"]
    llava = FAMILIES["hunyuan-i2v"].towers["llava"]
    read = 256 + beside["crop_start"] + beside["image_emb_len"] - 1  # whose place is kept by one
    assert (llava.rows, llava.around) == (396, read - 396)
