"""Co-fine-tuning of a token policy: questions from the web and robot samples in one batch, one loss.

Both are next-token prediction in the format of visual question answering; the robot's answers are action tokens.
Source: RT-2 (arXiv:2307.15818) section 3.2; its robot share is 50 % (PaLI-X) to 66 % (PaLM-E), appendix B.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families import rt2
from vla_policy.models import token_head
from vla_policy.types import Array

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Sample:
    """One question with its answer. images: uint8[h, w, 3], as many as the model has cameras.

    text, answer: token ids; the answer ends where the model is to stop.
    """

    images: tuple[Array, ...]
    text: tuple[int, ...]
    answer: tuple[int, ...]


def web_sample(
    checkpoint: Checkpoint, images: Sequence[Array], question: str, answer: str
) -> Sample:
    """A question as `Policy.ask` formats it, with its answer as text and the end token."""
    words = checkpoint.tokenizer
    ids = (*words.encode(answer), words.eos)
    return Sample(tuple(images), tuple(rt2.text_ids(checkpoint, question)), ids)


def robot_sample(
    checkpoint: Checkpoint,
    images: Sequence[Array],
    instruction: str,
    actions: Array,
    plan: str | None = None,
) -> Sample:
    """The action tokens that the policy is to write for instruction.

    actions: float64[rows, 8] in robot units, terminate first. plan: the words before them; needed if and only if
    the checkpoint writes one. Raises ValueError for another number of rows or a plan too few or many.
    """
    token = checkpoint.model.config.token
    if np.shape(actions) != (token.rows, token_head.ROW):
        raise ValueError(
            f"actions: got shape {np.shape(actions)}, expected ({token.rows}, {token_head.ROW})"
        )
    if (plan is not None) != checkpoint.settings.plan:
        wanted = "a plan" if checkpoint.settings.plan else "none"
        raise ValueError(f"plan: got {plan!r}, the checkpoint writes {wanted} before it acts")
    normalised = checkpoint.statistics.actions.normalise(np.asarray(actions))
    bins = token_head.bins_of(normalised, token.bins)
    ids = [checkpoint.settings.action_ids[i] for i in bins.flatten()]
    if plan is not None:
        ids = checkpoint.tokenizer.encode(f"{rt2.PLAN} {plan} {rt2.ACTION}") + ids
    text = rt2.text_ids(checkpoint, rt2.prompt(instruction))
    return Sample(tuple(images), tuple(text), tuple(ids))


def draw(
    sources: Mapping[str, Sequence[Sample]],
    shares: Mapping[str, float],
    count: int,
    rng: np.random.Generator,
) -> list[tuple[str, Sample]]:
    """count samples with their source's name, sources drawn in proportion to their shares.

    Raises ValueError if shares are not of exactly these sources, or not above 0.
    """
    if set(shares) != set(sources) or not all(0 < s < np.inf for s in shares.values()):
        raise ValueError(
            f"shares: got {dict(shares)}, expected a number above 0 for {list(sources)}"
        )
    names = list(sources)
    weights = np.array([shares[name] for name in names])
    picked = rng.choice(len(names), count, p=weights / weights.sum())
    drawn = []
    for name in (names[i] for i in picked):
        source = sources[name]
        drawn.append((name, source[int(rng.integers(len(source)))]))
    return drawn


def loss(
    checkpoint: Checkpoint, batch: Sequence[tuple[str, Sample]]
) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of every answer token, mean over the batch's tokens; and the mean of each source."""
    model, device = checkpoint.model, checkpoint.device
    samples = [sample for _, sample in batch]
    text = _padded([s.text for s in samples], 0).to(device)
    answer = _padded([s.answer for s in samples], IGNORED).to(device)
    side, dtype = model.config.vision.image_px, model.vision.patch_embedding.weight.dtype
    pictures = torch.cat([rt2.picture(image, side) for s in samples for image in s.images])
    seen = model.vision(pictures.to(device, dtype)).unflatten(0, (len(samples), -1)).flatten(1, 2)
    prefix = model.prefix(seen, text, torch.empty(len(samples), 0, device=device))
    first = token_head.after_prefix(model, prefix)[:, None]
    later, _ = model.continue_with(prefix, answer[:, :-1].clamp(min=0))
    logits = torch.cat((first, later), 1).float()
    each = F.cross_entropy(
        logits.flatten(0, 1), answer.flatten(), ignore_index=IGNORED, reduction="none"
    ).view_as(answer)
    counted = answer != IGNORED
    parts = {
        name: float((each[rows].sum() / counted[rows].sum()).detach())
        for name in dict.fromkeys(name for name, _ in batch)
        for rows in [[i for i, (source, _) in enumerate(batch) if source == name]]
    }
    return each.sum() / counted.sum(), parts


def _padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(row) for row in rows], batch_first=True, padding_value=value
    )
