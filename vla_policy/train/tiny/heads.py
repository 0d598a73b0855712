"""Stage two: the language model and both action heads learn on what the frozen tower points to.

The tower's answers are computed once for every frame and sentence. Flow and token head share the prefix and
see the same samples; questions of name and place are answered by the same language model (co-training).
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from tokenizers import Tokenizer
from torch import Tensor

from vla_policy.checkpoint.statistics import Statistics
from vla_policy.data.frames import Frames, action_chunks
from vla_policy.geometry import pose_steps
from vla_policy.models import flow, pointing, tokenizer
from vla_policy.models.codec import UniformBins
from vla_policy.models.vla import VLA
from vla_policy.sim.scenes.scene import COLOURS, SHAPES
from vla_policy.train.loop import LoopSettings, run
from vla_policy.train.tiny.pointing import PRECISION, encode_texts, make_batch

WRONG_M = 0.03  # an answer this far off is about something else
OWN_SENTENCES = 3  # the first sentences of an episode's frame are its own instruction


@dataclass(frozen=True, slots=True)
class Examples:
    """Frames as the language model reads them, float32; n frames, q sentences."""

    found: Tensor  # (n, q, f) packed answers of the tower
    tool: Tensor  # (n, 4)
    state: Tensor  # (n, s) normalised
    chunks: Tensor | None  # (n, t, 8) normalised
    answers: dict[str, list[list[str]]]  # question -> n lists of q answers as text
    texts: list[list[str]]

    @property
    def demonstrated(self) -> Tensor:
        """chunks. Raises ValueError for frames without actions."""
        if self.chunks is None:
            raise ValueError("examples: got frames without actions, expected demonstrations")
        return self.chunks


def prepare(
    model: VLA,
    tokens: Tokenizer,
    statistics: Statistics,
    frames: Frames,
    name: str,
    *,
    folder: Path,
) -> Examples:
    """Run the tower over all frames and sentences once; the answers stay in folder for a resumed run."""
    tower = hashlib.sha256()
    for weight in model.vision.state_dict().values():
        tower.update(weight.contiguous().numpy().tobytes())
    path = folder / f"{name}-{len(frames)}-{tower.hexdigest()[:16]}.npy"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        found = _point_at_all(model, tokens, frames, name)
        np.save(path.with_suffix(".part.npy"), found.numpy())
        path.with_suffix(".part.npy").replace(path)
    state = frames.arrays["state"].astype(np.float64)
    chunks = None
    if "action" in frames.arrays:
        rows = max(model.config.flow_head.rows, model.config.token_head.rows)
        chunks = torch.from_numpy(
            statistics.actions.normalise(action_chunks(frames, rows))
        ).float()
    return Examples(
        found=correct(torch.from_numpy(np.load(path)), frames, model.config.pointing.value_width),
        tool=torch.from_numpy(np.concatenate((state[:, :3], state[:, 7:8]), 1)).float(),
        state=torch.from_numpy(
            statistics.state.normalise(pose_steps.canonical_state(state))
        ).float(),
        chunks=chunks,
        answers={"name": _names(frames), "point": _places(frames)},
        texts=frames.texts,
    )


@torch.no_grad()
def _point_at_all(model: VLA, tokens: Tokenizer, frames: Frames, name: str) -> Tensor:
    found = []
    for start in track(range(0, len(frames), 64), f"pointing at {name}"):
        index = np.arange(start, min(start + 64, len(frames)))
        batch = make_batch(frames, index, tokens, model.config.max_text, None)
        answer = model.pointing(batch.front, batch.wrist, batch.tool, batch.text, PRECISION)
        found.append(answer.found.pack().unflatten(0, (len(index), -1)))
    return torch.cat(found)


def correct(packed: Tensor, frames: Frames, value_width: int) -> Tensor:
    """Answers about the wrong object become the labelled places; right ones keep their small errors.

    The heads must trust the pointer: trained on its mistakes they follow the arm's own motion instead,
    most of all for the sentences that are hardest to read. packed: (n, q, f).
    """
    places = np.stack([frames.arrays[f"{p}_xyz"] for p in pointing.POINTERS], 2)
    truth = torch.from_numpy(places).float().flatten(0, 1)  # (n q, 3, 3)
    tool = torch.from_numpy(frames.arrays["state"][:, :3]).float()
    from_tool = truth[:, 0] - tool.repeat_interleave(places.shape[1], 0)
    visible = torch.from_numpy(frames.arrays["wrist_visible"]).flatten()
    found = pointing.unpack(packed.flatten(0, 1), value_width)
    wrong = (found.xyz - truth).norm(dim=-1) > WRONG_M  # false where there is no such thing
    astray = visible & ((found.wrist_xyz - from_tool).norm(dim=-1) > WRONG_M)
    astray = (wrong[:, 0] | astray)[:, None]
    sure = torch.where(visible, 4.0, -4.0)[:, None]
    mended = replace(
        found,
        xyz=torch.where(wrong[..., None], truth, found.xyz),
        wrist_xyz=torch.where(astray, from_tool, found.wrist_xyz),
        wrist_visible=torch.where(astray, sure, found.wrist_visible),
    )
    corrected: Tensor = mended.pack().unflatten(0, packed.shape[:2])
    return corrected


def _names(frames: Frames) -> list[list[str]]:
    colour, shape = frames.arrays["target_colour"], frames.arrays["target_shape"]
    return [
        [f"{COLOURS[c]} {SHAPES[s]}" for c, s in zip(*row, strict=True)]
        for row in zip(colour, shape, strict=True)
    ]


def _places(frames: Frames) -> list[list[str]]:
    uv = np.clip(
        frames.arrays["front_uv"][:, :, 0] * tokenizer.LOCATIONS, 0, tokenizer.LOCATIONS - 1
    )
    return [
        [" ".join(tokenizer.LOCATION.format(int(x)) for x in place) for place in row] for row in uv
    ]


def noisy(packed: Tensor, value_width: int) -> pointing.PointedPlaces:
    """Answers with the errors that the tower makes on images it has not seen."""
    found = pointing.unpack(packed, value_width)
    return replace(
        found,
        xyz=found.xyz + 0.003 * torch.randn_like(found.xyz),
        wrist_xyz=found.wrist_xyz + 0.001 * torch.randn_like(found.wrist_xyz),
    )


def action_loss(
    model: VLA,
    tokens: Tokenizer,
    examples: Examples,
    index: np.ndarray,
    rng: np.random.Generator,
    draws: int,
) -> tuple[Tensor, Tensor]:
    """Flow-matching loss (mean square over rows and dimensions) and cross-entropy of the action tokens.

    draws: noise and time samples per frame, over one prefix.
    """
    sentence = rng.integers(0, OWN_SENTENCES, len(index))
    text = [
        tokenizer.prompt("action", examples.texts[i][s])
        for i, s in zip(index, sentence, strict=True)
    ]
    ids = encode_texts(tokens, text, model.config.max_text, rng)
    i = torch.from_numpy(index)
    found = noisy(examples.found[i, torch.from_numpy(sentence)], model.config.pointing.value_width)
    state = examples.state[i] + 0.01 * torch.randn(len(index), examples.state.shape[1])
    prefix = model.prefix(pointing.tokens(found, examples.tool[i]), ids, state)
    chunk = examples.demonstrated[i]

    actions = chunk[:, : model.config.flow_head.rows].repeat_interleave(draws, 0)
    time = flow.sample_time(len(actions))
    mixed, velocity = flow.interpolate(actions, torch.randn_like(actions), time)
    repeated = state.repeat_interleave(draws, 0)
    predicted = model.flow_head(prefix.repeat(draws), repeated, mixed, time)
    flow_loss = F.mse_loss(predicted, velocity)

    rows = model.config.token_head.rows
    bins = UniformBins(model.config.token_head.bins).encode(chunk[:, :rows].numpy())
    bins[..., 0] = (chunk[:, :rows, 0] > 0).numpy()
    first = tokenizer.id_of(tokens, tokenizer.ACTION.format(0))
    goal = torch.from_numpy(bins).flatten(1) + first  # (b, 8 rows)
    start = torch.full((len(index), 1), tokenizer.id_of(tokens, tokenizer.END))
    logits, _ = model.continue_with(prefix, torch.cat((start, goal[:, :-1]), 1))
    return flow_loss, F.cross_entropy(logits.flatten(0, 1), goal.flatten())


def answer_loss(
    model: VLA, tokens: Tokenizer, examples: Examples, index: np.ndarray, rng: np.random.Generator
) -> Tensor:
    """Cross-entropy of the words that answer a question about the image."""
    sentence = rng.integers(0, examples.found.shape[1], len(index))
    question = str(rng.choice(list(examples.answers)))
    pairs = list(zip(index, sentence, strict=True))
    text = [tokenizer.prompt(question, examples.texts[i][s]) for i, s in pairs]
    ids = encode_texts(tokens, text, model.config.max_text, rng)
    i = torch.from_numpy(index)
    found = pointing.unpack(
        examples.found[i, torch.from_numpy(sentence)], model.config.pointing.value_width
    )
    prefix = model.prefix(pointing.tokens(found, examples.tool[i]), ids, examples.state[i])
    words = [
        f"{tokenizer.END} {examples.answers[question][i][s]} {tokenizer.END}" for i, s in pairs
    ]
    goal = encode_texts(tokens, words, 8, None)
    logits, _ = model.continue_with(prefix, goal[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), goal[:, 1:].flatten(), ignore_index=0)


def train(
    model: VLA, tokens: Tokenizer, episodes: Examples, others: Iterable[Examples], folder: Path, *,
    settings: LoopSettings, batch_size: int, draws: int, seed: int, held_out: int,
) -> None:  # fmt: skip
    """Train everything but the tower. The last held_out frames of episodes only measure."""
    for p in model.vision.parameters():
        p.requires_grad_(False)
    count = len(episodes.texts) - held_out
    asked = (episodes, *others)

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng((seed, 7, step))
        torch.manual_seed(seed * 1_000_003 + step)
        flow_loss, token_loss = action_loss(
            model, tokens, episodes, rng.integers(0, count, batch_size), rng, draws
        )
        about = asked[step % len(asked)]
        limit = count if about is episodes else len(about.texts)
        word_loss = answer_loss(model, tokens, about, rng.integers(0, limit, batch_size // 8), rng)
        parts = {"flow": flow_loss.item(), "token": token_loss.item(), "words": word_loss.item()}
        return flow_loss + 0.3 * token_loss + 0.05 * word_loss, parts

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        torch.manual_seed(0)
        index = np.arange(count, count + held_out, 3)
        flow_loss, token_loss = action_loss(
            model, tokens, episodes, index, np.random.default_rng(0), 4
        )
        return {"held_out_flow": flow_loss.item(), "held_out_token": token_loss.item()}

    run("heads", model, loss_of, settings, folder, evaluate=evaluate)
