"""One self-contained HTML file of a comparison: plots, tables, films, commands; no script."""

from __future__ import annotations

import base64
import html
import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vla_policy.evaluate.compare import split_head
from vla_policy.evaluate.report_tables import (
    Table,
    differences_table,
    not_asked,
    percent,
    policies_table,
    results_table,
)
from vla_policy.evaluate.suite_sources import source_of
from vla_policy.evaluate.svg_plots import Mark, PlotAxis, log_axis, ranges

Record = Mapping[str, Any]
SHARE = PlotAxis(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0), lambda v: f"{v:.0%}")
CHANGE = PlotAxis(-1.0, 1.0, (-1.0, -0.5, 0.0, 0.5, 1.0), lambda v: f"{v:+.0%}", zero=0.0)
POLICY = "default-src 'none'; media-src data:; style-src 'unsafe-inline'"
EVALUATED = ("twins", "rt2")  # sources whose suites `vla evaluate` has too
SHORT = 160  # characters of a reason that stand there unfolded
NOTES = (
    "Success is judged by the simulation's ground truth; intervals are Wilson's, 95 %.",
    "Differences are of the same scenes and sentences: first minus second, Newcombe's interval for pairs; p is McNemar's, exact, "
    "of this pair alone: of twenty pairs without any difference one has p below 0.05.",
    "Jerk: of the tools as commanded, root of the mean square over the periods in motion, median of the trials. Seams: how much "
    "larger it is where a chunk takes over (p95) than elsewhere (p95). The base of a robot that drives is not in it.",
    "Guard acted: share of command periods in which the guard changed what was asked (it slows the first moments of every "
    "motion), held: in which it let the arm stand; and the check that acted most. Waiting for a chunk does not count.",
    "Chunk: wall time of one inference, without the first of each process; and what of it the process was on a processor, "
    "which other programs do not change. Memory: the most that a process had resident, which "
    "runs policy and twin; through a graph, the policy's node.",
)


def page(found: Record, films: Sequence[Record], folder: Path) -> str:
    """The page as text. films: rows of trials whose film, in folder, is shown."""
    title = f"Comparison of {', '.join(found['plan']['policies'])}"
    css = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        f"<title>{_text(title)}</title>",
        f"<style>\n{css}</style></head><body>",
        f"<header><h1>{_text(title)}</h1>{_about(found)}</header><main>",
        *_results(found),
        *_differences(found),
        *_latency(found),
        *_section(
            "Policies", _table(policies_table(found), "What each costs before it does anything")
        ),
        *_films(films, folder),
        *_not_asked(found),
        *_section("How it is measured", *(f"<p>{_text(note)}</p>" for note in NOTES)),
        *_commands(found),
        "</main></body></html>",
    ]
    return "\n".join(parts) + "\n"


def commands(found: Record) -> list[str]:
    """The whole comparison as a command, then each part separately, with the same trials."""
    lines = [found["about"]["command"]]
    for r in found["results"] if not found["plan"]["options"].get("graph") else ():
        if source_of(r["suite"]).name not in EVALUATED:
            continue
        name, head = split_head(r["policy"])
        words = ["vla", "evaluate", "--policy", name, *(["--head", head] if head else [])]
        words += ["--robot", r["robot"], "--suite", r["suite"]]
        words += ["--episodes", str(found["plan"]["episodes"]), *found["about"]["options"]]
        lines.append(shlex.join(words))
    return lines


def _about(found: Record) -> str:
    about = found["about"]
    trials = sum(r["trials"] for r in found["results"])
    way = "through the running graph" if found["plan"]["options"].get("graph") else "without ROS"
    words = f"{trials} trials {way}, {about['date']}. {about['machine']}; {about['versions']}."
    return f'<p class="soft">{_text(words)}</p>'


def _results(found: Record) -> Iterator[str]:
    colours = {policy: k for k, policy in enumerate(found["plan"]["policies"])}
    parts = []
    for robot, suite in dict.fromkeys((r["robot"], r["suite"]) for r in found["results"]):
        marks = [
            _success(r, colours[r["policy"]])
            for r in found["results"]
            if (r["robot"], r["suite"]) == (robot, suite)
        ]
        says = "; ".join(
            f"{m.label} {m.text}, {percent(m.low)} to {percent(m.high)}" for m in marks
        )
        plot = ranges(marks, SHARE, f"Success on {suite}, {robot}: {says}")
        parts.append(_figure(plot, f"{suite} on {robot}"))
    caption = "Every policy on every suite and robot that it was asked"
    yield from _section("Success", *parts, _table(results_table(found), caption))


