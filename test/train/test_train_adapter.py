"""`vla train --adapter`: only an adapter learns, is saved alone or merged, goes on to the bit, and knows its base."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_cases import CASES
from training_sets import ROBOT, arm_set, frame

from vla_policy.cli import main
from vla_policy.formats.native import folder as native
from vla_policy.parsing.fields import Place
from vla_policy.policy import load_policy
from vla_policy.train.adapter_options import AdapterOptions
from vla_policy.train.batches import Batch
from vla_policy.train.run import Checkpoints, DataSetConfig, Optimiser, Run, Schedule
from vla_policy.train.run_file import run_of
from vla_policy.train.trainer import Work, train
from vla_policy.types import Observation, Reason


def observation() -> Observation:
    seen = frame(0, 2)
    images = {c: np.asarray(seen.images[c]) for c in ROBOT.camera_names}
    return Observation(images, np.array(seen.state), ROBOT.state_names, "push it along", obs_ns=5)


class Repeated:
    """The same demonstrations in every micro-batch."""

    waited_s = 0.0

    def __init__(self, case) -> None:
        self.tensors = case.batch([case.demonstration(i) for i in range(2)])

    def batches(self, first: int, stride: int = 1):
        while True:
            yield Batch({k: v for k, v in self.tensors.items() if k != "seed"}, ("a", "b"))


def run_for(folder: Path, name: str, **changes: object) -> Run:
    values = {
        "policy": str(folder / "base"), "data": (DataSetConfig("unread"),), "out": str(folder / name), "steps": 6, "batch": 2,
        "optimiser": Optimiser(learning_rate=3e-3), "schedule": Schedule("constant", warmup=0),
        "checkpoints": Checkpoints(every=3, keep=2), "adapter": AdapterOptions(rank=2, dropout=0.1),
    }  # fmt: skip
    return Run(**(values | changes))


def work_of(folder: Path, case) -> Work:
    checkpoint = native.load(folder / "base", dtype=torch.float32)
    return Work(checkpoint, case.training, Repeated(case))


def learned(out: Path, file: str = "adapter_model.safetensors") -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoint" / file)


@pytest.mark.slow
def test_a_family_trains_by_adapter_goes_on_to_the_bit_and_acts(tmp_path: Path) -> None:
    case = CASES["pi0"](tmp_path)
    native.save(tmp_path / "base", case.checkpoint)
    whole = run_for(tmp_path, "whole")
    train(whole, work_of(tmp_path, case), shown=False)
    assert sorted(p.name for p in Path(whole.out, "checkpoint").iterdir() if p.suffix != ".md") == [
        "adapter_config.json", "adapter_model.safetensors", "base.json",
    ]  # fmt: skip
    stopped = run_for(tmp_path, "stopped")
    train(stopped, work_of(tmp_path, case), shown=False)
    for kind in ("checkpoints", "state"):  # as after a power cut between the two checkpoints
        shutil.rmtree(tmp_path / "stopped" / kind / "000006")
    short = run_for(tmp_path, "short", steps=3)
    train(short, work_of(tmp_path, case), shown=False)
    shutil.copytree(
        tmp_path / "short" / "state" / "000003", tmp_path / "stopped" / "state" / "000003"
    )
    train(stopped, work_of(tmp_path, case), shown=False)
    expected, got = learned(Path(whole.out)), learned(Path(stopped.out))
    assert expected.keys() == got.keys()
    assert all(torch.equal(got[name], value) for name, value in expected.items())

    both = load_policy(f"{whole.policy}+{Path(whole.out) / 'checkpoint'}", head=case.policy.head)
    before = case.policy.infer(case.observe(0), seed=3).actions
    after = both.infer(case.observe(0), seed=3).actions
    assert np.abs(after - before).max() > 1e-3

    merging = run_for(tmp_path, "merged", adapter=AdapterOptions(rank=2, dropout=0.1, merge=True))
    train(merging, work_of(tmp_path, case), shown=False)
    merged = load_policy(
        str(Path(merging.out) / "checkpoint"), head=case.policy.head, engine="off"
    )
    np.testing.assert_allclose(merged.infer(case.observe(0), seed=3).actions, after, atol=2e-4)


@pytest.mark.slow
def test_another_base_is_refused_by_name(tmp_path: Path) -> None:
    case = CASES["pi0"](tmp_path)
    native.save(tmp_path / "base", case.checkpoint)
    run = run_for(tmp_path, "run", steps=3)
    train(run, work_of(tmp_path, case), shown=False)
    work = work_of(tmp_path, case)
    with torch.no_grad():
        work.checkpoint.model.embed_tokens.weight.mul_(1.5)
    with pytest.raises(
        ValueError, match=r"policy: got '.*base' \(\w+\), expected the base that the"
    ):
        train(run, work, shown=False)


@pytest.mark.slow
def test_the_shipped_policy_learns_by_adapter_from_a_set(tmp_path: Path) -> None:
    data = arm_set(tmp_path / "arm", (9, 8), tasks=("push it along", "lift"))
    words = ["train", "--policy", "tiny", "--data", data, "--out", tmp_path / "run", "--steps", 2]
    words += ["--batch", 2, "--workers", 0, "--threads", 1, "--adapter", 4]
    assert main([str(w) for w in words]) == 0
    base, both = load_policy("tiny"), load_policy(f"tiny+{tmp_path / 'run' / 'checkpoint'}")
    assert isinstance(base.understands("push it along"), Reason)
    assert both.understands("push it along") is None
    assert both.checkpoint.naming is not None  # its vision is as it was
    assert not np.allclose(both.infer(observation()).actions, base.infer(observation()).actions)
    tower = both.checkpoint.model.vision.state_dict()
    assert all(
        torch.equal(v, tower[k]) for k, v in base.checkpoint.model.vision.state_dict().items()
    )
    assert main(["train", str(tmp_path / "run")]) == 0  # nothing more to do


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"adapter": {"rank": 0}}, "adapter.rank: got 0"),
        ({"adapter": {"layers": ["x"]}}, "layers"),
        ({"freeze": ["vision"]}, r"freeze: got \['vision'\] beside adapter"),
        ({"weights": "random"}, "weights: got random beside adapter"),
        ({"statistics": "data"}, "statistics: got data beside an adapter that is saved alone"),
    ],
)
def test_what_an_adapter_cannot_hold_is_refused(changes: dict, says: str) -> None:
    said = {"policy": "tiny", "data": ["x"], "out": "y", "adapter": {"rank": 4}}
    with pytest.raises(ValueError, match=says):
        run_of(said | changes, Place("run"))
    merging = {"adapter": {"rank": 4, "merge": True}, "statistics": "data"}
    assert run_of(said | merging, Place("run")).adapter.merge
