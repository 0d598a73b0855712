"""Say what a checkpoint folder holds, and whether it fits a robot; folders of other projects too."""

from vla_policy.cli import main

main(["inspect", "tiny"])  # or a folder of lerobot, openpi, OpenVLA
fits = main(["check", "checkpoint", "tiny", "--robot", "vx300s"]) == 0
other = main(["check", "checkpoint", "tiny", "--robot", "fr3"]) == 0
print(f"tiny fits vx300s: {fits}; tiny fits fr3: {other}")
# For a pi0 that was fine-tuned with lerobot, the way on is (docs/checkpoints.md):
#   vla inspect FOLDER --policy-file --robot fr3 > my_policy.yaml
#   vla convert my_policy.yaml my_checkpoint --to vla
