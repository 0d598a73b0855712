"""Make named pictures of objects from public packages (npm, Debian), for learning."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from vla_policy.data.web import fetch, pictures
from vla_policy.data.web.concepts import ROLES, of_role, read_concepts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `vla data web`."""
    parser.add_argument("--out", type=Path, default=Path("data/web"), help="folder to write")
    parser.add_argument(
        "--packages", type=Path, help="where packages are kept; default: OUT/packages"
    )


def run(args: argparse.Namespace) -> int:
    """Fetch, draw and write; returns the exit status."""
    kept = args.packages or args.out / "packages"
    names, twitter, fluent = (fetch.npm_package(name, kept) for name in fetch.NPM)
    concepts = read_concepts(names)
    drawn = {
        "noto": pictures.draw_font(fetch.emoji_font(kept), concepts),
        "twitter": pictures.read_files(twitter / "img/twitter/64", ".png", concepts),
        "fluent": pictures.read_files(fluent / "assets", ".webp", concepts),
    }
    # Objects missing in one style are left out of all, so that styles have the same objects.
    all_have = np.logical_and.reduce([has for _, has in drawn.values()])
    kept_ones = tuple(c for c, has in zip(concepts, all_have, strict=True) if has)
    web = pictures.WebPictures(
        kept_ones,
        {style: images[all_have] for style, (images, _) in drawn.items()},
    )
    pictures.save(web, args.out)
    counts = ", ".join(f"{len(of_role(kept_ones, role))} {role}" for role in ROLES)
    print(f"{args.out}: {len(kept_ones)} things in {len(drawn)} drawing styles ({counts})")
    return 0
