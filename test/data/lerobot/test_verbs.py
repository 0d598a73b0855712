"""`vla data info` and `stats`: what they say, and that mistakes are one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
from demonstrations import recorded_set

from vla_policy import cli
from vla_policy.data.lerobot.reader import open_set

SETS = Path(__file__).resolve().parents[2] / "golden" / "lerobot_sets"


def test_info_of_sets_of_both_sides(tmp_path, capsys):
    assert cli.main(["data", "info", str(recorded_set(tmp_path / "set", (7, 5)))]) == 0
    said = capsys.readouterr().out
    assert "2 episodes, 12 frames, 0.0 min; 1 not judged, 1 success" in said
    assert "camera front: 64 x 48, video h264" in said
    assert "episode 1: 5 frames, 0.5 s, success, lift" in said
    assert cli.main(["data", "info", str(SETS / "v21")]) == 0
    assert "LeRobot v2.1, robot paper_arm, 10 frames/s" in capsys.readouterr().out


def test_stats_are_put_right(tmp_path, capsys):
    root = recorded_set(tmp_path / "set", (9, 4))
    right = json.loads((root / "meta/stats.json").read_text())
    (root / "meta/stats.json").write_text("{}")
    assert cli.main(["data", "stats", "--dry-run", str(root)]) == 0
    assert open_set(root).stats == {}
    assert cli.main(["data", "stats", str(root)]) == 0
    assert open_set(root).stats == right
    assert "action: count 13" in capsys.readouterr().out


def test_stats_of_a_set_without_histograms_decode_some_images(tmp_path, capsys):
    assert cli.main(["data", "stats", "--dry-run", str(SETS / "v30_images")]) == 0
    out = capsys.readouterr().out
    there = json.loads((SETS / "v30_images/meta/stats.json").read_text())
    mean = out[out.index("observation.images.top") :].split("mean")[1].split()[:3]
    assert np.allclose(
        [float(m) for m in mean], np.ravel(there["observation.images.top"]["mean"]), atol=0.02
    )
    assert "a set of version v2.1" in _error(["stats", str(SETS / "v21")], capsys)


@pytest.mark.parametrize("words", [["info"], ["stats"], ["stats", "--dry-run"]])
def test_what_is_no_set_is_one_sentence(tmp_path, capsys, words):
    assert "no data set here" in _error([*words, str(tmp_path)], capsys)
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/info.json").write_text('{"codebase_version": "v9.0"')
    assert "not valid JSON" in _error([*words, str(tmp_path)], capsys)


def _error(words, capsys):
    assert cli.main(["data", *words]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Traceback" not in error
    return error


def test_a_wrong_verb_is_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["data", "infos"])
    assert ended.value.code == 2
    assert "invalid choice: 'infos'" in capsys.readouterr().err
