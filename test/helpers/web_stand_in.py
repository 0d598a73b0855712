"""A page's server with a simulated robot, as a process that a test may freeze or kill.

python web_stand_in.py PORT [delay of the stop's answer, s [silent cameras, comma-separated]]: four
cameras at 30 Hz, 640 x 480, all with a moving frame, and an operator's requests answered as below.
Prints one line of JSON for each request.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import Future

import numpy as np

from vla_policy.web.panel import Actions, Answer, Panel
from vla_policy.web.server import PanelServer

CAMERAS = ("overview", "front", "left", "wrist")
HZ = 30.0


class Robot:
    """Answers the page; an instruction is followed until it is stopped, "fall over" is refused."""

    def __init__(self, panel: Panel, delay_s: float) -> None:
        self._panel, self._delay_s = panel, delay_s
        self._goals: list[dict[str, object]] = []
        self._lock = threading.Lock()
        self.tell(engaged=True, level="PASS", why="")

    def tell(self, **state: object) -> None:
        """Report the state of the control node."""
        rest = {"queue": 12, "instruction": "", "commands": 1234, "latency_s": 0.21}
        self._panel.tell(**{**rest, **state})

    def stop(self) -> Future[Answer]:
        """Answers after the delay."""
        self._heard("stop")
        self.tell(engaged=False, level="STOP", why="an operator stopped the robot")
        with self._lock:
            for goal in self._goals:
                if not goal["outcome"]:
                    goal |= {"outcome": "stopped", "message": "the robot was stopped"}
            self._panel.tell(goals=[dict(goal) for goal in self._goals])
        return self._later(Answer(True, "stopped until reset"), self._delay_s)

    def reset(self) -> Future[Answer]:
        """Lifts the stop in every case."""
        self._heard("reset")
        self.tell(engaged=False, level="HOLD", why="no operator has engaged the robot")
        return self._later(Answer(True, "the stop is lifted"))

    def engage(self, engaged: bool) -> Future[Answer]:
        """Refuses, as with a camera that is stale."""
        self._heard("engage" if engaged else "disengage")
        return self._later(Answer(not engaged, "not engaged: front/image_raw is 2.1 s old"))

    def say(self, words: str) -> Future[Answer]:
        """Accepts, or refuses."""
        self._heard("say", words)
        with self._lock:
            number = f"goal {len(self._goals)}"
            goal = {"id": number, "words": words, "message": "following", "outcome": ""}
            if "fall" in words:
                goal |= {"outcome": "refused", "message": "unknown word 'fall'; say 'pick up ...'"}
            self._goals.append({**goal, "verdict": None})
            self._panel.tell(goals=[dict(goal) for goal in self._goals])
        return self._later(Answer(True, "taken", number))

    def _heard(self, verb: str, words: str = "") -> None:
        _report({"heard": verb, "words": words})

    def _later(self, answer: Answer, delay_s: float = 0.0) -> Future[Answer]:
        made: Future[Answer] = Future()

        def give() -> None:
            if made.set_running_or_notify_cancel():
                made.set_result(answer)

        threading.Timer(delay_s, give).start()
        return made


def _report(line: dict[str, str]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def feed(panel: Panel, frames: list[np.ndarray], silent: list[str]) -> None:
    """Publish new images of all cameras except the silent ones, for ever."""
    for count in range(1 << 62):
        frame = frames[count % len(frames)]
        for camera in set(CAMERAS).difference(silent):
            panel.show(camera, lambda frame=frame: frame)
        time.sleep(1.0 / HZ)


def main() -> None:
    """Serve until killed."""
    panel = Panel(CAMERAS, extra=("overview",))
    robot = Robot(panel, float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)
    actions = Actions(say=robot.say, engage=robot.engage, stop=robot.stop, reset=robot.reset)
    server = PanelServer(panel, actions, host="127.0.0.1", port=int(sys.argv[1]))
    server.start()
    rng = np.random.default_rng(0)
    slope = np.linspace(0, 200, 640)[None, :, None] * np.linspace(0.3, 1, 480)[:, None, None]
    noise = [rng.integers(0, 40, (480, 640, 3)) for _ in range(8)]
    _report({"url": server.url})
    silent = sys.argv[3].split(",") if len(sys.argv) > 3 else []
    feed(panel, [(slope + grain).astype(np.uint8) for grain in noise], silent)


if __name__ == "__main__":
    main()
