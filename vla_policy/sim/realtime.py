"""The thread of the simulated robot: physics, cameras, judge, paced by the wall clock.

No ROS here. Only this thread uses the World, as a GL context belongs to the thread that created
it; other threads leave setpoints and scene requests.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from vla_policy.sim.command_stream import CommandStream, gripper_refusal, hear_pose, placed
from vla_policy.sim.demonstrations.start_poses import start_oddly
from vla_policy.sim.disturbance import Disturbance
from vla_policy.sim.scenes.scene import Scene, sample_scene
from vla_policy.sim.tasks.judge import Judge, JudgeResult
from vla_policy.sim.tasks.tasks import Task, sample_task
from vla_policy.sim.tasks.typed import parse_task
from vla_policy.sim.world.world import OVERVIEW, World
from vla_policy.types import Array, RobotState

CONTROL_HZ = 50
STEP_NS = 1_000_000_000 // CONTROL_HZ
CAMERA_STEPS = 5  # 10 Hz
OVERVIEW_STEPS = 10  # 5 Hz
STANDING = ("front",)  # cameras that do not go with a hand
YIELD_S = 0.001  # also when late: commands come in by another thread of this process
ODD_START = 7  # tells its draws from the others of a seed
PACE_STEPS = 100  # over how many steps the pace is measured


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The robot's output after one step, all of the instant time_ns.

    images: of the cameras that are due. judged: the judge's verdict on the task as text.
    pace: simulated time per wall time of the last moments, as a share of what was asked for.
    scene_seed: that the scene was drawn from. world: World.state_values(), if they are shared.
    target_outside: cameras that stand still and do not have the middle of the task's object in their image.
    """

    time_ns: int
    state: RobotState
    images: Mapping[str, Array]
    instruction: str
    judged: JudgeResult
    pace: float
    scene_seed: int = 0
    world: Array | None = None
    target_outside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SetTask:
    """The current scene, as text, and the task that is judged in it."""

    description: str
    task: Task


@dataclass(frozen=True, slots=True)
class SimConfig:
    """epoch_ns: stamp of the start. rate: simulated per wall seconds. overview_px: w, h.

    robot: name of the simulated robot. disturbed: it follows its commands with errors, and does not always begin at home with
    its hand open.
    """

    epoch_ns: int
    robot: str = "vx300s"
    rate: float = 1.0
    renderer: str = "auto"
    image_px: int = 96
    # 331 kB: messages above the 512 kB of Fast DDS's shared memory use UDP and are mostly lost.
    overview_px: tuple[int, int] = (384, 288)
    split: str = "train"
    disturbed: bool = False


