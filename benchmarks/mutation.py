"""Do the tests notice a fault? Plants small faults in the guard, one at a time, and runs the tests that reach it.

    . tools/env.sh && python benchmarks/mutation.py --out benchmarks/mutation.json

Each fault (mutants.py) is planted in a fork of a process that has already loaded the tests, which then runs those
that executed its line before, the fastest first, until one fails. What takes effect only when a module is loaded
(constants, defaults) is planted in a fork that loads everything anew. A fault that no test notices survives: it is
killed by a better test, or mutation_explained.yaml says why nobody could notice it. Ends with 1 if one is left.

Each outcome is noted at once in a journal beside the report (mutation.jsonl). --again JOURNAL... goes on from there,
after a run was cut or with better tests: what was killed there, or survived and is explained, is not run again.

The tests must pass as they are. None of them imports torch, opens a port or starts a process.
"""

import argparse
import ast
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import mutation_tests as runs
import yaml
from mutants import Mutant, mutants_of

TOP = Path(__file__).parents[1]
FILES = ("vla_policy/safety/*.py", "vla_policy/execution/*.py", "vla_policy/runtime/control.py")
EXPLAINED = Path(__file__).with_name("mutation_explained.yaml")
PACKAGES = ("numpy", "pytest", "hypothesis", "coverage", "mujoco")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[""], help="parts of files' names, in order")
    parser.add_argument("--again", type=Path, nargs="+", default=[], help="journals to go on from")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument(
        "--quick", type=float, metavar="S", help="leave out tests that take longer"
    )
    parser.add_argument("--tests", nargs="+", help="names of files of tests: only these")
    parser.add_argument(
        "--report", action="store_true", help="run nothing, tell what journals say"
    )
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    os.chdir(TOP)
    some = bool(args.quick or args.tests)
    runs.TESTS = tuple(args.tests or runs.TESTS)
    started = time.monotonic()
    files = sorted(f for pattern in FILES for f in TOP.glob(pattern))
    trees = {str(f.relative_to(TOP)): ast.parse(f.read_text()) for f in files}
    chosen_files = dict.fromkeys(f for part in args.only for f in trees if part in f)
    mutants = [m for f in chosen_files for m in mutants_of(f, trees[f])]
    known = known_from(args.again, mutants)
    if args.report:
        known = [outcome or "untried" for outcome in known]
    left = [i for i, outcome in enumerate(known) if outcome is None]
    path = args.out.with_suffix(".jsonl") if args.out else Path(os.devnull)
    goes_on = path in args.again
    journal = Journal(path, mutants, "a" if goes_on else "w")
    for i, outcome in enumerate(known):
        if outcome is not None and not goes_on:
            journal.note(i, outcome)
    runs.preload()
    outcomes, carried = known, len(mutants) - len(left)
    with tempfile.TemporaryDirectory() as scratch:
        if left:
            reached = runs.baseline(Path(scratch), list(trees))
            print(
                f"{len(left)} mutants of {len(mutants)}, {len(reached.seconds)} tests, {reached.total_s:.0f} s"
            )
            chosen = [choose(m, reached, trees, args.quick) for m in mutants]
            # What survives some of the tests has not survived: the next run tries it again.
            note = lambda i, outcome: journal.note(  # noqa: E731
                i, "unknown" if some and outcome == "survived" else outcome
            )
            found = runs.run(
                mutants, trees, chosen, reached, args.processes, Path(scratch), left, note
            )
            outcomes = [found.get(i, outcome) for i, outcome in enumerate(known)]
    report = report_of(mutants, outcomes, started) | {"from_journals": carried}
    for identity in report["surviving"]:
        print("SURVIVED", " | ".join(identity))
    for words in report["explained_in_vain"]:
        print("EXPLAINED IN VAIN", " | ".join(words))
    print(json.dumps(report["totals"]))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if report["surviving"] or report["untried"] else 0


class Journal:
    """Notes the outcome of each mutant in a file at once, from several processes."""

    def __init__(self, path: Path, mutants: list[Mutant], mode: str) -> None:
        self._file, self._keys = open(path, mode), keys_of(mutants)

    def note(self, index: int, outcome: str) -> None:
        line = json.dumps([*self._keys[index], outcome]) + "\n"
        os.write(self._file.fileno(), line.encode())


