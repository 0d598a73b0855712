"""Reads LeRobot data sets of versions 2.0, 2.1 and 3.x, from any writer, as one value."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import cv2
import numpy as np
import pyarrow as pa

from vla_policy.data.frame import CONTROL_SOURCES, Episode, Frame
from vla_policy.data.lerobot import layout
from vla_policy.data.lerobot.files import read_json, read_table
from vla_policy.data.lerobot.versions import READ, EpisodeEntry, read_episodes
from vla_policy.data.lerobot.video_decoder import Videos
from vla_policy.data.scene import DrawnScene, scene_of
from vla_policy.parsing.files import within
from vla_policy.timing import NS_PER_S
from vla_policy.types import Array

EPISODES_HELD = 8  # episodes whose numbers stay in memory


def open_set(root: Path | str) -> DataSet:
    """The set below root; only its metadata is read.

    Raises FileNotFoundError if there is none, ValueError in one sentence for an unreadable one.
    """
    root = Path(root)
    path = root / layout.INFO
    if not path.exists():
        before = root.with_name(f"{root.name}.undo") if root.name else root
        cut = (
            f"; {before} is the set before an edit that was cut off, which `vla data edit` or a recorder finishes"
            if (before / layout.INFO).exists()
            else ""
        )
        raise FileNotFoundError(f"{root}: no data set here ({layout.INFO} is missing){cut}")
    info = read_json(path)
    missing = [
        k
        for k in ("codebase_version", "fps", "features", "total_episodes", "data_path")
        if k not in info
    ]
    if missing:
        raise ValueError(f"{path}: {', '.join(missing)} is missing")
    if info["codebase_version"] not in READ:
        raise ValueError(
            f"{path}: got codebase_version {info['codebase_version']!r}, expected one of {', '.join(READ)}"
        )
    return DataSet(root, info)


class DataSet:
    """Random access to the frames of a set. Not for several threads; every process unpickles its own.

    cameras: names without `observation.images.`. tasks: by index. robot_yaml: '' if the set has
    none.
    depth_cameras: left out, as their values are no colours.
    """

    def __init__(self, root: Path, info: Mapping[str, Any]) -> None:
        self.root, self.info = root, dict(info)
        self.version = str(info["codebase_version"])
        self.fps = round(info["fps"])
        self.robot_type = str(info.get("robot_type") or "")
        self.features: dict[str, dict[str, Any]] = dict(info["features"])
        pictures = {n: f for n, f in self.features.items() if f["dtype"] in ("video", "image")}
        self.depth_cameras = tuple(n for n, f in pictures.items() if _is_depth(f))
        keys = {n.removeprefix(layout.IMAGES): n for n in pictures if n not in self.depth_cameras}
        self.camera_features = keys
        self.cameras = tuple(keys)
        self.state_names = _names(self.features.get(layout.STATE), "state")
        self.action_names = _names(self.features.get(layout.ACTION), "action")
        videos = {c: n for c, n in keys.items() if self.features[n]["dtype"] == "video"}
        self.entries, self.tasks = read_episodes(root, info, videos)
        self._starts = np.array([e.start for e in self.entries], np.int64)
        self._ends = self._starts + [e.length for e in self.entries]
        own = root / layout.OWN_SET
        self.own: dict[str, Any] = read_json(own) if own.exists() else {}
        self._sources = tuple(self.own.get("control_sources", CONTROL_SOURCES))
        self._videos = Videos(self.fps)
        self._held: OrderedDict[int, dict[str, Any]] = OrderedDict()

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def robot_yaml(self) -> str:
        return str(self.own.get("robot_yaml", ""))

    def locate(self, index: int) -> tuple[int, int]:
        """(episode, frame in it) of a frame of the set. Raises IndexError."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.root}: got frame {index}, expected 0 to {len(self) - 1}")
        episode = int(np.searchsorted(self._ends, index, "right"))
        return episode, index - int(self._starts[episode])

    def frame(self, index: int) -> Frame:
        """A frame by its index in the set. Raises IndexError, or ValueError naming file, episode and frame."""
        return self.frame_of(*self.locate(index))

    def frame_of(self, episode: int, number: int) -> Frame:
        """A frame by its episode and its number in it."""
        rows, entry = self.rows(episode), self._entry(episode)
        if not 0 <= number < entry.length:
            raise IndexError(
                f"{self.root}: episode {episode}: got frame {number} of {entry.length}"
            )
        images = {c: self.image(episode, number, c) for c in self.cameras}
        own = self.own_rows(episode)
        start = self.start_ns(episode)
        stamp = (
            own["stamp_ns"][number]
            if "stamp_ns" in own
            else (start or 0) + round(number * NS_PER_S / self.fps)
        )
        ages = {n: v[number] for n, v in own.items() if n != "stamp_ns" and v[number] is not None}
        action = _row(rows, layout.ACTION, number)
        proposed = rows.get(layout.PROPOSED)
        with within(entry.data):
            return Frame(
                stamp_ns=int(stamp),
                images=images,
                state=_row(rows, layout.STATE, number),
                action=action,
                proposed=np.full(len(action), np.nan)
                if proposed is None
                else proposed[number].reshape(-1),
                control_source=self._source(rows, number),
                intervention=bool(_scalar(rows, "intervention", number, False)),
                guard_level=int(_scalar(rows, "guard_level", number, 0)),
                valid=bool(_scalar(rows, "frame_valid", number, True)),
                task=self.tasks[int(_scalar(rows, "task_index", number, 0))],
                ages_s=ages,
            )

    def image(self, episode: int, number: int, camera: str) -> Array:
        """uint8[h, w, 3] RGB, read-only. Raises ValueError naming file, episode and frame."""
        entry = self._entry(episode)
        if camera in entry.videos:
            path, begin = entry.videos[camera]
            try:
                return self._videos.frame(path, begin + number / self.fps)
            except (ValueError, FileNotFoundError) as error:
                raise type(error)(f"{error} (episode {episode}, frame {number})") from error
        return self._embedded(episode, number, camera)

    def rows(self, episode: int) -> dict[str, Array]:
        """The numbers of an episode by feature: [n] or [n, ...], read-only. Raises ValueError naming the file."""
        held: dict[str, Array] = self._of(episode)["rows"]
        return held

    def own_rows(self, episode: int) -> dict[str, list[Any]]:
        """stamp_ns, and ages by stream, of an episode recorded by this package; else empty."""
        held: dict[str, list[Any]] = self._of(episode)["own"]
        return held

    def own_episode(self, episode: int) -> dict[str, Any]:
        """This package's own facts about an episode; else empty."""
        path = self.root / layout.OWN_EPISODE.format(episode=episode)
        return read_json(path) if path.exists() else {}

    def start_ns(self, episode: int) -> int | None:
        """Stamp of frame 0; None if the set does not have it."""
        held: int | None = self._of(episode)["about"].get("start_ns")
        return held

    def scene(self, episode: int) -> DrawnScene | None:
        """The scene in the simulation; None if unknown, as for a real robot."""
        return scene_of(self.own_episode(episode).get("scene"))

    def success(self, episode: int) -> bool | None:
        """Whether it succeeded; None if unknown."""
        about = self._of(episode)["about"]
        if "success" in about:
            return None if about["success"] is None else bool(about["success"])
        said = self.rows(episode).get("next.success")
        return None if said is None else bool(said.any())

    def task(self, episode: int) -> str:
        """The task of an episode; the first if it has several."""
        tasks = self._entry(episode).tasks
        return str(self._of(episode)["about"].get("task") or (tasks[0] if tasks else ""))

    def episode(self, index: int) -> Episode:
        """One demonstration; its frames are decoded on access."""
        self._entry(index)
        return Episode(
            index=index,
            frames=_Frames(self, index),
            task=self.task(index),
            success=self.success(index),
            fps=self.fps,
            cameras=self.cameras,
            state_names=self.state_names,
            action_names=self.action_names,
            robot=self.robot_yaml,
            start_ns=self.start_ns(index),
        )

    @cached_property
    def stats(self) -> dict[str, Any]:
        """The content of meta/stats.json; {} if it is missing."""
        path = self.root / layout.STATS
        return read_json(path) if path.exists() else {}

    def table(self, episode: int) -> pa.Table:
        """The rows of an episode as in its file. Raises ValueError naming file and episode."""
        entry = self._entry(episode)
        try:
            table = read_table(entry.data, filters=[("episode_index", "=", entry.index)])
        except (ValueError, FileNotFoundError) as error:
            raise type(error)(f"{error} (episode {episode})") from error
        if len(table) != entry.length:
            raise ValueError(
                f"{entry.data}: got {len(table)} rows of episode {episode}, expected {entry.length}"
            )
        return table

    def _entry(self, episode: int) -> EpisodeEntry:
        if not 0 <= episode < len(self.entries):
            raise IndexError(
                f"{self.root}: got episode {episode}, expected 0 to {len(self.entries) - 1}"
            )
        return self.entries[episode]

    def _of(self, episode: int) -> dict[str, Any]:
        if episode not in self._held:
            while len(self._held) >= EPISODES_HELD:
                self._held.popitem(last=False)
            self._held[episode] = self._read(episode)
        self._held.move_to_end(episode)
        return self._held[episode]

    def _read(self, episode: int) -> dict[str, Any]:
        table, path = self.table(episode), self.root / layout.OWN_AGES.format(episode=episode)
        with within(self._entry(episode).data):
            rows = {
                n: numbers(table[n], self.features[n])
                for n in table.column_names
                if self._is_number(n)
            }
        embedded = {
            c: table[n].to_pylist()
            for c, n in self.camera_features.items()
            if self.features[n]["dtype"] == "image"
        }
        own = read_table(path).to_pydict() if path.exists() else {}
        return {"rows": rows, "embedded": embedded, "own": own, "about": self.own_episode(episode)}

    def _is_number(self, name: str) -> bool:
        kind = self.features.get(name, {}).get("dtype", "")
        return kind not in ("", "video", "image", "string", "language")

    def _source(self, rows: Mapping[str, Array], number: int) -> str:
        code = int(_scalar(rows, "control_source", number, 0))
        name = self._sources[code] if 0 <= code < len(self._sources) else "other"
        return name if name in CONTROL_SOURCES else "other"

    def _embedded(self, episode: int, number: int, camera: str) -> Array:
        cell = self._of(episode)["embedded"][camera][number]
        where = f"{self._entry(episode).data}: image {camera} of episode {episode}, frame {number}"
        data = cell.get("bytes")
        if data is None and cell.get("path"):
            inside = (self.root / cell["path"]).resolve()
            if self.root.resolve() in inside.parents and inside.is_file():
                data = inside.read_bytes()
        if not data:
            raise ValueError(f"{where}: there are no bytes")
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError(f"{where}: not a readable picture")
        colours = np.ascontiguousarray(image[..., ::-1])
        colours.setflags(write=False)
        return colours

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_held": OrderedDict()}


