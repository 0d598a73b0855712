"""Taking over and handing back a hundred times at random moments, on the real control node: benchmarks/takeovers.json.

    python benchmarks/takeovers.py [COUNT]

What is counted is in test/ros/test_takeovers.py, which `make test` runs with ten.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = Path(__file__).with_suffix(".json")


def main() -> int:
    count = sys.argv[1] if len(sys.argv) > 1 else "100"
    environment = {**os.environ, "TAKEOVERS": count, "TAKEOVERS_OUT": str(OUT)}
    test = str(ROOT / "test" / "ros" / "test_takeovers.py")
    code = subprocess.run(["pytest", test], env=environment).returncode
    print(OUT.read_text() if OUT.is_file() else "no result")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
