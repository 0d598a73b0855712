"""A data set as a sequence of demonstrations: one for each frame that a policy may learn from.

A demonstration is the observation of a frame and the commands from there on, at the policy's rate
and in its columns. Rows after the end of the episode, rows based on an invalid frame and frames
of a source with weight 0 are not learned. Files stay closed until an image is read; a set can be
pickled to worker processes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from vla_policy.checkpoint.contract import Contract
from vla_policy.data.conversion.sources import SET, SHARDS, kind_of, named_robot
from vla_policy.data.frame import CONTROL_SOURCES
from vla_policy.data.lerobot.reader import open_set
from vla_policy.data.recorded_robot import require_same_units
from vla_policy.embodiment import Embodiment, embodiment_names
from vla_policy.embodiment.layout import layout_of
from vla_policy.families.training import Demonstration
from vla_policy.timing import NS_PER_S
from vla_policy.train import set_checks, set_columns
from vla_policy.train.chunk_rows import ChunkRows
from vla_policy.train.learned_action import PROPOSED, START, grips_from_start, learned_action
from vla_policy.train.lerobot_source import LeRobotSource
from vla_policy.train.set_numbers import NOT_SAID, SetNumbers, SetSource
from vla_policy.train.set_options import DEFAULTS, SetOptions, weight_of
from vla_policy.train.shard_source import ShardSource
from vla_policy.train.still_starts import still_starts
from vla_policy.types import Array, Observation, readonly

BLACK = readonly(np.zeros((8, 8, 3)), np.uint8)


def open_training_set(
    root: Path | str, contract: Contract, *, rows: int, options: SetOptions = DEFAULTS
) -> TrainingSet:
    """The demonstrations of a LeRobot set or of shards, for a policy with this contract and chunks of rows.

    Raises FileNotFoundError, or ValueError in one sentence: unreadable files, columns, cameras or
    spaces that differ, and impossible numbers, with episode and frame.
    """
    source = open_source(Path(root), options)
    robot = robot_of_source(source, options, contract)
    return TrainingSet(source, robot, contract, rows, options)


def open_source(root: Path, options: SetOptions = DEFAULTS) -> SetSource:
    """The numbers of the set at a path; its images stay closed."""
    kind = kind_of(root)
    if kind == SHARDS:
        return ShardSource(root, options.robot)
    if kind != SET:
        raise ValueError(
            f"{root}: got {kind}, expected a data set; make one with `vla data convert`"
        )
    return LeRobotSource(open_set(root))


def robot_of_source(
    source: SetSource, options: SetOptions = DEFAULTS, contract: Contract | None = None
) -> Embodiment:
    """The robot of a set. contract: of the policy, which must be for the same robot.

    Raises ValueError for a set that names no robot, or another one.
    """
    if options.robot is None and source.robot_name not in embodiment_names():
        raise ValueError(
            f"{source.label}: its robot is {source.robot_name!r}, expected one of {', '.join(embodiment_names())}; "
            "say which it is, `robot: NAME` or `robot: FILE.yaml`"
        )
    robot = named_robot(options.robot or source.robot_name).robot
    if source.own and source.robot_name and robot.name != source.robot_name:
        raise ValueError(
            f"{source.label}: robot: got {robot.name!r}, the set was recorded of {source.robot_name!r}"
        )
    require_same_units(source.label, source.robot_yaml, robot)
    if contract is not None and robot.name not in contract.embodiments:
        raise ValueError(
            f"{source.label}: is of robot {robot.name!r}, the policy is for {', '.join(contract.embodiments)}"
        )
    return robot


class TrainingSet(Sequence[Demonstration]):
    """The demonstrations of one set, in the order of its frames. Not for several threads.

    robot: of the set. episodes: those in use. weights: float32[len], of each demonstration.
    """

    def __init__(
        self,
        source: SetSource,
        robot: Embodiment,
        contract: Contract,
        rows: int,
        options: SetOptions = DEFAULTS,
    ) -> None:
        self.source, self.robot, self.contract, self.options = source, robot, contract, options
        self.label = source.label
        self._columns = set_columns.match(source, robot, contract, options)
        numbers = source.numbers
        self._places = set_checks.FrameLocator(source.label, numbers)
        state, action = (
            self._columns.state.of(numbers.state),
            self._columns.action.of(numbers.action),
        )
        self.episodes = _episodes(source, options)
        counted = _frames(numbers, self.episodes)
        set_checks.check_times(self._places, source.fps, counted)
        names = contract.state_names
        set_checks.check_state(self._places, state, counted, names, robot)
        set_checks.check_action(
            self._places, action, counted, robot, written=self._columns.written
        )
        self._rows, self._state, self._sent = rows, state, action
        self._action = self._learned(action)
        weights = _weights(numbers, options)
        self._teaches = numbers.valid & (weights > 0)
        self._chunks = self._chunk_rows()
        # An invalid frame's observation is old, and without its first row no current action is
        # known.
        usable = counted[self._teaches[counted] & ~self._still()[counted]]
        episode = np.searchsorted(numbers.first, usable, "right") - 1
        begins, ends = numbers.first[episode], (numbers.first + numbers.length)[episode]
        self._index = usable[self._chunks.first_row_teaches(usable, begins, ends)]
        self.weights = weights[self._index]
        if not len(self._index):
            raise ValueError(
                f"{source.label}: got no frame to learn from in {len(self.episodes)} episodes ({options.part}), "
                "expected at least one"
            )

    def __len__(self) -> int:
        return len(self._index)

    @overload
    def __getitem__(self, index: int) -> Demonstration: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Demonstration]: ...
    def __getitem__(self, index: int | slice) -> Demonstration | Sequence[Demonstration]:
        if isinstance(index, slice):
            return [self.sample(i) for i in range(*index.indices(len(self)))]
        return self.sample(index + len(self) if index < 0 else index)

    def __iter__(self) -> Iterator[Demonstration]:
        return (self.sample(i) for i in range(len(self)))

    def states(self) -> Array:
        """float64[len, s]: the state of every demonstration, contract.state_names."""
        states: Array = self._state[self._index]
        return states

    def blind(self, index: int, rng: np.random.Generator | None = None) -> Demonstration:
        """As sample, with small black images, for use of its numbers only: no file is opened."""
        return self._demonstration(index, rng, images=False)

    def where(self, index: int) -> str:
        """'set, episode 3, frame 17' of a demonstration. Raises IndexError."""
        return self._places.of(self._frame(index))

    def sample(self, index: int, rng: np.random.Generator | None = None) -> Demonstration:
        """One demonstration; rng chooses among the phrasings of its instruction, None: the first.

        Raises IndexError, or ValueError naming file, episode and frame.
        """
        return self._demonstration(index, rng, images=True)

    def _demonstration(
        self, index: int, rng: np.random.Generator | None, *, images: bool
    ) -> Demonstration:
        frame, numbers = self._frame(index), self.source.numbers
        episode = int(np.searchsorted(numbers.first, frame, "right")) - 1
        begin, count = int(numbers.first[episode]), int(numbers.length[episode])
        number = frame - begin
        seen = {
            name: self.source.image(episode, number, theirs) if images else BLACK
            for name, theirs in self._columns.cameras.items()
        }
        observation = Observation(
            images=seen,
            state=self._state[frame],
            state_names=self.contract.state_names,
            instruction=self._instruction(episode, number, rng),
            obs_ns=round(number * NS_PER_S / self.source.fps),
        )
        actions, valid, behind = self._chunks.of(frame, begin, begin + count)
        reached = self.source.success(episode) is not False
        return Demonstration(
            observation=observation,
            actions=actions,
            valid=valid,
            weight=float(self.weights[index]),
            done=self._chunks.marked(numbers.finished, frame, begin + count) | (behind & reached),
        )

    def __getstate__(self) -> dict[str, Any]:
        """Without the robot, which is loaded again by name: descriptions cannot be pickled."""
        return {k: v for k, v in self.__dict__.items() if k not in ("robot", "_chunks")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.robot = robot_of_source(self.source, self.options)
        self._chunks = self._chunk_rows()

    def _still(self) -> Array:
        """bool[n]: frames that are no observation, as nothing happens yet."""
        numbers = self.source.numbers
        if not self.options.trim_still:
            return np.zeros(len(numbers), bool)
        return still_starts(
            self._state, self._action, numbers.first, numbers.length, self.contract.state_names,
            layout_of(self.robot), written=self._columns.written,
        )  # fmt: skip

    def _learned(self, sent: Array) -> Array:
        """float64[n, d]: the actions that are learned. sent: the commands that went out."""
        numbers, layout, options = self.source.numbers, layout_of(self.robot), self.options
        learned, written = sent, self._columns.written
        if numbers.proposed is not None and not written and options.learn == PROPOSED:
            learned = learned_action(sent, self._columns.action.of(numbers.proposed), layout)
        if not written and options.grips == START:
            learned = grips_from_start(learned, numbers.first, layout)
        return learned

    def _chunk_rows(self) -> ChunkRows:
        return ChunkRows(
            action=self._action,
            sent=self._sent,
            state=self._state,
            state_names=self.contract.state_names,
            teaches=self._teaches,
            robot=self.robot,
            rows=self._rows,
            steps_per_row=self.source.fps / self.contract.policy_hz,
            written=self._columns.written,
        )

    def _frame(self, index: int) -> int:
        if not 0 <= index < len(self._index):
            raise IndexError(
                f"{self.source.label}: got demonstration {index}, expected 0 to {len(self._index) - 1}"
            )
        return int(self._index[index])

    def _instruction(self, episode: int, number: int, rng: np.random.Generator | None) -> str:
        said = tuple(self.source.sentences(episode, number))
        if self.options.instruction is not None:
            said = (self.options.instruction,)
        if not said:
            raise ValueError(
                f"{self.source.label}, episode {episode}, frame {number}: got no task, expected one; say it in the run "
                "file, `instruction: ...`"
            )
        said += self.options.phrasings.get(said[0], ())
        return said[0] if rng is None else said[int(rng.integers(len(said)))]


def _episodes(source: SetSource, options: SetOptions) -> tuple[int, ...]:
    """The episodes in use. Raises ValueError for one that the set lacks."""
    count = len(source.numbers.first)
    chosen = range(count) if options.episodes is None else options.episodes
    if chosen and max(chosen) >= count:
        raise ValueError(f"{source.label}: episodes: got {max(chosen)}, expected 0 to {count - 1}")
    kept = [e for e in chosen if options.failures or source.success(e) is not False]
    if options.part == "all":
        return tuple(kept)
    apart = options.part == "held_out"
    return tuple(e for e in kept if is_held_out(source.identity(e), options.held_out) == apart)


def is_held_out(identity: str, share: float) -> bool:
    """Whether an episode is held out: depends only on its own identity, not on other episodes."""
    digest = hashlib.blake2b(identity.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2.0**64


def _frames(numbers: SetNumbers, episodes: Sequence[int]) -> Array:
    """int64: the frames of episodes."""
    chosen = np.zeros(len(numbers), bool)
    for e in episodes:
        chosen[numbers.first[e] : numbers.first[e] + numbers.length[e]] = True
    return np.flatnonzero(chosen)


def _weights(numbers: SetNumbers, options: SetOptions) -> Array:
    """float32[n]: weight of each frame; 1 in a set that does not record the source of control."""
    table = np.ones((len(CONTROL_SOURCES) + 1, 2), np.float32)
    for k, name in enumerate(CONTROL_SOURCES):
        table[k] = [weight_of(name, options, correction=c) for c in (False, True)]
    table[NOT_SAID] = 1.0, options.correction_weight  # the last row
    weights: Array = table[numbers.source, numbers.correction.astype(np.int64)]
    return weights
