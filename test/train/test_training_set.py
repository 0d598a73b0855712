"""A data set as demonstrations: which numbers stand where, what does not teach, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from training_sets import ROBOT, STEP_M, arm_set, contract_for, frame, pose, x_of
from worker_copy import as_a_worker_gets

from vla_policy.data.conversion.shard_sets import set_to_shards
from vla_policy.data.lerobot import reader as lerobot_reader
from vla_policy.data.lerobot.reader import open_set
from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.layout import layout_of
from vla_policy.execution.from_absolute import Anchors, written
from vla_policy.execution.resampling import resampled
from vla_policy.parsing.fields import Place
from vla_policy.train.chunk_rows import ChunkRows
from vla_policy.train.lerobot_source import LeRobotSource
from vla_policy.train.set_numbers import NOT_SAID
from vla_policy.train.set_options import ColumnMapping, SetOptions, read_options
from vla_policy.train.training_set import is_held_out, open_training_set
from vla_policy.types import ActionChunk

CONTRACT = contract_for()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return arm_set(tmp_path_factory.mktemp("plain") / "set")


def opened(root, rows=4, contract=CONTRACT, **options):
    return open_training_set(root, contract, rows=rows, options=SetOptions(**options))


def test_rows_are_the_commands_from_the_frame_on(plain):
    data = opened(plain)
    assert len(data) == 14
    assert data.where(9) == "set, episode 1, frame 1"
    one = data[9]
    assert one.actions[:, 0] == pytest.approx([x_of(1, n) for n in (2, 3, 4, 5)])
    assert one.actions[:, 7].tolist() == [1, 1, 0, 0]
    assert one.observation.state[0] == pytest.approx(x_of(1, 1))
    assert one.observation.instruction == "lift"
    assert one.observation.obs_ns == 10**8
    assert one.valid.all() and not one.done.any() and one.weight == 1.0
    seen = one.observation.images
    assert list(seen) == ["front", "wrist"] and abs(int(seen["front"][40, 60, 0]) - 78) < 6


def test_behind_the_end_the_arm_stands_still_and_only_done_teaches(plain):
    last = opened(plain)[7]
    assert last.valid.tolist() == [True, False, False, False]
    assert last.done.tolist() == [False, True, True, True]
    assert np.ptp(last.actions, axis=0) == pytest.approx(0)


def test_an_episode_that_nobody_judged_ends_and_a_failure_does_not_count(tmp_path):
    root = arm_set(tmp_path / "set", (3, 3, 3), success=(None, True, False))
    assert opened(root).episodes == (0, 1)
    every = opened(root, failures=True)
    assert [bool(every[i].done.any()) for i in (2, 5, 8)] == [True, True, False]


def test_invalid_frames_and_their_rows_do_not_teach(tmp_path):
    root = arm_set(tmp_path / "set", (6,), changed={(0, 3): {"valid": False}})
    data = opened(root)
    assert [data.where(i)[-1] for i in range(len(data))] == list("01245")
    assert data[1].valid.tolist() == [True, True, False, True]


def test_corrections_count_more_and_nobody_does_not_teach(tmp_path):
    changed = {
        (0, 0): {"control_source": ""},
        (0, 1): {"control_source": "policy"},
        (0, 3): {"intervention": True},
        (0, 4): {"intervention": True},
    }
    root = arm_set(tmp_path / "set", (6,), changed=changed)
    assert opened(root).weights.tolist() == [1, 1, 2, 2, 1]
    strict = opened(root, weights={"policy": 0.0}, correction_weight=5.0)
    assert strict.weights.tolist() == [1, 5, 5, 1]
    assert opened(root, weights={"policy": 0.5})[0].weight == 0.5


def waiting(number, begins):
    """A frame of an arm that stands until frame begins; encoders and a person's hand shake a little."""
    shake = 0.0008 * (-1) ** number
    here, there = max(0, number - begins), max(0, number + 1 - begins)
    return {
        "state": [*pose(x_of(0, here) + shake, 0.1 * here), 1.0],
        "action": [*pose(x_of(0, there) - shake, 0.1 * there), 1.0],
    }


