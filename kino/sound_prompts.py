"""The one scheme in which sounds and music are described to an audio generator, in training as in serving."""

EFFECTS_QUALITY = 7.0
MUSIC_QUALITY = 8.0


def sound_prompt(sound: str, music: str = "", quality: float | None = None) -> str:
    """The four fields of an audio caption, in the paper's order: quality, voice and music presence, sound, music.

    Args:
        sound: what is heard, effects and ambience, in free words.
        music: style and mood of the music, in free words; "" for no music.
        quality: from 1 to 10; by default what the paper asks for, 7.0 for effects and 8.0 where there is music.

    Raises:
        ValueError: the quality is outside 1 to 10, or neither sound nor music is described.

    Source: Movie Gen, section 6.3.
    """
    sound, music = sound.strip(), music.strip()
    if not sound and not music:
        raise ValueError("sound and music are both empty, at least one must be described")
    if quality is None:
        quality = MUSIC_QUALITY if music else EFFECTS_QUALITY
    if not 1 <= quality <= 10:
        raise ValueError(f"quality is {quality}, must be from 1 to 10")
    return (
        f"This audio has quality: {quality:.1f}. "
        "This audio does not contain speech. This audio does not contain vocal singing. "
        f"This audio contains music with a {1.0 if music else 0.0:.2f} likelihood. "
        f'This audio has a description: "{sound or "no other sounds"}". '
        f'This audio has a music description, if applicable: "{music or "none"}".'
    )
