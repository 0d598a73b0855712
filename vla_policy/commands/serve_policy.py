"""The policy of `vla serve` in a process: loaded, with its adapters, and described for robots."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vla_policy import __version__
from vla_policy.parsing.fields import NAME
from vla_policy.policy import Policy, load_local
from vla_policy.remote.answers import InferMany, Served
from vla_policy.remote.handshake import Offer
from vla_policy.runtime.observation import blank_observation

STEPS = 3  # inferences before the first robot connects: engines compile in them


@dataclass(frozen=True, slots=True)
class Loaded:
    """served: by adapter; None: the policy itself. looks_at_state: whether it reads the robot's state."""

    served: Mapping[str | None, Served]
    offer: Offer
    looks_at_state: bool


def load(args: argparse.Namespace) -> Loaded:
    """Load the policy of `vla serve`'s arguments, after its first inferences.

    Raises as load_policy.
    """
    import torch

    torch.set_num_threads(args.threads)
    policies = {
        name: load_local(path, embodiment=args.embodiment, head=args.head, device=args.device)
        for name, path in _paths(args).items()
    }
    for seed in range(STEPS):
        for one in policies.values():
            one.infer(blank_observation(one.contract), seed=seed)
    policy = policies[None]
    return Loaded(
        {name: Served(one, _many(one)) for name, one in policies.items()},
        _offer(Path(args.policy).name, policies),
        policy.looks_at_state,
    )


def _paths(args: argparse.Namespace) -> dict[str | None, str]:
    adapters = read_adapters(args.adapter)
    return {None: args.policy, **{n: f"{args.policy}+{f}" for n, f in adapters.items()}}


def _many(policy: Policy) -> InferMany | None:
    return policy.infer_many if policy.can_batch else None


def _offer(name: str, policies: Mapping[str | None, Policy]) -> Offer:
    policy = policies[None]
    return Offer(
        policy=name,
        version=__version__,
        statistics=policy.statistics_hash,
        weights=policy.weights_hash,
        middles=policy.middles,
        contract=policy.contract,
        rows=policy.rows,
        square_px=policy.square_px,
        adapters={n: one.weights_hash for n, one in policies.items() if n is not None},
        head=policy.head,
        continues=policy.continues,
        can_point=policy.can_point,
        can_answer=policy.can_answer,
        understanding=policy.understanding,
        scaling=policy.scaling,
    )


def read_adapters(given: Sequence[str]) -> dict[str, str]:
    """Name -> folder. Raises ValueError for other forms than NAME=FOLDER, or a duplicate name."""
    found: dict[str, str] = {}
    for text in given:
        name, _, folder = text.partition("=")
        if not NAME.fullmatch(name) or not folder or name in found:
            raise ValueError(f"--adapter: got {text!r}, expected NAME=FOLDER, each name once")
        found[name] = folder
    return found