def _success(r: Record, colour: int) -> Mark:
    low, high = r["interval"]
    text = f"{r['successes']}/{r['trials']} = {percent(r['rate'])}"
    return Mark(r["policy"], r["rate"], low, high, text, colour)


def _differences(found: Record) -> Iterator[str]:
    pairs = found["differences"]
    if not pairs:
        return
    marks = [
        Mark(
            f"{d['first']} – {d['second']}, {d['suite']}, {d['robot']}",
            *(d["difference"], *d["interval"], f"{d['difference']:+.0%}, p = {d['p']:.3f}"),
        )
        for d in pairs
    ]
    says = "Differences of success: " + "; ".join(f"{m.label}: {m.text}" for m in marks)
    caption = "right of the line the first does more, left of it the second"
    table = _table(differences_table(found), "The same trials, tried by both")
    yield from _section("Differences", _figure(ranges(marks, CHANGE, says), caption), table)


def _latency(found: Record) -> Iterator[str]:
    colours = {policy: k for k, policy in enumerate(found["plan"]["policies"])}
    timed = [r for r in found["results"] if r["chunk_ms"] and min(r["chunk_ms"]) > 0]
    if not timed:
        return
    marks = [
        Mark(
            f"{r['policy']}, {r['suite']}, {r['robot']}",
            *(p50, p50, p99, f"{p50:.0f} ms, p99 {p99:.0f} ms"),
            colours[r["policy"]],
        )
        for r in timed
        for p50, p99 in (r["chunk_ms"],)
    ]
    axis = log_axis([v for m in marks for v in (m.low, m.high)], lambda v: f"{v:g} ms")
    says = "Time of a chunk: " + "; ".join(f"{m.label}: {m.text}" for m in marks)
    yield from _section(
        "Time of a chunk",
        _figure(ranges(marks, axis, says), "the dot is p50, the line goes to p99"),
    )


def _films(films: Sequence[Record], folder: Path) -> Iterator[str]:
    shown = []
    for row in films:
        data = base64.b64encode((folder / row["film"]).read_bytes()).decode()
        words = f"{row['policy']}, {row['suite']} {row['index']} on {row['robot']}: “{row['instruction']}”, {row['failure']}"
        shown.append(
            f'<figure><video controls muted loop preload="auto" aria-label="{_text(words)}" '
            f'src="data:video/webm;base64,{data}"></video><figcaption>{_text(words)} (scene {row["seed"]})</figcaption></figure>'
        )
    if shown:
        yield from _section(
            "Films of failures",
            "<p>Twice as fast as it happened.</p>",
            f'<div class="films">{"".join(shown)}</div>',
        )


def _not_asked(found: Record) -> Iterator[str]:
    lines = [f"<li>{_folded(line)}</li>" for line in not_asked(found)]
    if lines:
        yield from _section("Not asked", f"<ul>{''.join(lines)}</ul>")


def _folded(line: str) -> str:
    short = textwrap.shorten(line, SHORT, placeholder=" …")
    if short == line:
        return _text(line)
    return f"<details><summary>{_text(short)}</summary>{_text(line)}</details>"


def _commands(found: Record) -> Iterator[str]:
    whole, *alone = commands(found)
    parts = [f"<pre>{_text(whole)}</pre>"]
    if alone:
        parts += [
            "<p>One part alone, the same trials:</p>",
            f"<pre>{_text(chr(10).join(alone))}</pre>",
        ]
    yield from _section("Commands", *parts)


def _section(heading: str, *parts: str) -> Iterator[str]:
    yield from (f"<section><h2>{_text(heading)}</h2>", *parts, "</section>")


def _figure(plot: str, caption: str) -> str:
    return f'<figure class="wide"><figcaption>{_text(caption)}</figcaption>{plot}</figure>'


def _table(table: Table, caption: str) -> str:
    head = "".join(f'<th scope="col">{_text(heading)}</th>' for heading in table.headings)
    rows = "".join(
        f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in table.rows
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{_text(caption)}"><table><caption>{_text(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _text(words: str) -> str:
    return html.escape(words)
