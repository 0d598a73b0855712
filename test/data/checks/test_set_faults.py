"""One thing is broken in a set, and exactly that is found, with its episode and frame."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from clean_sets import clean_set
from data_faults import FAULTS

from vla_policy.data.checks.source import check_data

GOLDEN = Path(__file__).parents[2] / "golden" / "lerobot_sets"


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    return clean_set(tmp_path_factory.mktemp("sets") / "clean")


def test_a_clean_set_has_no_finding(clean):
    assert check_data(clean) == ()


@pytest.mark.parametrize("name", ["v21", "v30", "v30_images"])
def test_what_lerobot_wrote_has_no_finding(name):
    assert check_data(GOLDEN / name) == ()


@pytest.mark.parametrize("name", list(FAULTS))
def test_exactly_what_was_broken_is_found(clean, tmp_path, name):
    root = shutil.copytree(clean, tmp_path / "set")
    code, episode, frame = FAULTS[name](root, np.random.default_rng(len(name)))
    found = check_data(root)
    assert [(f.code, f.episode) for f in found] == [(code, episode)], [str(f) for f in found]
    if frame is not None:
        assert found[0].frame == frame
    assert found[0].says and found[0].change
