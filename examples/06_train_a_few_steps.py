"""Generate a little data with the scripted expert and train the shipped policy on it for a few steps."""

import sys
from pathlib import Path

from vla_policy.cli import main

if __name__ == "__main__":  # worker processes read this file again
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "out/example")
    few = ["--workers", "1", "--count"]
    main(["generate", "scenes", "--out", f"{out}/data/scenes", *few, "16"])
    main(["generate", "scenes", "--out", f"{out}/data/scenes_val", "--seed", "8", *few, "8"])
    main(["generate", "episodes", "--out", f"{out}/data/episodes", *few, "1"])
    steps = ["--pointing-steps", "2", "--heads-steps", "4", "--batch", "8", "--held-out", "4"]
    main(["train", "--data", f"{out}/data", "--out", f"{out}/run", "--init", "tiny", *steps])
    main(["inspect", f"{out}/run/checkpoint"])  # `vla evaluate --policy` takes this folder
