"""Writes a LeRobot data set while the robot moves; no crash can lose a saved episode.

An episode is collected below `.recording/`; save() closes its files and adds them to the set in
one change (transaction.py). Before and after each save the set is complete, whatever happens to
the process or the disk.
"""

from __future__ import annotations

import importlib
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from vla_policy.data.frame import Frame
from vla_policy.data.lerobot import layout
from vla_policy.data.lerobot.append import (
    EpisodeToAppend,
    ReadyEpisode,
    Row,
    ready_episode,
    remove_last,
)
from vla_policy.data.lerobot.durable import lock_folder
from vla_policy.data.lerobot.exchange import finish_exchange
from vla_policy.data.lerobot.metadata import SetState, read_state
from vla_policy.data.lerobot.open_take import ANSWERS, OpenTake
from vla_policy.data.lerobot.recover import recover_locked
from vla_policy.data.lerobot.set_statistics import write_true_statistics
from vla_policy.data.lerobot.transaction import READY, finish
from vla_policy.data.lerobot.video_encoder import VideoEncoder
from vla_policy.data.scene import DrawnScene
from vla_policy.embodiment.description import Embodiment
from vla_policy.embodiment.layout import layout_of

QUEUE_FRAMES = 120  # per camera waiting for the encoder: 4 s at 30 Hz, 110 MB at 640 x 480


@dataclass(frozen=True, slots=True)
class EpisodeInfo:
    """A saved episode.

    files: those of the set that contain it. waited_s: wait of save() for encoders.
    """

    index: int
    length: int
    task: str
    success: bool | None
    start_ns: int
    files: tuple[Path, ...]
    waited_s: float = 0.0


