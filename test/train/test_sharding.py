"""Processes that share every weight learn what one process learns, and what they save is whole (FSDP, gloo on the CPU)."""

import multiprocessing
import os
import shutil
import socket
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor
from toy_training import toy_run, toy_work
from training_cases import CASES

from vla_policy.formats.load import load_checkpoint
from vla_policy.formats.native import folder as native
from vla_policy.train import sharding
from vla_policy.train.adapter_options import AdapterOptions
from vla_policy.train.batches import Batch
from vla_policy.train.run import (
    Checkpoints,
    DataSetConfig,
    Optimiser,
    QuestionsConfig,
    Run,
    Schedule,
)
from vla_policy.train.run_folder import folder_of
from vla_policy.train.setup import prepare
from vla_policy.train.trainer import Work, train


def two(make_work, run) -> None:
    """The run by two processes, as torchrun starts them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    both = [fork.Process(target=rank, args=(make_work, run, n, port)) for n in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(180)
    assert [process.exitcode for process in both] == [0, 0]


def rank(make_work, run, number: int, port: int) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.set_num_threads(1)
    sharding.SMALLEST = 1  # small networks have small layers only
    os.environ |= {
        "RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    work = make_work(run)
    assert train(run, work, shown=False).step == run.steps
    halves = [
        p.to_local().numel() / p.numel()
        for p in work.checkpoint.model.parameters()
        if isinstance(p, DTensor) and p.shape[0] % 2 == 0
    ]
    assert len(halves) > 10
    assert set(halves) == {0.5}


def everything(out: str, step: int, file: str = "model.safetensors") -> dict[str, torch.Tensor]:
    state = load_file(folder_of(Path(out), "state", step) / "training.safetensors")
    return state | load_file(folder_of(Path(out), "checkpoints", step) / file)


def assert_alike(got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """But for the order in which numbers are added up."""
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-4, atol=2e-6, msg=name)


@pytest.mark.slow
def test_processes_that_share_weights_learn_what_one_learns_and_go_on_either_way(tmp_path):
    whole = toy_run(tmp_path, "whole", schedule=Schedule("constant", warmup=0))
    train(whole, toy_work(whole), shown=False)
    shared = toy_run(tmp_path, "shared", schedule=Schedule("constant", warmup=0), shard=True)
    two(toy_work, shared)
    assert_alike(everything(shared.out, 12), everything(whole.out, 12))
    load_checkpoint(Path(shared.out) / "checkpoint", device="cpu")

    short = toy_run(
        tmp_path, "short", schedule=Schedule("constant", warmup=0), shard=True, steps=8
    )
    two(toy_work, short)
    for name in ("shared", "whole"):  # as if the power had been cut after 8 steps
        expected = everything(whole.out if name == "shared" else shared.out, 12)
        for kind in ("checkpoints", "state"):
            shutil.rmtree(tmp_path / name / kind / "000012")
        shutil.copytree(
            tmp_path / "short" / "state" / "000008", tmp_path / name / "state" / "000008"
        )
        if name == "shared":
            two(toy_work, shared)
            kept = everything(shared.out, 12)
            assert_alike(kept, expected)
        else:
            train(whole, toy_work(whole), shown=False)
            assert_alike(everything(whole.out, 12), kept)


class Repeated:
    """The same demonstrations in every micro-batch, each with its own noise."""

    waited_s = 0.0

    def __init__(self, case) -> None:
        self.tensors = case.batch([case.demonstration(i) for i in range(2)])

    def batches(self, first: int, stride: int = 1):
        while True:
            yield Batch({k: v for k, v in self.tensors.items() if k != "seed"}, ("a", "b"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "adapter"), [("pi0", None), ("smolvla", AdapterOptions(rank=2))]
)
def test_a_family_learns_so(family: str, adapter: AdapterOptions | None, tmp_path: Path) -> None:
    case = CASES[family](tmp_path)
    native.save(tmp_path / "base", case.checkpoint)

    def work(run: Run) -> Work:
        checkpoint = native.load(tmp_path / "base", dtype=torch.float32)
        return Work(checkpoint, case.training, Repeated(case))

    def run(name: str, *, shard: bool) -> Run:
        return Run(
            str(tmp_path / "base"), (DataSetConfig("unread"),), str(tmp_path / name), steps=3, batch=4, micro_batch=2,
            optimiser=Optimiser(learning_rate=1e-3), schedule=Schedule("constant", warmup=0), adapter=adapter,
            checkpoints=Checkpoints(every=3), gradient_checkpointing=True, shard=shard, device="cpu",
        )  # fmt: skip

    file = "model.safetensors" if adapter is None else "adapter_model.safetensors"
    one, shared = run("one", shard=False), run("shared", shard=True)
    train(one, work(one), shown=False)
    two(work, shared)
    got, expected = everything(shared.out, 3, file), everything(one.out, 3, file)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        scale = float(value.abs().max())  # of a moment far below 1 as of a weight
        torch.testing.assert_close(got[name], value, rtol=2e-3, atol=2e-3 * scale + 1e-9, msg=name)


def test_what_does_not_run_the_same_layers_everywhere_is_refused(tmp_path):
    common = {"policy": "tiny", "data": (DataSetConfig("unread"),), "out": str(tmp_path / "run")}
    with pytest.raises(ValueError, match="shard: got true beside questions, expected false"):
        Run(**common, questions=(QuestionsConfig("asked.jsonl"),), robot_share=0.5, shard=True)
    with pytest.raises(ValueError, match="shard: got true beside lesson pointing, expected false"):
        Run(**common, lesson="pointing", shard=True)
    with pytest.raises(ValueError, match="shard: got true for a tiny policy, expected false"):
        prepare(Run(**common, shard=True))
