"""The recorder as a process beside a control node and a robot that the test plays."""

import os
import signal
import time

import pytest

rclpy = pytest.importorskip("rclpy")

from action_msgs.msg import GoalStatus  # noqa: E402
from ros_process import ActionClient  # noqa: E402
from sensor_msgs.msg import Joy  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402
from vla_policy.action import RecordEpisode  # noqa: E402
from vla_policy.msg import RecorderStatus  # noqa: E402
from vla_policy.srv import SaveEpisode  # noqa: E402

from vla_policy.data.bag.reader import open_bag  # noqa: E402
from vla_policy.data.episode_builder import EpisodeBuilder  # noqa: E402
from vla_policy.data.lerobot.reader import open_set  # noqa: E402
from vla_policy.ros.bringup.endpoints import endpoints  # noqa: E402
from vla_policy.ros.bringup.graph import node_specs  # noqa: E402
from vla_policy.ros.messages.convert import duration_from_ns  # noqa: E402
from vla_policy.ros.process import qos  # noqa: E402

TASK = "pick up the red cube"
FAST = {"least_free_gb": 0.0, "task": f"'{TASK}'"}


class Cell:
    """The recorder, the control node and the robot of one test."""

    def __init__(self, robot, start_node, folder):
        self.robot, self.folder, self.start_node = robot, folder, start_node
        self.status = None
        robot.create_subscription(RecorderStatus, "recorder_status", self._on_status, qos.LATCHED)

    def start(self, **parameters):
        return self.start_node("recorder_node", folder=self.folder, **{**FAST, **parameters})

    def _on_status(self, msg):
        with self.robot.heard:
            self.status = msg
            self.robot.heard.notify_all()

    def wait(self, condition, what):
        self.robot.wait(lambda: self.status is not None and condition(self.status), what)
        return self.status

    def engage(self):
        self.robot.wait_status(lambda s: 0 <= s.joint_state_age < 0.1, "fresh joint states")
        for _ in range(30):
            request = SetBool.Request(data=True)
            if self.robot.call(SetBool, "/control/engage", request).success:
                return
            self.robot.wait_ticks(1)
        raise AssertionError("not engaged")

    def ready(self):
        self.engage()
        self.wait(lambda s: s.phase == s.IDLE and not s.missing, "nothing missing")

    def call(self, name):
        return self.robot.call(Trigger, f"/recorder/{name}")

    def save(self, outcome=SaveEpisode.Request.UNKNOWN):
        return self.robot.call(SaveEpisode, "/recorder/save", SaveEpisode.Request(outcome=outcome))

    def move(self, rows=8, sequence=0):
        start = self.robot.pose[0]
        self.robot.send_chunk([start + 0.004 * (k + 1) for k in range(rows)], sequence=sequence)

    def take(self):
        """A take in which the robot moves, until there are frames enough."""
        self.status = None  # that of the take before has frames, too
        response = self.call("start")
        assert response.success, response.message
        self.move()
        self.wait(lambda s: s.frames >= 8, "frames")


@pytest.fixture
def cell(mock_robot, start_node, tmp_path):
    start_node("control_node")
    return Cell(mock_robot, start_node, tmp_path / "rec")


def test_a_take_by_services_is_an_episode_and_the_set_is_what_the_bag_gives(cell):
    cell.start()
    cell.wait(lambda s: list(s.missing) == ["nobody has engaged the robot"], "all but one thing")
    refused = cell.call("start")
    assert not refused.success and "nobody has engaged the robot" in refused.message
    cell.ready()
    cell.take()
    rates = dict(zip(cell.status.streams, cell.status.rates, strict=True))
    assert rates["/front/image_raw"] == pytest.approx(25, rel=0.3)
    assert rates["/control_command"] == pytest.approx(50, rel=0.3)
    response = cell.call("end")
    assert response.success, response.message
    status = cell.wait(lambda s: s.phase == s.DECIDING, "the decision")
    assert any("was not looked at" in sentence for sentence in status.verdict)
    assert not cell.call("start").success
    response = cell.save(SaveEpisode.Request.SUCCESS)
    assert response.success and response.message.startswith("episode 0 is saved"), response.message
    cell.wait(lambda s: s.phase == s.IDLE and s.saved == 1, "idle again")
    bag = open_bag(cell.folder / "bags" / "episode-000000")
    messages = list(bag.messages())
    heard = {message.topic for message in messages}
    assert {"/front/image_raw", "/wrist/image_raw", "/joint_states", "/ee_pose", "/target_pose",
            "/gripper_controller/commands", "/control_command", "/action_chunk",
            "/control_status"} <= heard  # fmt: skip
    builder = EpisodeBuilder(cell.robot.robot, 10)
    frames = [frame for message in messages for frame in builder.add(message)] + builder.end()
    found = open_set(cell.folder / "set")
    assert len(found) == len(frames) >= 8
    for index, frame in enumerate(frames):
        live = found.frame(index)
        assert (live.state == frame.state).all() and (live.action == frame.action).all()
        assert (live.valid, live.control_source) == (frame.valid, frame.control_source)
    assert any(frame.control_source == "policy" for frame in frames)
    last = max(message.stamp_ns for message in messages if message.topic == "/target_pose")
    assert any(stamp == last for stamp, _, _ in cell.robot.targets)


