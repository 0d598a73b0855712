"""What the name of a planner must be, told before anything starts; nothing is loaded here."""

from __future__ import annotations

from pathlib import Path

from vla_policy.planners.chat import ChatServer
from vla_policy.runtime.planning import MODEL, NONE, PLANNERS

ADDRESS = ("http://", "https://")


def require_planner(name: str, model: str = "") -> None:
    """Raises ValueError, in one sentence, for a planner that cannot be. model: of a server."""
    if name.startswith(ADDRESS):
        ChatServer(name, model, timeout_s=1.0)
    elif name not in (NONE, MODEL):
        folder_of(name)


def folder_of(name: str) -> Path:
    """The folder of a transformers model. Raises ValueError if it is none."""
    folder = Path(name).expanduser()
    if not (folder / "config.json").is_file():
        raise ValueError(f"planner: got {name!r}, expected {PLANNERS}")
    return folder
