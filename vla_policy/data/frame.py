"""One moment of a demonstration in a data set, and a whole demonstration.

The same values come out of a running robot, a bag and a data set of any format (docs/data.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from vla_policy.types import Array, readonly

# Source of motion; '' is none, 'other' a source unknown to this package. The index is the code in
# files.
CONTROL_SOURCES = ("", "policy", "teleop", "other")
GUARD_LEVELS = range(4)  # types.Level


@dataclass(frozen=True, slots=True)
class Frame:
    """Observation and action at one time, t_k = start + k / fps.

    stamp_ns:   t_k, node clock.
    images:     camera -> uint8[h, w, 3] RGB.
    state:      float32[s], Embodiment.state_names order, robot units.
    action:     float32[d], columns of embodiment.layout.layout_of(robot): the last command sent
                up to t_k + 1 / fps.
    proposed:   float32[d], the plan's action; NaN in columns where nothing was planned.
    task:       the instruction in force, as text; '' for that of the whole episode.
    valid:      whether every stream had a recent enough sample; if not, the older one is repeated.
    ages_s:     stream -> age of its sample at t_k.
    Raises ValueError for a wrong shape or dtype, a state or action that is not finite, an unknown
    source.
    """

    stamp_ns: int
    images: Mapping[str, Array]
    state: Array
    action: Array
    proposed: Array
    control_source: str
    intervention: bool
    guard_level: int
    valid: bool
    task: str
    ages_s: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        images = {}
        for name, image in self.images.items():
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
                raise ValueError(
                    f"Frame.images[{name!r}]: got {image.dtype}{list(image.shape)}, expected uint8[h, w, 3]"
                )
            images[name] = readonly(image, np.uint8)
        object.__setattr__(self, "images", MappingProxyType(images))
        object.__setattr__(self, "ages_s", MappingProxyType(dict(self.ages_s)))
        for name in ("state", "action", "proposed"):
            values = readonly(getattr(self, name), np.float32)
            object.__setattr__(self, name, values)
            if values.ndim != 1:
                raise ValueError(f"Frame.{name}: got shape {values.shape}, expected one row")
            if name != "proposed" and not np.isfinite(values).all():
                bad = np.flatnonzero(~np.isfinite(values)).tolist()
                raise ValueError(f"Frame.{name}: not finite in columns {bad}")
        if self.proposed.shape != self.action.shape:
            raise ValueError(
                f"Frame.proposed: got {len(self.proposed)} columns, expected {len(self.action)} as of action"
            )
        if self.control_source not in CONTROL_SOURCES:
            raise ValueError(
                f"Frame.control_source: got {self.control_source!r}, expected one of {CONTROL_SOURCES}"
            )
        if self.guard_level not in GUARD_LEVELS:
            raise ValueError(f"Frame.guard_level: got {self.guard_level}, expected 0 to 3")

    def __reduce__(self) -> tuple[object, ...]:
        """Mapping proxies cannot be pickled; workers pass frames on."""
        values = [getattr(self, name) for name in self.__slots__]
        return type(self), tuple(dict(v) if isinstance(v, MappingProxyType) else v for v in values)


@dataclass(frozen=True, slots=True)
class Episode:
    """One demonstration. frames: all of them, each decoded on access.

    success:     None if unknown.
    state_names, action_names: the columns, as named in the robot file or the data set.
    robot:       the text of the robot's YAML file; '' if the source has none.
    start_ns:    stamp of frame 0, node clock; None if the source does not have it.
    """

    index: int
    frames: Sequence[Frame]
    task: str
    success: bool | None
    fps: int
    cameras: tuple[str, ...]
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    robot: str
    start_ns: int | None

    def __len__(self) -> int:
        return len(self.frames)
