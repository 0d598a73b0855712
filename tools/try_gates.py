"""Plant a mistake of each kind in a copy of the project, one at a time: does the gate that should catch it say so?

    . tools/env.sh && python tools/try_gates.py

Exit code 1 if a mistake gets through, or if a gate fails without one. About two minutes.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TYPES = (sys.executable, "tools/check_types.py")
DOCS = (sys.executable, "tools/check_docs.py")
BORDERS = ("pytest", "-q", "-x", "test/test_import_border.py")
PACKAGING = ("pytest", "-q", "-x", "test/test_package.py", "-k", "import or depend")
SHAPES = ("pytest", "-q", "-x", "test/models/test_models_golden.py")


@dataclass(frozen=True)
class Mistake:
    """old -> new in file ("" appends); the gate's output must name what."""

    name: str
    file: str
    old: str
    new: str
    gate: tuple[str, ...]
    what: str


MISTAKES = (
    Mistake("a wrong type at a call", "vla_policy/timing.py", "", '\nPLANTED = s_from_ns("now")\n',
            TYPES, "arg-type"),
    Mistake("a wrong shape", "vla_policy/models/flow.py",
            '-> Float[Tensor, "b e"]:', '-> Float[Tensor, "b e 3"]:', SHAPES, "TypeCheckError"),
    Mistake("two modules in a circle", "vla_policy/safety/limits.py", "",
            "\nimport vla_policy.safety.guard as planted\n", BORDERS, "circle"),
    Mistake("an arrow up", "vla_policy/geometry/quaternions.py", "",
            "\nfrom vla_policy.policy import load_policy as planted\n", BORDERS, "points_down"),
    Mistake("an unknown word in a documented command", "README.md", "", "\n```\nvla sey hello\n```\n",
            DOCS, "sey"),
    Mistake("rclpy outside ros/", "vla_policy/runtime/task.py", "", "\nimport rclpy as planted\n",
            BORDERS, "only_the_ros_folder"),
    Mistake("a dependency that package.xml lacks", "package.xml",
            "  <exec_depend>sensor_msgs</exec_depend>\n", "", PACKAGING, "sensor_msgs"),
)  # fmt: skip


def run(gate: tuple[str, ...], folder: Path) -> tuple[int, str]:
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        gate, cwd=folder, env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def copied(folder: Path) -> None:
    """The tracked files, as they are here."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, names.stdout.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)


def main() -> int:
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copied(folder)
        for gate in dict.fromkeys(mistake.gate for mistake in MISTAKES):
            code, said = run(gate, folder)
            if code:
                wrong += 1
                print(f"FAILS WITHOUT A MISTAKE: {' '.join(gate)}\n{said[-2000:]}")
        for mistake in MISTAKES:
            path = folder / mistake.file
            text = path.read_text()
            if mistake.old not in text:
                raise SystemExit(f"{mistake.file}: got no {mistake.old!r}, expected it once")
            planted = (
                text.replace(mistake.old, mistake.new, 1) if mistake.old else text + mistake.new
            )
            path.write_text(planted)
            code, said = run(mistake.gate, folder)
            path.write_text(text)
            caught = code != 0 and mistake.what in said
            wrong += not caught
            print(
                f"{'caught' if caught else 'MISSED'}: {mistake.name}, by {' '.join(mistake.gate[1:])}"
            )
            if not caught:
                print(said[-2000:])
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
