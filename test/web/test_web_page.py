"""The page's own files: colours that can be read in both schemes, and text that is never taken for markup."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vla_policy import web

FOLDER = Path(web.__file__).parent
CSS = (FOLDER / "page.css").read_text()
LEGIBLE = 4.5  # WCAG 2.2, 1.4.3
SCRIPTS = sorted(FOLDER.glob("*.js"))


def colours(scheme: str) -> dict[str, str]:
    dark, light = re.findall(r":root \{([^}]*)\}", CSS)
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", dark if scheme == "dark" else light))


def luminance(colour: str) -> float:
    linear = []
    for at in (1, 3, 5):
        value = int(colour[at : at + 2], 16) / 255
        linear.append(value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("ink", ["ink", "soft", "good", "warn", "bad"])
def test_every_text_can_be_read(scheme, ink):
    found = colours(scheme)
    for ground in ("ground", "panel"):
        assert contrast(found[ink], found[ground]) >= LEGIBLE, (ink, ground)
    assert contrast(found["ink"], found["raised"]) >= LEGIBLE
    assert contrast(found["on-alarm"], found["alarm"]) >= LEGIBLE


def test_both_schemes_have_all_colours_and_no_colour_is_outside_them():
    assert colours("dark").keys() == colours("light").keys()
    rules = re.sub(r":root \{[^}]*\}", "", CSS)
    assert not re.findall(r"#[0-9a-f]{3,8}\b", rules)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_no_script_makes_markup_of_text_or_runs_it(script):
    text = script.read_text()
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
    ):
        assert word not in text, word