class _Frames(Sequence[Frame]):
    """The frames of one episode."""

    def __init__(self, source: DataSet, episode: int) -> None:
        self._source, self._episode = source, episode

    def __len__(self) -> int:
        return self._source.entries[self._episode].length

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Frame]: ...
    def __getitem__(self, index: int | slice) -> Frame | Sequence[Frame]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._source.frame_of(self._episode, index + len(self) if index < 0 else index)

    def __iter__(self) -> Iterator[Frame]:
        return (self[i] for i in range(len(self)))


def numbers(values: pa.ChunkedArray, feature: Mapping[str, Any]) -> Array:
    """A column as [n] for shape [1], else [n, *shape]. Raises ValueError for rows of another length."""
    kind, shape = np.dtype(feature["dtype"]), tuple(feature["shape"])
    count = len(values)
    flat = values.combine_chunks()
    while (
        pa.types.is_list(flat.type)
        or pa.types.is_fixed_size_list(flat.type)
        or pa.types.is_large_list(flat.type)
    ):
        flat = flat.flatten()
    array = flat.to_numpy(zero_copy_only=False)
    if array.size != count * int(np.prod(shape)) or array.dtype == object:
        raise ValueError(
            f"got {array.size} numbers in {count} rows, expected {list(shape)} in each"
        )
    array = np.array(array, kind).reshape((count,) if shape == (1,) else (count, *shape))
    array.setflags(write=False)
    return array


