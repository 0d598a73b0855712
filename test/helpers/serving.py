"""A server of a policy that a test plays, in a thread of its own."""

import asyncio
import io
import json
import threading
import time

import numpy as np

from vla_policy.checkpoint.contract import Contract
from vla_policy.remote.handshake import Offer
from vla_policy.remote.journal import Journal
from vla_policy.remote.server import Server
from vla_policy.remote.serving import Serving
from vla_policy.runtime.policy_protocol import PlainPolicy
from vla_policy.types import ActionChunk, Observation, Reason

CONTRACT = Contract(
    camera_names=("front", "wrist"),
    image_px=32,
    state_names=("joint.a", "joint.b", "gripper"),
    action_names=("joint.a", "joint.b", "gripper"),
    model_action_names=("joint.a", "joint.b", "gripper"),
    spaces=(("arm", "joint_position"), ("hand", "gripper")),
    policy_hz=10.0,
    embodiments=("played",),
)
ROWS = 8


class Played(PlainPolicy):
    """Rows that depend on all that it was given; raises, waits and refuses by what it is told."""

    rows, contract, continues, head = ROWS, CONTRACT, True, "flow"
    can_point = can_answer = True
    understanding = "it understands what begins with p"

    def __init__(self):
        self.wait_s, self.calls = 0.0, []

    def understands(self, instruction):
        return (
            None if instruction.startswith("p") else Reason("words", f"what is {instruction!r}?")
        )

    def sees(self, observation):
        return Reason("not_seen", "no cup there") if "cup" in observation.instruction else None

    def infer_chunk(self, observation, previous, options):
        self.calls.append(observation.instruction)
        time.sleep(self.wait_s)
        if "raise" in observation.instruction:
            raise RuntimeError("secret of the machine")
        if "refuse" in observation.instruction:
            raise ValueError("the cup is too far")
        seen = sum(float(i.astype(np.float64).mean()) for i in observation.images.values())
        rows = observation.state + seen / 1000 + 0.01 * np.arange(ROWS)[:, None]
        rows += 0.001 * (options.seed or 0) + 0.1 * (options.num_steps or 0)
        rows += 0.5 * (options.candidates - 1)
        if previous is not None and options.candidates > 1:
            rows += previous.actions[0]
        if previous is not None and options.frozen_rows:
            rows[: options.frozen_rows] = previous.actions[: options.frozen_rows]
        return ActionChunk(
            rows, CONTRACT.action_names, observation.obs_ns, CONTRACT.step_ns, 0, observation.instruction,
            plan="so", frozen_rows=options.frozen_rows, model_actions=rows * 2,
            continues=previous.sequence if previous is not None and options.frozen_rows else None,
        )  # fmt: skip

    def infer_candidates(self, observation, sampling):
        return tuple(self.infer(observation, seed=i) for i in range(sampling.candidates))

    def point(self, observation):
        return {"target_xyz": observation.state * 2}

    def ask(self, observation, question):
        return f"{question} {observation.instruction}"


OFFER = Offer(
    "played",
    "0.1.0",
    "sha256:0",
    "sha256:0",
    {},
    CONTRACT,
    ROWS,
    None,
    {},
    "flow",
    True,
    True,
    True,
    Played.understanding,
)


def observation(instruction="pick it", value=7, obs_ns=1_000, size=(24, 32)):
    images = {
        n: np.full((*size, 3), value + i, np.uint8) for i, n in enumerate(CONTRACT.camera_names)
    }
    return Observation(
        images, np.array([0.1, -0.2, 0.5]), CONTRACT.state_names, instruction, obs_ns
    )


def plain_request(seen):
    """As a client of openpi writes it."""
    return {
        **{f"observation/{name}": image for name, image in seen.images.items()},
        "observation/state": np.asarray(seen.state),
        "prompt": seen.instruction,
    }


class Running:
    """A server that runs until the with block ends. log: its lines, as values."""

    def __init__(self, policy=None, offer=OFFER, serving=None, **options):
        self.policy = policy or (None if "copies" in options else Played())
        self._log = io.StringIO()
        self.loop = asyncio.new_event_loop()
        self.serving = serving or Serving(port=0)
        self.server = Server(self.policy, offer, self.serving, Journal(self._log), **options)

    def __enter__(self):
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.port = self.on_loop(self.server.start())
        return self

    def __exit__(self, *_):
        self.on_loop(self.server.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()

    @property
    def address(self):
        scheme = "ws" if self.serving.tls_cert is None else "wss"
        return f"{scheme}://127.0.0.1:{self.port}"

    @property
    def log(self):
        return [json.loads(line) for line in self._log.getvalue().splitlines()]

    def on_loop(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)
