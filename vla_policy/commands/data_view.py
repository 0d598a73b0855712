"""One HTML file to view episodes: cameras on one scrubber, columns, who was in control, findings.

It needs no network and no server; it contains the images, reduced until the file is below
--megabytes.
"""

from __future__ import annotations

import argparse
import re
import webbrowser
from pathlib import Path

from vla_policy.commands.data_progress import counted
from vla_policy.data.checks.source import check_data
from vla_policy.data.lerobot import layout
from vla_policy.data.lerobot.reader import DataSet, open_set
from vla_policy.data.lerobot.verbs import episodes_in
from vla_policy.data.view.embedded_images import choose_size
from vla_policy.data.view.page import write_page
from vla_policy.data.view.rerun_recording import write_recording
from vla_policy.parsing.files import MIB

FIRST = 10  # episodes shown without --episodes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla data view`."""
    parser.add_argument("set", type=Path, help="folder of a data set, or of a recording")
    parser.add_argument("--episodes", help=f"3 or 0-9 or 0:10 or 3,7; default: the first {FIRST}")
    parser.add_argument("--out", type=Path, help="default: view.html, if there is no --rerun")
    parser.add_argument(
        "--megabytes", type=float, default=64.0, metavar="M", help="of all images (64)"
    )
    parser.add_argument("--open", action="store_true", help="show it in the browser")
    parser.add_argument("--no-check", action="store_true", help="do not look for faults")
    parser.add_argument("--robot", help="whose limits check takes, by name or file")
    parser.add_argument("--rerun", type=Path, metavar="FILE.rrd", help="a recording for Rerun")


def run(args: argparse.Namespace) -> int:
    """Write the page, the recording or both; 0 on success."""
    inner = args.set / "set"
    root = inner if (inner / layout.INFO).is_file() else args.set
    data = open_set(root)
    episodes = _episodes(args.episodes, data)
    findings = None
    if not args.no_check:
        with counted("checking") as tell:
            findings = check_data(root, args.robot, episodes=episodes, tell=tell)
    if args.rerun is not None:
        write_recording(args.rerun, data, episodes, findings or ())
        print(f"wrote {args.rerun}")
    if args.out is None and args.rerun is not None:
        return 0
    out = args.out or Path("view.html")
    size = choose_size(data, episodes, args.megabytes)
    with counted("writing") as tell:
        write_page(out, data, episodes, size, findings, tell)
    print(
        f"wrote {out}, {out.stat().st_size / MIB:.1f} MiB: {len(episodes)} of {len(data.entries)} episodes"
        + (f", one image in {size.every}" if size.every > 1 else "")
    )
    if args.open:
        webbrowser.open(out.resolve().as_uri())
    return 0


def _episodes(words: str | None, data: DataSet) -> list[int]:
    count = len(data.entries)
    if not count:
        raise ValueError(f"{data.root}: has no episode to look at")
    if words is None:
        return list(range(min(FIRST, count)))
    ranges = re.sub(r"(\d+)-(\d+)", lambda m: f"{m[1]}:{int(m[2]) + 1}", words)
    return episodes_in(ranges, count)
