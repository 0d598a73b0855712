"""The shipped `tiny` policies: a pointing tower, steps of each tool, speeds of a base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from vla_policy.checkpoint import statistics
from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.embodiment.spaces import TOOL_POSE
from vla_policy.families.family import (
    CONTINUES,
    Codec,
    Expressed,
    Family,
    Rows,
    Sampled,
    network,
    require_image,
    require_plain,
    require_state,
    stacked_text,
)
from vla_policy.families.language import heard
from vla_policy.families.tiny import answers, meaning, second_look
from vla_policy.families.tiny.columns import (
    BASE,
    COLUMNS,
    SLOTS,
    TERMINATE,
    RobotColumns,
    robot_columns,
    widened_actions,
    widened_state,
)
from vla_policy.families.tiny.rollforward import Hand, ahead, tool_of
from vla_policy.families.tool_steps import GRIPPER, STEP, poses_of, tool_pose
from vla_policy.geometry import pose_steps
from vla_policy.models import config, flow, pointing, token_head, tokenizer
from vla_policy.models.config import ModelConfig
from vla_policy.models.engine import Engine, EnginePrefix, engine_for
from vla_policy.models.fitting import with_bars
from vla_policy.models.roofline import vla_work
from vla_policy.models.sampling import DEFAULT_PULL, Sampling
from vla_policy.models.vla import VLA, Prefix
from vla_policy.types import ActionChunk, Array, Observation, Reason

VOCAB = 388  # of the tokenizer beside the shipped weights


@dataclass(frozen=True, slots=True)
class TinyInputs:
    """One observation as input of the language model. text: int64[1, s]. hands: of each arm."""

    text: torch.Tensor
    hands: tuple[Hand, ...]


def rows(checkpoint: Checkpoint, head: str) -> int:
    """Rows of a chunk of head."""
    sizes: config.FlowHeadConfig | config.TokenHeadConfig = getattr(checkpoint.model.config, head)
    return sizes.rows


def prepare(checkpoint: Checkpoint, head: str, observation: Observation) -> TinyInputs:
    """Tokens of images and text, and the state; the same for both heads."""
    return _prepare(checkpoint, observation, "action")


def sample(checkpoint: Checkpoint, head: str, inputs: TinyInputs, sampling: Sampling) -> Sampled:
    """Flow: noise integrated to actions. Token: eight tokens a row."""
    if head == "flow":
        return Sampled(_flow(checkpoint, inputs, sampling))
    require_plain(sampling, head=head, but=("candidates", "num_steps", "previous"))
    return Sampled(_tokens(checkpoint, inputs, sampling))


def sample_many(
    checkpoint: Checkpoint, inputs: Sequence[TinyInputs], samplings: Sequence[Sampling]
) -> Array:
    """One chunk of the flow head for each observation; images are processed one by one."""
    for sampling in samplings:
        require_plain(sampling, head="flow", but=("num_steps", "solver"))
    model, first = network(checkpoint, samplings[0]), samplings[0]
    config = model.config
    seen, states = zip(*(_seen(checkpoint, one) for one in inputs), strict=True)
    state = torch.cat(states)
    prefix = model.prefix(torch.cat(seen), stacked_text([one.text for one in inputs]), state)
    shape = (config.flow.rows, config.action_dim)
    noise = torch.cat(
        [flow.candidate_noise(s.seed, 1, shape, device=checkpoint.device) for s in samplings]
    )
    there = torch.from_numpy(_body(checkpoint).there(config.action_dim)).to(noise.device)
    actions = flow.integrate(
        lambda x, t: model.flow(prefix, state, x, t) * there,
        noise * there,
        first.num_steps or config.flow.steps,
        solver=first.solver,
    )
    many: Array = actions.double().cpu().numpy()
    return many


def restore(checkpoint: Checkpoint, model_actions: Array, observation: Observation) -> Rows:
    """Steps of each tool, added to its measured pose, grippers, and speeds of the base."""
    contract, body = checkpoint.contract, _body(checkpoint)
    actions = checkpoint.statistics.actions.restore(model_actions[:, body.columns])
    said = dict(zip(contract.model_action_names, actions.T, strict=True))
    rows = {name: said[name] for name in body.base}
    for arm, slot in _slots(body):
        poses = poses_of(said, observation, arm=arm, slot=slot)
        rows |= {arm + name: column for name, column in zip(TOOL_POSE, poses.T, strict=True)}
        rows[arm + GRIPPER] = said[slot + GRIPPER].clip(0.0, 1.0)
    return Rows(
        np.stack([rows[name] for name in contract.action_names], axis=1),
        terminate=bool(np.mean(actions[:3, TERMINATE]) > 0.5),
        plan=_plan(checkpoint, observation),
    )


def express(checkpoint: Checkpoint, chunk: ActionChunk, observation: Observation) -> Expressed:
    """Poses as steps from the measured pose. Completion is judged anew for each observation."""
    contract, body = checkpoint.contract, _body(checkpoint)
    width = checkpoint.model.config.action_dim
    rows = dict(zip(contract.action_names, chunk.actions.T, strict=True))
    said = {COLUMNS[TERMINATE]: np.zeros(len(chunk.actions))}
    said |= {name: rows[name] for name in body.base}
    for arm, slot in _slots(body):
        poses = np.stack([rows[arm + name] for name in TOOL_POSE], axis=1)
        steps = pose_steps.poses_to_steps(tool_pose(observation, arm), poses)
        said |= {slot + name: column for name, column in zip(STEP, steps.T, strict=True)}
        said[slot + GRIPPER] = rows[arm + GRIPPER]
    own = np.stack([said[name] for name in contract.model_action_names], axis=1)
    known = body.there(width) & (np.arange(width) != TERMINATE)
    return Expressed(
        widened_actions(checkpoint.statistics.actions.normalise(own), body, width), known
    )


def point(checkpoint: Checkpoint, observation: Observation) -> dict[str, Array]:
    """Positions of the named objects: target_xyz, destination_xyz, float64[3], base frame."""
    xyz = look(checkpoint, observation)[0].found.xyz.double().cpu().numpy()
    return {"target_xyz": xyz[0, 0], "destination_xyz": xyz[0, 2]}


def understand(checkpoint: Checkpoint, instruction: str) -> Reason | None:
    """Why the instruction cannot be followed; None if it can, or if the sentences are unknown."""
    if checkpoint.language is None:
        return None
    read = checkpoint.language.read(instruction)
    if not isinstance(read, Reason):
        return None
    free = meaning.meaning(checkpoint, instruction)
    if isinstance(free, meaning.Meaning):
        return None
    return read if free is None else free


def see(checkpoint: Checkpoint, observation: Observation) -> Reason | None:
    """What the instruction names and the front image does not show; None if nothing, or unknown."""
    language, naming = checkpoint.language, checkpoint.naming
    free = _free(checkpoint, observation)
    if free is not None:
        front = require_image(observation.images, checkpoint.contract.camera_names[0])
        return meaning.absent(checkpoint, _for_trunk(checkpoint, front), free)
    if language is None or language.least is None or naming is None:
        return None
    read = language.read(observation.instruction)
    if isinstance(read, Reason):
        return read
    if not read.things:
        return None
    image = _look_image(checkpoint, observation)
    return second_look.not_seen(language, second_look.places_of(checkpoint, image), read)


def ask(checkpoint: Checkpoint, observation: Observation, question: str) -> str:
    """Answer as text. question: "name" or "point" (image location tokens), else one about the table."""
    if question not in tokenizer.QUESTIONS:
        front = require_image(observation.images, checkpoint.contract.camera_names[0])
        if getattr(checkpoint.model.vision, "wide", None) is None:
            raise ValueError("this policy answers no questions but 'name' and 'point'")
        return answers.answer(checkpoint, _for_trunk(checkpoint, front), question)
    if checkpoint.model.config.token is None:
        raise ValueError("this checkpoint has no token head and answers no questions")
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
    sample_many=sample_many,
    fits_square=True,
    restore=restore,
    express=express,
    understand=understand,
    see=see,
    point=point,
    ask=ask,
    network=VLA,
    sizes=ModelConfig,
    statistics=Codec(statistics.to_dict, statistics.from_dict),
    tokenizer=lambda folder, vocab: tokenizer.load(folder / "tokenizer.json", vocab),
    published={
        "tiny": partial(config.tiny, VOCAB),
        "tiny_cross": partial(config.tiny_cross, VOCAB),
        "small": partial(config.small, VOCAB),
    },
    work=vla_work,
    engine=engine_for,
)


def _prepare(checkpoint: Checkpoint, observation: Observation, question: str) -> TinyInputs:
    text = _text(checkpoint, tokenizer.prompt(question, trained_sentence(checkpoint, observation)))
    return TinyInputs(text, look(checkpoint, observation))


def _prefix(
    checkpoint: Checkpoint, model: VLA | Engine, inputs: TinyInputs
) -> tuple[Prefix | EnginePrefix, torch.Tensor]:
    """The prefix, and the state, float32[1, n], in it."""
    seen, state = _seen(checkpoint, inputs)
    return model.prefix(seen, inputs.text, state), state


def _seen(checkpoint: Checkpoint, inputs: TinyInputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of the images, and the state, float32[1, n]."""
    state = state_of(checkpoint, np.stack([hand.measured for hand in inputs.hands]))
    state = state.to(checkpoint.device)[None]
    seen = [pointing.tokens(hand.found, hand.tool) for hand in inputs.hands]
    return torch.cat(seen, 1), state


