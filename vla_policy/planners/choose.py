"""Which planner a parameter names."""

from __future__ import annotations

import os
from collections.abc import Mapping

from vla_policy.planners.chat import TOKEN, TOKEN_FILE, ChatServer, chat_planner
from vla_policy.planners.local import local_planner
from vla_policy.planners.own import own_planner
from vla_policy.planners.planner_name import ADDRESS, folder_of
from vla_policy.remote.address import find_token
from vla_policy.runtime.planning import MODEL, NONE, Planner


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
    return local_planner(folder_of(name), device=device, timeout_s=timeout_s)
