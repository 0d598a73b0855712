"""Figures on cards: of the fonts that are given, dark on light, and different each time."""

from pathlib import Path

import numpy as np
import pytest

from vla_policy.train.meaning.digits import DIGITS, digit_card

FONTS = sorted(Path("/usr/share/fonts/truetype/dejavu").glob("DejaVuSans*.ttf"))


@pytest.mark.skipif(not FONTS, reason="no font of Debian's fonts-dejavu is installed")
def test_a_figure_is_on_its_card() -> None:
    rng = np.random.default_rng(0)
    for digit in DIGITS:
        card = digit_card(digit, FONTS, rng)
        picture = np.frombuffer(card.pixels, np.uint8).reshape(64, 64, 3).astype(int)
        ink = np.abs(picture - picture[0, 0]).sum(-1) > 60
        assert card.name == digit and 0.02 < ink.mean() < 0.6
        assert not ink[:, 0].any() and not ink[0].any()
    again = digit_card("3", FONTS, np.random.default_rng(5))
    assert again == digit_card("3", FONTS, np.random.default_rng(5))
    assert again != digit_card("3", FONTS, np.random.default_rng(6))
