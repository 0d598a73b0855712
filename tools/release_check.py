"""The release checklist as a program: `python tools/release_check.py`; exit code 1 if a point fails.

Needs network for the environment that installs the wheel (--offline leaves that point out, and says so).
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import try_packages  # beside this file

ROOT = Path(__file__).resolve().parent.parent
VERSION = ElementTree.parse(ROOT / "package.xml").findtext("version", "")
# What a wheel must carry beside the code.
CARRIED = (
    "vla_policy/py.typed",
    "vla_policy/weights/tiny/model.safetensors",
    "vla_policy/web/page.html",
    "share/vla_policy/config/embodiments/vx300s.yaml",
    "share/vla_policy/package.xml",
    "LICENSE",
    "NOTICE",
)


def run(*words: str | Path, cwd: Path = ROOT) -> str:
    """Standard output. Raises ValueError with the last lines of what failed."""
    done = subprocess.run([str(w) for w in words], cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0:
        last = " / ".join((done.stdout + done.stderr).strip().splitlines()[-3:])
        raise ValueError(f"{' '.join(map(str, words[:3]))}: {last}")
    return done.stdout


def tree_is_clean() -> str:
    """Nothing that is not committed."""
    if changed := run("git", "status", "--porcelain").splitlines():
        raise ValueError(f"{len(changed)} files differ from the last commit, first {changed[0]}")
    return run("git", "rev-parse", "--short", "HEAD").strip()


def changelog_has_the_version() -> str:
    """A dated heading of the version, and nothing left under Forthcoming."""
    text = (ROOT / "CHANGELOG.rst").read_text()
    heading = re.search(rf"^{re.escape(VERSION)} \(\d{{4}}-\d\d-\d\d\)$", text, re.M)
    if heading is None:
        raise ValueError(f"CHANGELOG.rst: no heading '{VERSION} (YYYY-MM-DD)'")
    if "\nForthcoming\n" in text:
        raise ValueError(
            "CHANGELOG.rst: Forthcoming is not closed: catkin_generate_changelog or by hand"
        )
    return heading.group()


def maintainer_can_be_reached() -> str:
    """An address of package.xml that is no example."""
    found = ElementTree.parse(ROOT / "package.xml").find("maintainer")
    address = "" if found is None else found.get("email", "")
    if address.endswith("@example.com") or "@" not in address:
        raise ValueError(
            f"package.xml: maintainer's email: got {address!r}, expected one that is read"
        )
    return address


def gates_pass() -> str:
    """make lint types docs."""
    run("make", "lint", "types", "docs")
    return "lint, types, docs"


def wheel_carries(folder: Path) -> Callable[[], str]:
    """A check that builds the wheel into folder and looks into it."""

    def check() -> str:
        run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, ".")
        wheel = next(folder.glob("*.whl"))
        if f"-{VERSION}-" not in wheel.name:
            raise ValueError(
                f"{wheel.name}: got another version, expected {VERSION} of package.xml"
            )
        names = zipfile.ZipFile(wheel).namelist()
        if lacking := [c for c in CARRIED if not any(n.endswith(c) for n in names)]:
            raise ValueError(f"{wheel.name}: lacks {', '.join(lacking)}")
        return f"{wheel.name}, {wheel.stat().st_size / 1e6:.1f} MB"

    return check


def wheel_works(folder: Path, torch_of: Path | None) -> Callable[[], str]:
    """A check that uses the wheel in a fresh environment without ROS: models, a server, a client."""

    def check() -> str:
        try:
            return try_packages.try_wheel(next(folder.glob("*.whl")), folder, torch_of)
        except try_packages.Failed as error:
            raise ValueError(str(error)) from error

    return check


def main() -> int:
    """Run every point, print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--offline", action="store_true", help="do not install the wheel")
    parser.add_argument(
        "--torch-of", type=Path, metavar="ENVIRONMENT", help="link torch from there"
    )
    args = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        points: list[tuple[str, Callable[[], str]]] = [
            ("everything is committed", tree_is_clean),
            ("changelog", changelog_has_the_version),
            ("maintainer", maintainer_can_be_reached),
            ("gates", gates_pass),
            ("wheel", wheel_carries(Path(folder))),
        ]
        if not args.offline:
            check = wheel_works(Path(folder), args.torch_of)
            points.append(("wheel in a fresh environment", check))
        for name, check in points:
            try:
                print(f"ok      {name}: {check()}", flush=True)
            except (ValueError, StopIteration) as error:
                failed += 1
                print(f"FAILED  {name}: {error}", flush=True)
    print(
        "by hand: make test, python tools/try_packages.py workspace, one real robot in shadow, the tag"
    )
    if args.offline:
        print("left out: the wheel in a fresh environment")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
