"""`vla compare`: what there is not is refused, what was done is kept, the report holds it all."""

import asyncio
import json
import re
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from chromium import MISSING, PROGRAM, Chromium

from vla_policy.cli import main
from vla_policy.evaluate import suite_sources
from vla_policy.evaluate.compare import split_head
from vla_policy.evaluate.comparison_folder import ComparisonFolder, ComparisonPlan, asked_rows
from vla_policy.evaluate.measures import Measures
from vla_policy.evaluate.policy_facts import training_cost
from vla_policy.evaluate.report import page
from vla_policy.evaluate.report_tables import markdown, policies_table
from vla_policy.evaluate.rollout import TrialResult
from vla_policy.paths import weights_dir
from vla_policy.runtime.policy_protocol import PlainContract, PlainPolicy
from vla_policy.types import Level, Reason, Verdict

TIMES = ("chunk_ms", "chunk_cpu_ms", "wall_s", "memory_mb")  # of the machine, other ones each time
SLOWED = Verdict(Level.SLOW, None, (Reason("velocity", ""),))
ADDRESS = re.compile(r"(?:https?:|wss?:)?//[a-z0-9.-]+\.[a-z]{2,}", re.I)


class Toy(PlainPolicy):
    """What ToyTrials are made of; its name is a folder."""

    rows = 4

    def __init__(self, name: str) -> None:
        self.contract = PlainContract(("x",), ("x",))
        self.weights_hash = (Path(name) / "weights").read_text()


@dataclass
class ToyTrials:
    """Trials that end at once: the policy's number and that of the trial say how. stop_at: Ctrl-C comes there."""

    policy: Toy
    number: int
    stop_at: list[int]

    def unfit(self, suite: str) -> str:
        return "it has no wheels" if suite == "toy_wheels" else ""

    def run(self, suite: str, index: int, measures: Measures) -> TrialResult:
        if index in self.stop_at:
            self.stop_at.remove(index)
            raise KeyboardInterrupt
        rng = np.random.default_rng([index, self.number])
        success = bool(rng.random() < 0.3 + 0.4 * self.number)
        for k in range(20):
            measures.chunk(0.01 * (self.number + 1), 0.004)
            verdict = SLOWED if k == 3 else None
            measures.tick(k * 20_000_000, rng.normal(0, 0.01, 3), verdict, took=k % 5 == 0)
            if measures.film_due(k * 20_000_000):
                measures.frames.append(np.full((150, 200, 3), 9 * index, np.uint8))
        words = f"lift <b>it</b> & go {index}"
        return TrialResult(
            100 + index, words, "pick", "colour", success, "" if success else "dropped", 2.0 + self.number,
            None, None, False, "", {"no_chunk": 3},
        )  # fmt: skip


@pytest.fixture
def toys(monkeypatch, tmp_path) -> list[int]:
    """Folders a and b, which are policies, and suites of ToyTrials; the numbers at which Ctrl-C comes once."""
    stop_at: list[int] = []
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text(f"sha256:{name}")

    def opens(settings) -> ToyTrials:
        return ToyTrials(Toy(settings["policy"]), "ab".index(settings["policy"]), stop_at)

    source = replace(
        suite_sources.SOURCES["twins"],
        name="toys",
        suites={"toy": "toys", "toy_wheels": "toys that roll"},
        open=opens,
        unfit=lambda suite, robot: "",
    )
    monkeypatch.setitem(suite_sources.SOURCES, "toys", source)
    return stop_at


def compare(*words: str) -> int:
    return main(
        [
            "compare",
            "--policy",
            "a,b",
            "--suite",
            "toy",
            "--episodes",
            "12",
            "--workers",
            "0",
            *words,
        ]
    )