def keys_of(mutants: list[Mutant]) -> list[tuple[str, str, str, int]]:
    """Identities, counted where a function has the same change several times."""
    seen: Counter = Counter()
    keys = []
    for mutant in mutants:
        keys.append((*mutant.identity, seen[mutant.identity]))
        seen[mutant.identity] += 1
    return keys


def known_from(journals: list[Path], mutants: list[Mutant]) -> list[str | None]:
    """The outcome of each mutant that journals know for good, or None. The last line on one counts."""
    noted = {}
    for journal in journals:
        for line in journal.read_text().splitlines():
            *key, outcome = json.loads(line)
            noted[tuple(key)] = outcome
    reasons = explained()
    known = [noted.get(key) for key in keys_of(mutants)]
    return [
        None
        if outcome == "unknown" or (outcome == "survived" and reasons.of(m.identity) is None)
        else outcome
        for m, outcome in zip(mutants, known, strict=True)
    ]


def choose(
    mutant: Mutant, reached: runs.Reached, trees: dict[str, ast.Module], longest_s: float | None
) -> list[str]:
    """The tests that a fault can reach, the fastest first; none that takes longer than longest_s."""
    if mutant.loaded is None:
        tests = set().union(*(reached.tests(mutant.file, line) for line in mutant.lines))
    else:
        tests = set()
        for file, tree in trees.items():
            for line in lines_that_name(mutant.loaded, tree):
                tests |= reached.tests(file, line)
        # A value that no other module names is made by tests alone, as a Control() is.
        tests |= {test for test in reached.seconds if names(mutant.loaded, test)}
    if longest_s is not None:
        tests = {test for test in tests if reached.seconds[test] <= longest_s}
    return sorted(tests, key=lambda test: reached.seconds[test])


@cache
def names(name: str, test: str) -> bool:
    """Whether the file of a test speaks of a name."""
    return re.search(rf"\b{name}\b", Path(test.partition("::")[0]).read_text()) is not None


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
        known = outcome == "survived" and reasons.of(mutant.identity) is not None
        count["mutants"] += 1
        count[
            "explained"
            if known
            else "surviving"
            if outcome == "survived"
            else "untried"
            if outcome == "untried"
            else "killed"
        ] += 1
        count["of_them_by_time"] += outcome == "time"
    columns = ("mutants", "killed", "of_them_by_time", "surviving", "explained", "untried")
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
        "surviving": sorted(i for i in survived if reasons.of(i) is None),
        "untried": sorted(
            m.identity for m, o in zip(mutants, outcomes, strict=True) if o == "untried"
        ),
        "explained_in_vain": reasons.in_vain(survived, {m.file for m in mutants}),
    }


@dataclass(frozen=True)
class Explained:
    """Why a fault makes no difference. exact, patterns: (file, function, change or a pattern of it) -> why.

    A file or function '*' stands for all of them, where a pattern is given.
    """

    exact: dict[tuple[str, str, str], str]
    patterns: dict[tuple[str, str, str], str]

    def of(self, identity: tuple[str, str, str]) -> str | None:
        """The reason for a fault, or None."""
        if identity in self.exact:
            return self.exact[identity]
        return next((why for key, why in self.patterns.items() if _matches(key, identity)), None)

    def in_vain(self, survived: set[tuple[str, str, str]], files: set[str]) -> list:
        """Reasons for faults that are found by now, or for code that is gone, in these files."""
        found = [key for key in self.exact if key[0] in files and key not in survived]
        for key in self.patterns:
            if key[0] in files or key[0] == "*":
                found += [key] if not any(_matches(key, one) for one in survived) else []
        return sorted(found)


def _matches(key: tuple[str, str, str], identity: tuple[str, str, str]) -> bool:
    places = all(k in ("*", i) for k, i in zip(key[:2], identity[:2], strict=True))
    return places and re.fullmatch(key[2], identity[2]) is not None


def explained() -> Explained:
    """What mutation_explained.yaml says."""
    found = Explained({}, {})
    for file, functions in (yaml.safe_load(EXPLAINED.read_text()) or {}).items():
        for function, groups in functions.items():
            for group in groups:
                for change in group.get("changes", ()):
                    found.exact[file, function, change] = group["reason"]
                for pattern in group.get("patterns", ()):
                    found.patterns[file, function, pattern] = group["reason"]
    return found


def _commit() -> str:
    words = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
