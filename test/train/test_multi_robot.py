"""One checkpoint for several robots: by name, with nothing of one robot in the answers for another."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_frames import FRAMES, ROBOTS, TOKENS, make_frames, robot

from vla_policy.check.checkpoint import check_checkpoint
from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.commands import models as shipped
from vla_policy.data.frames import Frames, load_frames
from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.findings import ERROR
from vla_policy.families.tiny import lessons
from vla_policy.families.tiny.columns import (
    COLUMNS,
    RobotColumns,
    body_of,
    robot_columns,
    widened_actions,
)
from vla_policy.families.training import Labelled, LossOptions
from vla_policy.formats import describe
from vla_policy.formats.native.folder import save
from vla_policy.geometry.pose_steps import driven
from vla_policy.models import config, pointing
from vla_policy.models.engine import compile_engine
from vla_policy.models.vla import VLA
from vla_policy.policy import Policy, load_policy
from vla_policy.train.tiny.answers import AnswerSource, arms_of, chunks_of, open_answers
from vla_policy.types import Observation

SENTENCE = "pick up the red cube"
POSE = (0.3, 0.02, 0.2, 0.0, 1.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def model() -> VLA:
    torch.manual_seed(0)
    return VLA(config.tiny_cross(TOKENS.get_vocab_size())).eval()


def save_for(folder: Path, model: VLA, names: tuple[str, ...]) -> Path:
    robots = [robot(name) for name in names]
    save(folder, *(Checkpoint(model, r.contract, r.statistics, TOKENS) for r in robots))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model: VLA) -> Path:
    return save_for(tmp_path_factory.mktemp("cross") / "all", model, ROBOTS)


@pytest.fixture(scope="module")
def policies(folder: Path) -> dict[str, Policy]:
    return {name: load_policy(str(folder), embodiment=name) for name in ROBOTS}


def observation(name: str, seed: int = 0, **changes: object) -> Observation:
    rng, embodiment = np.random.default_rng(seed), load_embodiment(name)
    arms = len(embodiment.state_names) // 8
    values = {
        "images": {
            camera: rng.integers(0, 255, (96, 96, 3), dtype=np.uint8)
            for camera in embodiment.camera_names
        },
        "state": np.concatenate([[*POSE, 0.5]] * arms),
        "state_names": embodiment.state_names,
        "instruction": SENTENCE,
        "obs_ns": 123,
    }
    return Observation(**(values | changes))


@pytest.mark.parametrize("name", ROBOTS)
def test_every_robot_gets_its_own_columns(policies: dict[str, Policy], name: str) -> None:
    policy, embodiment = policies[name], load_embodiment(name)
    assert (policy.head, policy.check(embodiment)) == ("flow", ())
    chunk = policy.infer(observation(name), seed=1)
    assert chunk.names == embodiment.action_names
    assert chunk.actions.shape == (10, len(embodiment.action_names))
    column = dict(zip(chunk.names, chunk.actions.T, strict=True))
    for gripper in (n for n in column if n.endswith("gripper")):
        assert (column[gripper] >= 0).all() and (column[gripper] <= 1).all()
    for x in (n for n in column if n.endswith("ee.x")):
        arm = x.removesuffix("ee.x")
        turned = np.stack([column[f"{arm}ee.q{axis}"] for axis in "xyzw"])
        np.testing.assert_allclose(np.linalg.norm(turned, axis=0), 1.0, atol=1e-9)
    absent = [i for i, n in enumerate(COLUMNS) if n not in policy.contract.model_action_names]
    assert (chunk.model_actions[:, absent] == 0).all()


def test_the_base_has_speeds_and_is_not_added_up(policies: dict[str, Policy]) -> None:
    policy = policies["vx300s_mobile"]
    said = np.zeros((10, 17))
    said[:, COLUMNS.index("base.vx")] = 0.5
    said[:, COLUMNS.index("base.wz")] = -1.0
    rows = policy.family.restore(policy.checkpoint, said, observation("vx300s_mobile")).actions
    limits = load_embodiment("vx300s_mobile").limits.groups["base"]
    names = policy.contract.action_names
    np.testing.assert_allclose(rows[:, names.index("base.vx")], 0.5 * limits.linear_speed_m_s)
    np.testing.assert_allclose(rows[:, names.index("base.wz")], -limits.angular_speed_rad_s)


@pytest.mark.parametrize("name", ROBOTS)
def test_a_chunk_is_expressed_as_it_was_said(policies: dict[str, Policy], name: str) -> None:
    policy, seen = policies[name], observation(name)
    chunk = policy.infer(seen, seed=1)
    said = policy.family.express(policy.checkpoint, chunk, seen)
    expected = [i for i, n in enumerate(COLUMNS) if n in policy.contract.model_action_names[1:]]
    assert np.flatnonzero(said.known).tolist() == expected
    moving = [i for i in expected if not COLUMNS[i].endswith("gripper")]  # those were clipped
    np.testing.assert_allclose(
        said.model_actions[:, moving], chunk.model_actions[:, moving], atol=1e-6
    )
    assert (said.model_actions[:, ~said.known][:, 1:] == 0).all()


@pytest.mark.parametrize("name", ROBOTS)
def test_a_chunk_is_continued(policies: dict[str, Policy], name: str) -> None:
    policy, seen = policies[name], observation(name)
    first = policy.infer(seen, seed=1)
    second = policy.infer(seen, first, seed=2, frozen_rows=3, guidance_rows=6)
    np.testing.assert_array_equal(second.actions[:3], first.actions[:3])
    absent = [i for i, n in enumerate(COLUMNS) if n not in policy.contract.model_action_names]
    assert (second.model_actions[:, absent] == 0).all()


@pytest.mark.parametrize("name", ROBOTS)
@pytest.mark.slow
def test_what_a_robot_has_not_changes_nothing(
    tmp_path: Path, folder: Path, model: VLA, name: str
) -> None:
    """Weights that only other robots' columns use may be anything."""
    before = load_policy(str(folder), embodiment=name, engine="off").infer(
        observation(name), seed=1
    )
    own = robot(name)
    absent = [i for i, n in enumerate(COLUMNS) if n not in own.contract.model_action_names]
    other = VLA(model.config).eval()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        other.flow.action_in_proj.weight[:, absent] += 7.0
        other.flow.action_out_proj.weight[absent] += 7.0
        other.flow.action_out_proj.bias[absent] += 7.0
        other.state_proj.weight[:, [16 + i for i in absent]] += 7.0
        if len(own.body.arms) == 1:
            other.state_proj.weight[:, 8:16] += 7.0
            other.arm_slots[1] += 7.0
    changed = save_for(tmp_path / name, other, ROBOTS)
    after = load_policy(str(changed), embodiment=name, engine="off").infer(
        observation(name), seed=1
    )
    np.testing.assert_array_equal(after.actions, before.actions)
    np.testing.assert_array_equal(after.model_actions, before.model_actions)
    present = [i for i in range(17) if i not in absent]
    with torch.no_grad():
        other.state_proj.weight[:, [16 + i for i in present]] += 1.0
    changed = save_for(tmp_path / "more", other, ROBOTS)
    more = load_policy(str(changed), embodiment=name, engine="off").infer(
        observation(name), seed=1
    )
    assert not np.array_equal(more.model_actions, before.model_actions)


