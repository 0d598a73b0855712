"""Stages three and four: the flow head learns to go on from rows that are being executed.

It alone is trained; pointing, words and token head stay as they are. In the chunks of the demonstrations the
first rows are what the arm did, noise included, and the next row is what the expert did from where that had led.
Corrections (evaluate/corrections.py) have rows of the policy's own plans there: a plan that was aimed at a wrong
place is mended, not carried on.

Source: arXiv:2512.05964; differs in: there the known rows are the demonstration's own.
"""

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from ..models.vla import VLA
from .heads import Examples, flow_loss, told
from .loop import Settings, run

FREE_SHARE = 0.5  # of the samples of demonstrations, without a known row: a chunk from nothing
KNOWN_NOISE = 0.02  # of known rows, in model units


def demonstrated_loss(
    model: VLA,
    tokens: Tokenizer,
    examples: Examples,
    index: np.ndarray,
    rng: np.random.Generator,
    clean: Tensor,
) -> Tensor:
    """Of chunks of demonstrations. clean: int64[n draws], how many of their rows are known."""
    draws = len(clean) // len(index)
    prefix, state = told(model, tokens, examples, index, rng)
    i, rows = torch.from_numpy(index), model.config.flow.rows
    planned, executed, resumed = (
        x[i, :rows].repeat_interleave(draws, 0)
        for x in (examples.chunks, examples.executed, examples.resumed)
    )
    row, count = torch.arange(rows)[None, :, None], clean[:, None, None]
    executed = executed + KNOWN_NOISE * torch.randn_like(executed)
    actions = torch.where(row < count, executed, torch.where(row == count, resumed, planned))
    return flow_loss(model, prefix, state, actions, draws, clean)


def corrected_loss(
    model: VLA,
    tokens: Tokenizer,
    examples: Examples,
    index: np.ndarray,
    rng: np.random.Generator,
    draws: int,
) -> Tensor:
    """Of chunks of corrections, with the rows known that were under way."""
    prefix, state = told(model, tokens, examples, index, rng)
    i = torch.from_numpy(index)
    actions = examples.chunks[i].repeat_interleave(draws, 0)
    clean = examples.known[i].repeat_interleave(draws)
    known = (torch.arange(actions.shape[1]) < clean[:, None])[..., None]
    actions = actions + known * KNOWN_NOISE * torch.randn_like(actions)
    return flow_loss(model, prefix, state, actions, draws, clean)


def train(
    name: str, model: VLA, tokens: Tokenizer, episodes: Examples, corrections: Examples | None,
    folder: Path, *, settings: Settings, batch_size: int, draws: int, seed: int, held_out: int,
) -> None:  # fmt: skip
    """Train the flow head; half of each batch are corrections where there are any.

    The last held_out frames of the episodes only measure.
    """
    for p in model.parameters():
        p.requires_grad_(False)
    for p in model.flow.parameters():
        p.requires_grad_(True)
    count, longest = len(episodes.texts) - held_out, model.config.flow.rows - 2
    half = batch_size if corrections is None else batch_size // 2

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng((seed, 11, step))
        torch.manual_seed(seed * 1_000_003 + step)
        clean = torch.randint(1, longest + 1, (half * draws,))
        clean[torch.rand(len(clean)) < FREE_SHARE] = 0
        index = rng.integers(0, count, half)
        loss = demonstrated_loss(model, tokens, episodes, index, rng, clean)
        parts = {"demonstrated": loss.item()}
        if corrections is not None:
            index = rng.integers(0, len(corrections.texts), batch_size - half)
            corrected = corrected_loss(model, tokens, corrections, index, rng, draws)
            loss, parts["corrected"] = (loss + corrected) / 2, corrected.item()
        return loss, parts

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        index, losses = np.arange(count, count + held_out, 3), {}
        for rows in (0, 1, 3, longest):
            torch.manual_seed(0)
            clean = torch.full((len(index) * 4,), rows)
            rng = np.random.default_rng(0)
            loss = demonstrated_loss(model, tokens, episodes, index, rng, clean)
            losses[f"held_out_{rows}"] = loss.item()
        return losses

    run(name, model, loss_of, settings, folder, evaluate=evaluate)
