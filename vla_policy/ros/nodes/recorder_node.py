"""The recorder: all topics of a robot's graph, as a bag and as an episode of a data set, per take.

It only connects topics and services: vla_policy.data decides what may begin, judges and writes,
without ROS. All callbacks run in one thread, and none of them waits for a file.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future as Answer
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.serialization import deserialize_message
from rclpy.task import Future
from sensor_msgs.msg import Joy
from std_msgs.msg import String
from std_srvs.srv import Trigger

from vla_policy.data.bag.qos import Qos
from vla_policy.data.recording import GB, Phase
from vla_policy.data.recording_files import RecordingFiles
from vla_policy.data.recording_session import Moment, RecordingSession
from vla_policy.data.recording_thread import RecordingThread
from vla_policy.data.scene import DrawnScene
from vla_policy.data.stream_meter import StreamNeed
from vla_policy.data.streams import Message
from vla_policy.data.take_verdict import TakeVerdict
from vla_policy.embodiment import Embodiment, View, load_embodiment
from vla_policy.msg import ControlStatus, InstructionOutcome, RecorderStatus, SimEvent
from vla_policy.paths import find_embodiment
from vla_policy.ros.bringup.endpoints import LATCHED, recorded_streams
from vla_policy.ros.inputs.camera_views import known_views
from vla_policy.ros.inputs.recorded_topics import RecordedTopics
from vla_policy.ros.messages.recorder_status import status_msg
from vla_policy.ros.nodes.recorder_buttons import Buttons, pressed
from vla_policy.ros.nodes.recorder_goals import RecorderGoals
from vla_policy.ros.nodes.recorder_params import RecorderParams
from vla_policy.ros.process import qos
from vla_policy.ros.process.params import follow_params, read_params
from vla_policy.ros.process.run_node import run_node
from vla_policy.sim.twin import TWINS
from vla_policy.srv import SaveEpisode
from vla_policy.timing import ns_from_s
from vla_policy.types import Level

WATCH_S = 0.2
STATUS_EVERY = 3  # watch periods
CLOSE_S = 5.0  # for writing the queue when the node ends
SUCCESS = {SaveEpisode.Request.SUCCESS: True, SaveEpisode.Request.FAILURE: False}


class RecorderNode(LifecycleNode):
    """Services, an action and buttons around one RecordingSession."""

    def __init__(self) -> None:
        super().__init__("recorder")
        self._session: RecordingSession | None = None
        self._params = follow_params(
            self, RecorderParams, configured=lambda: self._session is not None, on_change=self._use
        )
        self._active = False
        self._engagement: ControlStatus | None = None
        self._instruction = ""
        self._buttons = Buttons()
        self._told: tuple[object, ...] = ()
        self._watched = 0
        self._clock_ns, self._clock_at = 0, time.monotonic()
        self._endpoints: list[tuple[Any, Any]] = []
        self._status = self.create_publisher(RecorderStatus, "recorder_status", qos.LATCHED)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            self._params = params = read_params(self, RecorderParams)
            robot = load_embodiment(params.embodiment)
            if not params.folder:
                raise ValueError(
                    "no folder to record into; set the parameter folder, or --record FOLDER"
                )
            folder = Path(params.folder).expanduser().absolute()
            files = RecordingFiles(
                folder,
                robot,
                params.fps or round(robot.policy_hz),
                robot_yaml=find_embodiment(params.embodiment).read_text(),
                namespace=self.get_namespace(),
                views=self._views(robot),
            )
        except (ValueError, OSError) as error:
            self.get_logger().error(f"not configured: {error}")
            return TransitionCallbackReturn.FAILURE
        for sentence in files.recovered:
            self.get_logger().warning(sentence)
        self._thread = RecordingThread(files, most_bytes=params.queue_mb * 1_000_000)
        simulated = bool(self.get_parameter("use_sim_time").value)
        needs = recorded_streams(robot, shadow=params.shadow, simulated=simulated)
        named = [self._named(need) for need in needs]
        self._session = RecordingSession(
            self._thread,
            folder,
            named,
            wait=self._wait,
            episodes=files.episodes,
            least_bytes=params.least_free_gb * GB,
            latched=[self.resolve_topic_name(name) for name in LATCHED],
            simulated=simulated,
        )
        self._session.message = (
            "; ".join(files.recovered) or f"{files.episodes} episodes in {folder}"
        )
        try:
            self._add_endpoints(needs)
        except ValueError as error:  # a required type that this ROS lacks
            self.get_logger().error(f"not configured: {error}")
            self._goals.close()
            self._session = None
            self._thread.close(CLOSE_S)
            return TransitionCallbackReturn.FAILURE
        self.get_logger().info(f"{robot.name}: into {folder}, {files.episodes} episodes so far")
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._active = True
        self._tell()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._give_up("the recorder was deactivated")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._give_up("the recorder was shut down")
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def part(self) -> None:
        """On a signal, before the callbacks end: report the take's end to waiting clients."""
        self._give_up("the recorder was shut down")

    def _give_up(self, why: str) -> None:
        """No take continues; an open one is moved into discarded/ when the files are closed."""
        self._active = False
        if self._session is not None and self._goals is not None:
            self._goals.give_up(why)

    def _release(self) -> None:
        for destroy, endpoint in self._endpoints:
            destroy(endpoint)
        self._endpoints = []
        if self._session is None:
            return
        self._goals.close()
        self._topics.close()
        self._session = None
        if not self._thread.close(CLOSE_S):
            self.get_logger().error(
                f"the files are not closed within {CLOSE_S:g} s; the next start says what it recovered"
            )

    def _add_endpoints(self, needs: tuple[StreamNeed, ...]) -> None:
        self._goals = RecorderGoals(self, self)
        self._topics = RecordedTopics(self, needs, self._on_message, self._on_drop)
        # Their own group: an answer waits for files, and streams and watch continue meanwhile.
        serve = partial(self.create_service, callback_group=ReentrantCallbackGroup())
        services = [
            serve(Trigger, "~/start", self._on_start),
            serve(Trigger, "~/end", self._on_end),
            serve(SaveEpisode, "~/save", self._on_save),
            serve(Trigger, "~/discard", self._on_discard),
            serve(Trigger, "~/delete_last", self._on_delete_last),
        ]
        joy = self.create_subscription(Joy, "joy", self._on_joy, qos.WORDS)
        words = self.create_publisher(String, "instruction", qos.WORDS)
        self._say = words
        # Steady: if the clock of a simulation stops, or jumps, this must still be noticed.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        timer = self.create_timer(WATCH_S, self._on_watch, clock=steady)
        self._endpoints = [(self.destroy_service, service) for service in services]
        self._endpoints += [(self.destroy_subscription, joy), (self.destroy_publisher, words)]
        self._endpoints.append((self.destroy_timer, timer))

    # Operations of goals and services on the session.

    def say(self, text: str) -> None:
        """Publish an instruction, or with '' withdraw it."""
        self._say.publish(String(data=text))

    def refusal(self, task: str) -> str | None:
        """Why no take of task could begin now, one sentence; None if it could."""
        if self._session is None or not self._active:
            return "the recorder is not active"
        if self._session.phase is not Phase.IDLE or self._session.ending:
            return "another take is open"
        found = self._session.missing(self._task(task), self._now_ns(), self._problems())
        return "; ".join(found) or None

    async def begin(self, task: str, limit_ns: int) -> str | None:
        """Begin a take; or return a sentence why not."""
        if self._session is None or not self._active:
            return "the recorder is not active"
        limit_ns = limit_ns or ns_from_s(self._params.max_duration_s)
        task = self._task(task)
        refusal = await self._session.begin(task, self._now_ns(), limit_ns, self._problems())
        self._log(
            self._session.message if refusal is None else f"no take: {refusal}", refusal is None
        )
        return refusal

    async def end(self, reason: Any = None) -> str | None:
        """End the take, which then waits for a decision; or return a sentence why not."""
        if self._session is None:
            return "the recorder is not configured"
        refusal = await self._session.end(self._now_ns(), reason)
        if reason is not None and reason.code == "clock_jump":
            self._session.clear()
        if refusal is None:
            verdict = self._session.verdict
            self._log(
                f"the take has ended: {self._session.message}", verdict is None or verdict.keep
            )
        return refusal

    async def save(self, success: bool | None) -> tuple[bool, str]:
        if self._session is None:
            return False, "the recorder is not configured"
        kept, sentence = await self._session.save(success, self._now_ns())
        self._log(sentence, kept)
        if kept:
            self.get_logger().info(self._session.saving)
            self._goals.decided(True, sentence)
        return kept, sentence

    async def discard(self) -> tuple[bool, str]:
        if self._session is None:
            return False, "the recorder is not configured"
        done, sentence = await self._session.discard()
        self._log(sentence, done)
        if done:
            self._goals.decided(False, sentence)
        return done, sentence

    def moment(self) -> Moment:
        """The current status; only while configured."""
        assert self._session is not None
        return self._session.moment(self._task(""), self._now_ns(), self._problems())

    @property
    def last_verdict(self) -> TakeVerdict | None:
        """Verdict of the newest take that ended."""
        return None if self._session is None else self._session.last_verdict

    @property
    def folder(self) -> str:
        return self._params.folder

    def start(self, work: Any) -> None:
        """Run a coroutine among the callbacks."""
        if self.executor is not None:
            self.executor.create_task(work)

    # Callbacks.

    def _on_message(self, message: Message, profiles: Sequence[Qos]) -> None:
        session = self._session
        if session is None:
            return
        session.add(message, profiles)
        if message.topic == self._full("control_status"):
            self._engagement = deserialize_message(message.data, ControlStatus)
        elif message.topic == self._full("active_instruction"):
            self._instruction = deserialize_message(message.data, String).data.strip()
        elif message.topic == self._full("sim_event"):
            event = deserialize_message(message.data, SimEvent)
            session.scene = DrawnScene(int(event.seed), str(event.split))
        elif message.topic == self._full("instruction_outcome"):
            self._goals.heard(deserialize_message(message.data, InstructionOutcome))

    def _on_drop(self, topic: str, count: int) -> None:
        if self._session is not None:
            self._session.drop(topic, count)

    async def _on_start(self, request: Trigger.Request, response: Trigger.Response) -> Any:
        refusal = await self.begin("", 0)
        response.success, response.message = refusal is None, refusal or ""
        return response

    async def _on_end(self, request: Trigger.Request, response: Trigger.Response) -> Any:
        refusal = await self.end()
        response.success = refusal is None
        response.message = refusal or (self._session.message if self._session else "")
        return response

    async def _on_save(self, request: SaveEpisode.Request, response: SaveEpisode.Response) -> Any:
        kept, sentence = await self.save(SUCCESS.get(request.outcome))
        response.success, response.message = kept, sentence
        return response

    async def _on_discard(self, request: Trigger.Request, response: Trigger.Response) -> Any:
        response.success, response.message = await self.discard()
        return response

    async def _on_delete_last(self, request: Trigger.Request, response: Trigger.Response) -> Any:
        if self._session is None:
            response.message = "the recorder is not configured"
            return response
        response.success, response.message = await self._session.delete_last()
        self._log(response.message, response.success)
        return response

    def _on_joy(self, msg: Joy) -> None:
        self._buttons, word = pressed(self._buttons, tuple(msg.buttons), self._params)
        if word is not None and self._session is not None:
            self.start(self._press(word))

    async def _press(self, word: str) -> None:
        phase = self._session.phase if self._session is not None else Phase.IDLE
        if word == "discard":
            await self.discard()
        elif word in ("success", "failure"):
            await self.save(word == "success")
        elif phase is Phase.IDLE:
            await self.begin("", 0)
        elif phase is Phase.RECORDING:
            await self.end()
        else:
            await self.save(None)

    def _on_watch(self) -> None:
        session = self._session
        if session is None:
            return
        self._watched += 1
        reason = session.watch(self._now_ns(), time.monotonic_ns())
        if reason is not None:
            self.start(self.end(reason))
        self._goals.turn()
        moment = self.moment()
        news = (moment.phase, moment.message, moment.verdict, moment.missing)
        if news != self._told or self._watched % STATUS_EVERY == 0:
            self._told = news
            self._tell(moment)

    def _tell(self, moment: Moment | None = None) -> None:
        if self._session is None:
            return
        stamp = self.get_clock().now().to_msg()
        self._status.publish(status_msg(moment or self.moment(), stamp=stamp, folder=self.folder))

    def _problems(self) -> tuple[str, ...]:
        """Why the robot's demonstrations would be useless now."""
        status, found = self._engagement, []
        if not self._active:
            found.append("the recorder is not active")
        if self._clock_stands():
            found.append("the clock does not advance; does the simulation run?")
        if not self._params.require_engaged:
            return tuple(found)
        if status is None:
            found.append("the control node has said nothing")
        elif status.level >= Level.STOP:
            found.append(f"the robot is stopped: {status.detail}")
        elif not status.engaged:
            found.append("nobody has engaged the robot")
        return tuple(found)

    def _clock_stands(self) -> bool:
        now_ns = self._now_ns()
        if now_ns != self._clock_ns:
            self._clock_ns, self._clock_at = now_ns, time.monotonic()
        return time.monotonic() - self._clock_at > 1.0

    def _task(self, task: str) -> str:
        return task.strip() or self._params.task.strip() or self._instruction

    def _use(self, params: RecorderParams) -> None:
        self._params = params

    def _views(self, robot: Embodiment) -> dict[str, View] | None:
        """The view of a twin's front camera; None if only the robot's file can define it."""
        simulated = bool(self.get_parameter("use_sim_time").value)
        if not simulated or robot.name not in TWINS:
            return None
        return {"front": known_views(robot, simulated=True)["front"]}

    def _named(self, need: StreamNeed) -> StreamNeed:
        return replace(need, topic=self.resolve_topic_name(need.topic))

    def _full(self, name: str) -> str:
        return str(self.resolve_topic_name(name))

    def _wait(self, answer: Answer[Any]) -> Any:
        """The answer of the files' thread, awaitable by a callback while others continue."""
        awaited: Future = Future(executor=self.executor)

        def done(found: Answer[Any]) -> None:
            error = found.exception()
            if error is not None:
                awaited.set_exception(error)
            else:
                awaited.set_result(found.result())

        answer.add_done_callback(done)
        return awaited

    def _log(self, sentence: str, good: bool) -> None:
        if good:  # two lines, as rclpy binds a severity to a line
            self.get_logger().info(sentence)
        else:
            self.get_logger().warning(sentence)

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)


def main() -> int:
    """Entry point of the executable `recorder_node`."""
    return run_node(RecorderNode)
