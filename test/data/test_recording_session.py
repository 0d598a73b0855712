"""Takes on disk without ROS: what is kept, what is said, and that nothing that was saved is lost."""

import asyncio
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

bag_messages = pytest.importorskip("bag_messages")  # needs rosbags, of requirements/data.txt

from vla_policy.data.bag.reader import open_bag  # noqa: E402
from vla_policy.data.conversion.bag_takes import BagJob, make_take  # noqa: E402
from vla_policy.data.lerobot import layout, transaction  # noqa: E402
from vla_policy.data.lerobot.durable import Busy  # noqa: E402
from vla_policy.data.lerobot.reader import open_set  # noqa: E402
from vla_policy.data.lerobot.video_encoder import VideoEncoder  # noqa: E402
from vla_policy.data.recording import Phase  # noqa: E402
from vla_policy.data.recording_files import RecordingFiles  # noqa: E402
from vla_policy.data.recording_session import RecordingSession  # noqa: E402
from vla_policy.data.recording_thread import RecordingThread  # noqa: E402
from vla_policy.data.scene import DrawnScene  # noqa: E402
from vla_policy.data.stream_meter import StreamNeed  # noqa: E402
from vla_policy.embodiment import View  # noqa: E402
from vla_policy.paths import find_embodiment  # noqa: E402
from vla_policy.types import Reason  # noqa: E402

S, START = bag_messages.S, bag_messages.START
ROBOT = bag_messages.robot()
FPS = 10
TASK = "lift the cube"
LIMIT = 60 * S


def needs():
    cameras = [
        StreamNeed(f"/{c.topic}", "sensor_msgs/msg/Image", True, c.max_age_s)
        for c in ROBOT.cameras.values()
    ]
    joints = [
        StreamNeed(f"/{t}", "sensor_msgs/msg/JointState", True, ROBOT.joints.max_age_s)
        for t in ROBOT.joints.topics
    ]
    command = StreamNeed("/control_command", "vla_policy/msg/ControlCommand", True, 0.3, 60.0)
    return [*cameras, *joints, command]


async def wait(answer: Future):
    return answer.result(30)


def later(message, by_ns):
    """The same message by_ns later: only the recorder's own times, as frames take those of the header."""
    return replace(message, received_ns=message.received_ns + by_ns)


class Session:
    """A session over a folder, driven as the node drives it."""

    def __init__(self, folder, robot=ROBOT, **options):
        views = options.pop("views", None)
        self.files = RecordingFiles(folder, robot, FPS, robot_yaml="name: so101\n", views=views)
        self.thread = RecordingThread(self.files, most_bytes=options.pop("most_bytes", 1 << 28))
        self.session = RecordingSession(
            self.thread,
            folder,
            needs(),
            wait=wait,
            episodes=self.files.episodes,
            least_bytes=0.0,
            **options,
        )

    def run(self, work):
        return asyncio.run(work)

    def begin(self, messages, task=TASK):
        """Hear everything once, then begin a take."""
        heard = {}
        for message in messages:
            heard.setdefault(message.topic, message)
        for message in heard.values():
            self.session.add(replace(message, stamp_ns=START - 1, received_ns=START - 1))
        return self.run(self.session.begin(task, START, LIMIT))

    def record(self, messages, task=TASK):
        """A whole take, up to its end."""
        assert self.begin(messages, task) is None
        for message in messages:
            self.session.add(message)
        return self.run(self.session.end(messages[-1].received_ns))

    def close(self):
        assert self.thread.close(30)


@pytest.fixture
def messages():
    return bag_messages.take(ROBOT, 1.5)


@pytest.fixture
def session(tmp_path):
    found = Session(tmp_path / "rec")
    yield found
    found.close()


def test_a_take_becomes_an_episode_and_a_bag(session, messages, tmp_path):
    assert session.record(messages) is None
    assert session.session.phase is Phase.DECIDING
    verdict = session.session.verdict
    assert verdict.keep, verdict.sentences
    kept, sentence = session.run(session.session.save(True, START + 2 * S))
    assert kept and sentence.startswith("episode 0 is saved, 1")
    bag = open_bag(tmp_path / "rec" / "bags" / "episode-000000")
    assert [(m.topic, m.data) for m in bag.messages()] == [(m.topic, m.data) for m in messages]
    assert session.session.phase is Phase.IDLE and session.files.episodes == 1
    assert not list((tmp_path / "rec" / "open").iterdir())


