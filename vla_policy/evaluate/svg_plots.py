"""Plots as inline SVG: a value and its range for each line, on one axis."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, LABEL, TEXT = 920, 350, 170
ROW, TOP, BOTTOM = 24, 8, 30
COLOURS = 8


@dataclass(frozen=True, slots=True)
class Mark:
    """label: of the line.

    value: a dot, low to high a line through it. text: beside it. colour: a number per policy.
    """

    label: str
    value: float
    low: float
    high: float
    text: str
    colour: int = 0


@dataclass(frozen=True, slots=True)
class PlotAxis:
    """low, high: its ends. ticks: where it has marks, each as a text by form. log: whether steps are factors. zero: a line."""

    low: float
    high: float
    ticks: tuple[float, ...]
    form: Callable[[float], str]
    log: bool = False
    zero: float | None = None

    def at(self, value: float) -> float:
        """Position of a value, px from the left; values outside are at the end."""
        scale = math.log10 if self.log else float
        value = min(max(value, self.low), self.high)
        low, high = scale(self.low), scale(self.high)
        return LABEL + (WIDTH - LABEL - TEXT) * (scale(value) - low) / (high - low)


def log_axis(values: Sequence[float], form: Callable[[float], str]) -> PlotAxis:
    """A logarithmic axis around values above zero, between powers of ten."""
    low = math.floor(math.log10(min(values)))
    high = max(math.ceil(math.log10(max(values))), low + 1)
    ticks = tuple(10.0**power for power in range(low, high + 1))
    return PlotAxis(ticks[0], ticks[-1], ticks, form, log=True)


def ranges(marks: Sequence[Mark], axis: PlotAxis, says: str) -> str:
    """One line per mark. says: a text description for screen readers."""
    height = TOP + ROW * len(marks) + BOTTOM
    foot = height - BOTTOM
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(says)}">',
        *(_tick(axis, tick, foot) for tick in axis.ticks),
    ]
    if axis.zero is not None:
        x = axis.at(axis.zero)
        parts.append(f'<line class="zero" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{foot}"/>')
    parts += [_line(mark, axis, TOP + ROW * (k + 0.5)) for k, mark in enumerate(marks)]
    return "\n".join((*parts, "</svg>"))


def _tick(axis: PlotAxis, value: float, foot: float) -> str:
    x = axis.at(value)
    return (
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{foot}"/>'
        f'<text class="tick" x="{x:.1f}" y="{foot + 16}">{html.escape(axis.form(value))}</text>'
    )


def _line(mark: Mark, axis: PlotAxis, y: float) -> str:
    low, value, high = (axis.at(v) for v in (mark.low, mark.value, mark.high))
    return (
        f'<g class="c{mark.colour % COLOURS}">'
        f'<text class="label" x="{LABEL - 12}" y="{y + 4:.1f}">{html.escape(mark.label)}</text>'
        f'<line class="range" x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<circle cx="{value:.1f}" cy="{y:.1f}" r="5"/>'
        f'<text class="value" x="{WIDTH - TEXT + 10}" y="{y + 4:.1f}">{html.escape(mark.text)}</text></g>'
    )