def state_of(checkpoint: Checkpoint, arms: Array) -> torch.Tensor:
    """float32[n]: the model's state, of pose and opening of each arm, float64[arms, 8]."""
    values = checkpoint.statistics.state.normalise(pose_steps.canonical_state(arms).flatten())
    values = widened_state(values, _body(checkpoint), checkpoint.model.config.state_dim)
    return torch.from_numpy(values).float()


def look(checkpoint: Checkpoint, observation: Observation) -> tuple[Hand, ...]:
    """The tower's answers, for each arm."""
    contract, tower = checkpoint.contract, checkpoint.model.vision
    require_state(observation, contract.state_names)
    front, *wrists = (_image(checkpoint, observation, name) for name in contract.camera_names)
    text = _text(checkpoint, tokenizer.clean(trained_sentence(checkpoint, observation)))
    named = _named(checkpoint, observation)
    if named is None:
        where = _meant(checkpoint, observation)
    else:
        where = pointing.around(tower.front.uv, named.uv)
    seen = tower.look(front, text[None], where=where)
    hands = []
    for arm, wrist in zip(_body(checkpoint).arms, wrists, strict=True):
        measured = measured_of(observation, arm)
        tool = tool_of(measured, checkpoint.device)
        found = tower.look_closer(seen, wrist, tool).found
        if named is not None and named.in_hand:
            found = meaning.carried(found, tool)
        hands.append(Hand(found, measured))
    return tuple(hands)