def test_while_somebody_decides_the_episode_is_made_ready_to_be_kept(
    session, messages, monkeypatch
):
    """So that keeping it writes no file of the set any more."""
    assert session.record(messages) is None
    end = time.monotonic() + 20.0
    while session.files.unready and time.monotonic() < end:
        time.sleep(0.01)
    assert not session.files.unready

    def late(path, data):
        raise AssertionError(f"{path} is written while somebody waits")

    monkeypatch.setattr(transaction, "write_file", late)
    kept, sentence = session.run(session.session.save(True, START + 2 * S))
    assert kept, sentence


def test_a_discarded_take_keeps_its_bag_and_leaves_the_set_alone(session, messages, tmp_path):
    for _ in range(2):
        session.record(messages)
        done, sentence = session.run(session.session.discard())
        assert done and "discarded/episode-000000" in sentence
    assert session.files.episodes == 0
    names = sorted(p.name for p in (tmp_path / "rec" / "discarded").iterdir())
    assert names == ["episode-000000", "episode-000000-2"]


def test_the_last_episode_can_be_taken_back_and_its_number_is_used_again(
    session, messages, tmp_path
):
    for _ in range(2):
        session.record(messages)
        assert session.run(session.session.save(None, START))[0]
    done, sentence = session.run(session.session.delete_last())
    assert done and sentence.startswith("episode 1 ")
    assert (tmp_path / "rec" / "discarded" / "episode-000001" / "metadata.yaml").is_file()
    session.record(messages)
    assert "episode 1 is saved" in session.run(session.session.save(None, START))[1]