def test_tokens_of_an_absent_arm_change_nothing(model: VLA) -> None:
    torch.manual_seed(1)
    seen, state = torch.randn(2, 8, 39), torch.randn(2, 33)
    text = torch.tensor([[5, 6, 7], [5, 6, 0]])
    noisy, time = torch.randn(2, 10, 17), torch.full((2,), 0.4)
    valid = torch.tensor([[1] * 4 + [0] * 4] * 2, dtype=torch.bool)
    other = torch.cat((seen[:, :4], torch.randn(2, 4, 39)), 1)
    with torch.inference_mode():
        alone = model.flow(model.prefix(seen[:, :4], text, state), state, noisy, time)
        for tokens in (seen, other):
            prefix = model.prefix(tokens, text, state, valid)
            torch.testing.assert_close(
                model.flow(prefix, state, noisy, time), alone, atol=1e-5, rtol=0
            )
        both = model.flow(model.prefix(other, text, state), state, noisy, time)
    assert not torch.allclose(both, alone, atol=1e-4)


def test_the_engine_says_what_the_network_says(
    model: VLA, folder: Path, policies: dict[str, Policy]
) -> None:
    torch.manual_seed(2)
    engine = compile_engine(model, precision="float32")
    seen, state = torch.randn(2, 8, 39), torch.randn(2, 33)
    text = torch.tensor([[5, 6, 7], [5, 6, 0]])
    noisy, time = torch.randn(2, 10, 17), torch.full((2,), 0.4)
    valid = torch.tensor([[1] * 8, [1] * 4 + [0] * 4], dtype=torch.bool)
    with torch.inference_mode():
        plain, fast = (
            m.flow(m.prefix(seen, text, state, valid), state, noisy, time) for m in (model, engine)
        )
    torch.testing.assert_close(fast, plain, atol=1e-5, rtol=0)
    for name in ROBOTS:
        off = load_policy(str(folder), embodiment=name, engine="off")
        fast, plain = (p.infer(observation(name), seed=1) for p in (policies[name], off))
        np.testing.assert_allclose(fast.actions, plain.actions, atol=1e-5)


