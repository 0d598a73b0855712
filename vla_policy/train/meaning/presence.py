"""Thresholds for the presence of an object, set on separate scenes of objects in no evaluation.

Web concepts whose name shares a word with one in robot data are in no hold-out (data/web/concepts.py,
held_out). On boxes in scenes of the robot they are as new as the held-out ones, so thresholds set on
them apply to those.
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
from vla_policy.models import encoders
from vla_policy.models.reader import FIGURES
from vla_policy.models.wide import WidePointing
from vla_policy.train.meaning.learn import PLAIN, TEXTS, EncodedTexts, Looked

ABSENT = 6  # names of absent objects, queried in each scene
REFUSED = 0.03  # share of present, correctly located objects
RIGHT = 0.06  # of the image side: largest error of a correct location


@dataclass(frozen=True, slots=True)
class PresenceAsked:
    """evidence: float32[n, e] of each query. there: bool[n]; right: bool[n], present and correctly located."""

    evidence: Tensor
    there: Tensor
    right: Tensor


def shown_names(web: WebPictures) -> list[str]:
    """Names of the objects in robot data."""
    return [one.name for one in of_role(web.concepts, "robot")] + [f"{c} {s}" for c, s in PLAIN]


def validation_things(web: WebPictures) -> list[Concept]:
    """Concepts of role "web" in no hold-out."""
    tested = {concept.key for concept in held_out(web.concepts, "web")}
    return [one for one in of_role(web.concepts, "web") if one.key not in tested]


@torch.inference_mode()
def set_known(head: WidePointing, texts: EncodedTexts, shown: Sequence[str]) -> None:
    """Store the queries of all names, each the mean over its texts, and which of them are in robot data.

    Raises ValueError if the head has room for another number of names.
    """
    if len(texts.vectors) != len(head.known):
        raise ValueError(f"known: got {len(texts.vectors)} names, expected {len(head.known)}")
    queries = [head.queries(some[:, :TEXTS]).mean(1) for some in texts.vectors.split(64)]
    head.known.copy_(F.normalize(torch.cat(queries), dim=-1))
    if head.reader is not None and bool(head.reader.says.any()):
        head.known[-FIGURES:] = head.queries(head.reader.says)  # they are looked for by these
    head.shown.zero_()
    head.shown[[texts.numbers[name] for name in shown]] = True


@torch.inference_mode()
def ask(
    head: WidePointing,
    examples: Looked,
    texts: EncodedTexts,
    names: Sequence[str],
    *,
    seed: int,
) -> PresenceAsked:
    """Results of queries, in trained sentences, for present objects and for absent ones that share no word with them."""
    rng = np.random.default_rng([seed, 23])
    words = {texts.numbers[name]: words_of(name) for name in names}
    evidence, there, right = [], [], []
    for i, row in enumerate(examples.number):
        present = [k for k, n in enumerate(row) if int(n) in words]
        near: set[str] = set().union(*(words[int(row[k])] for k in present))
        absent = [n for n, said in words.items() if not said & near]
        asked = [int(row[k]) for k in present]
        asked += [int(n) for n in rng.choice(absent, ABSENT, replace=False)]
        which = rng.integers(1, TEXTS, len(asked))  # the first text is the name alone
        keys = head.keys(tuple(level[i : i + 1].float() for level in examples.features))
        text = texts.vectors[asked, which][None]
        closer = None
        if examples.images is not None:
            closer = encoders.closer_look(head.crops, examples.images[i].numpy(), head.crop_px)
        evidence.append(head.evidence(keys, text, closer)[0])
        there += [k < len(present) for k in range(len(asked))]
        seen = head.point(keys, text[:, : max(1, len(present))], closer=closer)
        off = seen.uv[0, : len(present)] - examples.uv[i, present]
        right += [bool(d < RIGHT) for d in off.norm(dim=-1)] + [False] * ABSENT
    return PresenceAsked(torch.cat(evidence), torch.tensor(there), torch.tensor(right))


def fit(asked: PresenceAsked, steps: int = 400) -> Tensor:
    """float32[e + 1]: weights of the evidence and an offset, by logistic regression with equal weight of both classes."""
    mean, spread = asked.evidence.mean(0), asked.evidence.std(0)
    x = (asked.evidence.clone() - mean) / spread
    weights = torch.zeros(x.shape[1] + 1, requires_grad=True)
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
    """Logits of the queries by these weights."""
    logits: Tensor = asked.evidence @ sure[:-1] + sure[-1]
    return logits


def rates(logits: Tensor, there: Tensor, least: float) -> tuple[float, float]:
    """Refused shares of present and of absent objects."""
    return (
        float((logits[there] < least).float().mean()),
        float((logits[~there] < least).float().mean()),
    )


def set_presence(
    head: WidePointing, asked: PresenceAsked, *, shown: bool, refused: float = REFUSED
) -> tuple[float, float]:
    """Set weights and least logit of the names in robot data or of all others, so that this share of
    the correctly located objects is refused; returns rates() of all these queries.
    """
    head.sure[int(shown)].copy_(fit(asked))
    logits = told(head.sure[int(shown)], asked)
    head.least[int(shown)] = logits[asked.right].quantile(refused)
    return rates(logits, asked.there, float(head.least[int(shown)]))
