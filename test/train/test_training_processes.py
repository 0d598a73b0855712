"""Training in processes of their own: two that share a step, and one that is killed at any moment."""

import json
import multiprocessing
import os
import random
import signal
import socket
import time
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from toy_training import toy_run, toy_work

from vla_policy.formats.load import load_checkpoint
from vla_policy.train.run_folder import folder_of, steps_in
from vla_policy.train.trainer import TrainingResult, train


def final(out, step=12):
    state = load_file(folder_of(Path(out), "state", step) / "training.safetensors")
    return state | load_file(folder_of(Path(out), "checkpoints", step) / "model.safetensors")


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path):
    """Each has half of the micro-batches; what differs is the order in which numbers are added up."""
    one = toy_run(tmp_path, "one")
    assert train(one, toy_work(one), shown=False) == TrainingResult(12, stopped=False)
    two = toy_run(tmp_path, "two")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    both = [fork.Process(target=rank, args=(two, number, port)) for number in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    expected, got = final(one.out), final(two.out)
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-4, atol=1e-6, msg=name)
    lines = [json.loads(x)["loss"] for x in Path(two.out, "log.jsonl").read_text().splitlines()]
    assert lines[-1] < lines[0]


def rank(run, number, port):
    """What torchrun says to each process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    work = toy_work(run)
    assert train(run, work, shown=False) == TrainingResult(12, stopped=False, leads=number == 0)
    assert work.batches.asked == list(range(number, 24, 2))


def child(run):
    torch.set_num_threads(1)
    train(run, toy_work(run, pause_s=0.005), shown=False)


@pytest.mark.slow
def test_a_run_that_is_killed_loses_at_most_the_steps_since_its_checkpoint(tmp_path):
    whole = toy_run(tmp_path, "whole", steps=24, ema=None)
    train(whole, toy_work(whole), shown=False)
    run = toy_run(tmp_path, "killed", steps=24, ema=None)
    rng, fork = random.Random(3), multiprocessing.get_context("fork")
    out, before = Path(run.out), 0
    for _ in range(2):
        process = fork.Process(target=child, args=(run,))
        process.start()
        while not any(s > before for s in steps_in(out, "state")) and process.is_alive():
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        (after,) = steps_in(out, "state")[-1:]
        assert after > before
        before = after
        for folder in (out / "checkpoint", *(out / "checkpoints").glob("[0-9]*")):
            load_checkpoint(folder, device="cpu")
        for half in (out / "checkpoints").glob(".*"):
            with pytest.raises(ValueError, match="not written to its end"):
                load_checkpoint(half, device="cpu")
    assert train(run, toy_work(run), shown=False) == TrainingResult(24, stopped=False)
    expected, got = final(whole.out, 24), final(run.out, 24)
    assert not [k for k in expected if not torch.equal(expected[k], got[k])]
