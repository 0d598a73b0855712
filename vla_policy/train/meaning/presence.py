"""Sets when an object counts as present, on separate scenes with objects outside all evaluations.

Web objects whose name shares a word with one in robot data are in no hold-out
(data/web/concepts.py, held_out): on boxes in scenes of the robot they are as new as held-out
ones, so thresholds set on them hold for those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vla_policy.data.web.concepts import Concept, held_out, of_role, words_of
from vla_policy.data.web.pictures import WebPictures
from vla_policy.models.wide import EVIDENCE, WidePointing
from vla_policy.train.meaning.learn import TEXTS, EncodedTexts, Looked

ABSENT = 6  # absent names that are queried in each scene
REFUSED = 0.03  # of the present objects


@dataclass(frozen=True, slots=True)
class PresenceAsked:
    """evidence: float32[n, e] of each query.

    there: bool[n]. number: int64[n], of the queried object.
    """

    evidence: Tensor
    there: Tensor
    number: Tensor


def validation_things(web: WebPictures) -> list[Concept]:
    """Objects of role "web" in no hold-out."""
    tested = {concept.key for concept in held_out(web.concepts, "web")}
    return [one for one in of_role(web.concepts, "web") if one.key not in tested]


@torch.inference_mode()
def set_known(head: WidePointing, texts: EncodedTexts) -> None:
    """Set the queries of all names, means over their texts.

    Raises ValueError for a wrong number.
    """
    if len(texts.vectors) != len(head.known):
        raise ValueError(f"known: got {len(texts.vectors)} names, expected {len(head.known)}")
    queries = [head.queries(some).mean(1) for some in texts.vectors.split(64)]
    head.known.copy_(F.normalize(torch.cat(queries), dim=-1))


@torch.inference_mode()
def ask(
    head: WidePointing,
    examples: Looked,
    texts: EncodedTexts,
    things: Sequence[Concept],
    *,
    seed: int,
) -> PresenceAsked:
    """Queries for present and absent objects in a trained sentence; absent names share no word."""
    rng = np.random.default_rng([seed, 23])
    words = {texts.numbers[thing.name]: words_of(thing.name) for thing in things}
    parts: list[tuple[Tensor, int, int]] = []
    for i, row in enumerate(examples.number):
        present = [int(n) for n in row if int(n) in words]
        near: set[str] = set().union(*(words[n] for n in present))
        absent = [n for n, said in words.items() if not said & near]
        numbers = present + [int(n) for n in rng.choice(absent, ABSENT, replace=False)]
        which = rng.integers(1, TEXTS, len(numbers))  # the first is the name alone
        keys = head.keys(tuple(level[i : i + 1].float() for level in examples.features))
        told = head.evidence(keys, texts.vectors[numbers, which][None])[0]
        parts += [(told[k], k < len(present), n) for k, n in enumerate(numbers)]
    evidence, there, number = zip(*parts, strict=True)
    return PresenceAsked(torch.stack(evidence), torch.tensor(there), torch.tensor(number))


def fit(asked: PresenceAsked, steps: int = 400) -> Tensor:
    """float32[e + 1]: weights of the evidence and an offset, by balanced logistic regression."""
    mean, spread = asked.evidence.mean(0), asked.evidence.std(0)
    x = (asked.evidence.clone() - mean) / spread
    weights = torch.zeros(len(EVIDENCE) + 1, requires_grad=True)
    optimiser = torch.optim.Adam([weights], 0.05)
    share = asked.there.float().mean()
    balance = torch.where(asked.there, 0.5 / share, 0.5 / (1 - share))
    for _ in range(steps):
        logits = x @ weights[:-1] + weights[-1]
        loss = F.binary_cross_entropy_with_logits(logits, asked.there.float(), weight=balance)
        optimiser.zero_grad()
        (loss + 1e-3 * weights[:-1].square().sum()).backward()
        optimiser.step()
    found = weights.detach()
    plain = found[:-1] / spread
    return torch.cat((plain, (found[-1] - (plain * mean).sum())[None]))


def told(sure: Tensor, asked: PresenceAsked) -> Tensor:
    """Logits of the queries with these weights."""
    logits: Tensor = asked.evidence @ sure[:-1] + sure[-1]
    return logits


def rates(logits: Tensor, there: Tensor, least: float) -> tuple[float, float]:
    """Share of present objects that are refused, and of absent ones."""
    return (
        float((logits[there] < least).float().mean()),
        float((logits[~there] < least).float().mean()),
    )


def set_presence(
    head: WidePointing, asked: PresenceAsked, refused: float = REFUSED
) -> tuple[float, float]:
    """Set weights and the least logit for this share of refusals; returns the rates."""
    head.sure.copy_(fit(asked))
    logits = told(head.sure, asked)
    head.least.copy_(logits[asked.there].quantile(refused))
    return rates(logits, asked.there, float(head.least))
