"""One checkpoint for several robots: by name, with nothing of one robot in the answers for another."""

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vla_policy.check.checkpoint import check_checkpoint
from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.commands import models as shipped
from vla_policy.commands import train as train_command
from vla_policy.data.frames import Frames
from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.findings import ERROR
from vla_policy.families.tiny.columns import (
    COLUMNS,
    RobotColumns,
    body_of,
    robot_columns,
    widened_actions,
)
from vla_policy.formats import describe
from vla_policy.formats.native.folder import save
from vla_policy.geometry.pose_steps import driven
from vla_policy.models import config, pointing, tokenizer
from vla_policy.models.engine import compile_engine
from vla_policy.models.vla import VLA
from vla_policy.policy import load_policy
from vla_policy.sim.scenes.scene import COLOURS, SHAPES
from vla_policy.train.tiny import multi_robot, multi_robot_heads
from vla_policy.types import Observation

ROBOTS = ("vx300s", "vx300s_pair", "vx300s_mobile")
WORDS = "pick up the red green blue cube ball cylinder put in tray".split()
TOKENS = tokenizer.build([*WORDS, *COLOURS, *SHAPES])
SENTENCE = "pick up the red cube"
POSE = (0.3, 0.02, 0.2, 0.0, 1.0, 0.0, 0.0)


def robot(name: str) -> multi_robot.RobotData:
    embodiment = load_embodiment(name)
    contract = multi_robot.contract_of(embodiment)
    body = robot_columns(contract, len(COLUMNS))
    return multi_robot.RobotData(
        name, body, contract, multi_robot.statistics_of(embodiment, body), Path(name)
    )


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
def test_every_robot_gets_its_own_columns(folder: Path, name: str) -> None:
    policy, embodiment = load_policy(str(folder), embodiment=name), load_embodiment(name)
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


def test_the_base_has_speeds_and_is_not_added_up(folder: Path) -> None:
    policy = load_policy(str(folder), embodiment="vx300s_mobile")
    said = np.zeros((10, 17))
    said[:, COLUMNS.index("base.vx")] = 0.5
    said[:, COLUMNS.index("base.wz")] = -1.0
    rows = policy.family.restore(policy.checkpoint, said, observation("vx300s_mobile")).actions
    limits = load_embodiment("vx300s_mobile").limits.groups["base"]
    names = policy.contract.action_names
    np.testing.assert_allclose(rows[:, names.index("base.vx")], 0.5 * limits.linear_speed_m_s)
    np.testing.assert_allclose(rows[:, names.index("base.wz")], -limits.angular_speed_rad_s)


@pytest.mark.parametrize("name", ROBOTS)
def test_a_chunk_is_expressed_as_it_was_said(folder: Path, name: str) -> None:
    policy, seen = load_policy(str(folder), embodiment=name), observation(name)
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
def test_a_chunk_is_continued(folder: Path, name: str) -> None:
    policy, seen = load_policy(str(folder), embodiment=name), observation(name)
    first = policy.infer(seen, seed=1)
    second = policy.infer(seen, first, seed=2, frozen_rows=3, guidance_rows=6)
    np.testing.assert_array_equal(second.actions[:3], first.actions[:3])
    absent = [i for i, n in enumerate(COLUMNS) if n not in policy.contract.model_action_names]
    assert (second.model_actions[:, absent] == 0).all()


@pytest.mark.parametrize("name", ROBOTS)
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


def test_the_engine_says_what_the_network_says(model: VLA, folder: Path) -> None:
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
        fast, plain = (
            load_policy(str(folder), embodiment=name, engine=e).infer(observation(name), seed=1)
            for e in ("auto", "off")
        )
        np.testing.assert_allclose(fast.actions, plain.actions, atol=1e-5)


def test_the_order_of_robots_in_the_file_changes_nothing(
    tmp_path: Path, folder: Path, model: VLA
) -> None:
    turned = save_for(tmp_path / "turned", model, ROBOTS[::-1])
    for name in ROBOTS:
        first, second = (
            load_policy(str(path), embodiment=name).infer(observation(name), seed=1)
            for path in (folder, turned)
        )
        np.testing.assert_array_equal(first.actions, second.actions)


def test_each_robot_has_its_own_statistics(folder: Path) -> None:
    policies = {name: load_policy(str(folder), embodiment=name) for name in ROBOTS}
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


