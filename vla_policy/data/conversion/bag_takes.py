"""Converts one bag into an episode to be appended to a set; runs in its own process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from vla_policy.data.bag.metadata import SCENE, SUCCESS, TASK
from vla_policy.data.bag.reader import Bag, open_bag
from vla_policy.data.conversion.sources import recorded
from vla_policy.data.episode_builder import EpisodeBuilder
from vla_policy.data.frame import Frame
from vla_policy.data.lerobot.append import EpisodeToAppend, Row
from vla_policy.data.lerobot.video_encoder import VideoEncoder
from vla_policy.data.lerobot.writer import require_even
from vla_policy.data.scene import scene_of_text
from vla_policy.embodiment import Embodiment, load_embodiment

WAITING_FRAMES = 16  # per camera, for its encoder
ANSWERS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class BagJob:
    """bag: input.

    robot: its file. folder: for videos, below the set's `.recording/`. task, namespace: '' as in
    the bag.
    """

    bag: Path
    robot: Path
    fps: int
    folder: Path
    task: str = ""
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """Result of a job. take: None if the bag cannot be converted; problem then states why.

    notes: sentences on faults of the recording that did not prevent it. shapes: camera -> (height,
    width).
    """

    bag: Path
    take: EpisodeToAppend | None
    shapes: dict[str, tuple[int, int]]
    notes: tuple[str, ...]
    problem: str = ""


def make_take(job: BagJob) -> Made:
    """Read, align and encode one bag. A bag's faults are in Made.problem; OSError is raised."""
    try:
        return _make(job)
    except (ValueError, FileNotFoundError) as error:
        return Made(job.bag, None, {}, (), str(error))


def _make(job: BagJob) -> Made:
    bag, robot = open_bag(job.bag), _robot(job.robot)
    how = recorded(bag, robot, job.namespace or None)
    builder = EpisodeBuilder(
        robot,
        job.fps,
        namespace=how.namespace,
        decoder=bag.decoder(),
        from_outputs=how.from_outputs,
    )
    job.folder.mkdir(parents=True, exist_ok=True)
    encoders: dict[str, VideoEncoder] = {}
    rows: list[Row] = []
    try:
        for frame in frames_of(bag, builder):
            if not encoders:
                encoders = {c: _encoder(job, c, frame) for c in robot.camera_names}
            for camera, encoder in encoders.items():
                if frame.images[camera].shape[:2] != encoder.shape:
                    raise ValueError(
                        f"{job.bag}: camera {camera} changes its size in frame {len(rows)}"
                    )
                encoder.put(frame.images[camera], wait=True)
            # Another process takes the rows, and views of mappings cannot be pickled.
            rows.append(replace(Row.of(frame), ages_s=dict(frame.ages_s)))
        if not rows:
            raise ValueError(f"{job.bag}: gives no frame: {_why_none(builder)}")
        videos = {camera: encoder.finish() for camera, encoder in encoders.items()}
    except BaseException:
        for encoder in encoders.values():
            encoder.abandon()
        raise
    task = _task(job, bag, rows)
    said = bag.custom
    scene = scene_of_text(said.get(SCENE, ""))
    take = EpisodeToAppend(task, rows, videos, ANSWERS.get(said.get(SUCCESS, "")), scene)
    shapes = {camera: encoder.shape for camera, encoder in encoders.items()}
    return Made(job.bag, take, shapes, tuple(_notes(bag, builder, rows)))


def frames_of(bag: Bag, builder: EpisodeBuilder) -> Iterator[Frame]:
    """All frames of a bag, as during the recording. builder: a new one, for the bag's robot."""
    for message in bag.messages(builder.heard):
        yield from builder.add(message)
    yield from builder.end()


@lru_cache(maxsize=4)
def _robot(file: Path) -> Embodiment:
    return load_embodiment(file)


def _encoder(job: BagJob, camera: str, frame: Frame) -> VideoEncoder:
    height, width = frame.images[camera].shape[:2]
    require_even(camera, (height, width))
    return VideoEncoder(
        job.folder / f"{camera}.mp4",
        fps=job.fps,
        shape=(height, width),
        capacity=WAITING_FRAMES,
    )


def _task(job: BagJob, bag: Bag, rows: list[Row]) -> str:
    said = job.task or bag.custom.get(TASK, "")
    found = said or next((row.task for row in rows if row.task), "")
    if not found:
        raise ValueError(f"{job.bag}: says nothing of the task; give it with --task 'WORDS'")
    return found


def _why_none(builder: EpisodeBuilder) -> str:
    if builder.problem:
        return builder.problem
    if builder.missing:
        reasons = list(builder.sentences.values())
        more = f" ({reasons[0]})" if reasons else ""
        return f"nothing that can be used came from {', '.join(builder.missing)}{more}"
    return "it is shorter than one frame"


def _notes(bag: Bag, builder: EpisodeBuilder, rows: list[Row]) -> Iterator[str]:
    if bag.unfinished:
        yield bag.unfinished
    if builder.problem:
        yield f"{bag.path}: {builder.problem}"
    for topic, count in builder.refused.items():
        yield f"{bag.path}: {count} messages were ignored, the first because {builder.sentences[topic]}"
    invalid = sum(not row.valid for row in rows)
    if invalid:
        yield f"{bag.path}: {invalid} of {len(rows)} frames are invalid (a stream was stale, or nothing had been sent)"
