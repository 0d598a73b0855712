"""The training loop, on a loss that takes a millisecond: going on, several micro-batches, what is refused."""

import errno
import json
import os
import shutil
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_training import toy_run, toy_work

from vla_policy.cli import main
from vla_policy.data.lerobot.durable import Busy, DiskFull
from vla_policy.formats.load import load_checkpoint
from vla_policy.policy import load_policy
from vla_policy.train import checkpoints
from vla_policy.train.run import Checkpoints, HeldOut
from vla_policy.train.run_folder import folder_of, open_folder, steps_in
from vla_policy.train.step import NotFinite
from vla_policy.train.trainer import TrainingResult, train


def run_all(run, **more):
    return train(run, toy_work(run, **more), shown=False)


def left(out, step=12):
    """Everything that a run leaves, but for times."""
    out = Path(out)
    state = load_file(folder_of(out, "state", step) / "training.safetensors")
    weights = load_file(folder_of(out, "checkpoints", step) / "model.safetensors")
    facts = (folder_of(out, "state", step) / "state.json").read_text()
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    clock = ("seconds", "samples_per_s", "waited")
    return state, weights, facts, [{k: v for k, v in x.items() if k not in clock} for x in lines]


def require_same_to_the_bit(a, b):
    for mine, theirs in zip(a[:2], b[:2], strict=True):
        assert mine.keys() == theirs.keys()
        assert not [k for k in mine if not torch.equal(mine[k], theirs[k])]
    assert a[2:] == b[2:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The start of all these runs, and one that is complete."""
    folder = tmp_path_factory.mktemp("runs")
    assert run_all(toy_run(folder, "whole")) == TrainingResult(12, stopped=False)
    return folder


@pytest.fixture
def whole(folder):
    return left(folder / "whole")


@pytest.fixture
def tmp_path(folder, tmp_path):
    """With the start and the complete run in it."""
    for name in ("start", "whole"):
        shutil.copytree(folder / name, tmp_path / name, symlinks=True)
    written = tmp_path / "whole" / "run.yaml"
    written.write_text(written.read_text().replace(str(folder), str(tmp_path)))
    return tmp_path


def test_the_loss_falls_and_the_folder_acts(tmp_path, whole):
    lines = whole[3]
    assert lines[-1]["step"] == 12
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]
    assert lines[-1]["held_out_loss"] < lines[1]["held_out_loss"]
    policy = load_policy(str(tmp_path / "whole" / "checkpoint"))
    assert policy.rows == 8
    assert (tmp_path / "whole" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_what_comes_out_converts(tmp_path, whole):
    source, there = tmp_path / "whole" / "checkpoint", tmp_path / "there"
    assert main(["convert", str(source), str(there), "--to", "lerobot"]) == 0
    weights = load_file(there / "model.safetensors")
    name = next(k for k in weights if k.endswith("action_in_proj.weight"))
    assert torch.equal(weights[name], whole[1]["flow.action_in_proj.weight"])


@pytest.mark.parametrize("stop_at", [1, 6])
def test_a_run_that_was_stopped_goes_on_to_the_bit(tmp_path, whole, stop_at, monkeypatch):
    monkeypatch.setenv("TOY_DROPOUT", "1")
    dropped = toy_run(tmp_path, "dropped")
    run_all(dropped)
    run = toy_run(tmp_path, "parts")
    first = toy_work(run)
    draw = first.batches.batch

    def interrupt(samples):
        if samples[0] == 8 * (stop_at - 1):
            os.kill(os.getpid(), signal.SIGINT)
        return draw(samples)

    first.batches.batch = interrupt
    assert train(run, first, shown=False) == TrainingResult(stop_at, stopped=True)
    assert run_all(run) == TrainingResult(12, stopped=False)
    assert left(run.out)[0].keys() == left(dropped.out)[0].keys()
    got, expected = left(run.out), left(dropped.out)
    for mine, theirs in zip(got[:2], expected[:2], strict=True):
        assert not [k for k in mine if not torch.equal(mine[k], theirs[k])]
    # Dropout makes another run of it, so the comparison means something.
    assert not torch.equal(expected[0]["exp_avg.flow.action_in_proj.weight"], whole[0]["exp_avg.flow.action_in_proj.weight"])  # fmt: skip


def test_a_run_that_broke_off_after_a_checkpoint_goes_on_to_the_bit(tmp_path, whole):
    run = toy_run(tmp_path, "parts")
    work = toy_work(run, not_finite=(6 * 8,))
    with pytest.raises(NotFinite):
        train(run, work, shown=False)
    assert steps_in(Path(run.out), "state") == [4]
    assert run_all(run) == TrainingResult(12, stopped=False)
    require_same_to_the_bit(left(run.out), whole)


def test_a_checkpoint_whose_state_was_not_written_is_done_again(tmp_path, whole, monkeypatch):
    run = toy_run(tmp_path, "parts")
    write = checkpoints.write_state

    def fail(folder, facts, *rest):
        if facts.step == 8:
            raise RuntimeError("the power went off")
        write(folder, facts, *rest)

    monkeypatch.setattr(checkpoints, "write_state", fail)
    with pytest.raises(RuntimeError, match="power"):
        run_all(run)
    assert steps_in(Path(run.out), "checkpoints") == [4, 8]
    monkeypatch.undo()
    run_all(run)
    require_same_to_the_bit(left(run.out), whole)


def test_a_finished_run_does_nothing_more(tmp_path, whole):
    run = toy_run(tmp_path, "whole")
    work = toy_work(run)
    assert train(run, work, shown=False) == TrainingResult(12, stopped=False)
    assert work.batches.asked == []
    require_same_to_the_bit(left(run.out), whole)


def test_micro_batches_change_nothing_but_the_rounding(tmp_path, whole):
    run = toy_run(tmp_path, "at-once", micro_batch=None)
    run_all(run)
    state = left(run.out)[0]
    for name, value in whole[0].items():
        torch.testing.assert_close(state[name], value, rtol=1e-4, atol=1e-6)


def test_a_loss_that_is_not_finite_names_step_and_samples(tmp_path):
    run = toy_run(tmp_path)
    with pytest.raises(NotFinite) as error:
        run_all(run, not_finite=(2 * 8 + 5,))
    said = str(error.value)
    assert said.startswith("step 3: the loss is not finite (loss nan, flow nan)")
    # The micro-batch of samples 20 to 23, and no other.
    assert "toys episode 2 frame 0; toys episode 2 frame 1" in said
    assert "episode 1" not in said
    assert steps_in(Path(run.out), "checkpoints") == []


def test_the_folder_of_another_run_is_refused(tmp_path, whole):
    run = toy_run(tmp_path, "whole")
    with pytest.raises(ValueError, match=r"another run.*seed: 5 there, 6 here"):
        run_all(replace(run, seed=6))
    # What changes no number may differ.
    assert run_all(replace(run, workers=0, log_every=1)).step == 12


def test_a_folder_with_other_files_is_refused(tmp_path):
    run = toy_run(tmp_path)
    Path(run.out).mkdir()
    (Path(run.out) / "thesis.tex").touch()
    with pytest.raises(ValueError, match="a folder with other files"):
        run_all(run)


def test_two_at_once_in_one_folder_are_refused(tmp_path):
    run = toy_run(tmp_path)
    with open_folder(Path(run.out), run), pytest.raises(Busy):
        run_all(run)


def test_a_full_disk_is_a_sentence_and_leaves_what_was_there(tmp_path, whole, monkeypatch):
    run = toy_run(tmp_path, "full")
    save = checkpoints.save

    def full(folder, checkpoint):
        save(folder, checkpoint)
        if folder.name.startswith(".000008"):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "save", full)
    with pytest.raises(DiskFull, match=r"checkpoints/000008: no room on the disk"):
        run_all(run)
    assert sorted(p.name for p in Path(run.out, "checkpoints").iterdir()) == ["000004"]
    monkeypatch.undo()
    run_all(run)
    require_same_to_the_bit(left(run.out), whole)


def test_the_best_and_the_newest_are_kept(tmp_path):
    run = toy_run(tmp_path, checkpoints=Checkpoints(every=2, keep=1))
    run_all(run)
    measured = json.loads((folder_of(Path(run.out), "state", 12) / "state.json").read_text())
    best = min(measured["measured"], key=measured["measured"].get)
    kept = steps_in(Path(run.out), "checkpoints")
    assert kept == sorted({int(best), 12})
    assert os.readlink(Path(run.out, "checkpoint")) == f"checkpoints/{int(best):06d}"


def test_without_held_out_samples_the_newest_is_the_checkpoint(tmp_path):
    run = toy_run(tmp_path, held_out=HeldOut(), checkpoints=Checkpoints(every=4, keep=2), ema=None)
    train(run, replace(toy_work(run), held_out=()), shown=False)
    assert steps_in(Path(run.out), "checkpoints") == [8, 12]
    assert os.readlink(Path(run.out, "checkpoint")) == "checkpoints/000012"


def test_what_was_not_written_to_its_end_is_no_checkpoint(tmp_path):
    run = toy_run(tmp_path)
    run_all(run)
    half = Path(run.out, "checkpoints", ".000016.partial")
    folder_of(Path(run.out), "checkpoints", 12).rename(half)
    with pytest.raises(ValueError, match="not written to its end"):
        load_checkpoint(half, device="cpu")


def test_bfloat16_runs_on_the_cpu(tmp_path, whole):
    run = toy_run(tmp_path, "half", precision="bfloat16")
    run_all(run)
    state = left(run.out)[0]
    name = "weight.flow.action_in_proj.weight"
    assert state[name].dtype == torch.float32
    assert not torch.equal(state[name], whole[0][name])
    torch.testing.assert_close(state[name], whole[0][name], rtol=0.1, atol=0.02)


def test_a_part_that_is_not_there_is_refused(tmp_path):
    run = toy_run(tmp_path, freeze=("vision",))
    with pytest.raises(
        ValueError, match=r"freeze: got 'vision', expected parts .*projections, rest"
    ):
        run_all(run)


def test_frozen_parts_stay_and_the_mean_is_what_is_saved(tmp_path, whole):
    before = load_file(Path(toy_run(tmp_path).policy) / "model.safetensors")
    state, weights = whole[:2]
    for name, value in before.items():
        trained = "action_in_proj" in name or "action_out_proj" in name
        assert torch.equal(weights[name], value) != trained
        if trained:
            assert torch.equal(weights[name], state[f"mean.{name}"])
            assert not torch.equal(weights[name], state[f"weight.{name}"])


def test_in_another_thread_signals_are_left_alone(tmp_path):
    run = toy_run(tmp_path)
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(run_all(run)))
    thread.start()
    thread.join(60)
    assert outcome == [TrainingResult(12, stopped=False)]