Q, FRAMES = 4, 30


def make_frames(folder: Path, name: str, count: int, *, episodes: bool = False) -> None:
    rng = np.random.default_rng(count)
    folder.mkdir(parents=True)
    own = robot(name)
    arms, base = len(own.body.arms), len(own.body.base)
    more = (arms,) if arms > 1 else ()
    uv = rng.random((count, Q, 3, 2)).astype(np.float32)
    xyz = rng.uniform([0.2, -0.2, 0], [0.5, 0.2, 0.1], (count, Q, 3)).astype(np.float32)
    sometimes = np.where(rng.random((count, Q, 1)) < 0.5, np.nan, xyz)
    state = np.tile([0.3, 0.0, 0.2, 0, 1, 0, 0, 0.5], (count, arms)).astype(np.float32)
    state += 0.01 * rng.standard_normal(state.shape, dtype=np.float32)
    arrays = {
        "front": rng.integers(0, 255, (count, 96, 96, 3), dtype=np.uint8),
        "wrist": rng.integers(0, 255, (count, *more, 96, 96, 3), dtype=np.uint8),
        "state": state, "target_xyz": xyz, "reference_xyz": sometimes, "destination_xyz": sometimes,
        "target_colour": rng.integers(0, 6, (count, Q)), "target_shape": rng.integers(0, 3, (count, Q)),
        "target_size": rng.uniform(0.015, 0.024, (count, Q)), "front_uv": uv,
        "wrist_uv": rng.random((count, Q, *more, 2)).astype(np.float32), "wrist_visible": rng.random((count, Q, *more)) > 0.5,
    }  # fmt: skip
    if episodes:
        arrays["action"] = rng.uniform(-0.03, 0.03, (count, 7 * arms + 1 + base)).astype(
            np.float32
        )
        arrays["episode"] = np.arange(count) // 7
    for key, values in arrays.items():
        np.save(folder / f"{key}.npy", values)
    (folder / "texts.json").write_text(
        json.dumps([[" ".join(rng.choice(WORDS, 5)) for _ in range(Q)] for _ in range(count)])
    )
    (folder / "meta.json").write_text(json.dumps({"robot": name}))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for name in ROBOTS:
        make_frames(root / name / "scenes" / "shard_0", name, 9)
        make_frames(root / name / "scenes_val" / "shard_0", name, 8)
        make_frames(root / name / "episodes" / "shard_0", name, FRAMES, episodes=True)
    return root


def train(data: Path, out: Path, names: tuple[str, ...], *more: str) -> Path:
    parser = argparse.ArgumentParser()
    train_command.add_arguments(parser)
    sizes = ["--batch", "6", "--images", "3", "--draws", "2", "--threads", "1", "--held-out", "12"]
    folders = [str(data / name) for name in names]
    steps = ["--pointing-steps", "2", "--heads-steps", "2"]
    assert (
        train_command.run(
            parser.parse_args(["--cross", *folders, "--out", str(out), *sizes, *steps, *more])
        )
        == 0
    )
    return out / "checkpoint"