def test_waiting_at_the_start_is_not_learned_and_a_pause_later_is(tmp_path):
    changed = {(0, n): waiting(n, 4) for n in range(8)}
    changed |= {(1, n): waiting(min(n, 3), 0) for n in range(6)}  # stands at its end
    root = arm_set(tmp_path / "set", (8, 6), changed=changed)
    data = opened(root)
    assert [data.where(i)[-1] for i in range(len(data))] == [*"34567", *"012345"]
    # Its rows are those of the episode: the command of frame 4 moves on.
    assert data[0].actions[:, 0] == pytest.approx([x_of(0, n) for n in (0, 1, 2, 3)], abs=1e-3)
    every = opened(root, trim_still=False)
    assert [every.where(i)[-1] for i in range(len(every))] == [*"01234567", *"012345"]


def test_an_episode_in_which_nothing_moves_is_left_as_it_is(tmp_path):
    changed = {(0, n): waiting(n, 9) for n in range(6)}
    assert len(opened(arm_set(tmp_path / "set", (6,), changed=changed))) == 6


def test_of_a_gripper_that_closes_first_nothing_is_cut_off(tmp_path):
    closed = {"action": [*pose(x_of(0, 0)), 0.0], "state": [*pose(x_of(0, 0)), 1.0]}
    changed = {(0, n): waiting(n, 5) for n in range(8)} | {(0, 3): closed}
    data = opened(arm_set(tmp_path / "set", (8,), changed=changed))
    assert data.where(0).endswith("frame 2")


def asked(number, **changed):
    """A frame that was asked for 5 mm more than what the guard let out."""
    action = frame(0, number).action
    return {"proposed": [action[0] + 0.005, *action[1:]]} | changed


def test_what_was_sent_is_learned_unless_the_run_file_wants_what_was_asked_for(tmp_path):
    root = arm_set(tmp_path / "set", (6,), changed={(0, n): asked(n) for n in range(6)})
    sent = [x_of(0, n) for n in (2, 3, 4, 5)]
    assert opened(root)[1].actions[:, 0] == pytest.approx(sent)
    data = opened(root, learn="proposed")
    assert data[1].actions[:, 0] == pytest.approx(np.array(sent) + 0.005)
    assert as_a_worker_gets(data)[1].actions[0, 0] == pytest.approx(sent[0] + 0.005)


def test_what_the_robot_did_not_follow_is_not_learned(tmp_path):
    """Nothing proposed, nothing for the arm, or a guard that held: there what was sent is learned."""
    nan = float("nan")
    far = frame(0, 0).action
    changed = {
        (0, 0): asked(0, proposed=[nan] * 8),
        (0, 1): asked(1, proposed=[*[nan] * 7, 0.25]),
        (0, 2): asked(2, guard_level=2),
        (0, 3): asked(3, guard_level=1),
        (0, 4): asked(4, proposed=[0.9, *far[1:3], *(-far[3:7] * 1.002), 1.5]),
    }
    root = arm_set(tmp_path / "set", (6,), changed=changed)
    rows = opened(root, rows=5, learn="proposed")[0].actions
    sent = [x_of(0, n + 1) for n in range(5)]
    assert rows[:, 0] == pytest.approx([*sent[:3], sent[3] + 0.005, 0.9], abs=1e-6)
    # Of a gripper always: what was asked for does not show when in the frame it began to close.
    assert rows[:, 7] == pytest.approx([1.0, 1.0, 1.0, 0.0, 0.0])
    assert rows[4, 3:7] == pytest.approx(far[3:7], abs=1e-6)  # the same rotation, as it is written