def test_a_take_with_faults_waits_for_a_second_word(session, messages):
    camera = next(m.topic for m in messages if m.type.endswith("Image"))
    dying = [m for m in messages if m.topic != camera or m.stamp_ns < START + S // 2]
    assert session.begin(messages) is None
    for message in dying:
        session.session.add(message)
    kept, sentence = session.run(session.session.save(True, dying[-1].received_ns))
    assert not kept and f"{camera}: 1 gap" in sentence and "save it again" in sentence
    assert session.session.phase is Phase.DECIDING
    assert session.run(session.session.save(True, START + 3 * S))[0]


def test_a_camera_that_dies_ends_the_take_with_its_name(session, messages):
    camera = next(m.topic for m in messages if m.type.endswith("Image"))
    assert session.begin(messages) is None
    for message in messages:
        if message.topic != camera:
            session.session.add(message)
    reason = session.session.watch(START + 2 * S + S // 10, 1)
    assert reason == Reason("silent", f"{camera} has been silent for 2.1 s: the take ended")
    assert session.run(session.session.end(START + 2 * S, reason)) is None
    assert not session.session.verdict.keep
    assert session.session.verdict.faults[0] == reason


def test_a_clock_that_goes_back_ends_the_take_and_what_came_before_is_kept(session, messages):
    assert session.begin(messages) is None
    session.session.watch(START, 0)
    for message in messages:
        session.session.add(message)
    reason = session.session.watch(START - 5 * S, S // 5)
    assert reason.code == "clock_jump" and "went back by 5.000 s" in reason.detail
    session.run(session.session.end(START - 5 * S, reason))
    session.session.clear()
    assert [fault.code for fault in session.session.verdict.faults] == ["clock_jump"]
    kept, sentence = session.run(session.session.save(None, START))
    assert kept and "episode 0" in sentence


def test_two_recorders_at_one_folder_and_a_folder_of_another_robot(session, messages, tmp_path):
    with pytest.raises(Busy, match=r"process .* records or changes this data set already"):
        RecordingFiles(tmp_path / "rec", ROBOT, FPS, robot_yaml="")
    session.record(messages)
    session.run(session.session.save(True, START))
    session.close()
    with pytest.raises(ValueError, match="'so101', expected 'vx300s'; record into another folder"):
        RecordingFiles(tmp_path / "rec", bag_messages.robot("vx300s"), FPS, robot_yaml="")
    with pytest.raises(ValueError, match="fps 10, expected 20"):
        RecordingFiles(tmp_path / "rec", ROBOT, 20, robot_yaml="")


def test_what_is_missing_keeps_a_take_from_beginning(session, messages):
    refusal = session.run(
        session.session.begin(TASK, START, LIMIT, ["nobody has engaged the robot"])
    )
    for need in needs():
        assert f"{need.topic}: nothing was received" in refusal
    assert "nobody has engaged the robot" in refusal
    assert session.session.phase is Phase.IDLE


def test_messages_beyond_the_queue_are_counted_and_make_a_fault(tmp_path, messages):
    session = Session(tmp_path / "rec", most_bytes=20_000)
    try:
        assert session.begin(messages) is None
        held = threading.Event()
        session.thread.ask(lambda files: held.wait(30))  # a disk that stalls
        for message in messages:
            session.session.add(message)
        held.set()
        session.run(session.session.end(messages[-1].received_ns))
        lost = session.session.moment("", START + 2 * S).lost
        assert 0 < lost < len(messages)
        assert f"{lost} messages came faster than they could be written" in (
            session.session.verdict.sentences
        )
    finally:
        session.close()


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".recording" not in path.parts
    }


def test_an_episode_whose_encoders_fell_behind_is_made_of_its_bag_with_the_same_bytes(
    tmp_path, messages, monkeypatch
):
    usual = Session(tmp_path / "usual")
    usual.record(messages)
    assert usual.run(usual.session.save(True, START))[0]
    usual.close()
    put, taken = VideoEncoder.put, []

    def slow(self, image, *, wait):
        taken.append(wait)
        return put(self, image, wait=wait) if wait or len(taken) < 6 else False

    monkeypatch.setattr(VideoEncoder, "put", slow)
    session = Session(tmp_path / "slow")
    session.record(messages)
    moment = session.session.moment("", START + 2 * S)
    assert session.session.watch(START + 2 * S, START) is None  # nothing ends the take for it
    assert moment.written.frames > 10 and "behind at frame" in moment.written.behind
    assert moment.verdict.keep and "its videos are made from its bag" in moment.verdict.notes[1]
    kept, sentence = session.run(session.session.save(True, START))
    assert kept, sentence
    session.close()
    assert True in taken
    assert files_of(tmp_path / "slow" / "set") == files_of(tmp_path / "usual" / "set")


def test_a_take_whose_encoders_fell_behind_can_be_discarded(tmp_path, messages, monkeypatch):
    monkeypatch.setattr(VideoEncoder, "put", lambda self, image, *, wait: False)
    session = Session(tmp_path / "rec")
    session.record(messages)
    assert session.run(session.session.discard())[0]
    monkeypatch.undo()
    session.record(messages)
    assert session.run(session.session.save(None, START))[0]
    session.close()


def test_the_scene_of_a_simulation_is_in_the_episode_and_in_its_bag(tmp_path, messages):
    session = Session(tmp_path / "rec")
    session.record(messages)
    session.run(session.session.save(True, START))
    session.session.scene = DrawnScene(300007, "train")
    session.record(messages)
    session.run(session.session.save(True, START))
    session.close()
    found = open_set(tmp_path / "rec" / "set")
    assert [found.scene(k) for k in (0, 1)] == [None, DrawnScene(300007, "train")]
    bag = tmp_path / "rec" / "bags" / "episode-000001"
    made = make_take(BagJob(bag, find_embodiment("so101"), FPS, tmp_path / "made"))
    assert made.take.scene == DrawnScene(300007, "train"), made.problem
    with open(tmp_path / "rec" / "set" / layout.OWN_EPISODE.format(episode=1), "a") as file:
        file.truncate(0)
        file.write('{"scene": {"seed": "x", "split": 3}}')
    assert open_set(tmp_path / "rec" / "set").scene(1) is None


def faults(session):
    """Code -> sentence of the verdict's."""
    return {fault.code: fault.detail for fault in session.session.verdict.faults}


def test_an_object_that_the_recording_camera_did_not_see_is_a_fault(tmp_path, messages):
    """As the simulation says it; a real robot's take is not asked about it."""
    session = Session(tmp_path / "rec", latched=["/sim_event"])
    try:
        camera = next(iter(ROBOT.cameras))
        session.record(messages)
        assert "target_out_of_view" not in faults(session)
        session.run(session.session.discard())
        event = bag_messages.sim_event(START - S, outside=[camera])
        session.session.add(event)
        session.record(messages)
        words = f"the object of the task is outside the image of {camera} in 100 %"
        assert faults(session)["target_out_of_view"].startswith(words)
        session.run(session.session.discard())
        session.session.add(replace(event, data=event.data[:30]))  # which says nothing
        session.record(messages)
        assert "target_out_of_view" not in faults(session)
    finally:
        session.close()


def test_a_real_robots_take_is_asked_where_the_policy_points(tmp_path, messages):
    """A place outside the image is a fault; one in another frame, and none at all, say nothing."""
    camera = next(iter(ROBOT.cameras))
    view = View((0.0, 0.0, 1.0), (0.0, 0.0, 0.0), 60.0, up=(1.0, 0.0, 0.0))
    session = Session(tmp_path / "rec", views={camera: view})

    def take_with(xyz, frame=ROBOT.base_frame, more=()):
        pointed = [
            bag_messages.point("/pointed_place", xyz, START + k * S // 5, frame) for k in range(8)
        ]
        whole = sorted([*messages, *pointed, *more], key=lambda m: m.received_ns)
        session.record(whole)
        found = faults(session)
        session.run(session.session.discard())
        return found

    try:
        session.record(messages)
        assert "pointed_out_of_view" not in faults(session)
        session.run(session.session.discard())
        words = f"outside the image of {camera} in 100 %"
        assert words in take_with((2.0, 0.0, 0.0))["pointed_out_of_view"]
        assert "pointed_out_of_view" not in take_with((0.1, 0.0, 0.0))
        assert "pointed_out_of_view" not in take_with((2.0, 0.0, 0.0), frame="camera")
        # A simulation knows better.
        event = bag_messages.sim_event(START, outside=[])
        assert "pointed_out_of_view" not in take_with((2.0, 0.0, 0.0), more=[event])
    finally:
        session.close()


def test_what_was_latched_before_the_take_is_its_first_message(tmp_path, messages):
    session = Session(tmp_path / "rec", latched=["/active_instruction"])
    try:
        said = bag_messages.text("/active_instruction", TASK, START - 9 * S)
        session.session.add(said)
        session.record(messages)
        session.run(session.session.save(None, START))
    finally:
        session.close()
    first = next(iter(open_bag(tmp_path / "rec" / "bags" / "episode-000000").messages()))
    assert (first.topic, first.received_ns, first.data) == (said.topic, START, said.data)


def test_closing_keeps_the_bag_of_an_open_take(tmp_path, messages):
    session = Session(tmp_path / "rec")
    assert session.begin(messages) is None
    for message in messages:
        session.session.add(message)
    session.close()
    assert (tmp_path / "rec" / "discarded" / "episode-000000" / "metadata.yaml").is_file()
    again = Session(tmp_path / "rec")
    assert again.files.recovered == () and again.files.episodes == 0
    again.close()


def test_a_full_disk_ends_the_take_and_saved_episodes_stay(tmp_path, messages, monkeypatch):
    session = Session(tmp_path / "rec")
    try:
        session.record(messages)
        assert session.run(session.session.save(True, START))[0]
        assert session.begin(messages) is None

        def full(*args, **kwargs):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("vla_policy.data.bag.writer.BagWriter.write", full)
        for message in messages:
            session.session.add(message)
        session.run(_settled(session))
        reason = session.session.watch(START + S, 10)
        assert reason.code == "files" and "No space left on device" in reason.detail
        session.run(session.session.end(START + S, reason))
        assert not session.session.verdict.keep
        monkeypatch.undo()
        assert session.run(session.session.discard())[0]
        assert session.files.episodes == 1
    finally:
        session.close()


async def _settled(session):
    await wait(session.thread.ask(lambda files: None))


def test_a_folder_is_made_where_there_is_none(tmp_path):
    session = Session(tmp_path / "a" / "b")
    session.close()
    assert isinstance(session.session.moment("", START).disk_free, float)
    assert Path(tmp_path / "a" / "b" / "set").is_dir()
