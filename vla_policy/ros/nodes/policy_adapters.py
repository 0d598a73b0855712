"""The adapters of a running policy: loaded in the background, exchanged between two chunks.

Each is the whole network with the adapter merged in, so an exchange only replaces a reference: no
chunk mixes two. Those of the parameter `adapters` stay in memory, any other only while it is
active. For a policy served by `vla serve` on another machine each is a separate connection, which
requests one of the server's adapters.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from vla_policy.embodiment import Embodiment
from vla_policy.paths import split_adapter
from vla_policy.remote.address import address_text, is_address, is_remote, parse_address
from vla_policy.remote.handshake import changed
from vla_policy.ros.messages.convert import duration_from_ns
from vla_policy.ros.nodes import policy_startup
from vla_policy.ros.nodes.policy_params import PolicyParams, named_adapters
from vla_policy.runtime.inference import Inference
from vla_policy.srv import SetAdapter
from vla_policy.types import required


class PolicyAdapters:
    """One for each configuration of the policy node. first: the initial adapter; empty: none.

    Raises one of policy_startup.REFUSALS for a preloaded adapter that does not match.
    """

    def __init__(self, robot: Embodiment, params: PolicyParams, policy: Any) -> None:
        self._robot, self._params = robot, params
        self._one = threading.Lock()  # one exchange at a time
        self._named = named_adapters(params.adapters)
        self._there = parse_address(params.policy) if is_address(params.policy) else None
        self._base, self.first = params.policy, ""
        if self._there is not None:
            self.first = self._there.adapter or ""
        elif not is_remote(params.policy):
            self._base, folder = split_adapter(params.policy)
            self.first = "" if folder is None else str(folder)
        self._kept, self._acting = {self.first: policy}, policy
        for name in self._named:
            self._kept[name] = self._load(name)

    def close(self) -> None:
        """Close the connections to a server, if any."""
        for policy in (self._acting, *self._kept.values()):
            _close(policy)

    def set(
        self, inference: Inference | None, name: str, response: SetAdapter.Response
    ) -> SetAdapter.Response:
        """Fill response; runs in its own thread."""
        response.success, response.message = False, ""
        if inference is None:
            response.message = "the policy node is not configured"
            return response
        if not self._one.acquire(blocking=False):
            response.message = "another adapter is being loaded"
            response.in_place = inference.status().adapter
            return response
        try:
            policy = self._kept.get(name)
            policy = self._load(name) if policy is None else policy
            if name == "":
                self._kept[name] = policy  # so that switching back is fast
            took_ns = inference.exchange(policy, name)
            before, self._acting = self._acting, policy
            if all(before is not one for one in (policy, *self._kept.values())):
                _close(before)
            response.success, response.exchange_time = True, duration_from_ns(took_ns)
        except policy_startup.REFUSALS as error:
            response.message = " ".join(str(error).split())
        finally:
            self._one.release()
        response.in_place = inference.status().adapter
        return response

    def _load(self, name: str) -> Any:
        params = self._params
        if self._there is not None:
            return self._connected(name)
        if is_remote(params.policy):
            raise ValueError(
                f"adapter {name!r}: the policy is that of {params.policy}, expected one in this process or of `vla serve`"
            )
        whole = f"{self._base}+{self._named.get(name, name)}" if name else self._base
        return policy_startup.load(self._robot, whole, params.head, params.device, params.threads)

    def _connected(self, name: str) -> Any:
        """The server's policy with the adapter of that name; empty: its base."""
        params, adapter = self._params, self._named.get(name, name) or None
        there = required(self._there, "address")
        address = address_text(replace(there, adapter=adapter))
        policy: Any = policy_startup.load(
            self._robot, address, params.head, params.device, params.threads
        )
        if (problem := changed(self._kept[self.first].offer, policy.offer)) is not None:
            policy.close()
            raise ValueError(f"adapter {name!r}: {problem}")
        return policy


def _close(policy: Any) -> None:
    """Close its connection; a policy in this process has none."""
    if hasattr(policy, "close"):
        policy.close()
