"""Do the tests notice a fault? Plants small faults in the guard, one at a time, and runs the tests that reach it.

    . tools/env.sh && python benchmarks/mutation.py --out benchmarks/mutation.json

Each fault (mutants.py) is planted in a fork of a process that has already loaded the tests, which then runs those
that executed its line before, the fastest first, until one fails. What takes effect only when a module is loaded
(constants, defaults) is planted in a fork that loads everything anew. A fault that no test notices survives: it is
killed by a better test, or mutation_explained.yaml says why nobody could notice it. Ends with 1 if one is left.

The tests must pass as they are. None of them imports torch, opens a port or starts a process.
"""

import argparse
import ast
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib import metadata
from pathlib import Path

import mutation_tests as runs
import yaml
from mutants import Mutant, mutants_of

TOP = Path(__file__).parents[1]
FILES = ("vla_policy/safety/*.py", "vla_policy/execution/*.py", "vla_policy/control.py")
EXPLAINED = Path(__file__).with_name("mutation_explained.yaml")
PACKAGES = ("numpy", "pytest", "hypothesis", "coverage", "mujoco")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="part of a file's name")
    parser.add_argument("--again", type=Path, help="a report: only what survived there")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    os.chdir(TOP)
    started = time.monotonic()
    files = sorted(f for pattern in FILES for f in TOP.glob(pattern))
    trees = {str(f.relative_to(TOP)): ast.parse(f.read_text()) for f in files}
    mutants = [m for f, tree in trees.items() if args.only in f for m in mutants_of(f, tree)]
    if args.again:
        left = {tuple(i) for i in json.loads(args.again.read_text())["surviving"]}
        mutants = [m for m in mutants if m.identity in left]
    runs.preload()
    with tempfile.TemporaryDirectory() as scratch:
        reached = runs.baseline(Path(scratch), list(trees))
        print(f"{len(mutants)} mutants, {len(reached.seconds)} tests, {reached.total_s:.0f} s")
        chosen = [choose(m, reached, trees) for m in mutants]
        outcomes = runs.run(mutants, trees, chosen, reached, args.processes, Path(scratch))
    report = report_of(mutants, outcomes, started)
    for identity in report["surviving"]:
        print("SURVIVED", " | ".join(identity))
    for words in report["explained_in_vain"]:
        print("EXPLAINED IN VAIN", " | ".join(words))
    print(json.dumps(report["totals"]))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if report["surviving"] else 0


def choose(mutant: Mutant, reached: runs.Reached, trees: dict[str, ast.Module]) -> list[str]:
    """The tests that a fault can reach, the fastest first."""
    if mutant.loaded is None:
        tests = set().union(*(reached.tests(mutant.file, line) for line in mutant.lines))
    else:
        tests = set()
        for file, tree in trees.items():
            for line in lines_that_name(mutant.loaded, tree):
                tests |= reached.tests(file, line)
    return sorted(tests, key=lambda test: reached.seconds[test])


def lines_that_name(name: str, tree: ast.Module) -> set[int]:
    """Lines of statements that speak of a name, and of the body of the function of that name."""
    lines = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            lines |= set(range(node.lineno, node.end_lineno + 1))
        if isinstance(node, ast.Name | ast.Attribute) and name in (
            getattr(node, "id", None),
            getattr(node, "attr", None),
        ):
            lines |= set(range(node.lineno, node.end_lineno + 1))
    return lines


def report_of(mutants: list[Mutant], outcomes: list[str], started: float) -> dict:
    reasons = explained()
    survived = {m.identity for m, o in zip(mutants, outcomes, strict=True) if o == "survived"}
    per_file: dict[str, Counter] = {}
    for mutant, outcome in zip(mutants, outcomes, strict=True):
        count = per_file.setdefault(mutant.file, Counter())
        known = outcome == "survived" and mutant.identity in reasons
        count["mutants"] += 1
        count["explained" if known else "surviving" if outcome == "survived" else "killed"] += 1
        count["of_them_by_time"] += outcome == "time"
    columns = ("mutants", "killed", "of_them_by_time", "surviving", "explained")
    known_files = {m.file for m in mutants}
    return {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.date.today().isoformat(),
        "commit": _commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in PACKAGES},
        "seconds": round(time.monotonic() - started),
        "totals": {c: sum(count[c] for count in per_file.values()) for c in columns},
        "files": {f: {c: count[c] for c in columns} for f, count in per_file.items()},
        "surviving": sorted(survived - set(reasons)),
        # A reason for a fault that is found by now, or for code that is gone.
        "explained_in_vain": sorted(
            i for i in reasons if i not in survived and i[0] in known_files
        ),
    }


def explained() -> dict[tuple[str, str, str], str]:
    """(file, function, change) -> why it makes no difference."""
    found = {}
    for file, functions in (yaml.safe_load(EXPLAINED.read_text()) or {}).items():
        for function, groups in functions.items():
            for group in groups:
                for change in group["changes"]:
                    found[file, function, change] = group["reason"]
    return found


def _commit() -> str:
    words = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
