"""Where docs/troubleshooting.md explains what a check found: the last line that `vla doctor` and `vla check` print."""

from __future__ import annotations

GUIDE = "docs/troubleshooting.md"
# What was checked -> heading of the page, as its anchor.
HEADINGS = {
    "doctor": "installation",
    "embodiment": "robot-files-and-checkpoints",
    "checkpoint": "robot-files-and-checkpoints",
    "topics": "cameras-and-topics",
    "data": "recording-and-data",
}


def read_on(checked: str) -> str:
    """One line for a person who has findings of one check."""
    return f"what to do: {GUIDE}#{HEADINGS[checked]}"