@pytest.mark.slow
def test_the_order_of_robots_in_the_file_changes_nothing(
    tmp_path: Path, policies: dict[str, Policy], model: VLA
) -> None:
    turned = save_for(tmp_path / "turned", model, ROBOTS[::-1])
    for name in ROBOTS:
        other = load_policy(str(turned), embodiment=name)
        first, second = (p.infer(observation(name), seed=1) for p in (policies[name], other))
        np.testing.assert_array_equal(first.actions, second.actions)


def test_each_robot_has_its_own_statistics(policies: dict[str, Policy]) -> None:
    pair = policies["vx300s_pair"].checkpoint.statistics.state
    single = policies["vx300s"].checkpoint.statistics.state
    y, left = single.names.index("ee.y"), pair.names.index("left.ee.y")
    assert pair.lower[left] != single.lower[y]
    for name in ROBOTS:
        again = policies[name].checkpoint.statistics
        np.testing.assert_array_equal(again.state.upper, robot(name).statistics.state.upper)
        np.testing.assert_array_equal(again.actions.lower, robot(name).statistics.actions.lower)


def test_a_robot_is_asked_for_by_name(tmp_path: Path, folder: Path, model: VLA) -> None:
    known = "vx300s, vx300s_pair, vx300s_mobile"
    with pytest.raises(ValueError, match=f"trained for several robots; say which .*: {known}"):
        load_policy(str(folder))
    with pytest.raises(ValueError, match=f"trained for {known}, not for 'ur5e_2f85'"):
        load_policy(str(folder), embodiment="ur5e_2f85")
    with pytest.raises(ValueError, match="no token head"):
        load_policy(str(folder), embodiment="vx300s", head="token")
    with pytest.raises(ValueError, match="no token head and answers no questions"):
        load_policy(str(folder), embodiment="vx300s").ask(observation("vx300s"), "name")
    alone = save_for(tmp_path / "alone", model, ("vx300s_pair",))
    policy = load_policy(str(alone))
    assert policy.check(load_embodiment("vx300s_pair")) == ()
    assert any("not for 'vx300s'" in p for p in policy.check(load_embodiment("vx300s")))
    with pytest.raises(ValueError, match="each robot has one contract"):
        save_for(tmp_path / "twice", model, ("vx300s", "vx300s"))


def test_a_file_that_does_not_hang_together_is_refused(tmp_path: Path, model: VLA) -> None:
    def broken(name: str, file: str, change) -> Path:
        path = save_for(tmp_path / name, model, ROBOTS)
        data = json.loads((path / file).read_text())
        change(data)
        (path / file).write_text(json.dumps(data))
        return path

    cases = (
        ("statistics.json", lambda d: d.pop("vx300s_pair"), "statistics of vx300s, vx300s_mobile"),
        (
            "config.json",
            lambda d: d["contracts"]["vx300s"].pop("policy_hz"),
            "missing .'policy_hz'",
        ),
        (
            "config.json",
            lambda d: d["contracts"]["vx300s"].update(embodiments=["ur5e_2f85"]),
            "contracts.vx300s is for ur5e_2f85",
        ),
        (
            "config.json",
            lambda d: d.update(contract=d["contracts"]["vx300s"]),
            "got contract and contracts",
        ),
        (
            "statistics.json",
            lambda d: d.update(vx300s=d["vx300s_mobile"]),
            "actions are of .*base.vx",
        ),
    )
    for i, (file, change, message) in enumerate(cases):
        with pytest.raises(ValueError, match=message):
            load_policy(str(broken(f"broken{i}", file, change)), embodiment="vx300s")


