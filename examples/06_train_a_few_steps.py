"""Generate a little data with the scripted expert and train the shipped policy on it for a few steps."""

import sys
from pathlib import Path

from vla_policy.cli import main

if __name__ == "__main__":  # worker processes read this file again
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "out/example")
    main(["generate", "episodes", "--out", f"{out}/episodes", "--workers", "1", "--count", "2"])
    few = ["--steps", "4", "--batch", "8"]
    main(["train", "--policy", "tiny", "--data", f"{out}/episodes", "--out", f"{out}/run", *few])
    main(["inspect", f"{out}/run/checkpoint"])  # `vla evaluate --policy` takes this folder
