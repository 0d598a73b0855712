"""Convert a checkpoint folder to another project's form, every weight bit for bit."""

from __future__ import annotations

import argparse
from pathlib import Path

from vla_policy.formats.conversion.convert import convert, writers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla convert`."""
    parser.add_argument("source", type=Path, help="checkpoint folder or policy file")
    parser.add_argument(
        "destination", type=Path, help="folder to make; must not exist or be empty"
    )
    parser.add_argument("--to", required=True, choices=tuple(writers()), help="kind of DST")
    parser.add_argument(
        "--drop-unread",
        action="store_true",
        help="leave out the expert's output embedding, which no model reads (0.5 GB of a full pi0)",
    )


def run(args: argparse.Namespace) -> int:
    """Convert; 0 if it worked."""
    print("\n".join(convert(args.source, args.destination, args.to, keep_unread=not args.drop_unread)))  # fmt: skip
    return 0