def rows(folder: str) -> list[dict]:
    found = [json.loads(line) for line in (Path(folder) / "trials.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in row.items() if k not in TIMES} for row in found]
    return sorted(kept, key=lambda row: (row["policy"], row["index"]))


def test_the_head_of_a_policy_is_named_behind_it():
    assert split_head("runs/a@b/checkpoint@flow") == ("runs/a@b/checkpoint", "flow")
    assert split_head("@flow") == ("@flow", None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--suite", "pick_putt"], r"--suite: got 'pick_putt', expected some of twins: pick_put, .*rt2: .*Meta-World: "),
        (["--robot", "ur5e"], r"--robot: got 'ur5e', expected some of vx300s, "),
        (["--policy", "tyni"], r"policy 'tyni': no folder and no policy file of that path; shipped are only"),
        (["--policy", "expert,expert"], r"--policy: got expert, expert, expected names, each once"),
        (["--policy", "expert@token"], r"--policy: got 'expert@token', expected expert, which has no heads"),
        (["--policy", "expert,"], r"--policy: got expert, , expected names"),
        (["--suite", "rt2_seen", "--web", "no/pictures"], r"--suite: got 'rt2_seen', which cannot be run here: no/pictures: "),
        (["--episodes", "0"], r"--episodes: got 0, expected 1 to 2000"),
        (["--seed", "100"], r"--seed: got 100, expected 0 to 99"),
        (["--latency", "2"], r"--latency: got 2.0, expected 0 to 1 s"),
        (["--num-steps", "0"], r"--num-steps: got 0, expected 1 or more"),
    ],
)  # fmt: skip
def test_what_there_is_not_is_refused_before_anything_is_written(words, message, tmp_path, capsys):
    assert main(["compare", "--out", str(tmp_path / "out"), *words]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(find_spec("metaworld") is not None, reason="metaworld is installed here")
def test_a_benchmark_that_is_not_installed_is_refused_with_what_installs_it(tmp_path, capsys):
    words = ["--suite", "metaworld_mt10", "--robot", "metaworld_sawyer", "--policy", "expert"]
    assert main(["compare", "--out", str(tmp_path / "out"), *words]) == 1
    assert "the package metaworld is not installed" in capsys.readouterr().err


def test_a_run_that_was_interrupted_goes_on_to_the_same_trials(toys, capsys):
    assert compare("--out", "whole") == 0
    toys += [5]
    assert compare("--out", "parts") == 130
    assert (
        "stopped; 5 of 24 trials are in parts, the same command goes on" in capsys.readouterr().out
    )
    with Path("parts/trials.jsonl").open("a") as file:
        file.write('{"policy": "a", "robot": "vx3')  # the power went off
    toys += [7]
    assert compare("--out", "parts") == 130
    assert compare("--out", "parts") == 0
    assert len(rows("parts")) == 24
    assert rows("parts") == rows("whole")
    reports = [json.loads(Path(name, "report.json").read_text()) for name in ("whole", "parts")]
    assert reports[0]["differences"] == reports[1]["differences"]


def test_a_second_run_does_only_what_lacks(toys):
    assert compare("--out", "out") == 0
    before = Path("out/trials.jsonl").read_text()
    assert compare("--out", "out") == 0
    assert Path("out/trials.jsonl").read_text() == before
    assert compare("--out", "out", "--episodes", "14") == 0
    after = Path("out/trials.jsonl").read_text()
    assert after.startswith(before) and len(after.splitlines()) == 28


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--latency", "0.2"], "--latency: got 0.2, expected 0.1"),
        (["--scheme", "rtc"], "--scheme: got rtc, expected receding"),
        (["--policy", "b"], "--policy: got none of a, of which it has trials"),
        (["--episodes", "3"], "--episodes: got 3, expected 12 or more"),
    ],
)
def test_changed_arguments_are_refused_by_name(toys, words, message, capsys):
    assert compare("--out", "out") == 0
    assert compare("--out", "out", *words) == 1
    said = capsys.readouterr().err
    assert "out: holds trials made with other arguments" in said and message in said


def test_another_checkpoint_under_the_same_name_is_refused(toys, capsys):
    assert compare("--out", "out") == 0
    Path("b/weights").write_text("sha256:other")
    assert compare("--out", "out") == 0  # nothing is tried
    assert compare("--out", "out", "--episodes", "13") == 1
    assert "policy 'b': got the weights sha256:other, expected sha256:b" in capsys.readouterr().err