def _named(checkpoint: Checkpoint, observation: Observation) -> meaning.FoundThing | None:
    """The object named by an untrained sentence, by the encoders; else None."""
    free = _free(checkpoint, observation)
    if free is None:
        return None
    image = require_image(observation.images, checkpoint.contract.camera_names[0])
    tool = tool_of(measured_of(observation, _body(checkpoint).arms[0]), checkpoint.device)
    return meaning.look(checkpoint, _for_trunk(checkpoint, image), free, tool)


def _meant(checkpoint: Checkpoint, observation: Observation) -> torch.Tensor | None:
    """The second look's mask of the target's location, if the folder restricts pointing."""
    language = checkpoint.language
    if language is None or language.second_look is None or not language.second_look.points:
        return None
    image = _look_image(checkpoint, observation)
    meant = second_look.meant(checkpoint, image, observation.instruction)
    return None if meant is None else meant[None, None]


def measured_of(observation: Observation, arm: str) -> Array:
    """float64[8]: pose and opening of an arm."""
    opening = observation.state[observation.state_names.index(arm + GRIPPER)]
    return np.array([*tool_pose(observation, arm), opening])


def _look_image(checkpoint: Checkpoint, observation: Observation) -> torch.Tensor:
    """The front image for the second look."""
    image = require_image(observation.images, checkpoint.contract.camera_names[0])
    return picture(image, second_look.look_px(checkpoint)).to(checkpoint.device)[None]


def _image(checkpoint: Checkpoint, observation: Observation, name: str) -> torch.Tensor:
    image = require_image(observation.images, name)
    side = checkpoint.model.config.pointing.image_px
    return picture(image, side).to(checkpoint.device)[None]


def trained_sentence(checkpoint: Checkpoint, observation: Observation) -> str:
    """The trained sentence with the instruction's meaning; the instruction itself if unknown."""
    if checkpoint.language is None:
        return observation.instruction
    read = checkpoint.language.read(observation.instruction)
    if not isinstance(read, Reason):
        return str(read.said)
    free = _free(checkpoint, observation)
    return observation.instruction if free is None else free.plan


def _plan(checkpoint: Checkpoint, observation: Observation) -> str:
    """The sentence that is followed, if its words are not those of the instruction."""
    free = _free(checkpoint, observation)
    if free is not None and free.told:
        return free.told
    said = trained_sentence(checkpoint, observation)
    return "" if heard(said) == heard(observation.instruction) else said


