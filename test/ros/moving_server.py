"""A server whose policy moves the ViperX 300 0.04 m/s to its left; prints its port. Needs no torch.

moving_server.py PORT
"""

import asyncio
import signal
import sys

import numpy as np

from vla_policy.checkpoint.contract import Contract
from vla_policy.embodiment import load_embodiment
from vla_policy.remote.handshake import Offer
from vla_policy.remote.journal import Journal
from vla_policy.remote.server import Server
from vla_policy.remote.serving import Serving
from vla_policy.runtime.policy_protocol import PlainPolicy
from vla_policy.types import ActionChunk

ROWS = 10
ROBOT = load_embodiment("vx300s")
CONTRACT = Contract(
    ROBOT.camera_names, 96, ROBOT.state_names, ROBOT.action_names, ROBOT.action_names,
    tuple((group.name, group.space) for group in ROBOT.actions), ROBOT.policy_hz, (ROBOT.name,),
)  # fmt: skip


class Moving(PlainPolicy):
    rows, contract = ROWS, CONTRACT

    def infer_chunk(self, observation, previous, options):
        rows = np.tile(observation.state, (ROWS, 1))
        rows[:, 1] += 0.004 * (np.arange(ROWS) + 1)
        return ActionChunk(
            rows,
            CONTRACT.action_names,
            observation.obs_ns,
            CONTRACT.step_ns,
            0,
            observation.instruction,
        )


async def main(port):
    policy = Moving()
    offer = Offer(
        "moving",
        "0",
        "",
        "",
        {},
        CONTRACT,
        ROWS,
        None,
        {},
        None,
        False,
        False,
        False,
        policy.understanding,
    )
    server = Server(policy, offer, Serving(port=port), Journal(sys.stderr))
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    sys.stdout.write(f"{await server.start()}\n")
    sys.stdout.flush()
    await ended.wait()
    await server.stop()


asyncio.run(main(int(sys.argv[1])))
