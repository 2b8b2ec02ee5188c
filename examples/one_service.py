"""Call single services: encode a sentence, turn pixels into latents and back."""

import sys

import numpy as np

from kino.client import Kino

with Kino(sys.argv[1]) as kino:
    text = kino.encoder.encode('a sign says "hello"', fps=16)
    for tower, rows in text.embeddings.items():
        print(tower, rows.shape)
    frames = np.full((8, 32, 32, 3), 128, np.uint8)
    latents = kino.tae.encode(frames)
    print("latents", latents.values.shape, "frames", kino.tae.decode(latents).shape)