class SimLoop:
    """Runs a World in its own thread until closed.

    on_step: called with each Snapshot, in that thread.
    on_failure: called once with a traceback or sentence if the thread has to end.
    """

    def __init__(
        self,
        config: SimConfig,
        on_step: Callable[[Snapshot], None],
        on_failure: Callable[[str], None],
    ) -> None:
        self._config = config
        self._on_step = on_step
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._poses: dict[int, Array] = {}
        self._grippers: dict[int, float] = {}
        self._drive: tuple[float, float] | None = None
        self._streams: dict[int, CommandStream] = {}
        self._now_ns = self._reset_ns = config.epoch_ns
        self._requests: list[tuple[Future[SetTask], int, str]] = []
        self._seed = 0
        self._disturbance: Disturbance | None = None
        self.share_world = False  # whether snapshots include the world's whole state
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="simulation", daemon=True)

    def start(self, seed: int, instruction: str) -> Future[SetTask]:
        """Start with a scene, see set_scene."""
        first = self.set_scene(seed, instruction)
        self._thread.start()
        return first

    def set_scene(self, seed: int, instruction: str) -> Future[SetTask]:
        """Request the scene of seed and the task as a sentence; empty: a task drawn from the seed.

        The future returns the new scene and task, or the ValueError that states why the
        instruction does not match the scene; then the scene is unchanged.
        """
        done: Future[SetTask] = Future()
        with self._lock:
            self._requests.append((done, seed, instruction))
        return done

    def command_pose(self, pose: Array, arm: int = 0, stamp_ns: int = 0) -> str | None:
        """Setpoint of an arm's tool, float64[7] xyz + xyzw, base frame; finite.

        Returns a refusal or None.
        stamp_ns: of the command, 0 if it has none. See sim/command_stream.py.
        """
        with self._lock:
            stream, refusal = hear_pose(self._streams[arm], pose, stamp_ns, self._now_ns)
            self._streams[arm] = stream
            if refusal is None:
                self._poses[arm] = pose
        return refusal

    def command_gripper(self, opening: float, arm: int = 0) -> str | None:
        """Setpoint of an arm's gripper, 0 closed to 1 open; finite. Returns a refusal or None."""
        with self._lock:
            refusal = gripper_refusal(self._streams[arm], self._now_ns)
            if refusal is None:
                self._grippers[arm] = opening
        return refusal

    def command_drive(self, vx: float, wz: float, stamp_ns: int = 0) -> str | None:
        """Velocity of the base, m/s ahead and rad/s; finite. It holds until the watchdog ends it.

        Returns a refusal or None.
        """
        with self._lock:
            if 0 < stamp_ns <= self._reset_ns:
                return "stamped before the base was placed anew"
            self._drive = vx, wz
        return None

    def close(self) -> None:
        """End the thread and free the World."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        try:
            config = self._config
            world = World(renderer=config.renderer, control_hz=CONTROL_HZ, robot=config.robot)
        except (ValueError, RuntimeError, ImportError, OSError) as error:
            self._fail(f"the simulation cannot start: {error}")
            return
        try:
            self._simulate(world)
        except Exception:  # noqa: BLE001 - outermost of the thread: reported, and the node ends
            self._fail(traceback.format_exc())
        finally:
            world.close()

    def _fail(self, why: str) -> None:
        with self._lock:
            requests, self._requests = self._requests, []
        for done, _, _ in requests:
            done.set_exception(ValueError(why))
        self._on_failure(why)

    def _simulate(self, world: World) -> None:
        wall_step_s = STEP_NS / 1e9 / self._config.rate
        task, judge = None, None
        steps = 0
        ends_s: deque[float] = deque(maxlen=PACE_STEPS)
        deadline_s = time.monotonic()
        while not self._stop.is_set():
            scene_change = self._take_scene(world)
            if scene_change is not None:
                task, judge = scene_change
                ends_s.clear()
            if task is None or judge is None:
                return  # the first scene was refused; the caller has the reason
            self._send(world)
            world.step()
            steps += 1
            with self._lock:
                self._now_ns = self._config.epoch_ns + steps * STEP_NS
            pace = len(ends_s) * wall_step_s / (time.monotonic() - ends_s[0]) if ends_s else 1.0
            self._on_step(self._snapshot(world, steps, task, judge, pace))
            # Lost time is not made up for: a burst of steps would leave controller and policy no
            # time between them, while a slower clock is the same for all.
            deadline_s = max(deadline_s + wall_step_s, time.monotonic())
            self._stop.wait(max(YIELD_S, deadline_s - time.monotonic()))
            ends_s.append(time.monotonic())

    def _send(self, world: World) -> None:
        with self._lock:
            poses, grippers = dict(self._poses), dict(self._grippers)
            drive, self._drive = self._drive, None  # passed on once: the base has a watchdog
        if self._disturbance is not None:
            self._disturbance.step(poses)
            here = list(world.robot_state().poses.values())
            poses = {a: self._disturbance.pose(p, here[a][2], a) for a, p in poses.items()}
            drive = None if drive is None else self._disturbance.drive(drive)
        for arm, pose in poses.items():
            world.command(pose, grippers[arm], arm)
        if drive is not None:
            world.drive(*drive)

    def _snapshot(
        self, world: World, steps: int, task: Task, judge: Judge, pace: float
    ) -> Snapshot:
        images = {}
        if steps % CAMERA_STEPS == 0:
            sides = {n: world.twin.side_px(n, self._config.image_px) for n in world.twin.cameras}
            images = {name: world.render(name, px, px) for name, px in sides.items()}
        if steps % OVERVIEW_STEPS == 0:
            images[OVERVIEW] = world.render(OVERVIEW, *self._config.overview_px)
        truth = world.truth()
        return Snapshot(
            time_ns=self._now_ns,
            state=world.robot_state(),
            images=MappingProxyType(images),
            instruction=task.instruction,
            judged=judge.update(truth),
            pace=pace,
            scene_seed=self._seed,
            world=world.state_values() if self.share_world else None,
            target_outside=target_outside(world, truth.object_xyz[task.target]),
        )

    def _take_scene(self, world: World) -> tuple[Task, Judge] | None:
        """Serve the oldest waiting request; None if there is none or it was refused."""
        with self._lock:
            if not self._requests:
                return None
            done, seed, instruction = self._requests.pop(0)
        try:
            scene: Scene = sample_scene(seed, split=self._config.split, robot=self._config.robot)
            if instruction:
                task = parse_task(instruction, scene)
            else:
                task = sample_task(scene, np.random.default_rng(seed))
        except ValueError as error:
            done.set_exception(error)
            return None
        world.reset(scene)
        self._seed = seed
        if self._config.disturbed:
            start_oddly(world, np.random.default_rng((seed, ODD_START)))
            found = Disturbance(seed, len(world.twin.arms))
            self._disturbance = found if found.disturbs else None
        state = world.robot_state()
        with self._lock:  # old setpoints belong to the old scene
            self._poses = dict(enumerate(state.poses.values()))
            self._streams = {
                arm: placed(self._streams.get(arm), pose, self._now_ns)
                for arm, pose in self._poses.items()
            }
            self._reset_ns = self._now_ns
            self._grippers = dict(enumerate(state.grippers.values()))
            self._drive = None
        judge = Judge(task, world.truth())
        done.set_result(SetTask(describe(scene), task))
        return task, judge


def target_outside(world: World, xyz: Array) -> tuple[str, ...]:
    """The cameras that stand still and do not have the point xyz, float64[3] of the base frame, in their image."""
    seen = {name: world.project(name, xyz[None])[0] for name in STANDING}
    return tuple(name for name, uv in seen.items() if not (abs(uv - 0.5) < 0.5).all())


def describe(scene: Scene) -> str:
    """The objects as text, from the robot's left (larger y) to its right."""
    things = sorted(scene.objects, key=lambda thing: -thing.xy[1])
    words = [f"{thing.name} of {2000 * thing.half_m:.0f} mm" for thing in things]
    return f"from left to right: {', '.join(words)}; a tray and a pad"
