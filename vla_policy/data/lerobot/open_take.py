"""What is collected of an episode that is neither saved nor discarded."""

from __future__ import annotations

from pathlib import Path

from vla_policy.data.lerobot.append import EpisodeToAppend, ReadyEpisode, Row
from vla_policy.data.lerobot.video_encoder import EncodedVideo, VideoEncoder
from vla_policy.data.scene import DrawnScene

# What may be said of an episode when it is saved -> the name of what is made ready for it; the likeliest first.
ANSWERS: dict[bool | None, str] = {None: "unknown", True: "success", False: "failure"}


class OpenTake:
    """encoders: by camera, once there is a frame. overrun: why a frame was lost; '' if none was.

    ready: what save() has to put in place, by what it may be told. may_get_ready: whether more of it can be made.
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
        """Whether no encoder has anything left to do."""
        return all(encoder.is_done for encoder in self.encoders.values())

    @property
    def unready(self) -> bool:
        """Whether it could be saved, and not all of that is made ready."""
        possible = self.ended and bool(self.rows) and not self.problem
        return possible and self.may_get_ready and len(self.ready) < len(ANSWERS)

    @property
    def unanswered(self) -> bool | None:
        """The likeliest answer for which nothing is ready; only while there is one."""
        return next(answer for answer in ANSWERS if answer not in self.ready)

    def videos(self) -> dict[str, EncodedVideo]:
        """camera -> its video, once it is whole. Raises what went wrong, DiskFull among it."""
        return {camera: encoder.finish() for camera, encoder in self.encoders.items()}

    def episode(self, success: bool | None) -> EpisodeToAppend:
        """The whole of it, with this answer."""
        return EpisodeToAppend(self.task, self.rows, self.videos(), success, self.scene)
