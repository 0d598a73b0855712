"""Which planner a parameter names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from vla_policy.planners.chat import TOKEN, TOKEN_FILE, ChatServer, chat_planner
from vla_policy.planners.local import local_planner
from vla_policy.planners.own import own_planner
from vla_policy.remote.address import find_token
from vla_policy.runtime.planning import MODEL, NONE, PLANNERS, Planner

ADDRESS = ("http://", "https://")


def find_planner(
    name: str,
    *,
    model: str = "",
    timeout_s: float = 20.0,
    pictures: bool = True,
    device: str = "cpu",
    environment: Mapping[str, str] | None = None,
) -> Planner | None:
    """name: one of PLANNERS; none gives None. model, pictures: of a server.

    Raises ValueError, in one sentence, for what cannot be used.
    """
    if name == NONE:
        return None
    if name == MODEL:
        return own_planner
    if name.startswith(ADDRESS):
        values = os.environ if environment is None else environment
        try:
            token = find_token(values, token=TOKEN, file=TOKEN_FILE)
        except OSError as error:
            raise ValueError(f"{TOKEN_FILE}: {error}") from error
        return chat_planner(ChatServer(name, model, timeout_s, pictures, token))
    return local_planner(_folder(name), device=device, timeout_s=timeout_s)


def require_planner(name: str, model: str = "") -> None:
    """What tells at once, before anything starts, that a planner cannot be used: raises ValueError."""
    if name.startswith(ADDRESS):
        ChatServer(name, model, timeout_s=1.0)
    elif name not in (NONE, MODEL):
        _folder(name)


def _folder(name: str) -> Path:
    folder = Path(name).expanduser()
    if not (folder / "config.json").is_file():
        raise ValueError(f"planner: got {name!r}, expected {PLANNERS}")
    return folder
