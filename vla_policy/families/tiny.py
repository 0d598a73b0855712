"""The shipped `tiny` policies: a tower that points, steps of each tool from one row to the next, speeds of a base."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .. import transforms
from ..models import flow, pointing, rtc, token_head, tokenizer
from ..models.engine import Engine, EnginePrefix
from ..models.vla import VLA, Prefix
from ..models.weights import Checkpoint
from ..sampling import Sampling
from ..types import ActionChunk, Array, Observation
from .bodies import (
    ARM,
    BASE,
    COLUMNS,
    GRIPPER,
    POSE,
    SLOTS,
    STEP,
    TERMINATE,
    Body,
    body_for,
    widened_actions,
    widened_state,
)
from .family import (
    CONTINUES,
    Expressed,
    Family,
    Rows,
    Sampled,
    network,
    require_image,
    require_plain,
    require_state,
)
from .images import fit_square


@dataclass(frozen=True, slots=True)
class Inputs:
    """One observation as the language model reads it.

    text: int64[1, s]. found, tools: of each arm, see pointing.tokens. measured: the robot's state.
    """

    text: torch.Tensor
    found: tuple[pointing.Found, ...]
    tools: tuple[torch.Tensor, ...]
    measured: Array


def rows(checkpoint: Checkpoint, head: str) -> int:
    """Rows of a chunk of head."""
    return getattr(checkpoint.model.config, head).rows


def prepare(checkpoint: Checkpoint, head: str, observation: Observation) -> Inputs:
    """Tokens of pictures and words, and the state; the same for both heads."""
    return _prepare(checkpoint, observation, "action")


def sample(checkpoint: Checkpoint, head: str, inputs: Inputs, sampling: Sampling) -> Sampled:
    """Flow: noise integrated to actions. Token: eight tokens a row."""
    if head == "flow":
        return Sampled(_flow(checkpoint, inputs, sampling))
    require_plain(sampling, head=head, but=("candidates", "num_steps", "previous"))
    return Sampled(_tokens(checkpoint, inputs, sampling))


def restore(checkpoint: Checkpoint, model_actions: Array, observation: Observation) -> Rows:
    """Steps of each tool, added up from its measured pose, grippers, and speeds of the base."""
    contract, body = checkpoint.contract, _body(checkpoint)
    actions = checkpoint.statistics.actions.restore(model_actions[:, body.columns])
    said = dict(zip(contract.model_action_names, actions.T, strict=True))
    rows = {name: said[name] for name in body.base}
    for arm, slot in _slots(body):
        steps = np.stack([said[slot + name] for name in STEP], axis=1)
        poses = transforms.steps_to_poses(_tool_pose(observation, arm), steps)
        rows |= {arm + name: column for name, column in zip(POSE, poses.T, strict=True)}
        rows[arm + GRIPPER] = said[slot + GRIPPER].clip(0.0, 1.0)
    return Rows(
        np.stack([rows[name] for name in contract.action_names], axis=1),
        terminate=bool(np.mean(actions[:3, TERMINATE]) > 0.5),
    )


def express(checkpoint: Checkpoint, chunk: ActionChunk, observation: Observation) -> Expressed:
    """Poses as steps from the measured pose on. Whether it is done is for each observation to say."""
    contract, body = checkpoint.contract, _body(checkpoint)
    width = checkpoint.model.config.action_dim
    rows = dict(zip(contract.action_names, chunk.actions.T, strict=True))
    said = {COLUMNS[TERMINATE]: np.zeros(len(chunk.actions))}
    said |= {name: rows[name] for name in body.base}
    for arm, slot in _slots(body):
        poses = np.stack([rows[arm + name] for name in POSE], axis=1)
        steps = transforms.poses_to_steps(_tool_pose(observation, arm), poses)
        said |= {slot + name: column for name, column in zip(STEP, steps.T, strict=True)}
        said[slot + GRIPPER] = rows[arm + GRIPPER]
    own = np.stack([said[name] for name in contract.model_action_names], axis=1)
    known = body.there(width) & (np.arange(width) != TERMINATE)
    return Expressed(
        widened_actions(checkpoint.statistics.actions.normalise(own), body, width), known
    )


def point(checkpoint: Checkpoint, observation: Observation) -> dict[str, Array]:
    """Where the model sees what the instruction names: target_xyz, destination_xyz, float64[3], base frame."""
    found, _ = _look(checkpoint, _body(checkpoint), observation)
    return {
        "target_xyz": found[0].xyz[0, 0].double().cpu().numpy(),
        "destination_xyz": found[0].xyz[0, 2].double().cpu().numpy(),
    }


def ask(checkpoint: Checkpoint, observation: Observation, question: str) -> str:
    """Answer in words. question: "name" or "point" (image location tokens)."""
    if checkpoint.model.config.token is None:
        raise ValueError("this checkpoint has no token head and does not answer in words")
    tokens = checkpoint.tokenizer
    end = tokens.token_to_id(tokenizer.END)
    answer: list[int] = []
    prefix, _ = _prefix(checkpoint, checkpoint.model, _prepare(checkpoint, observation, question))
    token = torch.tensor([[end]], device=checkpoint.device)
    for _ in range(6):
        logits, prefix = checkpoint.model.continue_with(prefix, token)
        token = logits[:, -1:].argmax(-1)
        if token.item() == end:
            break
        answer.append(int(token.item()))
    return " ".join(tokens.id_to_token(i) for i in answer)


FAMILY = Family(
    heads=("flow", "token"),
    rows=rows,
    prepare=prepare,
    sample=sample,
    restore=restore,
    express=express,
    point=point,
    ask=ask,
)


def _prepare(checkpoint: Checkpoint, observation: Observation, question: str) -> Inputs:
    found, tools = _look(checkpoint, _body(checkpoint), observation)
    text = _text(checkpoint, tokenizer.prompt(question, observation.instruction))
    return Inputs(text, tuple(found), tuple(tools), observation.state)


def _prefix(
    checkpoint: Checkpoint, model: VLA | Engine, inputs: Inputs
) -> tuple[Prefix | EnginePrefix, torch.Tensor]:
    """The prefix, and the state, float32[1, n], in it."""
    body = _body(checkpoint)
    arms = inputs.measured.reshape(len(body.arms), len(ARM))
    values = checkpoint.statistics.state.normalise(transforms.canonical_state(arms).flatten())
    values = widened_state(values, body, checkpoint.model.config.state_dim)
    state = torch.from_numpy(values).float().to(checkpoint.device)[None]
    seen = [pointing.tokens(f, t) for f, t in zip(inputs.found, inputs.tools, strict=True)]
    return model.prefix(torch.cat(seen, 1), inputs.text, state), state


def _arrived(checkpoint: Checkpoint, inputs: Inputs, sampling: Sampling) -> Inputs:
    """inputs as they will be where the known rows end: tools and base are there, the grippers as they were seen.

    After arXiv:2512.01031, which rolls the robot's state forward; here the places that were found follow.
    """
    body, names = _body(checkpoint), checkpoint.contract.model_action_names
    known = sampling.previous[: sampling.frozen_rows, body.columns]
    said = dict(zip(names, checkpoint.statistics.actions.restore(known).T, strict=True))
    measured = inputs.measured.reshape(len(body.arms), len(ARM)).copy()
    found, tools, base = [], [], None
    if body.base:
        speeds = np.stack([said.get(name, np.zeros(len(known))) for name in BASE], axis=1)
        way = transforms.driven(speeds, checkpoint.contract.step_ns / 1e9)
        base = torch.from_numpy(way[-1:]).float().to(checkpoint.device)
    for i, (_, slot) in enumerate(_slots(body)):
        steps = np.stack([said[slot + name] for name in STEP], axis=1)
        measured[i, :7] = transforms.steps_to_poses(measured[i, :7], steps)[-1]
        there = inputs.tools[i].clone()
        there[0, :3] = torch.from_numpy(measured[i, :3]).to(there)
        tools.append(there)
        found.append(pointing.seen_from(inputs.found[i], inputs.tools[i], there, base))
    return Inputs(inputs.text, tuple(found), tuple(tools), measured.flatten())


def _look(
    checkpoint: Checkpoint, body: Body, observation: Observation
) -> tuple[list[pointing.Found], list[torch.Tensor]]:
    """What was found, and the tool, float32[1, 4], of each arm."""
    contract, tower = checkpoint.contract, checkpoint.model.vision
    require_state(observation, contract.state_names)
    front, *wrists = (_image(checkpoint, observation, name) for name in contract.camera_names)
    text = _text(checkpoint, tokenizer.clean(observation.instruction))
    seen = tower.look(front, text[None])
    tools = [_tool(checkpoint, observation, arm) for arm in body.arms]
    found = [tower.look_closer(seen, w, tool).found for w, tool in zip(wrists, tools, strict=True)]
    return found, tools


def _tool(checkpoint: Checkpoint, observation: Observation, arm: str) -> torch.Tensor:
    gripper = observation.state[observation.state_names.index(arm + GRIPPER)]
    position = _tool_pose(observation, arm)[:3]
    return torch.tensor([[*position, gripper]], dtype=torch.float32, device=checkpoint.device)


def _image(checkpoint: Checkpoint, observation: Observation, name: str) -> torch.Tensor:
    image = fit_square(require_image(observation.images, name), checkpoint.contract.image_px)
    scaled = torch.tensor(image, device=checkpoint.device).float() / 127.5 - 1.0
    return scaled.permute(2, 0, 1)[None]


def _text(checkpoint: Checkpoint, text: str) -> torch.Tensor:
    ids = tokenizer.encode(checkpoint.tokenizer, text, checkpoint.model.config.max_text)
    return torch.tensor([ids], device=checkpoint.device)


def _flow(checkpoint: Checkpoint, inputs: Inputs, sampling: Sampling) -> Array:
    require_plain(sampling, head="flow", but=("candidates", "num_steps", "solver", *CONTINUES))
    model, n = network(checkpoint, sampling), sampling.candidates
    config = model.config
    if config.flow.from_arrival and 0 < sampling.frozen_rows < config.flow.rows:
        inputs = _arrived(checkpoint, inputs, sampling)
    prefix, state = _prefix(checkpoint, model, inputs)
    prefix, state = prefix.repeat(n), state.expand(n, -1)
    noise = flow.candidate_noise(
        sampling.seed, n, (config.flow.rows, config.action_dim), device=checkpoint.device
    )
    there = torch.from_numpy(_body(checkpoint).there(config.action_dim))
    there = there.to(noise.device)
    actions = rtc.integrate(
        lambda x, t: model.flow(prefix, state, x, t) * there,
        noise * there,  # columns that the robot does not have stay 0
        sampling.num_steps or config.flow.steps,
        sampling,
        prefix_trained=config.flow.prefix_trained,
        step_columns=torch.tensor(
            [name.rpartition(".")[2] in STEP for name in COLUMNS[: config.action_dim]]
        ).to(noise.device),
    )
    return actions.double().cpu().numpy()


def _tokens(checkpoint: Checkpoint, inputs: Inputs, sampling: Sampling) -> Array:
    generator = torch.Generator(device=checkpoint.device)
    generator.manual_seed(sampling.seed) if sampling.seed is not None else generator.seed()
    model, tokens = checkpoint.model, checkpoint.tokenizer
    config, n = model.config.token, sampling.candidates
    first = tokens.token_to_id(tokenizer.ACTION.format(0))
    start = torch.full((n, 1), tokens.token_to_id(tokenizer.END), device=checkpoint.device)
    prefix, _ = _prefix(checkpoint, model, inputs)
    logits, prefix = model.continue_with(prefix.repeat(n), start)
    bins = token_head.decode(
        model,
        prefix,
        logits[:, -1],
        action_ids=torch.arange(first, first + config.bins, device=checkpoint.device),
        rows=config.rows,
        temperature=config.temperature,
        generator=generator,
    )
    return token_head.actions_of(bins.cpu().numpy(), config.bins)


def _tool_pose(observation: Observation, arm: str) -> Array:
    return observation.state[[observation.state_names.index(arm + name) for name in POSE]]


def _body(checkpoint: Checkpoint) -> Body:
    return body_for(checkpoint.contract, checkpoint.model.config.action_dim)


def _slots(body: Body) -> tuple[tuple[str, str], ...]:
    """What stands before the names of each arm: the robot's, and the model's."""
    return tuple(zip(body.arms, SLOTS, strict=False))