def test_a_grip_can_be_learned_from_where_its_frame_begins(tmp_path):
    """The hand closes by the end of frame 3; each episode begins with its own command."""
    changed = {(1, n): {"action": [*frame(1, n).action[:7], 0.25]} for n in range(2)}
    root = arm_set(tmp_path / "set", (8, 6), changed=changed)
    rows = opened(root, rows=5)[0].actions
    assert rows[:, 7].tolist() == [1, 1, 1, 0, 0]
    later = opened(root, rows=5, grips="start")
    assert later[0].actions[:, 7].tolist() == [1, 1, 1, 1, 0]
    assert later[0].actions[:, :7] == pytest.approx(rows[:, :7])
    assert later[8].actions[:, 7].tolist() == [0.25, 0.25, 0.25, 1, 0]
    again = as_a_worker_gets(later)
    assert again[0].actions[:, 7].tolist() == [1, 1, 1, 1, 0]


def test_steps_are_to_what_was_asked_for_from_what_was_sent():
    """As when the policy runs: a step is added to the last command that went out."""
    robot = load_embodiment("panda_cartesian")
    arm, *others = robot.actions
    robot = replace(robot, actions=(replace(arm, reference="commanded"), *others))
    sent = np.array([frame(0, n).action for n in range(4)], np.float64)
    proposed = sent + np.array([0.005, *[0.0] * 7])
    rows = ChunkRows(
        action=proposed,
        sent=sent,
        state=sent,
        state_names=layout_of(robot).names,
        teaches=np.ones(4, bool),
        robot=robot,
        rows=2,
        steps_per_row=1.0,
        written=False,
    )
    taken = rows.of(1, 0, 4)[0]
    assert taken[:, 0] == pytest.approx([STEP_M + 0.005, STEP_M], abs=1e-6)


@pytest.mark.parametrize("hz", [5.0, 20.0, 7.0])
def test_another_rate_is_resampled_as_execution_resamples(tmp_path, hz):
    rng = np.random.default_rng(0)
    turns, xs = np.cumsum(rng.uniform(0, 0.5, 12)), 0.2 + np.cumsum(rng.uniform(0, 0.02, 12))
    changed = {(0, n): {"action": [*pose(xs[n], turns[n]), float(n % 3 > 0)]} for n in range(12)}
    root = arm_set(tmp_path / "set", (12,), changed=changed)
    robot = replace(ROBOT, rates=replace(ROBOT.rates, policy_hz=hz))
    data = opened(root, rows=3, contract=contract_for(robot))
    one = next(d for d in data if d.observation.obs_ns == 2 * 10**8)
    commands = np.array([changed[0, n]["action"] for n in range(12)], np.float32)
    whole = ActionChunk(commands, layout_of(ROBOT).names, 0, 10**8, 0, "")
    # A row of a chunk is reached one step after it is due; so is a frame's command, one frame after it.
    step_ns = round(1e9 / hz)
    fine = replace(whole, step_ns=10**8)
    for j, row in enumerate(one.actions):
        due_ns = round(2e8) + (j + 1) * step_ns - 10**8
        expected = resampled(fine, 0, due_ns, layout_of(ROBOT))[0]
        assert row == pytest.approx(expected, abs=1e-6), j
    assert one.valid.all()


def test_a_slower_set_has_no_row_before_its_first_command(tmp_path):
    robot = replace(ROBOT, rates=replace(ROBOT.rates, policy_hz=20.0))
    data = opened(arm_set(tmp_path / "set", (4,)), contract=contract_for(robot))
    assert data.where(0) == "set, episode 0, frame 1"
    assert data[0].actions[:, 0] == pytest.approx(x_of(0, 1) + 0.005 * np.arange(1, 5), abs=1e-3)


