"""Sets that lerobot wrote read here with the values that were given to it (golden/lerobot_sets)."""

import importlib.util
import multiprocessing
import os
import shlex
import subprocess
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from demonstrations import recorded_set
from worker_copy import as_a_worker_gets, image_means

from vla_policy.data.lerobot.reader import open_set
from vla_policy.data.lerobot.rewrite import Changes
from vla_policy.data.lerobot.verbs import edit, merge

SETS = Path(__file__).resolve().parents[2] / "golden" / "lerobot_sets"
_spec = importlib.util.spec_from_file_location("make_sets", SETS / "make_sets.py")
make_sets = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_sets)
PLACES = [(e, n) for e, length in enumerate(make_sets.LENGTHS) for n in range(length)]
# A Python that has lerobot, with what must stand before it.
LEROBOT = os.environ.get("LEROBOT_PYTHON", "")


@pytest.mark.parametrize("name", ["v21", "v30", "v30_images"])
def test_numbers_and_words_are_identical(name):
    data = open_set(SETS / name)
    assert (len(data), data.fps, data.robot_type, data.cameras) == (
        18,
        10,
        "paper_arm",
        ("top", "side"),
    )
    assert data.state_names == ("x", "y", "z", "gripper")
    assert data.action_names == ("a", "b", "c")
    for index, place in enumerate(PLACES):
        wanted, got = make_sets.wanted(*place), data.frame(index)
        assert np.array_equal(got.state, wanted["observation.state"])
        assert np.array_equal(got.action, wanted["action"])
        assert (got.task, got.valid, got.control_source) == (make_sets.TASKS[place[0]], True, "")
        assert np.isnan(got.proposed).all()
    assert data.rows(2)["reward"].tolist() == [0.25 * n for n in range(6)]
    assert (data.success(0), data.start_ns(0), data.robot_yaml) == (None, None, "")


@pytest.mark.parametrize("name", ["v21", "v30"])
def test_videos_are_decoded_as_there(name):
    """AV1, several episodes in one file in v3.0: the frames that lerobot's own reader gave, in any order."""
    data = open_set(SETS / name)
    with np.load(SETS / f"{name}.npz") as there:
        assert there["length"].tolist() == [18, 3, 10]
        for at in (2, 0, 1):
            for camera in data.cameras:
                off = (
                    data.frame(6 * at).images[camera].astype(int)
                    - there[f"observation.images.{camera}"][at]
                )
                assert np.abs(off).max() <= 1, (at, camera)
    # Neighbouring frames differ by 30 in blue: what is one frame off is seen.
    for index in np.random.default_rng(0).permutation(18).tolist():
        wanted = make_sets.wanted(*PLACES[index])["observation.images.top"][40:, :, 2].mean()
        assert abs(data.frame(index).images["top"][40:, :, 2].mean() - wanted) < 10, index


def test_images_in_the_table_are_exact():
    data = open_set(SETS / "v30_images")
    for index in (17, 3, 9):
        wanted, got = make_sets.wanted(*PLACES[index]), data.frame(index)
        for camera in data.cameras:
            assert np.array_equal(got.images[camera], wanted[f"observation.images.{camera}"])


def test_several_workers_read_the_same():
    data = open_set(SETS / "v30")
    here = image_means(data, range(18))  # open decoders do not go along
    # As the loader starts its workers; a fork would inherit the decoder's locks without its threads.
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        parts = list(pool.map(image_means, [data, data], [range(0, 18, 2), range(1, 18, 2)]))
    assert [parts[i % 2][i // 2] for i in range(18)] == here
    assert image_means(as_a_worker_gets(data), range(18)) == here


@pytest.mark.skipif(
    not LEROBOT, reason="LEROBOT_PYTHON names no Python that has lerobot (docs/data.md)"
)
@pytest.mark.parametrize("how", ["recorded", "merged", "edited", "theirs"])
def test_a_set_of_ours_is_the_same_there(tmp_path, how):
    """Runs where LEROBOT_PYTHON is a command line for a Python with lerobot that sees the same folders."""
    root, out = tmp_path / "set", tmp_path / "there.npz"
    tell = lambda number: None  # noqa: E731
    if how == "theirs":  # of both versions, several episodes in a video
        merge([SETS / "v21", SETS / "v30"], tmp_path / "all", tell)
        edit(tmp_path / "all", root, "1,2,4", Changes(), tell)
    elif how == "recorded":
        recorded_set(root, (7, 5, 6))
    elif how == "merged":
        merge(
            [recorded_set(tmp_path / "a", (7, 5)), recorded_set(tmp_path / "b", (6,))], root, tell
        )
    else:
        edit(
            recorded_set(tmp_path / "a", (7, 5, 4, 6)), root, "2", Changes({"lift": "raise"}), tell
        )
    command = [*shlex.split(LEROBOT), str(SETS / "dump_set.py"), str(root), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    here = open_set(root)
    with np.load(out) as there:
        assert there["length"].tolist() == [len(here), 3, 10]
        for episode, entry in enumerate(here.entries):
            part = slice(entry.start, entry.start + entry.length)
            for name, values in here.rows(episode).items():
                assert np.array_equal(
                    there[name][part], values, equal_nan=name == "proposed_action"
                ), name
        for index in range(len(here)):
            frame = here.frame(index)
            assert there["task"][index] == frame.task
            for camera, picture in frame.images.items():
                off = there[f"observation.images.{camera}"][index].astype(int) - picture
                assert np.abs(off).max() <= 1, (index, camera)
