"""Run mypy, strict, over the package, and hold what it finds against tools/types_baseline.txt.

    python tools/check_types.py              # or: make types. One line per new error; exit code 1 if there is one
    python tools/check_types.py --write      # record what is found now

The baseline counts each message, whatever file it is in: a module may move, an error of a new kind or one more of an old
kind fails. It only ever gets shorter: --write refuses to record more than there was, unless --more says so.
"""

import argparse
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASELINE = ROOT / "tools" / "types_baseline.txt"
ERROR = re.compile(r"^(?P<where>.+?:\d+): error: (?P<what>.+  \[[a-z-]+\])$")


def run_mypy(*arguments: str) -> list[str]:
    """The lines of mypy's report. Raises RuntimeError where mypy could not do its work."""
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context"]
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()
    strange = [line for line in lines if ": error: " in line and not ERROR.match(line)]
    if done.returncode not in (0, 1) or done.stderr or strange:
        raise RuntimeError("\n".join(["mypy did not finish", *strange, done.stderr]))
    return lines


def errors(lines: list[str]) -> dict[str, list[str]]:
    """message  [code] -> where it was found, as FILE:LINE."""
    found = defaultdict(list)
    for line in lines:
        if match := ERROR.match(line):
            # Names that mypy numbers, and lines that a message speaks of, change with every edit.
            found[re.sub(r"\bline \d+", "line N", match["what"])].append(match["where"])
    return dict(found)


def read_baseline(text: str) -> Counter[str]:
    """message  [code] -> how often it is excused. One line each: COUNT, a space, the message."""
    lines = (line.partition(" ") for line in text.splitlines() if not line.startswith("#"))
    return Counter({what: int(count) for count, _, what in lines})


def new_errors(found: dict[str, list[str]], excused: Counter[str]) -> list[str]:
    """What there is more of than is excused: every place of it, as an older one looks the same."""
    return [
        f"{where}: {what}"
        + (f" (one of {len(places)}; {excused[what]} known)" if excused[what] else "")
        for what, places in found.items()
        if len(places) > excused[what]
        for where in places
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Types of the package, held against the baseline."
    )
    parser.add_argument("--write", action="store_true", help="record what is found now")
    parser.add_argument("--more", action="store_true", help="with --write: also what is new")
    parser.add_argument("files", nargs="*", help="instead of the package")
    args = parser.parse_args(arguments)
    found = errors(run_mypy(*args.files))
    excused = read_baseline(BASELINE.read_text())
    new = new_errors(found, excused)
    if new and not args.more:
        print(*new, sep="\n")
        print(f"{len(new)} places with new errors of type")
        return 1
    if args.write:
        lines = sorted(f"{len(places)} {what}" for what, places in found.items())
        head = "# What mypy finds and nobody has mended yet: COUNT message. python tools/check_types.py --write"
        BASELINE.write_text("\n".join([head, *lines]) + "\n")
    known = sum(len(places) for places in found.values())
    print(f"types: no new error; {known} known ones")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
