"""The description of its policy that a server sends as its first frame, and the client's check of it.

openpi's server sends an arbitrary mapping there, RoboArena's its PolicyServerConfig. Ours has one
key, `vla`, which openpi's client passes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from vla_policy.checkpoint import contract as contracts
from vla_policy.checkpoint.contract import MAX_PX, Contract
from vla_policy.models.fitting import Scaling
from vla_policy.parsing.files import one_line
from vla_policy.remote.messages import MAX_ROWS, OWN

PROTOCOL = 3
TEXTS = ("policy", "version", "understanding", "statistics", "weights")
FLAGS = ("continues", "can_point", "can_answer")


@dataclass(frozen=True, slots=True)
class Offer:
    """A policy as its server describes it.

    policy: its name there. version: of the server's vla_policy. statistics: hash of its normalisation.
    weights: hash of its network; empty where there is none.
    square_px: side of the square that images may be scaled into before they are sent (models.fitting); None: as they are.
    scaling: how they may be made smaller where a robot asks for it (?scaled=1), but for the rounding; None: not said.
    adapters: name of each adapter that a request may name -> hash of the network with it.
    middles: column of the state -> its middle in training, where that is known.
    The others: as in runtime.policy_protocol.
    """

    policy: str
    version: str
    statistics: str
    weights: str
    middles: Mapping[str, float]
    contract: Contract
    rows: int
    square_px: int | None
    adapters: Mapping[str, str]
    head: str | None
    continues: bool
    can_point: bool
    can_answer: bool
    understanding: str
    scaling: Scaling | None = None


def metadata(offer: Offer) -> dict[str, Any]:
    """The first frame of a server."""
    said = {f.name: getattr(offer, f.name) for f in fields(Offer)}
    plain = json.loads(json.dumps(contracts.to_dict(offer.contract)))  # tuples become lists
    said["scaling"] = None if offer.scaling is None else asdict(offer.scaling)
    return {OWN: {**said, "protocol": PROTOCOL, "contract": plain, "middles": dict(offer.middles)}}


def read_offer(first: Any) -> Offer:
    """The offer in a server's first frame. Raises ValueError, one sentence, if invalid."""
    said = first.get(OWN) if isinstance(first, dict) else None
    if not isinstance(said, dict):
        raise ValueError(
            "handshake: the server does not say what its policy expects and produces; describe it in a policy file with "
            "`server: ws://...` (docs/serving.md)"
        )
    if said.get("protocol") != PROTOCOL:
        raise ValueError(
            f"handshake: the server speaks version {_short(said.get('protocol'))} of the protocol, "
            f"this client version {PROTOCOL}; install the same vla_policy on both"
        )
    expected = {f.name for f in fields(Offer)} | {"protocol"}
    if set(said) != expected:
        raise ValueError(f"handshake: got {sorted(said)}, expected {sorted(expected)}")
    for key in TEXTS:
        if not isinstance(said[key], str) or len(said[key]) > 1000:
            raise ValueError(f"handshake.{key}: got {_short(said[key])}, expected a text")
    for key in FLAGS:
        if not isinstance(said[key], bool):
            raise ValueError(f"handshake.{key}: got {_short(said[key])}, expected true or false")
    if type(said["rows"]) is not int or not 0 < said["rows"] <= MAX_ROWS:
        raise ValueError(f"handshake.rows: got {_short(said['rows'])}, expected 1 to {MAX_ROWS}")
    side = said["square_px"]
    if side is not None and (type(side) is not int or not 0 < side <= MAX_PX):
        raise ValueError(f"handshake.square_px: got {_short(side)}, expected 1 to {MAX_PX}")
    if not isinstance(said["adapters"], dict) or not all(
        isinstance(v, str) for v in said["adapters"].values()
    ):
        raise ValueError(
            f"handshake.adapters: got {_short(said['adapters'])}, expected hashes by name"
        )
    if said["head"] is not None and not isinstance(said["head"], str):
        raise ValueError(f"handshake.head: got {_short(said['head'])}, expected a name")
    if not isinstance(said["contract"], dict):
        raise ValueError(f"handshake.contract: got {_short(said['contract'])}, expected a mapping")
    middles = said["middles"]
    if not isinstance(middles, dict) or not all(
        isinstance(v, int | float) for v in middles.values()
    ):
        raise ValueError(f"handshake.middles: got {_short(middles)}, expected numbers by column")
    contract = contracts.from_dict(said["contract"], "handshake.contract")
    values = {f.name: said[f.name] for f in fields(Offer)}
    return Offer(**{**values, "contract": contract, "scaling": _scaling(said["scaling"])})


def _scaling(said: Any) -> Scaling | None:
    if said is None:
        return None
    side = said.get("side_px") if isinstance(said, dict) else None
    antialias = said.get("antialias") if isinstance(said, dict) else None
    if type(side) is not int or not 1 <= side <= MAX_PX or not isinstance(antialias, bool):
        raise ValueError(
            f"handshake.scaling: got {_short(said)}, expected side_px from 1 to {MAX_PX} and antialias"
        )
    return Scaling(side, antialias)


def changed(before: Offer, now: Offer) -> str | None:
    """How a server's policy differs from the previous one, as text; None if it is the same.

    A robot that was started with one policy does not continue with another at the same address.
    """
    names = [f.name for f in fields(Offer) if f.name not in ("contract", "version", "adapters")]
    pairs = [(n, getattr(before, n), getattr(now, n)) for n in names]
    pairs += [
        (f.name, getattr(before.contract, f.name), getattr(now.contract, f.name))
        for f in fields(Contract)
    ]
    other = [
        f"{name} was {_short(a)} and is {_short(b)}"
        for name, a, b in pairs
        if a != b  # in the order of the fields
    ]
    return f"the server has another policy now: {'; '.join(other)}" if other else None


def statistics_hash(plain: Mapping[str, Any]) -> str:
    """Hash of plain JSON data of a checkpoint's normalisation; equal numbers have equal hashes."""
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _short(value: Any) -> str:
    return one_line(repr(value)[:400], 80)