def _row(rows: Mapping[str, Array], name: str, number: int) -> Array:
    return rows[name][number].reshape(-1) if name in rows else np.zeros(0, np.float32)


def _scalar(rows: Mapping[str, Array], name: str, number: int, default: Any) -> Any:
    return rows[name].reshape(len(rows[name]), -1)[number, 0] if name in rows else default


def _names(feature: Mapping[str, Any] | None, kind: str) -> tuple[str, ...]:
    """The names of columns; numbered if the set has none, or another number of names."""
    if feature is None:
        return ()
    width, names = int(np.prod(feature["shape"])), feature.get("names")
    if isinstance(names, Mapping):  # {"motors": [...]}
        names = (
            [n for group in names.values() for n in group]
            if all(isinstance(g, list) for g in names.values())
            else list(names)
        )
    if isinstance(names, list) and len(names) == width and len(set(map(str, names))) == width:
        return tuple(map(str, names))
    return tuple(f"{kind}.{i}" for i in range(width))


def _is_depth(feature: Mapping[str, Any]) -> bool:
    said = (feature.get("info") or {}) | (feature.get("video_info") or {})
    if said.get("is_depth_map") or said.get("video.is_depth_map"):
        return True
    # Older writers put the channels first.
    return not {3, 4} & {feature["shape"][0], feature["shape"][-1]}