def test_a_folder_of_something_else_and_one_that_is_held_are_refused(toys, tmp_path, capsys):
    assert compare("--out", "a") == 1
    assert "a: got a folder with other files" in capsys.readouterr().err
    with ComparisonFolder(Path("held"), ComparisonPlan(("a",), ("vx300s",), ("toy",), 1)):
        assert compare("--out", "held") == 1
    assert "held: another `vla compare` works in this folder" in capsys.readouterr().err


def test_a_line_that_is_no_trial_is_named(toys, capsys):
    assert compare("--out", "out") == 0
    lines = Path("out/trials.jsonl").read_text().splitlines()
    Path("out/trials.jsonl").write_text("\n".join([lines[0], '{"policy": "a"}', lines[2]]) + "\n")
    assert compare("--out", "out") == 1
    assert "out/trials.jsonl:2: got no trial of a comparison" in capsys.readouterr().err


def test_a_policy_that_can_be_asked_nothing_is_refused_and_what_is_not_asked_is_told(toys, capsys):
    assert compare("--out", "out", "--suite", "toy_wheels") == 1
    assert (
        "'a', which can be asked nothing of this: toy_wheels on vx300s: it has no wheels"
        in capsys.readouterr().err
    )
    assert compare("--out", "both", "--suite", "toy,toy_wheels") == 0
    found = json.loads(Path("both/report.json").read_text())
    assert [r["suite"] for r in found["results"]] == ["toy", "toy"]
    assert {(n["policy"], n["suite"], n["reason"]) for n in found["not_asked"]} == {
        (name, "toy_wheels", "it has no wheels") for name in "ab"
    }
    reason = "it has no wheels, " * 20
    told = page(found | {"not_asked": [found["not_asked"][0] | {"reason": reason}]}, (), Path("."))
    assert told.count("<summary>") == 1 and reason.strip() in told, "long reasons are folded"


def test_the_report_has_the_numbers_of_the_trials(toys):
    assert compare("--out", "out") == 0
    found = json.loads(Path("out/report.json").read_text())
    a, b = found["results"]
    done = rows("out")
    assert a["successes"] == sum(r["success"] for r in done if r["policy"] == "a")
    assert (a["chunk_ms"], b["chunk_ms"]) == ([10.0, 10.0], [20.0, 20.0])
    assert a["chunk_cpu_ms"] == [4.0, 4.0] and a["held"] == 0.0
    assert a["guarded"] == pytest.approx(1 / 20) and a["guard"] == {"velocity": 12}
    assert a["jerk_rms"] > 0 and a["seams"] > 0 and a["memory_mb"] > 10
    (pair,) = found["differences"]
    wins = {name: [r["success"] for r in done if r["policy"] == name] for name in "ab"}
    assert pair["first_only"] == sum(
        x and not y for x, y in zip(wins["a"], wins["b"], strict=True)
    )
    assert pair["difference"] == pytest.approx(a["rate"] - b["rate"])
    if pair["both"]:
        assert pair["seconds"]["mean"] == -1.0
    assert found["about"]["command"].endswith("--out out --workers 0")
    assert found["about"]["command"].startswith(
        "vla compare --policy a,b --robot vx300s --suite toy --episodes 12"
    )
    text = Path("out/report.md").read_text()
    assert f"| a | vx300s | toy | {a['successes']}/12" in text


