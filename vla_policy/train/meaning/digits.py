"""Figures 0 to 9 as cards, drawn in the fonts of Debian packages; no robot data shows any."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vla_policy.sim.scenes.cards import make_card
from vla_policy.sim.scenes.scene import CARD_PX, Card

DIGITS = tuple(str(n) for n in range(10))
_LARGE_PX = 128
_PAPER_LOWEST = 200


def digit_card(digit: str, fonts: Sequence[Path], rng: np.random.Generator) -> Card:
    """A figure in one of fonts: its size, place, boldness, slant, width and colours are drawn by rng."""
    paper = tuple(int(x) for x in rng.integers(_PAPER_LOWEST, 256, 3))
    if rng.random() < 0.15:
        paper = tuple(int(x) for x in rng.integers(120, 256, 3))
    ink = tuple(int(x) for x in rng.integers(0, 130 if min(paper) > 170 else 70, 3))
    font = ImageFont.truetype(
        str(fonts[int(rng.integers(len(fonts)))]), int(rng.integers(84, 125))
    )
    canvas = Image.new("RGB", (2 * _LARGE_PX, 2 * _LARGE_PX), paper)
    bold = int(rng.integers(0, 7)) if rng.random() < 0.6 else 0
    pen = ImageDraw.Draw(canvas)
    middle = (_LARGE_PX, _LARGE_PX)
    pen.text(middle, digit, font=font, fill=ink, anchor="mm", stroke_width=bold, stroke_fill=ink)
    picture = np.asarray(canvas)
    wide, slant, turn = rng.uniform(0.8, 1.2), rng.uniform(-0.12, 0.12), rng.uniform(-0.12, 0.12)
    shape = np.array([[wide, slant], [0.0, rng.uniform(0.85, 1.1)]])
    shape = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ shape
    shape *= CARD_PX / _LARGE_PX
    shift = CARD_PX / 2 + rng.uniform(-4, 4, 2) - shape @ np.array(middle, float)
    card = cv2.warpAffine(
        picture, np.c_[shape, shift], (CARD_PX, CARD_PX), flags=cv2.INTER_LINEAR, borderValue=paper
    )
    return make_card(digit, card)