def test_a_body_is_whole_arms() -> None:
    embodiment = load_embodiment("vx300s_pair")
    states, actions = embodiment.state_names, embodiment.action_names
    assert body_of(states, actions) == RobotColumns(("left.", "right."), ())
    with pytest.raises(ValueError, match=r"state: got left\.ee\.x"):
        body_of(states[:-1], actions)
    with pytest.raises(ValueError, match="actions: got"):
        body_of(states, actions[:-1])
    contract = robot("vx300s_pair").contract
    with pytest.raises(ValueError, match=r"8 action columns.*none for second\.gripper"):
        robot_columns(contract, 8)
    with pytest.raises(ValueError, match="one in front and one at each of 2 wrists"):
        robot_columns(replace(contract, camera_names=("front", "left_wrist")), 17)
    with pytest.raises(ValueError, match="model actions"):
        robot_columns(replace(contract, model_action_names=contract.model_action_names[:-1]), 17)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for name in ROBOTS:
        make_frames(root / name / "scenes" / "shard_0", name, 9)
        make_frames(root / name / "scenes_val" / "shard_0", name, 8)
        make_frames(root / name / "episodes" / "shard_0", name, FRAMES, episodes=True)
    return root


@pytest.mark.parametrize("name", ROBOTS)
def test_columns_that_a_robot_has_not_have_no_part_in_the_loss(
    data: Path, tmp_path: Path, model: VLA, name: str
) -> None:
    checkpoint = robot(name).checkpoint(model)
    source = AnswerSource(
        name, open_answers(checkpoint, data / name / "episodes", tmp_path), np.arange(6)
    )
    kept = [source.sample(i, np.random.default_rng(i)) for i in range(6)]
    assert np.flatnonzero(kept[0].arrays["columns"]).tolist() == robot(name).body.columns

    def loss_of(**changes: Callable[[Labelled], np.ndarray]) -> torch.Tensor:
        lesson = lessons.TRAINING.lessons["answers"]
        examples = []
        for one in kept:
            changed = {k: change(one).astype(np.float32) for k, change in changes.items()}
            examples.append(
                lesson.example(checkpoint, ("flow",), replace(one, arrays=one.arrays | changed))
            )
        batch = lesson.collate(examples) | {"seed": torch.arange(6)}
        with torch.no_grad():
            return lesson.loss(checkpoint, batch, LossOptions(draws=2), torch.Generator()).total

    def elsewhere(key: str, there: str) -> Callable[[Labelled], np.ndarray]:
        def change(one: Labelled) -> np.ndarray:
            own, value = one.arrays[there], one.arrays[key]
            own = own if key == "actions" else own[:, None]
            return np.where(own, value, 3.0)

        return change

    base = loss_of()
    absent = loss_of(
        actions=elsewhere("actions", "columns"),
        found=elsewhere("found", "arms"),
        tool=elsewhere("tool", "arms"),
    )
    torch.testing.assert_close(absent, base)
    assert not torch.allclose(loss_of(actions=lambda one: one.arrays["actions"] + 1.0), base)


def test_chunks_hold_what_each_arm_and_the_base_did(data: Path) -> None:
    frames = load_frames(data / "vx300s_pair" / "episodes")
    arms = arms_of(frames)
    chunks = chunks_of(frames, arms, 10)
    action = frames.arrays["action"]
    assert chunks.shape == (FRAMES, 10, 15)
    for arm, first in ((0, 1), (1, 8)):
        np.testing.assert_allclose(
            chunks[:, 0, first : first + 7], action[:, 7 * arm : 7 * arm + 7], atol=1e-6
        )
    np.testing.assert_allclose(chunks[:, 0, 0], action[:, 14], atol=1e-6)
    frames = load_frames(data / "vx300s_mobile" / "episodes")
    chunks = chunks_of(frames, arms_of(frames), 10)
    np.testing.assert_allclose(chunks[0, :7, 8:], frames.arrays["action"][:7, 8:], atol=1e-6)
    assert (chunks[0, 7:, 8:] == 0).all()
    wide = widened_actions(chunks, robot("vx300s_mobile").body, 17)
    assert (wide[..., 8:15] == 0).all()
    np.testing.assert_array_equal(wide[..., 15:], chunks[..., 8:])