@pytest.mark.slow
def test_train_stop_resume_infer(data: Path, tmp_path: Path) -> None:
    weights = train(data, tmp_path / "run", ROBOTS) / "model.safetensors"
    first = weights.read_bytes()
    train(data, tmp_path / "again", ROBOTS)
    assert (tmp_path / "again" / "checkpoint" / "model.safetensors").read_bytes() == first
    train(data, tmp_path / "run", ROBOTS, "--heads-steps", "3")
    assert weights.read_bytes() != first
    log = [json.loads(x) for x in (tmp_path / "run" / "heads.log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in log] == [2, 3]
    assert {f"{name}.held_out" for name in ROBOTS} < set(log[0])
    for name in ROBOTS:
        policy = load_policy(str(weights.parent), embodiment=name)
        assert np.isfinite(policy.infer(observation(name), seed=0).actions).all()
    with pytest.raises(ValueError, match="a run for vx300s, vx300s_mobile, vx300s_pair"):
        train(data, tmp_path / "run", ROBOTS[:2])
    with pytest.raises(ValueError, match="--embodiment: got one beside --cross"):
        train(data, tmp_path / "other", ROBOTS, "--embodiment", "vx300s")
    with pytest.raises(ValueError, match="has no checkpoint; name one: --init"):
        train(data, tmp_path / "other", ROBOTS, "--stage", "heads")
    with pytest.raises(ValueError, match="each robot once"):
        train(data, tmp_path / "other", (ROBOTS[0], ROBOTS[0]))


@pytest.mark.slow
def test_one_robot_alone_and_from_the_shipped_weights(data: Path, tmp_path: Path, capsys) -> None:
    folder = train(
        data, tmp_path / "one", ("vx300s_pair",), "--init", "tiny", "--stage", "pointing"
    )
    said = capsys.readouterr().out
    assert "new: arm_slots, state_proj.weight beyond (160, 8) of (160, 33)" in said
    policy, shipped = load_policy(str(folder)), load_policy("tiny")
    assert policy.contract.embodiments == ("vx300s_pair",)
    old, new = (p.checkpoint.model.state_dict() for p in (shipped, policy))
    torch.testing.assert_close(new["language.norm.weight"], old["language.norm.weight"])
    torch.testing.assert_close(new["state_proj.weight"][:, :8], old["state_proj.weight"])
    with pytest.raises(ValueError, match=r"this model has no .*extra"):
        multi_robot.begin(policy.checkpoint.model, old | {"extra": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"projector\.bias is \(1, 3\) there"):
        multi_robot.begin(policy.checkpoint.model, old | {"projector.bias": torch.zeros(3)[None]})


@pytest.mark.parametrize("name", ROBOTS)
def test_columns_that_a_robot_has_not_have_no_part_in_the_loss(
    data: Path, tmp_path: Path, model: VLA, name: str
) -> None:
    own = robot(name)
    frames = multi_robot.load_frames(data / name / "episodes")
    checkpoint = Checkpoint(model, own.contract, own.statistics, TOKENS)
    examples = multi_robot_heads.prepare(
        checkpoint, own.body, frames, name, folder=tmp_path, held_out=5
    )
    assert examples.there[0].nonzero()[:, 0].tolist() == own.body.columns
    index = np.arange(6)

    def loss_of(of: multi_robot_heads.RobotExamples) -> torch.Tensor:
        torch.manual_seed(0)
        with torch.no_grad():
            return multi_robot_heads.loss(model, TOKENS, of, index, np.random.default_rng(0), 2)

    base, absent = loss_of(examples), ~examples.there[:, None]
    chunks = torch.where(absent, 5.0, examples.chunks)
    found = torch.where(examples.arms[:, None, :, None], examples.found, 3.0)
    tool = torch.where(examples.arms[..., None], examples.tool, 3.0)
    other = replace(examples, found=found, tool=tool, chunks=chunks)
    torch.testing.assert_close(loss_of(other), base)
    changed = replace(examples, chunks=examples.chunks + 1.0)
    assert not torch.allclose(loss_of(changed), base)


def test_chunks_hold_what_each_arm_and_the_base_did(data: Path) -> None:
    frames = multi_robot.load_frames(data / "vx300s_pair" / "episodes")
    arms = multi_robot_heads.arms_of(frames)
    chunks = multi_robot_heads._chunks(frames, arms, 10)
    action = frames.arrays["action"]
    assert chunks.shape == (FRAMES, 10, 15)
    for arm, first in ((0, 1), (1, 8)):
        np.testing.assert_allclose(
            chunks[:, 0, first : first + 7], action[:, 7 * arm : 7 * arm + 7], atol=1e-6
        )
    np.testing.assert_allclose(chunks[:, 0, 0], action[:, 14], atol=1e-6)
    frames = multi_robot.load_frames(data / "vx300s_mobile" / "episodes")
    chunks = multi_robot_heads._chunks(frames, multi_robot_heads.arms_of(frames), 10)
    np.testing.assert_allclose(chunks[0, :7, 8:], frames.arrays["action"][:7, 8:], atol=1e-6)
    assert (chunks[0, 7:, 8:] == 0).all()
    wide = widened_actions(chunks, robot("vx300s_mobile").body, 17)
    assert (wide[..., 8:15] == 0).all()
    np.testing.assert_array_equal(wide[..., 15:], chunks[..., 8:])


def test_an_arm_of_a_pair_is_like_a_robot_of_its_own(data: Path) -> None:
    frames = multi_robot.load_frames(data / "vx300s_pair" / "episodes")
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
