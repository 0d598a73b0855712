"""The pace of the simulation's thread; no other process is needed."""

import threading
import time

from vla_policy.sim.realtime import STEP_NS, SimConfig, SimLoop, Snapshot

STALL_AT, STALL_S, AFTER = 10, 0.3, 15


def test_time_lost_in_a_stall_is_not_made_up_in_a_burst() -> None:
    ends_s: list[float] = []
    paces: list[float] = []
    done = threading.Event()

    def on_step(snapshot: Snapshot) -> None:
        ends_s.append(time.monotonic())
        paces.append(snapshot.pace)
        if len(ends_s) == STALL_AT:
            time.sleep(STALL_S)
        if len(ends_s) == STALL_AT + 1 + AFTER:
            done.set()

    failures: list[str] = []
    loop = SimLoop(SimConfig(epoch_ns=0), on_step, failures.append)
    loop.start(seed=0, instruction="")
    assert done.wait(30.0), failures
    loop.close()
    after_s = ends_s[STALL_AT + AFTER] - ends_s[STALL_AT]
    assert after_s >= 0.9 * AFTER * STEP_NS / 1e9
    assert paces[STALL_AT] < 0.8  # and it is said
