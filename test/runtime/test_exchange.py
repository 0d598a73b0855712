"""One adapter after another in the thread that infers: each chunk is all of one."""

import threading
from dataclasses import replace
from unittest.mock import create_autospec

import numpy as np
from inference_bench import Bench, wait_for

from vla_policy.runtime.policy_protocol import PolicyProtocol
from vla_policy.types import Reason


def test_an_adapter_is_exchanged_between_two_chunks() -> None:
    """The chunk that is being made is still the old one's, the next is the new one's; neither is of both."""
    begun, may_end = threading.Event(), threading.Event()

    def slow(observation, previous, options):
        begun.set()
        assert may_end.wait(5.0)
        return Bench.answer(observation, previous, options)

    bench = Bench(slow)
    other = create_autospec(PolicyProtocol, instance=True)
    other.rows, other.continues = 8, True
    other.understands.return_value = other.sees.return_value = None
    other.infer_chunk.side_effect = lambda *asked: replace(
        Bench.answer(*asked), actions=np.full((8, 1), -1.0)
    )
    bench.inference.set_instruction("go")
    bench.show(0)
    assert begun.wait(5.0)
    changing = threading.Thread(target=bench.inference.exchange, args=(other, "other"))
    changing.start()
    may_end.set()
    changing.join(5.0)
    assert wait_for(lambda: len(bench.chunks) == 1)
    for count in range(1, 4):
        bench.show(400 * count)
        assert wait_for(lambda count=count: len(bench.chunks) == 1 + count)
    made = [(c.adapter, float(c.actions[0, 0])) for c in bench.chunks]
    assert made == [("", 0.0)] + [("other", -1.0)] * 3
    assert bench.inference.status().adapter == "other"


def test_an_adapter_that_does_not_understand_ends_the_instruction() -> None:
    bench = Bench()
    bench.inference.set_instruction("go")
    other = create_autospec(PolicyProtocol, instance=True)
    other.rows, other.continues = 8, True
    other.understands.return_value = Reason("words", "this policy does not know 'go'")
    bench.inference.exchange(other, "other")
    assert [instruction for instruction, _ in bench.refusals] == ["go"]
    bench.show(0)
    assert not wait_for(lambda: bench.chunks, timeout_s=0.3)