def test_a_robot_that_takes_steps_is_taught_steps(tmp_path):
    robot = load_embodiment("panda_cartesian")
    root = arm_set(tmp_path / "set", (6,))
    info = root / "meta/info.json"
    info.write_text(info.read_text().replace('"vx300s"', '"panda_cartesian"'))
    cameras = dict(zip(robot.camera_names, ROBOT.camera_names, strict=False))
    contract = contract_for(robot)
    data = opened(root, contract=contract, cameras=cameras)
    state = dict(zip(contract.state_names, data[2].observation.state, strict=True))
    measured = np.array([state.get(n, np.nan) for n in layout_of(robot).names])
    rows = np.array([frame(0, n).action for n in (2, 3, 4, 5)], np.float64)
    assert data[2].actions == pytest.approx(
        written(rows, robot, Anchors(measured, rows[0])), abs=1e-6
    )
    assert data[2].actions[:, 0] == pytest.approx([0.01] * 4, abs=1e-6)
    assert data[5].actions[1:, :6] == pytest.approx(0)  # behind the end no step


def test_several_ways_to_say_it_are_chosen_by_the_sample(plain):
    data = opened(plain, phrasings={"push": ("shove", "press")})
    assert data.sample(0).observation.instruction == "push"
    said = {data.sample(0, np.random.default_rng(s)).observation.instruction for s in range(40)}
    assert said == {"push", "shove", "press"}
    assert data.sample(9, np.random.default_rng(0)).observation.instruction == "lift"


def test_shards_give_what_their_set_gives(tmp_path, plain):
    set_to_shards(plain, tmp_path / "shards")
    there, here = opened(tmp_path / "shards"), opened(plain)
    assert len(there) == len(here)
    for i in (0, 5, 13):
        assert there[i].actions == pytest.approx(here[i].actions, abs=1e-3)
        assert there[i].observation.state == pytest.approx(here[i].observation.state)
        assert there[i].observation.instruction == here[i].observation.instruction
        assert set(there[i].observation.images) == {"front", "wrist"}
    assert there[0].actions[:, :3] == pytest.approx(here[0].actions[:, :3], abs=1e-6)
    assert there[7].done.tolist() == [True] * 4  # the last frame of an episode says so itself
    again = as_a_worker_gets(there)
    assert np.array_equal(
        again[3].observation.images["wrist"], there[3].observation.images["wrist"]
    )


@pytest.mark.parametrize("name", ["v21", "v30", "v30_images"])
def test_numbers_of_sets_that_lerobot_wrote_are_those_of_its_frames(name):
    """One file an episode in v2.1, all episodes in one in v3.0; no word of who moved the robot."""
    data = open_set(Path(__file__).parents[1] / "golden" / "lerobot_sets" / name)
    source = LeRobotSource(data)
    numbers = source.numbers
    assert (source.own, source.robot_name, source.fps) == (False, "paper_arm", 10.0)
    assert numbers.length.tolist() == [e.length for e in data.entries]
    for index in range(len(data)):
        episode, number = data.locate(index)
        frame = data.frame(index)
        place = int(numbers.first[episode]) + number
        assert np.array_equal(numbers.state[place], frame.state)
        assert np.array_equal(numbers.action[place], frame.action)
        assert source.sentences(episode, number)[0] == frame.task
    assert numbers.valid.all() and (numbers.source == NOT_SAID).all()
    assert source.success(0) is None and source.identity(2) == "episode 2"


def test_it_goes_to_other_processes_without_what_is_open(plain):
    data = opened(plain)
    before = data[3]
    again = as_a_worker_gets(data)
    assert np.array_equal(again[3].actions, before.actions)
    assert np.array_equal(again[3].observation.images["front"], before.observation.images["front"])


def test_a_demonstration_reads_no_file_but_its_videos(plain, monkeypatch):
    """A random frame must not cost the reading of its episode's numbers."""
    data = opened(plain)
    data.source.data._held.clear()  # what a large set does not keep

    def refused(*_, **__):
        raise AssertionError("read again")

    monkeypatch.setattr(lerobot_reader, "read_table", refused)
    monkeypatch.setattr(lerobot_reader, "read_json", refused)
    assert [data[i].done.any() for i in (0, 7, 9)] == [False, True, False]


