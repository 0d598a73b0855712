"""The shipped `tiny` policy: a tower that points, and steps of the tool from one row to the next."""

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

TERMINATE, STEP, GRIPPER = 0, slice(1, 7), 7  # columns of a model action, RT-2's order


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the prefix of one observation is made of, in the order of VLA.prefix. state: float32[1, 8]."""

    image_tokens: torch.Tensor
    text: torch.Tensor
    state: torch.Tensor


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
    """Steps of the tool, added up from the measured pose, and the gripper."""
    actions = checkpoint.statistics.actions.restore(model_actions)
    poses = transforms.steps_to_poses(_tool_pose(observation), actions[:, STEP])
    gripper = actions[:, GRIPPER:].clip(0.0, 1.0)
    return Rows(
        np.concatenate((poses, gripper), axis=1),
        terminate=bool(np.mean(actions[:3, TERMINATE]) > 0.5),
    )


def express(checkpoint: Checkpoint, chunk: ActionChunk, observation: Observation) -> Expressed:
    """Poses as steps from the measured pose on. Whether it is done is for each observation to say."""
    columns = np.zeros((len(chunk.actions), 8))
    columns[:, STEP] = transforms.poses_to_steps(_tool_pose(observation), chunk.actions[:, :7])
    columns[:, GRIPPER] = chunk.actions[:, 7]
    known = np.arange(8) != TERMINATE
    return Expressed(checkpoint.statistics.actions.normalise(columns), known)


def point(checkpoint: Checkpoint, observation: Observation) -> dict[str, Array]:
    """Where the model sees what the instruction names: target_xyz, destination_xyz, float64[3], base frame."""
    found, _ = _look(checkpoint, observation)
    return {
        "target_xyz": found.xyz[0, 0].double().cpu().numpy(),
        "destination_xyz": found.xyz[0, 2].double().cpu().numpy(),
    }


def ask(checkpoint: Checkpoint, observation: Observation, question: str) -> str:
    """Answer in words. question: "name" or "point" (image location tokens)."""
    tokens = checkpoint.tokenizer
    end = tokens.token_to_id(tokenizer.END)
    answer: list[int] = []
    prefix = _prefix(checkpoint.model, _prepare(checkpoint, observation, question))
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
    found, tool = _look(checkpoint, observation)
    text = _text(checkpoint, tokenizer.prompt(question, observation.instruction))
    values = transforms.canonical_state(observation.state)
    state = torch.from_numpy(checkpoint.statistics.state.normalise(values)).float()
    state = state.to(checkpoint.device)[None]
    return Inputs(pointing.tokens(found, tool), text, state)


def _prefix(model: VLA | Engine, inputs: Inputs) -> Prefix | EnginePrefix:
    return model.prefix(inputs.image_tokens, inputs.text, inputs.state)


def _look(checkpoint: Checkpoint, observation: Observation) -> tuple[pointing.Found, torch.Tensor]:
    contract = checkpoint.contract
    require_state(observation, contract.state_names)
    front, wrist = (_image(checkpoint, observation, name) for name in contract.camera_names)
    pose = _tool_pose(observation)
    gripper = observation.state[contract.state_names.index("gripper")]
    tool = torch.tensor([[*pose[:3], gripper]], dtype=torch.float32, device=checkpoint.device)
    text = _text(checkpoint, tokenizer.clean(observation.instruction))
    return checkpoint.model.vision(front, wrist, tool, text[None]).found, tool


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
    prefix, state = _prefix(model, inputs).repeat(n), inputs.state.expand(n, -1)
    noise = flow.candidate_noise(
        sampling.seed, n, (config.flow.rows, config.action_dim), device=checkpoint.device
    )
    actions = rtc.integrate(
        lambda x, t: model.flow(prefix, state, x, t),
        noise,
        sampling.num_steps or config.flow.steps,
        sampling,
        prefix_trained=config.flow.prefix_trained,
        step_columns=torch.tensor([STEP.start <= i < STEP.stop for i in range(8)]).to(
            noise.device
        ),
    )
    return actions.double().cpu().numpy()


def _tokens(checkpoint: Checkpoint, inputs: Inputs, sampling: Sampling) -> Array:
    generator = torch.Generator(device=checkpoint.device)
    generator.manual_seed(sampling.seed) if sampling.seed is not None else generator.seed()
    model, tokens = checkpoint.model, checkpoint.tokenizer
    config, n = model.config.token, sampling.candidates
    first = tokens.token_to_id(tokenizer.ACTION.format(0))
    start = torch.full((n, 1), tokens.token_to_id(tokenizer.END), device=checkpoint.device)
    logits, prefix = model.continue_with(_prefix(model, inputs).repeat(n), start)
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


def _tool_pose(observation: Observation) -> Array:
    names = observation.state_names
    return observation.state[
        [names.index(f"ee.{axis}") for axis in ("x", "y", "z", "qx", "qy", "qz", "qw")]
    ]
