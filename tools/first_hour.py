"""A stranger's first hour: every command of the tutorials, one after the other, in a fresh clone.

    python tools/first_hour.py --out benchmarks/first_hour.json     # all tutorials; minutes to an hour
    python tools/first_hour.py so101 --here                         # one of them, in this working copy

Commands are the ```sh blocks of docs/tutorials/*.md, as they stand there. A comment before a block says what a rehearsal does otherwise:

    <!-- rehearse: skip, hardware -->         needs what is not here
    <!-- rehearse: before, COMMAND -->        a stand-in for what is not here, run before the block
    <!-- rehearse: append, WORDS -->          smaller numbers behind its first command; `insert`: before its `>`
    <!-- rehearse: background -->             goes on running until the next such block, or the end
    <!-- rehearse: wait for port N -->        of what runs in the background
    <!-- rehearse: result may differ, WHY --> it was followed, to whatever end: `timeout after 5 s` will do

--times writes the seconds of each command into the tutorials. Exit code 1 if a command failed.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path("docs") / "tutorials"
BLOCK = re.compile(r"((?:^<!-- rehearse: [^\n]*-->\n)*)^```sh\n(.*?)^```", re.M | re.S)
HINT = re.compile(
    r"<!-- rehearse: (skip|before|append|insert|background|wait for port|result may differ),? ?(.*?) ?-->"
)
ENV = ". tools/env.sh"
ENDED = re.compile(r"^\s*(done|timeout) after [0-9.]+ s", re.M)  # of vla say
LIMIT_S = 3600.0  # the first set-up builds, and others may use the machine
QUIET_S = 30.0


@dataclass(frozen=True)
class Step:
    """One command. mode: run, background or skip. told: as it stands in the tutorial. why: it is skipped or may end with 1."""

    told: str
    command: str
    mode: str = "run"
    why: str = ""
    may_fail: bool = False
    port: "int | None" = None


def steps(text: str) -> list[Step]:
    """The commands of a tutorial in order. Raises ValueError for a comment that nobody knows."""
    found = []
    for hints, block in BLOCK.findall(text):
        known = dict(HINT.findall(hints))
        if len(known) != hints.count("<!--"):
            raise ValueError(f"got {hints.strip()!r}, expected a comment of tools/first_hour.py")
        if "before" in known:
            found.append(Step("", known["before"], why="a stand-in"))
        mode = next((m for m in ("skip", "background") if m in known), "run")
        for number, line in enumerate(re.sub(r"\\\n", " ", block).strip().splitlines()):
            told = line.partition("  #")[0].strip()
            command = told
            if "append" in known and number == 0:
                command = f"{told} {known['append']}"
            if "insert" in known and ">" in told:
                command = told.replace(">", f"{known['insert']} >", 1)
            port = (
                int(known["wait for port"]) if "wait for port" in known and number == 0 else None
            )
            why = known.get("skip") or known.get("result may differ", "")
            found.append(Step(told, command, mode, why, "result may differ" in known, port))
    return found


def walk(tutorial: Path, folder: Path) -> Iterator[dict]:
    """Run one tutorial in folder; a row for each command."""
    running: list[subprocess.Popen] = []
    try:
        for step in steps(tutorial.read_text()):
            row = {
                "tutorial": tutorial.stem,
                "command": step.told or step.command,
                "ran": step.command,
                "why": step.why,
            }
            if step.mode == "skip":
                yield row | {"outcome": "skipped"}
                continue
            if step.command == ENV:  # before each command
                continue
            if step.mode == "background":
                end(running)
                running.append(start(step.command, folder))
                yield row | {"outcome": "started"}
                continue
            if step.port is not None:
                wait_for(step.port, running[-1])
            seconds, code, said = run(step.command, folder)
            crashed = "Traceback (most recent call last)" in said
            good = not crashed and (
                code == 0 or (step.may_fail and code == 1 and bool(ENDED.search(said)))
            )
            last = [line.strip() for line in said.splitlines() if line.strip()][-1:]
            yield row | {
                "outcome": "ok" if good else "failed",
                "exit": code,
                "seconds": round(seconds, 1),
                "said": "".join(last).replace(str(folder), ".")[:200],
            }
    finally:
        end(running)


def run(command: str, folder: Path) -> tuple[float, int, str]:
    """Seconds, exit code and all that was said."""
    begun = time.monotonic()
    process = subprocess.Popen(
        _shell(command), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        out, errors = process.communicate(timeout=LIMIT_S)
        code, said = process.returncode, errors + out
    except subprocess.TimeoutExpired:
        code, said = 124, f"not done in {LIMIT_S:g} s"
    finally:
        end([process])  # with all that it started
    return time.monotonic() - begun, code, said


def start(command: str, folder: Path) -> subprocess.Popen:
    log = (folder / "log").joinpath("first_hour.log")
    log.parent.mkdir(exist_ok=True)
    with log.open("a") as said:
        return subprocess.Popen(
            _shell(command), cwd=folder, stdout=said, stderr=said, start_new_session=True
        )


def end(running: list[subprocess.Popen]) -> None:
    """End what runs in the background as Ctrl-C does, and by force what does not obey."""
    while running:
        process = running.pop()
        for word in (signal.SIGINT, signal.SIGKILL):
            if process.poll() is None:
                os.killpg(process.pid, word)
                try:
                    process.wait(QUIET_S)
                except subprocess.TimeoutExpired:
                    continue
        with suppress(ProcessLookupError):  # what it left behind
            os.killpg(process.pid, signal.SIGKILL)


def wait_for(port: int, process: subprocess.Popen) -> None:
    """Until something listens there. Raises TimeoutError if the process ended, or after two minutes."""
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.2)
    raise TimeoutError(f"nothing listens on port {port}")


def _shell(command: str) -> list[str]:
    env = f"if [ -e .venv ]; then {ENV}; fi; "
    return [
        "bash",
        "-c",
        f"{env}exec {command}" if not re.search(r"[>|;&]", command) else env + command,
    ]


@contextmanager
def fresh_clone(environment: "Path | None") -> Iterator[Path]:
    """A clone of the last commit. environment: a virtual environment that is taken in place of a new one."""
    root = Path(tempfile.mkdtemp(prefix="first_hour_"))
    try:
        subprocess.run(
            ["git", "clone", "--quiet", str(ROOT), str(root / "vla_policy")], check=True
        )
        if environment is not None:
            (root / "vla_policy" / ".venv").symlink_to(environment.resolve())
        yield root / "vla_policy"
    finally:
        shutil.rmtree(root, ignore_errors=True)


def with_times(text: str, rows: list[dict], about: str) -> str:
    """The tutorial with the table of its times in place of the old one."""
    lines = [about, "", "| command | seconds |", "|---|---|"]
    for row in rows:
        cell = (
            row["why"]
            if row["outcome"] == "skipped"
            else row["outcome"]
            if row["outcome"] != "ok"
            else f"{row['seconds']:g}"
        )
        lines.append(f"| `{row['ran'].replace('|', chr(92) + '|')}` | {cell} |")
    return re.sub(
        r"(<!-- times: \w+ -->\n).*", lambda m: m[1] + "\n".join(lines) + "\n", text, flags=re.S
    )


def main() -> int:
    names = sorted(p.stem for p in (ROOT / FOLDER).glob("*.md"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tutorials", nargs="*", help=f"of {', '.join(names)}; none: all")
    parser.add_argument(
        "--here", action="store_true", help="in this working copy, not in a fresh clone"
    )
    parser.add_argument(
        "--environment", type=Path, help="a virtual environment in place of a new one"
    )
    parser.add_argument("--out", type=Path, help="rows as JSON")
    parser.add_argument("--times", action="store_true", help="write the times into the tutorials")
    args = parser.parse_args()
    chosen = args.tutorials or names
    if unknown := set(chosen) - set(names):
        parser.error(f"got {', '.join(unknown)}, expected of {', '.join(names)}")
    with (
        tempfile.TemporaryDirectory() as private
    ):  # robots that others run are not among those that `vla say` finds
        os.environ["TMPDIR"] = private
        if args.here:
            rows = _all(chosen, ROOT)
        else:
            with fresh_clone(args.environment) as folder:
                rows = _all(chosen, folder)
    today = date.today().isoformat()
    about = {
        "date": today, "command": " ".join(["python", "tools/first_hour.py", *sys.argv[1:]]), "processors": os.cpu_count(),
        "machine": platform.platform(), "python": platform.python_version(), "load": round(os.getloadavg()[0], 1),
        "environment": "this one's" if args.environment or args.here else "new",
    }  # fmt: skip
    if args.out:
        args.out.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    if args.times:
        words = f"`python tools/first_hour.py`, {today}, {os.cpu_count()} processors that others used as well (load {about['load']})."
        for name in chosen:
            path = ROOT / FOLDER / f"{name}.md"
            path.write_text(
                with_times(path.read_text(), [r for r in rows if r["tutorial"] == name], words)
            )
    failed = [row for row in rows if row["outcome"] == "failed"]
    print(f"{len(rows)} commands, {len(failed)} failed")
    return 1 if failed else 0


def _all(names: list[str], folder: Path) -> list[dict]:
    rows = []
    for name in names:
        for row in walk(folder / FOLDER / f"{name}.md", folder):
            print(json.dumps(row), flush=True)
            rows.append(row)
    return rows


if __name__ == "__main__":
    sys.exit(main())