def test_held_out_episodes_stay_apart_whatever_comes_and_goes(tmp_path):
    root = arm_set(tmp_path / "set", (2,) * 8)
    sides = [opened(root, held_out=0.4, part=p).episodes for p in ("train", "held_out")]
    assert sorted([*sides[0], *sides[1]]) == list(range(8)) and sides[1]
    fewer = opened(root, held_out=0.4, part="held_out", episodes=tuple(range(3, 8)))
    assert fewer.episodes == tuple(e for e in sides[1] if e >= 3)
    share = np.mean([is_held_out(f"start {i}", 0.1) for i in range(4000)])
    assert 0.08 < share < 0.12
    assert all(
        is_held_out(f"start {i}", 0.3) for i in range(4000) if is_held_out(f"start {i}", 0.1)
    )


def rewrite(root, name, frame_number, value, episode=0):
    """One number of a set, spoiled."""
    path = sorted(root.glob("data/*/*.parquet"))[episode]
    table = pq.read_table(path)
    rows = table[name].to_pylist()
    rows[frame_number] = value(rows[frame_number])
    column = table.schema.get_field_index(name)
    pq.write_table(
        table.set_column(
            column, table.schema.field(name), pa.array(rows, table.schema.field(name).type)
        ),
        path,
    )


def at(column, value):
    return lambda row: [value if i == column else v for i, v in enumerate(row)]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("observation.state", at(1, np.nan), r"set, episode 1, frame 2: state ee.y: got nan, expected a finite number"),
        ("action", at(2, np.inf), r"set, episode 1, frame 2: action ee.z: got inf, expected a finite"),
        ("action", at(7, 57.0), r"set, episode 1, frame 2: action gripper: got 57, expected 0 to 1 of its opening"),
        ("observation.state", at(7, -0.5), r"frame 2: state gripper: got -0.5, expected 0 to 1"),
        ("action", at(6, 9.0), r"episode 1, frame 2: action \w+: got a quaternion of length 9"),
        ("timestamp", lambda _: 0.35, r"episode 1, frame 2: got the time 0.3500 s, expected 0.2000 s at 10 frames"),
    ],
)  # fmt: skip
def test_bad_numbers_are_refused_with_episode_and_frame(tmp_path, name, value, says):
    root = arm_set(tmp_path / "set", (4, 4))
    rewrite(root, name, 2, value, episode=1)
    with pytest.raises(ValueError, match=says):
        opened(root)
    assert opened(root, episodes=(0,)).episodes == (0,)