def test_the_running_node_is_what_the_data_says(cell, running_ends):
    cell.start()
    cell.wait(lambda s: True, "a status")
    robot = cell.robot.robot
    specs = [s for s in node_specs(robot.name, record=str(cell.folder)) if s.name == "recorder"]
    told = {
        (end.does, f"/{end.name.lstrip('/')}", end.type)
        for end in endpoints(tuple(specs), robot)
        if end.name != "/diagnostics"  # which running_ends leaves out
    }
    cell.robot.wait(
        lambda: running_ends(cell.robot, "recorder") == told, "all endpoints of the recorder"
    )


def test_a_camera_that_dies_ends_the_take_and_nothing_is_lost(cell):
    cell.start()
    cell.ready()
    cell.take()
    cell.robot.silent.add("wrist")
    status = cell.wait(lambda s: s.phase == s.DECIDING, "the end of the take")
    assert "/wrist/image_raw has been silent for" in status.verdict[0]
    assert not status.keep
    assert cell.call("discard").success
    assert open_bag(cell.folder / "discarded" / "episode-000000")
    cell.wait(lambda s: any("/wrist/image_raw" in m for m in s.missing), "what is missing")
    cell.robot.silent.clear()
    cell.wait(lambda s: not s.missing, "nothing missing")


def test_kill_9_in_a_take_and_the_next_start_says_what_it_recovered(cell):
    process = cell.start()
    cell.ready()
    cell.take()
    cell.call("end")
    assert cell.save().success
    cell.take()
    killed_ns = cell.robot.now_ns()
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    cell.status = None
    cell.start()
    status = cell.wait(lambda s: s.saved == 1 and "recovered" in s.message, "what was recovered")
    assert "a take that was not saved is now in" in status.message
    bag = open_bag(cell.folder / "recovered" / "episode-000001")
    newest = max(message.received_ns for message in bag.messages())
    assert killed_ns - newest < 1_000_000_000  # of the open take the last second at most
    assert len(open_set(cell.folder / "set")) >= 8
    cell.wait(lambda s: not s.missing, "ready for the next take")


def test_two_recorders_at_one_folder(cell, capfd):
    cell.start()
    cell.wait(lambda s: True, "the first one")
    second = cell.start()
    deadline_s = time.monotonic() + 30
    while "records or changes this data set already" not in capfd.readouterr().err:
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
    assert second.poll() is None  # it says so and waits to be configured anew


def goal_of(cell, **fields):
    """(accepted, future of the result) of a goal; feedback is kept in cell.feedback."""
    cell.feedback = []
    client = ActionClient(cell.robot, RecordEpisode, "record_episode")
    assert client.wait_for_server(30.0)
    sent = client.send_goal_async(
        RecordEpisode.Goal(task=TASK, **fields),
        feedback_callback=lambda message: cell.feedback.append(message.feedback),
    )
    cell.robot.wait(sent.done, "the answer to the goal")
    handle = sent.result()
    return handle, handle.get_result_async() if handle.accepted else None


def test_an_action_says_its_task_records_for_its_time_and_is_kept_by_its_verdict(cell):
    said = []
    cell.robot.create_subscription(String, "instruction", lambda m: said.append(m.data), qos.WORDS)
    cell.start()
    cell.ready()
    handle, result = goal_of(
        cell,
        instruction=RecordEpisode.Goal.SAY,
        decide=RecordEpisode.Goal.BY_VERDICT,
        max_duration=duration_from_ns(2_500_000_000),
    )
    assert handle.accepted
    for k in range(4):
        cell.move(sequence=k)
        cell.robot.wait_ticks(3)
    cell.robot.wait(result.done, "the result")
    answer = result.result()
    assert answer.result.message, answer
    assert answer.result.saved == answer.result.keep
    assert answer.status == (
        GoalStatus.STATUS_SUCCEEDED if answer.result.saved else GoalStatus.STATUS_ABORTED
    )
    cell.robot.wait(lambda: said == [TASK, ""], "the instruction, and that it was taken back")
    assert cell.feedback and cell.feedback[-1].frames > 0
    assert cell.feedback[-1].disk_free > 0


def test_a_canceled_goal_discards_and_a_second_goal_is_refused(cell):
    cell.start()
    cell.ready()
    handle, result = goal_of(cell)
    assert handle.accepted
    cell.wait(lambda s: s.phase == s.RECORDING, "a take")
    assert not goal_of(cell)[0].accepted
    handle.cancel_goal_async()
    cell.robot.wait(result.done, "the result")
    assert result.result().status == GoalStatus.STATUS_CANCELED
    assert not result.result().result.saved
    assert (cell.folder / "discarded" / "episode-000000").is_dir()


def test_buttons_begin_end_and_keep(cell):
    joy = cell.robot.create_publisher(Joy, "joy", qos.WORDS)
    cell.start()
    cell.ready()
    cell.robot.wait(joy.get_subscription_count, "who hears the buttons")

    def press(index):
        for down in (0, 1, 0):
            joy.publish(Joy(buttons=[down if k == index else 0 for k in range(8)]))

    press(7)
    cell.wait(lambda s: s.phase == s.RECORDING, "a take")
    cell.move()
    cell.wait(lambda s: s.frames >= 8, "frames")
    press(7)
    cell.wait(lambda s: s.phase == s.DECIDING, "the decision")
    press(0)
    cell.wait(lambda s: s.phase == s.IDLE and s.saved == 1, "an episode")
    assert open_set(cell.folder / "set").episode(0).success is True


def test_a_recorder_that_is_told_to_end_keeps_what_is_saved_and_the_open_bag(cell):
    process = cell.start()
    cell.ready()
    cell.take()
    cell.call("end")
    assert cell.save().success
    cell.take()
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
    assert len(open_set(cell.folder / "set")) >= 8
    assert os.listdir(cell.folder / "discarded") == ["episode-000001"]
