"""State of an episode that is neither saved nor discarded."""

from __future__ import annotations

from pathlib import Path

from vla_policy.data.lerobot.append import EpisodeToAppend, ReadyEpisode, Row
from vla_policy.data.lerobot.video_encoder import EncodedVideo, VideoEncoder
from vla_policy.data.scene import DrawnScene

# Possible judgements of an episode at saving -> name of the change prepared for it; the likeliest
# first.
ANSWERS: dict[bool | None, str] = {None: "unknown", True: "success", False: "failure"}


class OpenTake:
    """encoders: by camera, once there is a frame. overrun: why a frame was lost; '' if none was.

    ready: prepared changes of save(), by judgement. may_get_ready: whether more can be prepared.
    """

    def __init__(self, folder: Path, task: str, scene: DrawnScene | None) -> None:
        self.folder, self.task, self.scene = folder, task, scene
        self.encoders: dict[str, VideoEncoder] = {}
        self.rows: list[Row] = []
        self.overrun = ""
        self.ended = False
        self.ready: dict[bool | None, ReadyEpisode] = {}
        self.may_get_ready = True

    @property
    def problem(self) -> str:
        """Why it cannot be saved; '' if it can."""
        broken = (e.problem for e in self.encoders.values())
        if self.overrun:
            return f"{self.overrun}, and a frame was lost"
        return next((p for p in broken if p), "")

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """camera -> (height, width)."""
        return {camera: encoder.shape for camera, encoder in self.encoders.items()}

    @property
    def is_encoded(self) -> bool:
        """Whether all encoders have finished."""
        return all(encoder.is_done for encoder in self.encoders.values())

    @property
    def unready(self) -> bool:
        """Whether it could be saved, and not everything is prepared."""
        possible = self.ended and bool(self.rows) and not self.problem
        return possible and self.may_get_ready and len(self.ready) < len(ANSWERS)

    @property
    def unanswered(self) -> bool | None:
        """The likeliest judgement without a prepared change; only while there is one."""
        return next(answer for answer in ANSWERS if answer not in self.ready)

    def videos(self) -> dict[str, EncodedVideo]:
        """camera -> its complete video. Raises the encoder's error, DiskFull among them."""
        return {camera: encoder.finish() for camera, encoder in self.encoders.items()}

    def episode(self, success: bool | None) -> EpisodeToAppend:
        """The complete episode, with this judgement."""
        return EpisodeToAppend(self.task, self.rows, self.videos(), success, self.scene)