def test_the_page_stands_alone_and_no_text_becomes_markup(toys):
    assert compare("--out", "out") == 0
    page = Path("out/report.html").read_text()
    assert not ADDRESS.search(page) and "<script" not in page
    assert "lift &lt;b&gt;it&lt;/b&gt; &amp; go" in page and "<b>it" not in page
    films = sorted(Path("out/films").iterdir())
    failures = [r for r in rows("out") if not r["success"]]
    assert {f.name for f in films} == {r["film"] for r in failures} and failures
    assert page.count("data:video/webm;base64,") == min(
        2, sum(r["policy"] == "a" for r in failures)
    ) + min(2, sum(r["policy"] == "b" for r in failures))
    assert compare("--out", "none", "--films", "0") == 0
    assert not Path("none/films").exists()


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason=MISSING)
def test_a_browser_shows_the_page_and_plays_its_films(toys, tmp_path):
    assert compare("--out", "out") == 0

    async def look() -> None:
        async with Chromium(tmp_path) as browser:
            tab = await browser.open("about:blank")
            record = "window.said = []; addEventListener('error', (e) => said.push(e.message || e.target.src), true);"
            record += (
                "addEventListener('securitypolicyviolation', (e) => said.push(e.blockedURI));"
            )
            record += "console.error = console.warn = (...words) => said.push(words.join(' '));"
            await tab.call("Page.addScriptToEvaluateOnNewDocument", source=record)
            await tab.call("Page.navigate", url=Path("out/report.html").resolve().as_uri())
            await tab.until(
                "document.readyState === 'complete' && document.querySelector('video') !== null",
                60,
            )
            films = "[...document.querySelectorAll('video')]"
            await tab.until(f"{films}.every((v) => v.readyState >= 1)", 30)
            assert await tab.run(f"{films}.every((v) => v.videoWidth === 200 && v.duration > 0)")
            assert await tab.run("document.querySelectorAll('svg circle').length") == 5
            assert await tab.run("said") == []
            for width in (1280, 390):  # a phone scrolls tables and plots, never the page
                await tab.size(width, 800)
                assert await tab.run("document.documentElement.scrollWidth <= innerWidth")

    asyncio.run(look())


@pytest.mark.slow
def test_workers_try_a_twin_as_one_process_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [
        "compare",
        "--policy",
        "expert",
        "--suite",
        "first_frame",
        "--episodes",
        "2",
        "--renderer",
        "raycast",
    ]
    for out, workers in (("one", "0"), ("two", "2")):
        assert main([*words, "--out", out, "--workers", workers]) == 0
    assert rows("one") == rows("two")
    assert [row["looked_right"] for row in rows("two")] == [True, True]


def test_training_is_what_the_run_took_up_to_the_checkpoint(tmp_path):
    folder = tmp_path / "run" / "checkpoints" / "000300"
    folder.mkdir(parents=True)
    assert training_cost(tmp_path) is None
    lines = [
        (100, 10.0),
        (200, 20.0),
        (300, 7.0),
        (400, 17.0),
    ]  # stopped after 200 steps, then gone on with
    (tmp_path / "run" / "log.jsonl").write_text(
        "".join(json.dumps({"step": step, "seconds": s}) + "\n" for step, s in lines)
    )
    assert training_cost(folder) == {"steps": 300, "seconds": 27.0}


def test_training_of_shipped_weights_is_said_beside_them(tmp_path):
    for name in ("tiny", "tiny_cross", "small"):
        said = training_cost(weights_dir() / name)
        assert set(said) == {"steps", "seconds", "on"}
        hours = f"{said['steps']} steps in {said['seconds'] / 60:.0f} min, {said['on']}"
        assert hours in markdown(
            policies_table({"policies": [{"policy": name, "training": said}]})
        )
    path = tmp_path / "training.json"
    for wrong, why in (
        (
            {"steps": 1, "seconds": 1, "on": "x", "hours": 2},
            "got hours, expected steps, seconds, on",
        ),
        ({"steps": 0, "seconds": 1, "on": "x"}, "got 0 steps and 1 s, expected 1 or more"),
        ({"steps": 1, "seconds": "2 h", "on": "x"}, "seconds: got '2 h', expected int"),
    ):
        path.write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=f"{path}: {why}"):
            training_cost(tmp_path)


def test_rows_of_other_plans_are_left_out():
    plan = ComparisonPlan(("a",), ("vx300s",), ("toy",), 2)
    row = {"policy": "a", "robot": "vx300s", "suite": "toy", "index": 0}
    kept = asked_rows(plan, [row | {"index": 5}, row | {"policy": "b"}, row])
    assert kept == {("a", "vx300s", "toy"): [row]}
