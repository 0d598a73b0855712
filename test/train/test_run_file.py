"""Run files: what they hold, and that every mistake in them is refused with its place."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from vla_policy.families.training import LossOptions
from vla_policy.paths import config_dir
from vla_policy.train.run import DataSetConfig, Run, differences
from vla_policy.train.run_file import find_run, read_run, run_data, run_text
from vla_policy.train.stages import has_stages, read_stages

SHIPPED = sorted((config_dir() / "runs").glob("*.yaml"))
LEAST = {"policy": "tiny", "data": [{"set": "sets/cubes"}], "out": "runs/a"}


def written(tmp_path, **changes) -> Path:
    path = tmp_path / "run.yaml"
    content = {k: v for k, v in (LEAST | changes).items() if v is not None}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_the_least_that_a_run_says(tmp_path):
    run = read_run(written(tmp_path))
    assert run == Run("tiny", (DataSetConfig("sets/cubes"),), "runs/a")
    assert run.loss == LossOptions()
    assert (run.at_once, run.micro_batches) == (32, 1)


def test_a_run_and_its_file_are_the_same(tmp_path):
    run = read_run(
        written(
            tmp_path, batch=12, micro_batch=3, ema=0.99, freeze=["vision"], loss={"heads": ["flow"], "max_delay": 3},
            optimiser={"learning_rate": 1, "rates": {"vision": 0.1}}, data=["one", {"set": "two", "weight": 2, "cameras": {"front": "top"}, "correction_weight": 3}],
        )
    )  # fmt: skip
    assert (run.micro_batches, run.data[1].weight, run.optimiser.rates["vision"]) == (4, 2.0, 0.1)
    path = tmp_path / "again.yaml"
    path.write_text(run_text(run))
    assert read_run(path) == run
    assert list(yaml.safe_load(run_text(run))) == [f.name for f in fields(Run)]


def test_sets_beside_the_file_are_named_from_there(tmp_path):
    (tmp_path / "cubes").mkdir()
    run = read_run(written(tmp_path, data=["cubes", "elsewhere/cups"]))
    assert [d.set for d in run.data] == [str(tmp_path / "cubes"), "elsewhere/cups"]


def test_what_is_given_beside_the_file_wins(tmp_path):
    run = read_run(written(tmp_path, steps=5), steps=7, out="other")
    assert (run.steps, run.out, run.policy) == (7, "other", "tiny")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"policy": None}, "policy: got nothing, expected this key"),
        ({"polcy": "x"}, "polcy: got an unknown key, expected one of .*; did you mean 'policy'"),
        ({"data": []}, "data: got an empty list, expected at least one set"),
        ({"data": "cubes"}, "data: got 'cubes', expected a list"),
        ({"data": [{"set": "a", "wieght": 1}]}, r"run.yaml:4: data\[0\].wieght: got an unknown key"),
        ({"data": [{"set": "a", "weight": 0}]}, r"data\[0\].weight: got 0, expected a number"),
        ({"data": [{"weight": 1}]}, r"data\[0\].set: got nothing, expected this key"),
        ({"data": [{"set": "a", "part": "train"}]}, r"data\[0\].part: got 'train', expected nothing here"),
        ({"data": [{"set": "a", "learn": "asked"}]}, r"data\[0\].learn: got 'asked', expected one of proposed, sent"),
        ({"data": [{"set": "a", "grips": 1}]}, r"data\[0\].grips: got 1, expected one of start, end"),
        ({"steps": 0}, "steps: got 0, expected a number from 1"),
        ({"steps": 1.5}, "steps: got 1.5, expected a whole number"),
        ({"steps": True}, "steps: got True, expected a whole number"),
        ({"batch": 8, "micro_batch": 3}, "micro_batch: got 3, expected a divisor of batch, 8"),
        ({"precision": "bf16"}, "precision: got 'bf16', expected one of float32, bfloat16"),
        ({"ema": 1.0}, "ema: got 1.0, expected a decay between 0 and 1"),
        ({"gradient_checkpointing": 1}, "gradient_checkpointing: got 1, expected true or false"),
        ({"freeze": "vision"}, "freeze: got 'vision', expected a list"),
        ({"optimiser": {"learning_rate": 0}}, "optimiser.learning_rate: got 0.0, expected"),
        ({"optimiser": {"beta1": 1.0}}, "optimiser.beta1: got 1.0, expected 0 to below 1"),
        ({"optimiser": {"learning_rate": "1e-4x"}}, "learning_rate: got '1e-4x', expected a finite number"),
        ({"optimiser": {"rates": {"vision": 0}}}, "optimiser.rates: got 0.0 for vision"),
        ({"schedule": {"kind": "linear"}}, "schedule.kind: got 'linear', expected one of cosine, constant"),
        ({"schedule": {"final": 2}}, "schedule.final: got 2.0, expected a number from 0 to 1"),
        ({"checkpoints": {"every": 0}}, "checkpoints.every: got 0, expected"),
        ({"held_out": {"share": 1.0}}, "held_out.share: got 1.0, expected 0 to below 1"),
        ({"loss": {"heads": ["flwo"]}}, "loss.heads: got .*expected some of flow, token"),
        ({"loss": {"draws": 0}}, "loss.draws: got 0, expected at least 1"),
        ({"questions": [{"file": "a.jsonl"}]}, "robot_share: got None, expected a share between 0 and 1"),
        ({"robot_share": 0.5}, "robot_share: got 0.5, expected none without questions"),
        ({"questions": [{"fiel": "a"}], "robot_share": 0.5}, r"questions\[0\].fiel: got an unknown key"),
        ({"seed": -1}, "seed: got -1, expected a number from 0"),
    ],
)  # fmt: skip
def test_a_mistake_is_refused_with_its_place(tmp_path, changes, says):
    with pytest.raises(ValueError, match=says) as error:
        read_run(written(tmp_path, **changes))
    assert str(error.value).startswith(f"{tmp_path}/run.yaml")
    assert "\n" not in str(error.value)


def test_every_field_refuses_a_mapping_of_nonsense(tmp_path):
    for key in (f.name for f in fields(Run)):
        with pytest.raises(ValueError, match=rf"{key}"):
            read_run(written(tmp_path, **{key: {"nonsense": [1]}}))


def test_no_file_and_no_such_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run file of that path"):
        find_run(str(tmp_path / "none.yaml"))
    with pytest.raises(ValueError, match="expected a mapping"):
        path = tmp_path / "list.yaml"
        path.write_text("- 1\n")
        read_run(path)


def test_differences_name_what_changes_the_numbers():
    mine, theirs = (
        Run("a", (DataSetConfig("x"),), "o"),
        Run("a", (DataSetConfig("y"),), "p", workers=3, steps=5),
    )
    said = differences(run_data(mine), run_data(theirs))
    assert len(said) == 2
    assert said[0].startswith("data: [{'set': 'y'")
    assert said[1] == "steps: 5 there, 1000 here"


@pytest.mark.parametrize("path", SHIPPED, ids=[p.stem for p in SHIPPED])
def test_shipped_runs_are_read(path):
    runs = [s.run for s in read_stages(path)] if has_stages(path) else [read_run(path)]
    assert find_run(path.stem) == path
    assert all(run.steps > 0 for run in runs)