class SetWriter:
    """One process writes one set: begin, add ..., end, save or discard, repeatedly, then close.

    After calls of get_ready() while a person decides, save() has only files to rename.

    root:       the folder of the set; created if missing.
    robot:      defines state and executed action columns (embodiment.layout) of the set.
    fps:        frames per second, an integer.
    cameras:    in the order of the features; default the robot's. The first frame sets their
    sizes.
    robot_yaml: the text of the robot's file, kept in the set.
    queue_frames: how many frames of a camera may wait for its encoder.
    recovered:  recovery from an earlier recorder's crash, in sentences.
    Raises Busy if another process writes the set, ValueError if the set has another robot, rate or
    version.
    """

    def __init__(
        self,
        root: Path,
        robot: Embodiment,
        fps: int,
        cameras: Sequence[str] | None = None,
        *,
        robot_yaml: str = "",
        queue_frames: int = QUEUE_FRAMES,
    ) -> None:
        self.root = Path(root)
        self.cameras = tuple(robot.camera_names if cameras is None else cameras)
        self._robot, self._yaml, self._fps, self._capacity = robot, robot_yaml, fps, queue_frames
        self._actions = layout_of(
            robot
        ).names  # as executed: absolute if the policy's actions are steps
        if fps != int(fps) or not 1 <= fps <= 1000:
            raise ValueError(f"fps: got {fps}, expected a whole number from 1 to 1000")
        odd = [c for c in self.cameras if "/" in c or not c]
        if odd or len(set(self.cameras)) < len(self.cameras):
            raise ValueError(f"cameras: got {self.cameras}, expected different names without '/'")
        finish_exchange(Path(os.path.abspath(self.root)))
        self._lock = lock_folder(self.root / layout.STAGING)
        try:
            self.recovered = recover_locked(self.root)
            self._state = read_state(self.root) if (self.root / layout.INFO).exists() else None
            if self._state is not None:
                self._require_same(self._state)
        except BaseException:
            self._lock.close()
            raise
        # Imported now: at first use the import takes as long as saving an episode may.
        importlib.import_module("pyarrow.compute")
        self._take: OpenTake | None = None
        self._unsettled = self._may_settle = False  # a decided save that is not completely synced
        self._added = False  # an episode, so that the statistics must be recomputed

    @property
    def episodes(self) -> int:
        """Saved episodes."""
        return self._state.episodes if self._state else 0

    @property
    def frames(self) -> int:
        """Frames of the open episode; 0 if none is open."""
        return len(self._take.rows) if self._take else 0

    @property
    def waiting(self) -> int:
        """Frames of the open episode waiting for the slowest encoder."""
        encoders = self._take.encoders.values() if self._take else ()
        return max((e.waiting for e in encoders), default=0)

    @property
    def problem(self) -> str:
        """Why the open episode cannot be saved; '' if it can."""
        return self._take.problem if self._take else ""

    @property
    def behind(self) -> str:
        """Why the encoders could not take all frames of the open episode; '' if they did."""
        return self._take.overrun if self._take else ""

    @property
    def is_open(self) -> bool:
        """Whether an episode is neither saved nor discarded."""
        return self._take is not None

    @property
    def take_folder(self) -> Path:
        """The folder of an open episode's files."""
        return self.root / layout.STAGING / "take"

    def begin(self, task: str, scene: DrawnScene | None = None) -> None:
        """Open an episode. scene: of a simulation. Raises ValueError if one is open."""
        if self._take is not None:
            raise ValueError(f"{self.root}: an episode is open already; save or discard it first")
        self._require_open()
        self._settle()  # before files of a new take use the names of the last one's
        folder = self.take_folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._take = OpenTake(folder, task, scene)

    def add(self, frame: Frame, *, wait: bool = False) -> bool:
        """Add the next frame. Waits for the encoders only if wait is set.

        False: it was not added, and the episode cannot be saved any more (problem states why).
        Raises ValueError for a frame of another robot or another size.
        """
        take = self._open()
        if take.ended:
            raise ValueError(f"{self.root}: the open episode has ended; save or discard it")
        self._require_fitting(frame, take)
        if not take.encoders:
            take.encoders = {c: self._encoder(take.folder, c, frame) for c in self.cameras}
        if take.problem:
            return False
        for camera, encoder in take.encoders.items():
            if not encoder.put(frame.images[camera], wait=wait):
                take.overrun = (
                    f"the encoder of camera {camera} is {encoder.waiting} frames behind at frame "
                    f"{len(take.rows)}: this machine is too slow for these cameras"
                )
                return False
        take.rows.append(Row.of(frame))
        return True

    def end(self) -> None:
        """No more frames: the encoders close their files meanwhile. Does not wait.

        save() includes it. Raises ValueError if no episode is open.
        """
        take = self._open()
        take.ended = True
        for encoder in take.encoders.values():
            encoder.end()

    @property
    def unready(self) -> bool:
        """Whether get_ready() has work left, now or when the encoders are done."""
        return self._may_settle or (self._take is not None and self._take.unready)

    def get_ready(self) -> None:
        """Once the encoders are done: write and sync the files of save(), for one answer per call.

        After save(): sync the rest. Waits for no encoder. After a failure here, save() or the next
        begin() tries again and reports it.
        """
        if self._may_settle:
            try:
                self._settle()
            except OSError:
                self._may_settle = False
        take = self._take
        if take is None or not take.unready or not take.is_encoded:
            return
        try:
            self._make_ready(take, take.unanswered)
        except (OSError, ValueError):
            take.may_get_ready = False
            self._forget_ready(take)  # its files may have filled the disk

    def save(self, success: bool | None = None) -> EpisodeInfo:
        """Close the episode and add it to the set; once this returns, it cannot be lost.

        success: None without a judgement. Raises ValueError if the episode cannot be saved,
        DiskFull without space: then the episode is still open, for another save() or discard().
        """
        take = self._open()
        if take.problem:
            raise ValueError(f"episode {self.episodes} cannot be saved: {take.problem}")
        if not take.rows:
            raise ValueError(f"episode {self.episodes} cannot be saved: it has no frame")
        self.end()  # for all, before waiting for any
        began_s = time.perf_counter()
        take.videos()
        waited_s = time.perf_counter() - began_s
        if success not in take.ready:
            self._forget_ready(take)
            self._make_ready(take, success)
        info = replace(self._commit(take.ready.pop(success)), waited_s=waited_s)
        self._drop(take)
        return info

    def append(self, take: EpisodeToAppend, shapes: Mapping[str, tuple[int, int]]) -> EpisodeInfo:
        """Append an episode that was collected elsewhere; its videos are below `.recording/`.

        shapes: camera -> (height, width). Raises ValueError for another robot or size, DiskFull.
        """
        self._require_open()
        if self._take is not None:
            raise ValueError(f"{self.root}: an episode is open; save or discard it first")
        if not take.rows:
            raise ValueError(f"episode {self.episodes} cannot be saved: it has no frame")
        self._settle()
        self._require_columns(take.rows[0])
        for camera in self.cameras:
            self._require_size(camera, shapes[camera], {})
        ready = ready_episode(self.root, self._state, take, self._description(shapes))
        return self._commit(ready)

    def discard(self) -> None:
        """Drop the open episode. Raises ValueError if none is open."""
        take = self._open()
        for encoder in take.encoders.values():
            encoder.abandon()
        self._drop(take)

    def delete_last(self) -> int:
        """Remove the last saved episode; its index.

        Raises ValueError without one or with one open.
        """
        self._require_open()
        if self._take is not None:
            raise ValueError(f"{self.root}: an episode is open; save or discard it first")
        if self._state is None or not self._state.episodes:
            raise ValueError(f"{self.root}: there is no episode to delete")
        self._settle()
        self._state, self._added = remove_last(self.root, self._state), True
        return self.episodes

    def close(self) -> None:
        """Drop an open episode, compute the statistics from all data, unlock the folder."""
        if self._lock.closed:
            return
        try:
            if self._take is not None:
                self.discard()
            self._settle()
            if self._added and self.episodes:
                write_true_statistics(self.root)
        finally:
            self._lock.close()

    def __enter__(self) -> SetWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _make_ready(self, take: OpenTake, success: bool | None) -> None:
        """Write the files of the open episode with this answer, beside the set."""
        description, name = self._description(take.shapes), ANSWERS[success]
        take.ready[success] = ready_episode(
            self.root, self._state, take.episode(success), description, name=name
        )

    def _settle(self) -> None:
        """Wait until the last save is synced in place, and delete the record of the change."""
        if self._unsettled:
            finish(self.root)
            self._unsettled = self._may_settle = False

    def _commit(self, ready: ReadyEpisode) -> EpisodeInfo:
        ready.change.decide()
        self._unsettled = self._may_settle = True
        self._state, self._added = ready.state, True
        rows = ready.episode.rows
        return EpisodeInfo(
            self.episodes - 1,
            len(rows),
            ready.episode.task,
            ready.episode.success,
            rows[0].stamp_ns,
            ready.files,
        )

    def _forget_ready(self, take: OpenTake) -> None:
        take.ready = {}
        shutil.rmtree(self.root / layout.STAGING / READY, ignore_errors=True)

    def _drop(self, take: OpenTake) -> None:
        """Delete the remaining files of an episode that was saved or discarded."""
        self._forget_ready(take)
        shutil.rmtree(take.folder, ignore_errors=True)
        self._take = None

    def _encoder(self, folder: Path, camera: str, frame: Frame) -> VideoEncoder:
        return VideoEncoder(
            folder / f"{camera}.mp4",
            fps=self._fps,
            shape=frame.images[camera].shape[:2],
            capacity=self._capacity,
        )

    def _open(self) -> OpenTake:
        if self._take is None:
            raise ValueError(f"{self.root}: no episode is open; begin one first")
        return self._take

    def _require_open(self) -> None:
        if self._lock.closed:
            raise ValueError(f"{self.root}: this writer is closed")

    def _description(self, shapes: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
        names = (self._robot.state_names, self._actions)
        return {
            "features": layout.features(*names, shapes, self._fps),
            "fps": self._fps,
            "robot": self._robot.name,
            "robot_yaml": self._yaml,
        }

    def _require_fitting(self, frame: Frame, take: OpenTake) -> None:
        self._require_columns(frame)
        missing = [c for c in self.cameras if c not in frame.images]
        if missing:
            raise ValueError(f"frame: no image of camera {', '.join(missing)}")
        for camera in self.cameras:
            self._require_size(camera, frame.images[camera].shape[:2], take.shapes)

    def _require_columns(self, frame: Frame | Row) -> None:
        for name, expected in (
            ("state", self._robot.state_names),
            ("action", self._actions),
        ):
            got = len(getattr(frame, name))
            if got != len(expected):
                raise ValueError(
                    f"frame: got {got} columns of {name}, expected {len(expected)} of {self._robot.name}"
                )

    def _require_size(
        self, camera: str, got: tuple[int, int], known: Mapping[str, tuple[int, int]]
    ) -> None:
        """known: camera -> size in this episode."""
        if camera in known:
            expected = known[camera]
        elif self._state is not None:
            expected = tuple(self._state.info["features"][layout.video_key(camera)]["shape"][:2])
        else:
            require_even(camera, got)
            return
        if tuple(got) != tuple(expected):
            raise ValueError(
                f"camera {camera}: got {got[1]} x {got[0]} pixels, expected {expected[1]} x {expected[0]} "
                "as in the frames before"
            )

    def _require_same(self, state: SetState) -> None:
        """Refuse a set that these frames do not match."""
        info = state.info
        if info.get("codebase_version") != layout.VERSION:
            raise ValueError(
                f"{self.root}: got a set of version {info.get('codebase_version')}, expected {layout.VERSION} to add to; "
                "`vla data convert` makes one"
            )
        shapes = {
            c: tuple(info["features"].get(layout.video_key(c), {"shape": (0, 0)})["shape"][:2])
            for c in self.cameras
        }
        names = (self._robot.state_names, self._actions)
        own = layout.features(*names, shapes, self._fps)
        wanted = {"robot_type": self._robot.name, "fps": self._fps}
        for key, value in wanted.items():
            if info.get(key) != value:
                raise ValueError(
                    f"{self.root}: got a set with {key} {info.get(key)!r}, expected {value!r}; record into another folder"
                )
        theirs = {
            n: (f["dtype"], list(f["shape"]), f["names"]) for n, f in info["features"].items()
        }
        ours = {n: (f["dtype"], f["shape"], f["names"]) for n, f in own.items()}
        if theirs != ours:
            other = [n for n in {**theirs, **ours} if theirs.get(n) != ours.get(n)]
            raise ValueError(
                f"{self.root}: got a set with other columns ({', '.join(other)}) than {self._robot.name} gives; "
                "record into another folder"
            )


def require_even(camera: str, size: tuple[int, int]) -> None:
    """Raises ValueError for a (height, width) that H.264 does not support."""
    if size[0] % 2 or size[1] % 2:
        raise ValueError(
            f"camera {camera}: got {size[1]} x {size[0]} pixels, expected even numbers, as H.264 needs them"
        )
