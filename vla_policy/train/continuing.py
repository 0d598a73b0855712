"""Stages three and four: the flow head learns to go on from rows that are being executed.

It alone is trained; pointing, words and token head stay as they are. In the chunks of the demonstrations the
first rows are what the arm did, noise included, and the next row is what the expert did from where that had led.
The state and all places are seen from there, so that the network need not add up the known rows.
Corrections (evaluate/corrections.py) have rows of the policy's own plans there: a plan that was aimed at a wrong
place is mended, not carried on.

Source: arXiv:2512.05964; differs in: there the known rows are the demonstration's own.
"""

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from ..models.vla import VLA, Prefix
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
    draws: int,
    clean: Tensor,
) -> Tensor:
    """Of chunks of demonstrations. clean: int64[n], how many of their rows are known."""
    i, rows = torch.from_numpy(index), model.config.flow.rows
    there = torch.minimum(i + clean, examples.last[i])
    # The gripper stays as it was seen: what becomes of it is in the known rows.
    tool = torch.cat((examples.tool[there, :3], examples.tool[i, 3:]), 1)
    state = torch.cat((examples.state[there, :7], examples.state[i, 7:]), 1)
    prefix, state = told(model, tokens, examples, index, rng, (tool, state))
    row, count = torch.arange(rows)[None, :, None], clean[:, None, None]
    executed = examples.executed[i, :rows]
    executed = executed + KNOWN_NOISE * torch.randn_like(executed)
    resumed, planned = examples.resumed[i, :rows], examples.chunks[i, :rows]
    actions = torch.where(row < count, executed, torch.where(row == count, resumed, planned))
    return _loss(model, prefix, state, actions, draws, clean)


def corrected_loss(
    model: VLA,
    tokens: Tokenizer,
    examples: Examples,
    index: np.ndarray,
    rng: np.random.Generator,
    draws: int,
) -> Tensor:
    """Of chunks of corrections, with the rows known that were under way."""
    i = torch.from_numpy(index)
    tool, state = (x[i] for x in examples.arrival)
    prefix, state = told(model, tokens, examples, index, rng, (tool, state))
    actions, clean = examples.chunks[i], examples.known[i]
    known = (torch.arange(actions.shape[1]) < clean[:, None])[..., None]
    actions = actions + known * KNOWN_NOISE * torch.randn_like(actions)
    return _loss(model, prefix, state, actions, draws, clean)


def _loss(
    model: VLA, prefix: Prefix, state: Tensor, actions: Tensor, draws: int, clean: Tensor
) -> Tensor:
    actions, clean = (x.repeat_interleave(draws, 0) for x in (actions, clean))
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
        clean = torch.randint(1, longest + 1, (half,))
        clean[torch.rand(len(clean)) < FREE_SHARE] = 0
        index = rng.integers(0, count, half)
        loss = demonstrated_loss(model, tokens, episodes, index, rng, draws, clean)
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
            clean = torch.full((len(index),), rows)
            rng = np.random.default_rng(0)
            loss = demonstrated_loss(model, tokens, episodes, index, rng, 4, clean)
            losses[f"held_out_{rows}"] = loss.item()
        return losses

    run(name, model, loss_of, settings, folder, evaluate=evaluate)
