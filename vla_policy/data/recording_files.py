"""The files of a recording session: a bag and a data set episode for each take, and their outcome.

    <folder>/set/                        the LeRobot data set
    <folder>/bags/episode-000000/        the bag of each saved episode
    <folder>/discarded/, recovered/      bags of discarded takes, and of a recorder that was killed
    <folder>/open/episode-000007/        the bag of the open take

Used by one thread. Nothing is deleted here: an episode that leaves the set keeps its bag.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vla_policy.data.bag import metadata
from vla_policy.data.bag.qos import Qos
from vla_policy.data.bag.reader import open_bag
from vla_policy.data.bag.recover import recover
from vla_policy.data.bag.writer import BagWriter
from vla_policy.data.camera_view import PointedMeter, TargetMeter, ViewMeter
from vla_policy.data.conversion.bag_takes import frames_of
from vla_policy.data.early_sync import EarlySync
from vla_policy.data.episode_builder import EpisodeBuilder
from vla_policy.data.frame import Frame
from vla_policy.data.lerobot.writer import EpisodeInfo, SetWriter
from vla_policy.data.robot_streams import POINTED_PLACE, SIM_EVENT, absolute, max_ages_ns
from vla_policy.data.scene import DrawnScene, text_of_scene
from vla_policy.data.streams import Decoder, Message
from vla_policy.data.take_meters import GuardCounts, MotionMeter, counted
from vla_policy.embodiment import Embodiment, View
from vla_policy.timing import s_from_ns

SET, BAGS, DISCARDED, RECOVERED, OPEN = "set", "bags", "discarded", "recovered", "open"
REFUSED = 3  # number of topics named with refused messages


@dataclass(frozen=True, slots=True)
class Written:
    """State of the open take. problem: why it cannot continue, one sentence; '' if it can.

    behind: why its videos are made from its bag on saving; '' if they are encoded meanwhile.
    out_of_view: camera -> share of frames with a tool outside its image; None: not checked.
    target_out_of_view: the same of the object of the task; None: unknown.
    pointed_out_of_view: the same of the place that a policy points to; None: unknown.
    stale: frames with a sample that was too old. idle: of the others, those before the first
    command.
    waiting: frames before the slowest encoder. written: bytes.
    """

    frames: int = 0
    stale: int = 0
    idle: int = 0
    waiting: int = 0
    written: int = 0
    moved: bool = False
    stalls: tuple[tuple[float, float], ...] = ()
    refused: tuple[str, ...] = ()
    guard: GuardCounts = field(default_factory=GuardCounts)
    out_of_view: Mapping[str, float] | None = None
    target_out_of_view: Mapping[str, float] | None = None
    pointed_out_of_view: Mapping[str, float] | None = None
    behind: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """A saved episode. bag: its folder; None if it could not be moved, with a sentence in note.

    encoding_s: wait of save() for its videos; set_s, bag_s: further time for adding it to the set
    and closing its bag.
    """

    info: EpisodeInfo
    bag: Path | None
    note: str = ""
    encoding_s: float = 0.0
    set_s: float = 0.0
    bag_s: float = 0.0


class RecordingFiles:
    """begin, write ..., end, then save or discard; repeatedly; close.

    Not for several threads at once.
    robot_yaml: the text of the robot's file. namespace: of its relative topics. views: of cameras
    that differ from that file.
    recovered: recovery from an earlier recorder's crash, in sentences.
    Raises OSError, Busy among them, if another process records there, ValueError if the folder
    belongs to another robot.
    """

    def __init__(
        self,
        folder: Path,
        robot: Embodiment,
        fps: int,
        *,
        robot_yaml: str,
        namespace: str = "/",
        views: Mapping[str, View] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._robot, self._fps, self._yaml, self._space = robot, fps, robot_yaml, namespace
        own = {c.name: c.view for c in robot.cameras.values() if c.view is not None}
        self._views = own if views is None else dict(views)
        EpisodeBuilder(robot, fps, namespace=namespace)  # refuses an unsupported robot
        self._set = SetWriter(self.folder / SET, robot, fps, robot_yaml=robot_yaml)
        try:
            self.recovered = (*self._set.recovered, *self._recover_bags())
        except BaseException:
            self._set.close()
            raise
        self._ages_s = {name: s_from_ns(age) for name, age in max_ages_ns(robot).items()}
        self._truth = absolute(SIM_EVENT, namespace)
        self._pointing = absolute(POINTED_PLACE, namespace)
        self._decoder = Decoder()
        self._early = EarlySync()
        self._bag: BagWriter | None = None
        self._builder: EpisodeBuilder | None = None
        self._ended = False

    @property
    def episodes(self) -> int:
        """Number of saved episodes in the data set."""
        return self._set.episodes

    def begin(self, task: str, scene: DrawnScene | None = None) -> None:
        """Open the files of a take. scene: of a simulation."""
        folder = self.folder / OPEN / _name(self.episodes)
        self._task, self._scene = task, scene
        self._custom = {
            metadata.TASK: task,
            metadata.SUCCESS: "",
            metadata.ROBOT: self._robot.name,
            metadata.ROBOT_FILE: self._yaml,
            metadata.NAMESPACE: self._space,
        }
        if scene is not None:
            self._custom[metadata.SCENE] = text_of_scene(scene)
        self._set.begin(task, scene)
        try:
            self._bag = BagWriter(folder, self._custom)
            self._bag.open()
        except OSError:
            self._bag = None
            self._set.discard()
            raise
        self._early.begin([folder, self._set.take_folder])
        self._builder = EpisodeBuilder(
            self._robot, self._fps, namespace=self._space, decoder=self._decoder
        )
        self._guard = GuardCounts()
        self._motion = MotionMeter()
        self._seen = ViewMeter(self._robot, self._views)
        self._target = TargetMeter(self._robot.cameras)
        self._pointed = PointedMeter(self._views)
        self._ended, self._problem, self._behind = False, "", ""
        self._first_ns: int | None = None
        self._taken = self._stale = self._idle = self._bytes = 0

    def write(self, message: Message, qos: Sequence[Qos] = ()) -> None:
        """Add a message to bag and frames.

        Errors become the `problem` of written(); nothing raises.
        """
        if self._bag is None or self._ended or self._problem:
            return
        try:
            self._bag.write(message, qos)
        except (OSError, ValueError) as error:
            self._fail(str(error))
            return
        self._bytes += len(message.data)
        if message.topic in (self._truth, self._pointing):
            self._hear(message)
        self._frames(lambda builder: builder.add(message))
        if self._builder is not None and message.topic == self._builder.topics.reports:
            self._count(message)

    def flush(self) -> None:
        """Give all received data to the operating system: it survives this process."""
        if self._bag is not None and not self._ended and not self._problem:
            try:
                self._bag.flush()
            except OSError as error:
                self._fail(str(error))

    def end(self) -> None:
        """No more messages: complete the remaining frames and close the bag."""
        if self._bag is None or self._ended:
            return
        self._frames(lambda builder: builder.end())
        self.flush()
        if self._set.is_open:
            self._set.end()
        self._early.end()
        self._ended = True

    @property
    def unready(self) -> bool:
        """Whether get_ready() has work left, now or soon."""
        return self._set.unready

    def get_ready(self) -> None:
        """Write part of the files of save() in advance. Waits for no encoder, raises nothing."""
        self._set.get_ready()

    def written(self) -> Written:
        """State of the take."""
        if self._builder is None:
            return Written()
        refused = sorted(self._builder.sentences.items())[:REFUSED]
        return Written(
            frames=self._taken,
            stale=self._stale,
            idle=self._idle,
            waiting=self._set.waiting,
            written=self._bytes,
            moved=self._motion.moved,
            stalls=self._motion.stalls(),
            guard=self._guard,
            refused=tuple(
                f"{self._builder.refused[topic]} messages were refused, the first: {sentence}"
                for topic, sentence in refused
            ),
            out_of_view=self._seen.shares,
            target_out_of_view=self._target.shares,
            # A simulation knows where the object is; a policy may be mistaken.
            pointed_out_of_view=self._pointed.shares if self._target.shares is None else None,
            behind=self._behind,
            problem=self._problem or self._builder.problem or self._set.problem,
        )

    def save(self, success: bool | None) -> Kept:
        """The take becomes the next episode. Raises ValueError or OSError if it cannot; it is still open then.

        If the encoders were too slow, or failed, the episode is first made from the bag: the same
        bytes, later.
        """
        began_s = time.perf_counter()
        self.end()
        if self._behind or self._set.problem:
            self._make_again()
        again_s = time.perf_counter() - began_s
        info = self._set.save(success)
        saved_s = time.perf_counter() - began_s
        shown = "" if success is None else str(success).lower()
        bag, note = self._put_away(
            self.folder / BAGS / _name(info.index), {metadata.SUCCESS: shown}
        )
        encoding_s = again_s + info.waited_s
        bag_s = time.perf_counter() - began_s - saved_s
        return Kept(info, bag, note, encoding_s, saved_s - encoding_s, bag_s)

    def discard(self) -> Path | None:
        """Discard the take; returns the new folder of its bag."""
        self.end()
        if self._set.is_open:
            self._set.discard()
        return self._put_away(self._free(DISCARDED, self.episodes), {})[0]

    def delete_last(self) -> int:
        """Remove the newest episode from the set; its number. Its bag goes to discarded/."""
        index = self._set.delete_last()
        bag = self.folder / BAGS / _name(index)
        if bag.is_dir():
            _move(bag, self._free(DISCARDED, index))
        return index

    def close(self) -> None:
        """Discard an open take; its bag stays."""
        if self._bag is not None:
            self.discard()
        self._early.close()
        self._set.close()

    def _frames(self, ask: Callable[[EpisodeBuilder], Sequence[Frame]]) -> None:
        assert self._builder is not None
        try:
            for frame in ask(self._builder):
                if not self._behind and not self._set.add(frame):
                    self._fall_behind()
                self._meet(frame)
        except (ValueError, OSError) as error:
            self._fail(str(error))

    def _meet(self, frame: Frame) -> None:
        """Count a frame, for the verdict."""
        self._taken += 1
        if self._first_ns is None:
            self._first_ns = frame.stamp_ns
        self._motion.add(s_from_ns(frame.stamp_ns - self._first_ns), frame.state)
        self._seen.add(frame.state, frame.images)
        self._target.add()
        self._pointed.add(frame.stamp_ns, frame.images)
        stale = any(age_s > self._ages_s[name] for name, age_s in frame.ages_s.items())
        self._stale += stale
        self._idle += not frame.valid and not stale

    def _fall_behind(self) -> None:
        """The encoders are too slow for these streams: stop them; the videos are made later."""
        self._behind = self._set.behind
        if self._behind:
            self._set.discard()

    def _make_again(self) -> None:
        """Rebuild the open episode from the messages of its bag, in order of receipt.

        Raises ValueError or OSError.
        """
        assert self._bag is not None
        if self._problem:
            raise ValueError(f"its bag is not whole: {self._problem}")
        self._bag.flush()
        if self._set.is_open:
            self._set.discard()
        self._set.begin(self._task, self._scene)
        builder = EpisodeBuilder(self._robot, self._fps, namespace=self._space)
        for frame in frames_of(open_bag(self._bag.folder), builder):
            self._set.add(frame, wait=True)
        self._behind = ""

    def _hear(self, message: Message) -> None:
        """Record where the simulation or a policy reports the object of the task, for the verdict.

        A message of another version or frame is unknown; the bag keeps it unchanged.
        """
        if message.topic == self._pointing:
            try:
                place = self._decoder.point(message, self._robot.base_frame)
            except ValueError:
                place = None
            self._pointed.hear(place, message.stamp_ns)
            return
        try:
            self._target.hear(self._decoder.target_outside(message))
        except ValueError:
            self._target.hear(None)

    def _count(self, message: Message) -> None:
        try:
            report = self._decoder.control_command(message)
        except ValueError:
            return  # the builder has counted it as refused, with its sentence
        self._guard = counted(self._guard, report)

    def _fail(self, why: str) -> None:
        self._problem = self._problem or why

    def _put_away(self, place: Path, custom: Mapping[str, str]) -> tuple[Path | None, str]:
        """Close the bag and move its folder; (new folder, or None and a sentence)."""
        bag, self._bag, self._builder = self._bag, None, None
        if bag is None:
            return None, ""
        try:
            bag.close(custom)
            _move(bag.folder, place)
        except (OSError, ValueError) as error:
            bag.abandon()
            return None, f"the bag of the take is not closed, the next start will: {error}"
        return place, ""

    def _free(self, kind: str, index: int) -> Path:
        """An unused folder name of that kind."""
        return _untaken(self.folder / kind / _name(index))

    def _recover_bags(self) -> list[str]:
        """Close bags left open by a killed recorder. A take with a saved episode gets its bag."""
        told = []
        for bag in sorted((self.folder / OPEN).glob("episode-*")):
            index = int(bag.name.rpartition("-")[2])
            saved = index < self.episodes
            try:
                sentence = recover(bag)
                place = _untaken(self.folder / (BAGS if saved else RECOVERED) / bag.name)
                _move(bag, place)
            except (OSError, ValueError) as error:
                told.append(f"{bag}: left as it is: {error}")
                continue
            what = "the bag of a saved episode" if saved else "a take that was not saved"
            told.append(f"{what} is now in {place}; {sentence or 'it was whole'}")
        return told


def _name(index: int) -> str:
    return f"episode-{index:06d}"


def _untaken(place: Path) -> Path:
    count, found = 1, place
    while found.exists():
        count += 1
        found = place.with_name(f"{place.name}-{count}")
    return found


def _move(folder: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    os.replace(folder, place)
