"""Flags of commands, apart from the others': nothing but the standard library is imported here."""

import argparse


def add_upscale(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `kino upscale`."""
    add = parser.add_argument
    add("video", metavar="VIDEO", help="any common file smaller than full HD, of up to 2048 frames")
    add("--seed", type=int, metavar="N", help="the same seed makes the same bytes; drawn where left out")
    add("--steps", type=int, metavar="N", help="denoising steps")
    add("--fresh", action="store_true", help="compute everything anew, even what is stored already")
    add("-o", "--out", metavar="PATH", help="MP4 (NAME-hd.mp4); its contact sheet is a PNG beside it")
    parser.set_defaults(command="cli_upscale:upscale")
