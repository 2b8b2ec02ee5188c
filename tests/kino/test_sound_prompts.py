import pytest

from kino.sound_prompts import sound_prompt


def test_the_four_fields_come_in_the_papers_order() -> None:
    assert sound_prompt(" a ball bounces on wood ", "calm piano") == (
        "This audio has quality: 8.0. This audio does not contain speech. This audio does not contain vocal singing. "
        "This audio contains music with a 1.00 likelihood. "
        'This audio has a description: "a ball bounces on wood". '
        'This audio has a music description, if applicable: "calm piano".'
    )


def test_effects_alone_and_music_alone() -> None:
    effects = sound_prompt("waves")
    assert effects.startswith("This audio has quality: 7.0.")
    assert "music with a 0.00 likelihood" in effects
    assert effects.endswith('if applicable: "none".')
    assert 'description: "no other sounds"' in sound_prompt("", "sad strings")


def test_bad_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="both empty"):
        sound_prompt(" ", "")
    with pytest.raises(ValueError, match="quality is 11"):
        sound_prompt("waves", quality=11)
