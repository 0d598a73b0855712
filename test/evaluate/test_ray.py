"""`--ray`: the same trials and episodes as Ray tasks.

The last part needs ray (requirements/ray.txt), which the other environments are without; there they are skipped, and
stand-ins for its tasks run here.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path

import bag_messages as make
import pytest

from vla_policy.cli import main
from vla_policy.data.bag.metadata import NAMESPACE, ROBOT, ROBOT_FILE, TASK
from vla_policy.data.bag.writer import BagWriter
from vla_policy.data.conversion.bags import Options, convert_bags
from vla_policy.data.convert import convert
from vla_policy.embodiment import find_embodiment
from vla_policy.evaluate import compare, parallel

with_ray = pytest.mark.skipif(
    find_spec("ray") is None, reason="needs ray: an environment with requirements/ray.txt runs it"
)
CUSTOM = {TASK: "lift the cube", ROBOT: "so101", ROBOT_FILE: find_embodiment("so101").read_text(), NAMESPACE: "/"}  # fmt: skip
EXPERT = ("--policy", "expert", "--suite", "first_frame", "--episodes", "3", "--renderer", "raycast")  # fmt: skip
TIMES = ("wall_s", "memory_mb", "gpu_mb")


@pytest.fixture
def bags(tmp_path) -> Path:
    """A folder of three bags."""
    for number in range(3):
        bag = BagWriter(tmp_path / f"bags/b{number}", CUSTOM)
        bag.open()
        for message in make.take(make.robot(), 0.5 + 0.2 * number):
            bag.write(message)
        bag.close({})
    return tmp_path / "bags"


def files(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".recording" not in path.parts
    }


@pytest.mark.parametrize(
    "words", [("evaluate",), ("compare",), ("data", "convert", "bags", "set", "--workers", "2")]
)
def test_where_ray_is_not_installed_a_sentence_says_so(words, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not
    assert main([*words, "--ray"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "no Ray in this environment" in said[0] and "ray[serve]" in said[0]
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_as_ray_tasks_is_refused_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "--ray", "--workers", "0"]) == 1
    assert "--workers: got 0, expected 1 or more with --ray" in capsys.readouterr().err
    assert main(["compare", "--ray", "--graph", "--policy", "tiny"]) == 1
    assert "got --ray with --graph" in capsys.readouterr().err
    (tmp_path / "old/meta").mkdir(parents=True)
    (tmp_path / "old/meta/info.json").write_text("{}")
    with pytest.raises(ValueError, match=r"--ray: got .* expected .* beside each other"):
        convert([tmp_path / "old"], tmp_path / "set", Options(in_order=lambda work, jobs: map(work, jobs)))  # fmt: skip
    assert not (tmp_path / "set").exists()


def test_trials_made_elsewhere_are_reported_as_those_of_a_pool(monkeypatch):
    seen = []

    def trial(job):
        settings, name, index = job
        seen.append(settings)
        return name, {"seed": index, "success": index != 1}, "flow"

    def backwards(work, jobs):
        for number in reversed(range(len(jobs))):
            yield number, lambda number=number: work(*jobs[number])

    monkeypatch.setattr(parallel, "_trial", trial)
    args = Namespace(episodes=2, workers=1)
    outcomes, head = parallel.run_trials({"policy": "x"}, ["a", "b"], args, backwards)
    assert head == "flow" and seen == [{"policy": "x"}] * 4
    rows = [{"seed": 1, "success": False}, {"seed": 0, "success": True}]
    assert outcomes == {"a": rows, "b": rows}


def test_a_process_elsewhere_that_ended_names_its_trial():
    def gone():
        raise ChildProcessError("a process of Ray's ended")

    def one(work, jobs):
        yield 1, gone

    jobs = {"a on x, trial 0": (), "a on x, trial 1": ()}
    with pytest.raises(OSError, match=r"^a on x, trial 1: its process ended, .* is kept"):
        list(compare._done(dict, jobs, 1, one))


def test_bags_converted_elsewhere_are_the_same_set(bags, tmp_path):
    convert_bags([bags], tmp_path / "one", Options(workers=1))
    asked = []

    def in_order(work, jobs):
        asked.extend(job.bag.name for job in jobs)
        yield from map(work, jobs)

    told = []
    outcome = convert_bags(
        [bags], tmp_path / "two", Options(in_order=in_order), lambda *done: told.append(done)
    )
    assert (outcome.episodes, outcome.problems, asked) == (3, [], ["b0", "b1", "b2"])
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert files(tmp_path / "two") == files(tmp_path / "one")
    again = convert_bags([bags], tmp_path / "two", Options(in_order=in_order))
    assert (again.skipped, again.episodes, len(asked)) == (3, 0, 3)


@with_ray
@pytest.mark.slow
def test_ray_tasks_make_the_set_of_a_pool_and_go_on_with_one_that_is_begun(bags, tmp_path):
    hidden = bags / "b2"
    (tmp_path / "later").mkdir()
    moved = hidden.rename(tmp_path / "later/b2")
    words = ["data", "convert", str(bags)]
    assert main([*words, str(tmp_path / "ray"), "--ray", "--workers", "2"]) == 0
    moved.rename(hidden)
    assert main([*words, str(tmp_path / "ray"), "--ray", "--workers", "2"]) == 0
    assert main([*words, str(tmp_path / "pool"), "--workers", "2"]) == 0
    assert files(tmp_path / "ray") == files(tmp_path / "pool")


@with_ray
@pytest.mark.slow
def test_ray_tasks_try_a_policy_as_a_pool_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = {}
    for name, more in (("pool", ()), ("ray", ("--ray",))):
        assert main(["evaluate", *EXPERT, "--workers", "2", "--out", f"{name}.json", *more]) == 0
        found[name] = json.loads(Path(f"{name}.json").read_text())
        assert main(["compare", *EXPERT, "--workers", "2", "--out", name, *more]) == 0
    assert found["ray"]["trials"] == found["pool"]["trials"]
    assert found["ray"]["suites"] == found["pool"]["suites"]
    assert rows("ray") == rows("pool") and len(rows("ray")) == 3


def rows(folder: str) -> list[dict]:
    found = [json.loads(line) for line in (Path(folder) / "trials.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in row.items() if k not in TIMES and not k.endswith("_ms")} for row in found]  # fmt: skip
    return sorted(kept, key=lambda row: row["index"])


@with_ray
@pytest.mark.slow
def test_what_a_ray_task_raises_is_one_sentence_and_one_that_dies_another(tmp_path):
    from vla_policy.commands.ray_session import ray_session
    from vla_policy.commands.ray_tasks import as_done

    with ray_session(1, log_to_driver=False):
        takes = dict(as_done(json.loads, [("[1]",), ("[1",)]))
        assert takes[0]() == [1]
        with pytest.raises(ValueError, match=r"^Expecting ',' delimiter") as raised:
            takes[1]()
        assert "\n" not in str(raised.value)
        ((_, take),) = as_done(os._exit, [(3,)])
        with pytest.raises(ChildProcessError, match="a process of Ray's ended"):
            take()
        with pytest.raises(ValueError, match="Ray has found no GPU"):
            list(as_done(len, [("x",)], gpus=99))


@with_ray
@pytest.mark.slow
def test_ctrl_c_ends_the_tasks_too(tmp_path):
    (tmp_path / "task.py").write_text(
        f"import os, time, pathlib\npathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\ntime.sleep(300)\n"
    )
    code = (
        "import runpy, sys; from vla_policy.commands.ray_tasks import in_order\n"
        "try: list(in_order(runpy.run_path, [sys.argv[1]], workers=1))\n"
        "except KeyboardInterrupt: sys.exit(130)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "task.py")], start_new_session=True
    )
    try:
        pid = waited(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        assert process.wait(60) == 130
        waited(lambda: not Path(f"/proc/{pid}").exists())
    finally:
        process.kill()
        process.wait()


def waited(look, seconds: float = 90.0):
    ends_s = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < ends_s
        time.sleep(0.1)
    return found
