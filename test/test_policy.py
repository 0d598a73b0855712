"""A checkpoint on disk, strictly loaded, and the policy's one call."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from vla_policy.checkpoint import statistics as stats
from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.checkpoint.contract import Contract
from vla_policy.embodiment import load_embodiment
from vla_policy.families.tiny.tiny import fit_square
from vla_policy.formats.native.folder import save
from vla_policy.models import config, tokenizer
from vla_policy.models.candidates import chosen
from vla_policy.models.sampling import Sampling
from vla_policy.models.vla import VLA
from vla_policy.policy import load_policy
from vla_policy.types import Observation

ROBOT = load_embodiment("vx300s")
NAMES = ("terminate", "dx", "dy", "dz", "drx", "dry", "drz", "gripper")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    tokens = tokenizer.build("pick up the red cube".split())
    contract = Contract(
        camera_names=("front", "wrist"), image_px=96, state_names=ROBOT.state_names,
        action_names=ROBOT.action_names, model_action_names=NAMES,
        spaces=tuple((g.name, g.space) for g in ROBOT.actions), policy_hz=10.0, embodiments=("vx300s",),
    )  # fmt: skip
    statistics = stats.Statistics(
        stats.RangeNormalizer(ROBOT.state_names, [-1.0] * 8, [1.0] * 8),
        stats.RangeNormalizer(NAMES, [0.0] + [-0.04] * 6 + [0.0], [1.0] + [0.04] * 6 + [1.0]),
    )
    path = tmp_path_factory.mktemp("checkpoint")
    save(path, Checkpoint(VLA(config.tiny(tokens.get_vocab_size())), contract, statistics, tokens))
    return path


def observation(**changes: object) -> Observation:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (96, 96, 3), dtype=np.uint8)
    values = {
        "images": {"front": image, "wrist": image},
        "state": np.array([0.3, 0.0, 0.2, 0.0, 1.0, 0.0, 0.0, 0.5]),
        "state_names": ROBOT.state_names,
        "instruction": "pick up the red cube",
        "obs_ns": 123,
    }
    return Observation(**(values | changes))


@pytest.mark.parametrize("head", ["flow", "token"])
def test_a_chunk_in_robot_units(folder: Path, head: str) -> None:
    policy = load_policy(str(folder), head=head)
    chunk = policy.infer(observation(), seed=1)
    assert chunk.names == ROBOT.action_names
    assert chunk.actions.shape == (policy.rows, 8)
    assert (chunk.obs_ns, chunk.step_ns) == (123, 100_000_000)
    np.testing.assert_allclose(np.linalg.norm(chunk.actions[:, 3:7], axis=1), 1.0, atol=1e-9)
    assert (chunk.actions[:, 7] >= 0).all() and (chunk.actions[:, 7] <= 1).all()
    np.testing.assert_array_equal(policy.infer(observation(), seed=1).actions, chunk.actions)
    assert not np.array_equal(policy.infer(observation(), seed=2).actions, chunk.actions)


def test_the_first_row_starts_from_the_measured_pose(folder: Path) -> None:
    policy = load_policy(str(folder), head="token")
    chunk = policy.infer(observation(), seed=0)
    assert (
        np.abs(chunk.actions[0, :3] - [0.3, 0.0, 0.2]).max() <= 0.04 + 1e-9
    )  # one step of the token range


def test_everything_it_sees_matters(folder: Path) -> None:
    policy = load_policy(str(folder), head="flow")
    base = policy.infer(observation(), seed=0).actions
    black = np.zeros((96, 96, 3), np.uint8)
    images = observation().images
    for change in (
        {"images": {**images, "front": black}},
        {"images": {**images, "wrist": black}},
        {"instruction": "cube red the up pick"},
        {"state": np.array([0.3, 0.0, 0.2, 0.0, 1.0, 0.0, 0.0, 0.9])},
    ):
        assert not np.array_equal(policy.infer(observation(**change), seed=0).actions, base), (
            change.keys()
        )


def test_what_does_not_fit_is_refused(folder: Path) -> None:
    policy = load_policy(str(folder))
    with pytest.raises(ValueError, match="camera 'wrist' is missing; the observation has front"):
        policy.infer(observation(images={"front": observation().images["front"]}))
    with pytest.raises(ValueError, match="state_names"):
        policy.infer(observation(state_names=tuple("abcdefgh")))
    with pytest.raises(ValueError, match="at most"):
        policy.infer(observation(instruction="pick up the red cube " * 20))
    with pytest.raises(ValueError, match="num_steps: got 0"):
        policy.infer(observation(), num_steps=0)
    with pytest.raises(ValueError, match="head: got 'diffusion'"):
        load_policy(str(folder), head="diffusion")
    with pytest.raises(FileNotFoundError, match="policy 'nowhere'"):
        load_policy("nowhere")
    assert policy.check(ROBOT) == ()


def test_a_damaged_checkpoint_is_refused(folder: Path, tmp_path: Path) -> None:
    def damaged(name: str) -> Path:
        return Path(shutil.copytree(folder, tmp_path / name))

    weights = load_file(folder / "model.safetensors")
    cases = {
        "missing    projector.bias": {k: v for k, v in weights.items() if k != "projector.bias"},
        "unexpected extra": weights | {"extra": torch.zeros(1)},
        r"shape      projector.bias: file \(3,\)": weights | {"projector.bias": torch.zeros(3)},
        "not finite projector.bias": weights | {"projector.bias": torch.full((160,), torch.nan)},
    }
    for i, (message, tensors) in enumerate(cases.items()):
        path = damaged(f"keys{i}")
        save_file(tensors, path / "model.safetensors")
        with pytest.raises(ValueError, match=message):
            load_policy(str(path))
    path = damaged("cut")
    data = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="the file is cut off"):
        load_policy(str(path))
    for name in ("config.json", "statistics.json", "tokenizer.json", "model.safetensors"):
        path = damaged(f"no {name}")
        (path / name).unlink()
        with pytest.raises(FileNotFoundError, match=r"no (tokenizer|weights|config|statistics)"):
            load_policy(str(path))
    path = damaged("range")
    data = json.loads((path / "statistics.json").read_text())
    data["actions"]["upper"][1] = data["actions"]["lower"][1]
    (path / "statistics.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match="statistics of 'dx'"):
        load_policy(str(path))


def test_images_are_fitted_not_stretched() -> None:
    image = np.full((60, 120, 3), 200, np.uint8)
    out = fit_square(image, 96)
    assert out.shape == (96, 96, 3)
    assert (out[24:72] == 200).all() and not out[:24].any() and not out[72:].any()
    same = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    np.testing.assert_array_equal(fit_square(same, 96), same)


def test_candidates_are_drawn_in_one_batch(folder: Path) -> None:
    for head in ("flow", "token"):
        policy = load_policy(str(folder), head=head)
        chunks = policy.infer_candidates(observation(), Sampling(seed=3, candidates=3))
        assert len(chunks) == 3
        assert not np.array_equal(chunks[0].actions, chunks[1].actions)
        again = policy.infer_candidates(observation(), Sampling(seed=3, candidates=3))
        np.testing.assert_array_equal(again[2].actions, chunks[2].actions)


@pytest.mark.parametrize("head", ["flow", "token"])
@pytest.mark.slow
def test_infer_follows_the_candidate_that_is_nearest_to_the_plan(folder: Path, head: str) -> None:
    policy, seen = load_policy(str(folder), head=head), observation()
    drawn = policy.infer_candidates(seen, Sampling(seed=3, candidates=4))
    single = policy.infer(seen, seed=3)
    for wanted in drawn:
        plan = replace(wanted, sequence=7)
        got = policy.infer(seen, plan, seed=3, candidates=4)
        np.testing.assert_array_equal(got.actions, wanted.actions)
        assert (got.continues, got.frozen_rows) == (None, 0)
        # Of one candidate there is nothing to choose, so the plan has no part in it.
        alone = policy.infer(seen, plan, seed=3)
        np.testing.assert_array_equal(alone.actions, single.actions)
    free = policy.infer(seen, seed=3, candidates=4)
    actions = np.stack([chunk.model_actions for chunk in drawn])
    np.testing.assert_array_equal(free.actions, drawn[chosen(actions, None)].actions)


def test_candidates_that_continue_a_plan_keep_its_frozen_rows(folder: Path) -> None:
    policy, seen = load_policy(str(folder)), observation()
    before = replace(policy.infer(seen, seed=9), sequence=5)
    got = policy.infer(seen, before, seed=3, candidates=3, frozen_rows=2, guidance_rows=4)
    assert (got.continues, got.frozen_rows) == (5, 2)
    np.testing.assert_array_equal(got.actions[:2], before.actions[:2])
    with pytest.raises(ValueError, match="candidates: got 0, expected at least 1"):
        policy.infer(seen, candidates=0)


def test_an_option_that_a_head_has_not_is_refused_never_ignored(folder: Path) -> None:
    with pytest.raises(ValueError, match="solver: got 'rk4', expected one of euler"):
        load_policy(str(folder)).infer(observation(), solver="rk4")
    token = load_policy(str(folder), head="token")
    with pytest.raises(ValueError, match="guidance: the token head of this model has no such"):
        token.infer(observation(), guidance=2.0)
    with pytest.raises(ValueError, match=r"frozen_rows: got 2, expected 0 \.\. 0"):
        token.infer(observation(), frozen_rows=2)