def test_an_arm_of_a_pair_is_like_a_robot_of_its_own(data: Path) -> None:
    frames = load_frames(data / "vx300s_pair" / "episodes")
    right = frames.arm(1)
    assert isinstance(right, Frames)
    np.testing.assert_array_equal(right.arrays["state"], frames.arrays["state"][:, 8:])
    np.testing.assert_array_equal(right.images(np.array([3]))[1][0], frames.shards[0][1][3, 1])
    np.testing.assert_array_equal(right.arrays["wrist_uv"], frames.arrays["wrist_uv"][:, :, 1])
    np.testing.assert_array_equal(right.arrays["action"][:, 7], frames.arrays["action"][:, 14])


def test_it_is_checked_and_shown_for_each_robot(tmp_path: Path, folder: Path) -> None:
    assert check_checkpoint(str(folder)) == ()
    for name in ROBOTS:
        assert check_checkpoint(str(folder), name) == ()
    (found,) = check_checkpoint(str(folder), "ur5e_2f85")
    assert found.level == ERROR and "config.json:" in found.where
    for name in ROBOTS:
        assert name in found.says and "ur5e_2f85" in found.says
    wrong = Path(shutil.copytree(folder, tmp_path / "wrong"))
    data = json.loads((wrong / "config.json").read_text())
    data["contracts"]["vx300s_pair"]["policy_hz"] = 20.0
    (wrong / "config.json").write_text(json.dumps(data, indent=1))
    (found,) = check_checkpoint(str(wrong))
    line = int(found.where.rpartition(":")[2])
    assert "20.0" in (wrong / "config.json").read_text().splitlines()[line - 1]
    shown = "\n".join(describe.describe(folder, folder, None, None))
    models = shipped.describe(folder)
    for name in ROBOTS:
        assert f"for {name} at 10 Hz" in shown and f"  {name}\n" in models
    assert "left.ee.x" in shown and "base.wz" in models and "heads flow\n" in models


def test_a_base_that_drives_sees_places_from_where_it_is() -> None:
    speeds = np.array([[[0.2, 0.0]] * 5 + [[0.0, np.pi / 2]] * 10])
    way = driven(speeds, 0.1)
    assert way.shape == (1, 16, 3)
    np.testing.assert_allclose(way[0, 5], [0.1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(way[0, 15], [0.1, 0, np.pi / 2], atol=1e-12)
    circle = driven(np.full((100, 2), 0.5), 0.1)  # radius 1 m to the left
    np.testing.assert_allclose(circle[-1], [np.sin(5), 1 - np.cos(5), 5], atol=1e-3)
    width = 24
    found = pointing.unpack(torch.zeros(1, 48 + 3 * width), width)
    found = replace(found, xyz=torch.tensor([[[0.3, 0.2, 0.05]] * 3]))
    tool = torch.tensor([[0.25, 0.1, 0.1, 0.5]])
    found = replace(found, wrist_xyz=found.xyz[:, 0] - tool[:, :3])
    other = torch.tensor([[0.2, 0.0, 0.2, 0.5]])
    seen = pointing.seen_from(found, tool, other, torch.from_numpy(way[:, 15]).float())
    expected = torch.tensor(
        [0.2, -0.2, 0.05]
    )  # 0.2 m ahead is 0.2 m to the right after a turn to the left
    torch.testing.assert_close(seen.xyz[0, 0], expected)
    torch.testing.assert_close(seen.wrist_xyz[0], expected - other[0, :3])


@pytest.mark.parametrize("name", ROBOTS)
def test_the_shipped_checkpoint_fits_its_three_robots(name: str) -> None:
    policy = load_policy("tiny_cross", embodiment=name)
    assert policy.check(load_embodiment(name)) == ()
    assert check_checkpoint("tiny_cross", name) == ()
    seen = observation(name)
    first = policy.infer(seen, seed=0)
    step = np.abs(np.diff(first.actions[:, :3], axis=0, prepend=seen.state[None, :3])).max()
    assert step < 0.06  # m in 0.1 s
