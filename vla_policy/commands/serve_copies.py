"""Copies of a policy as a Ray Serve deployment, for `vla serve --copies`. Needs ray: pip install 'vla_policy[ray]'.

The server in front of them is the same as without copies: it checks token and messages, schedules
robots in turn, makes batches and refuses requests that would be late. Ray Serve starts the
copies, on this machine or, with RAY_ADDRESS, on those of a cluster, watches their health,
replaces one that died, and gives each batch to a free one. Between them the wire's messages are
used.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vla_policy.commands.ray_session import NAMESPACE, gpus_of, ray_session
from vla_policy.remote import answers, wire
from vla_policy.remote.answers import Copies
from vla_policy.remote.forwarding import pack_outcome, pack_request, read_outcome, read_packed
from vla_policy.remote.handshake import Offer, metadata, read_offer
from vla_policy.remote.journal import Journal
from vla_policy.remote.messages import Asked

APPLICATION = NAMESPACE
HEALTH_S, ANSWER_S = 5.0, 60.0
RAISED = 5  # failed batches in a row after which a copy is replaced


@dataclass(frozen=True, slots=True)
class Copied:
    """A running deployment, and the description of its policy."""

    copies: Copies
    offer: Offer
    looks_at_state: bool


class PolicyCopy:
    """The deployment: one copy of a policy, which answers batches of packed requests, one at a time.

    options: the arguments of `vla serve`.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        from vla_policy.commands.serve_policy import load

        self._loaded = load(argparse.Namespace(**options))
        self._journal, self._raised = Journal(sys.stderr), 0

    def describe(self) -> tuple[bytes, bool, bool]:
        """The offer as a message; whether it computes several at once; whether it reads the state."""
        can_batch = any(s.infer_many is not None for s in self._loaded.served.values())
        return wire.encode(metadata(self._loaded.offer)), can_batch, self._loaded.looks_at_state

    def answer(self, batch: Sequence[bytes]) -> tuple[str, list[bytes]]:
        """The hash of the weights, to detect another policy, and a result for each request."""
        offer, raised = self._loaded.offer, self._raised
        asked = [read_packed(data, offer.contract, tuple(offer.adapters)) for data in batch]
        served = self._loaded.served[asked[0].adapter]
        outcomes = answers.answer(served.policy, asked, self._on_error, served.infer_many)
        if self._raised == raised:
            self._raised = 0
        return offer.weights, [pack_outcome(outcome) for outcome in outcomes]

    def check_health(self) -> None:
        """Called by Ray Serve, which replaces a copy for which this raises."""
        if self._raised >= RAISED:
            raise RuntimeError(f"the model raised {self._raised} times in a row")

    def _on_error(self, error: Exception) -> None:
        self._raised += 1
        self._journal.write("model_raised", error=type(error).__name__, says=str(error)[:1000])


@contextlib.contextmanager
def started(args: argparse.Namespace) -> Iterator[Copied]:
    """args.copies copies of the policy of the arguments of `vla serve`, until the with block ends.

    Raises ValueError for a number below 1, ImportError without ray, and what loading the policy raises.
    """
    if args.copies < 1:
        raise ValueError(f"--copies: got {args.copies}, expected 1 or more")
    with ray_session(max(os.cpu_count() or 1, args.copies * args.threads)) as joined:
        from ray import serve

        try:
            serve.start(proxy_location="Disabled")  # robots use our port; Ray Serve opens none
            deployment = serve.deployment(PolicyCopy).options(
                num_replicas=args.copies,
                max_ongoing_requests=1,
                health_check_period_s=HEALTH_S,
                ray_actor_options={"num_cpus": args.threads, "num_gpus": gpus_of(args.device)},
            )
            options = {k: v for k, v in vars(args).items() if k in OPTIONS}
            handle = serve.run(
                deployment.bind(options), name=APPLICATION, route_prefix=None,
                logging_config={"enable_access_log": False},
            )  # fmt: skip
            yield copied(handle, args.copies)
        finally:
            if joined:  # a cluster on this machine is shut down
                serve.delete(APPLICATION)


# The arguments of `vla serve` that determine what a copy loads.
OPTIONS = ("policy", "adapter", "head", "embodiment", "device", "threads")


def copied(handle: Any, count: int) -> Copied:
    """A deployment from the handle of serve.run: for other deployments of PolicyCopy."""
    said, can_batch, looks_at_state = handle.describe.remote().result(timeout_s=ANSWER_S)
    offer = read_offer(wire.decode(said))

    def answer(batch: Sequence[Asked]) -> list[Any]:
        packed = [pack_request(asked) for asked in batch]
        weights, outcomes = handle.answer.remote(packed).result(timeout_s=ANSWER_S)
        if weights != offer.weights:
            raise RuntimeError("a copy has other weights than the others; start the server again")
        return [read_outcome(o, a, offer.contract) for o, a in zip(outcomes, batch, strict=True)]

    return Copied(Copies(answer, count, can_batch), offer, looks_at_state)
