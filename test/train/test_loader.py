"""Micro-batches: the same whoever makes them, and every end is one sentence."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from training_sets import arm_set, collate, example, made_for

from vla_policy.train.loader import BadSample, Loader, WorkerLost


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return arm_set(tmp_path_factory.mktemp("set") / "set", (8, 6))


def taken(loader, count, first=0, stride=1):
    batches = loader.batches(first, stride)
    found = [next(batches) for _ in range(count)]
    batches.close()
    return found


def same(a, b):
    keys = ("sum", "actions", "seed")
    return a.samples == b.samples and all(torch.equal(a.tensors[k], b.tensors[k]) for k in keys)


def test_a_micro_batch_is_a_function_of_its_number(root):
    loader = Loader(made_for(root), example, collate, batch=4, workers=0)
    whole = taken(loader, 6)
    resumed = taken(Loader(made_for(root), example, collate, batch=4, workers=0), 3, first=3)
    assert all(same(a, b) for a, b in zip(whole[3:], resumed, strict=True))
    second = taken(Loader(made_for(root), example, collate, batch=4, workers=0), 3, 1, stride=2)
    assert all(same(a, b) for a, b in zip(whole[1::2], second, strict=True))
    assert len({s for b in whole for s in b.tensors["seed"].tolist()}) == 24
    assert whole[0].tensors["actions"].shape == (4, 3, 8)
    assert whole[0].samples[0].startswith("set, episode 0, frame")
    # In smaller micro-batches the samples are the same.
    halves = taken(Loader(made_for(root), example, collate, batch=2, workers=0), 2)
    assert [*halves[0].samples, *halves[1].samples] == list(whole[0].samples)


def test_nothing_is_drawn_from_the_generator_of_the_run(root):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    taken(Loader(made_for(root), example, collate, batch=2, workers=0), 1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_workers_make_the_same_and_end_with_the_iterator(root):
    alone = taken(Loader(made_for(root), example, collate, batch=3, workers=0), 7)
    loader = Loader(made_for(root), example, collate, batch=3, workers=2, prefetch=1)
    batches = loader.batches(0)
    found = [next(batches) for _ in range(7)]
    assert all(same(a, b) for a, b in zip(alone, found, strict=True))
    assert all(b.tensors["threads"].unique().tolist() == [1] for b in found)
    workers = {int(p) for b in found for p in b.tensors["process"]}
    assert len(workers) == 2 and os.getpid() not in workers
    assert 0.0 <= loader.waited_s < 60 and loader.began_s > 0
    # One that is killed is noticed, in one sentence.
    os.kill(min(workers), signal.SIGKILL)
    with pytest.raises(WorkerLost, match="a process that reads data ended by itself") as lost:
        for _ in range(20):
            next(batches)
    assert "\n" not in str(lost.value)
    batches.close()
    ended = time.monotonic() + 20
    while any(Path(f"/proc/{p}").exists() for p in workers) and time.monotonic() < ended:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{p}").exists() for p in workers)


def test_a_bad_sample_is_one_sentence_that_names_it(root):
    loader = Loader(made_for(root, (1,)), example, collate, batch=8, workers=0)
    with pytest.raises(BadSample) as bad:
        taken(loader, 20)
    assert str(bad.value) == "set, episode 1, frame 3: gripper: got 7, expected 0 to 1"


def test_a_cut_off_video_names_file_episode_and_frame(tmp_path):
    root = arm_set(tmp_path / "set", (12,))
    video = next(root.glob("videos/*front/*/*.mp4"))
    loader = Loader(made_for(root), example, collate, batch=4, workers=0)
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    with pytest.raises(BadSample, match=r"\.mp4: .*cut off.*episode 0, frame \d+") as bad:
        taken(loader, 20)
    assert "\n" not in str(bad.value)


def test_numbers_that_cannot_be_are_refused(root):
    for name, value in (("batch", 0), ("workers", -1), ("prefetch", 0)):
        given = {"batch": 1, "workers": 0} | {name: value}
        with pytest.raises(ValueError, match=f"{name}: got {value}, expected at least"):
            Loader(made_for(root), example, collate, **given)


@pytest.mark.slow
def test_an_interrupt_ends_the_program_and_its_workers(root, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(f"""
        import signal, sys
        signal.signal(signal.SIGINT, signal.default_int_handler)  # in a shell's background it is ignored
        sys.path[:0] = [{str(Path(__file__).parents[1] / "helpers")!r}]
        from training_sets import collate, example, made_for
        from vla_policy.train.loader import Loader
        if __name__ == "__main__":
            loader = Loader(made_for({str(root)!r}), example, collate, batch=2, workers=1)
            try:
                for batch in loader.batches(0):
                    print(*batch.tensors["process"].tolist(), flush=True)
            except KeyboardInterrupt:
                print("interrupted", flush=True)
        """)
    )
    process = subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    try:
        workers = {int(p) for _ in range(6) for p in process.stdout.readline().split()}
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all of them
        out, errors = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0 and out.endswith("interrupted\n"), errors
    assert len(workers) == 1 and not any(Path(f"/proc/{p}").exists() for p in workers)
    assert "Traceback" not in errors, errors