def _free(checkpoint: Checkpoint, observation: Observation) -> meaning.Meaning | None:
    """The meaning of an untrained sentence, if the checkpoint has encoders."""
    language = checkpoint.language
    if language is None or not isinstance(language.read(observation.instruction), Reason):
        return None
    free = meaning.meaning(checkpoint, observation.instruction)
    return free if isinstance(free, meaning.Meaning) else None


def _for_trunk(checkpoint: Checkpoint, image: Array) -> Array:
    """uint8[side, side, 3]: image at the size of the pre-trained trunk."""
    return fit_square(image, checkpoint.model.config.pointing.wide.image_px)


def _text(checkpoint: Checkpoint, text: str) -> torch.Tensor:
    ids = tokenizer.encode(checkpoint.tokenizer, text, checkpoint.model.config.max_text)
    return torch.tensor([ids], device=checkpoint.device)


def _flow(checkpoint: Checkpoint, inputs: TinyInputs, sampling: Sampling) -> Array:
    """Noise integrated to actions; after known rows, from the end of those."""
    require_plain(sampling, head="flow", but=("candidates", "num_steps", "solver", *CONTINUES))
    kept = sampling.kept
    if kept is not None:
        inputs = _ahead(checkpoint, inputs, kept)
    # No guidance here, so no gradient is needed and the engine can be used.
    model, n = network(checkpoint, replace(sampling, pull=DEFAULT_PULL)), sampling.candidates
    config = model.config
    prefix, state = _prefix(checkpoint, model, inputs)
    prefix, state = prefix.repeat(n), state.expand(n, -1)
    noise = flow.candidate_noise(
        sampling.seed, n, (config.flow.rows, config.action_dim), device=checkpoint.device
    )
    there = torch.from_numpy(_body(checkpoint).there(config.action_dim)).to(noise.device)
    actions = flow.integrate(
        lambda x, t: model.flow(prefix, state, x, t) * there,
        noise * there,  # columns that the robot lacks stay 0
        sampling.num_steps or config.flow.steps,
        solver=sampling.solver,
    )
    drawn = actions.double().cpu().numpy()
    return drawn if kept is None else _behind(kept, drawn, sampling.known)


def _ahead(checkpoint: Checkpoint, inputs: TinyInputs, known: Array) -> TinyInputs:
    """inputs at the end of the known rows, float64[k, m] model actions."""
    contract, body = checkpoint.contract, _body(checkpoint)
    rows = checkpoint.statistics.actions.restore(known[:, body.columns])
    said = dict(zip(contract.model_action_names, rows.T, strict=True))
    columns = (*STEP, GRIPPER)
    hands = tuple({name: said[slot + name] for name in columns} for _, slot in _slots(body))
    way = None
    if body.base:
        speeds = np.stack([said.get(name, np.zeros(len(rows))) for name in BASE], axis=1)
        way = pose_steps.driven(speeds, contract.step_ns / 1e9)
    return replace(inputs, hands=ahead(inputs.hands, hands, way))


def _behind(kept: Array, actions: Array, known: Array | None) -> Array:
    """The kept rows, then as many of actions as fit.

    Unknown columns are as in the first of those.
    """
    given = np.broadcast_to(kept, (len(actions), *kept.shape))
    unsaid = np.zeros(given.shape[2], bool) if known is None else ~known
    given = np.where(unsaid, actions[:, :1], given)
    return np.concatenate((given, actions[:, : actions.shape[1] - len(kept)]), axis=1)


def _tokens(checkpoint: Checkpoint, inputs: TinyInputs, sampling: Sampling) -> Array:
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


def _body(checkpoint: Checkpoint) -> RobotColumns:
    return robot_columns(checkpoint.contract, checkpoint.model.config.action_dim)


def _slots(body: RobotColumns) -> tuple[tuple[str, str], ...]:
    """The prefix of the names of each arm: the robot's, and the model's."""
    return tuple(zip(body.arms, SLOTS, strict=False))


def picture(image: Array, side_px: int) -> torch.Tensor:
    """uint8[h, w, 3] to float32[3, side, side] in [-1, 1]."""
    scaled = torch.tensor(fit_square(image, side_px)).float() / 127.5 - 1.0
    return scaled.permute(2, 0, 1)


def fit_square(image: Array, side_px: int) -> Array:
    """uint8[h, w, 3] scaled to fit uint8[side, side, 3], with black bars if it is not square."""
    return np.ascontiguousarray(with_bars(image, (side_px, side_px)))