def test_what_differs_from_the_policy_is_refused_by_name(plain, tmp_path):
    for changed, says in (
        ({"camera_names": ("front", "top")}, "camera 'top': got no images of 'top', the set has front, wrist"),
        ({"embodiments": ("ur5e",)}, "is of robot 'vx300s', the policy is for ur5e"),
        ({"state_names": ("ee.x", "ee.roll")}, "state 'ee.roll': got no column 'ee.roll'"),
        ({"action_names": ("ee.x",)}, "the policy's actions are ee.x, those of robot 'vx300s' ee.x, ee.y"),
        ({"spaces": (("arm", "ee_twist"),)}, "the policy's spaces are arm ee_twist, those of robot"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=says):
            opened(plain, contract=replace(CONTRACT, **changed))
    with pytest.raises(ValueError, match=r"episodes: got 9, expected 0 to 1"):
        opened(plain, episodes=(0, 9))
    with pytest.raises(ValueError, match="got 'aloha', the set was recorded of 'vx300s'"):
        opened(plain, robot="aloha")
    with pytest.raises(ValueError, match="spaces: got arm ee_delta, expected none"):
        opened(plain, spaces={"arm": "ee_delta"})
    with pytest.raises(FileNotFoundError):
        opened(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("then", "says"),
    [
        ("base_frame: world\n", "base_frame: was 'world' when it was recorded, robot 'vx300s' has 'base_link'"),
        ("joints: {unit: m}\n", "joints.unit: was 'm' when it was recorded, robot 'vx300s' has 'rad'"),
        ("actions: [{group: hand, open: 0.0}]\n", "actions.hand.open: was 0.0 when it was recorded"),
        ("limits: [\n", "the robot file that it brings cannot be read"),
    ],
)  # fmt: skip
def test_units_and_frames_that_changed_since_are_refused(plain, tmp_path, then, says):
    root = tmp_path / "set"
    shutil.copytree(plain, root)
    own = root / "meta/vla_policy/set.json"
    own.write_text(json.dumps(json.loads(own.read_text()) | {"robot_yaml": then}))
    with pytest.raises(ValueError, match=says):
        opened(root)
    own.write_text(
        json.dumps(json.loads(own.read_text()) | {"robot_yaml": "rates: {policy_hz: 3}\n"})
    )
    assert len(opened(root)) == 14


def foreign(tmp_path):
    """A set as another project writes one: degrees, other names, no word of who moved the robot."""
    robot = load_embodiment("so101")
    root = arm_set(tmp_path / "theirs", (5,))
    for path in (root / "meta/vla_policy").rglob("*"):
        if path.is_file():
            path.unlink()
    info = json.loads((root / "meta/info.json").read_text())
    info["robot_type"] = "so100_follower"
    names = [f"{n}.pos" for n in ("pan", "lift", "elbow", "flex", "roll", "grip", "e0", "e1")]
    for key in ("observation.state", "action"):
        info["features"][key]["names"] = names
    (root / "meta/info.json").write_text(json.dumps(info))
    return root, robot, names


def test_a_set_of_another_project_is_read_by_what_the_run_file_says(tmp_path):
    root, robot, names = foreign(tmp_path)
    contract = contract_for(robot, policy_hz=10.0)
    columns = {
        n: ColumnMapping(theirs, 0.1, 0.01)
        for n, theirs in zip(robot.action_names, names, strict=False)
    }
    spaces = {g.name: g.space for g in robot.actions}
    given = {
        "robot": "so101",
        "cameras": dict(zip(robot.camera_names, ("front", "wrist"), strict=False)),
        "state": {n: columns[n] for n in robot.state_names},
        "action": columns,
        "spaces": spaces,
    }
    data = opened(root, contract=contract, **given)
    raw = np.array([frame(0, n).action for n in range(5)])
    assert data[1].actions[0] == pytest.approx(raw[1][:6] * 0.1 + 0.01, abs=1e-6)
    assert data.weights.tolist() == [1] * 5
    for missing, says in (
        ("robot", "its robot is 'so100_follower', expected one of .*say which it is"),
        (
            "state",
            r"state '.*': got no column .*the set has pan.pos, lift.pos.*say which one it is",
        ),
        ("spaces", "spaces: got none, expected .*was not recorded by this package"),
    ):
        with pytest.raises(ValueError, match=says):
            opened(root, contract=contract, **{k: v for k, v in given.items() if k != missing})


def test_options_of_a_run_file_are_read_strictly():
    place = Place("run.yaml", "data[0]")
    options = read_options(
        {"robot": "so101", "action": {"joint.a": {"name": "a.pos", "scale": 0.1}}, "held_out": 0.1,
         "part": "train", "episodes": [3, 1], "weights": {"policy": 0}, "phrasings": {"push": ["shove"]}},
        place,
    )  # fmt: skip
    assert options.action["joint.a"] == ColumnMapping("a.pos", 0.1)
    assert options.episodes == (1, 3) and options.phrasings == {"push": ("shove",)}
    for given, says in (
        ({"robt": "x"}, r"data\[0\].robt: got an unknown key.*did you mean 'robot'"),
        ({"held_out": 2}, r"data\[0\].held_out: got 2, expected a number from 0 to 0.99"),
        ({"part": "train"}, r"part: got 'train' with held_out 0"),
        ({"weights": {"nobody": 1}}, r"weights: got 'nobody'"),
        ({"action": {"joint.a": {"name": "a", "scale": 0}}}, r"action.joint.a.scale: got 0.0, expected a number other"),
        ({"episodes": [-1]}, r"episodes: got -1, expected the number of an episode"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=says):
            read_options(given, place)
