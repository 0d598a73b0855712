"""Statistics that a family normalises with, out of a set: true quantiles, and nothing explodes."""

from dataclasses import replace

import numpy as np
import pytest
from training_cases import CASES
from training_sets import ROBOT, arm_set, contract_for, x_of

from vla_policy.check.checkpoint import check_checkpoint
from vla_policy.checkpoint import contract as contracts
from vla_policy.checkpoint.normalization import Normalizer
from vla_policy.checkpoint.statistics import RangeNormalizer
from vla_policy.families import FAMILIES
from vla_policy.families.tool_steps import ROW
from vla_policy.formats.native.folder import save
from vla_policy.train.contract_of_set import contract_of_set
from vla_policy.train.set_options import SetOptions
from vla_policy.train.statistics_of import FLOOR, LIMIT, normaliser_of, statistics_of
from vla_policy.train.training_set import open_training_set

MODES = ("quantiles", "mean_std", "min_max")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return arm_set(tmp_path_factory.mktemp("set") / "set", (9, 7))


def like(mode: str) -> Normalizer:
    ones = {k: np.ones(1) for k in ("mean", "std", "q99", "max")} | {
        k: np.zeros(1) for k in ("q01", "min")
    }
    return Normalizer("action", ("a",), mode, ones, eps=1e-6)


def columns(seed: int) -> np.ndarray:
    """Every kind of column that data has: normal, constant, nearly so, rare, with a spike, large, tiny."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 3000))
    rare = np.where(np.arange(n) % 1000 == 1, 0.0, 1.0)
    spike = rng.normal(size=n)
    spike[0] = rng.choice([1e3, -1e3])
    return np.stack(
        [rng.normal(rng.normal(), rng.uniform(0.01, 3), n), np.full(n, rng.normal()), rng.normal(2.0, 1e-5, n),
         rare, spike, rng.uniform(-1e4, 1e4, n), rng.normal(0, 1e-8, n)], 1,
    )  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(12))
def test_no_value_of_the_data_explodes_and_all_come_back(mode, seed):
    values = columns(seed)
    names = tuple("abcdefg")
    made = normaliser_of(like(mode), names, values)
    normalised = made.normalise(values)
    assert np.abs(normalised).max() <= LIMIT * (1 + 1e-9)
    assert {"b", "g"} <= set(made.constant) and "a" not in made.constant
    assert "d" not in made.constant or np.ptp(values[:, 3]) == 0
    moving = [k for k, name in enumerate(names) if name not in made.constant]
    back = replace(made, eps_inverse=made.eps).restore(normalised)
    assert np.allclose(back[:, moving], values[:, moving], rtol=1e-9, atol=1e-9)
    assert np.allclose(back[:, 1], values[:, 1], atol=1e-5)
    # A thousandth of the unit beside where a column rested is within reach of the network.
    assert np.abs(made.normalise(values + FLOOR / 2)).max() <= LIMIT + 1.0 + 1e-9


def test_quantiles_are_those_of_all_rows_and_only_floors_change_them():
    rng = np.random.default_rng(0)
    values = np.stack((rng.gamma(2.0, size=5000), rng.normal(1.0, 1e-4, 5000)), 1)
    made = normaliser_of(like("quantiles"), ("a", "b"), values)
    s = made.statistics
    assert s["q01"][0] == np.quantile(values[:, 0], 0.01)
    assert s["q99"][0] == np.quantile(values[:, 0], 0.99)
    assert s["q99"][1] - s["q01"][1] == pytest.approx(FLOOR)
    assert s["min"][1] == values[:, 1].min() and s["q50"][0] == np.quantile(values[:, 0], 0.5)


def test_a_range_keeps_what_goes_from_0_to_1_by_its_meaning():
    values = np.zeros((100, 3))
    values[:, 1] = np.linspace(-0.04, 0.04, 100)
    ends = RangeNormalizer(("x",), np.zeros(1), np.ones(1))
    made = normaliser_of(ends, ("terminate", "dx", "left.gripper"), values)
    assert made.lower.tolist()[::2] == [0, 0] and made.upper.tolist()[::2] == [1, 1]
    assert made.lower[1] == np.quantile(values[:, 1], 0.01)


def checkpoint_for(name, folder, contract, **settings):
    case = CASES[name](folder)
    own = case.checkpoint
    changed = replace(own.settings, **settings) if settings else own.settings
    return replace(own, contract=contract, settings=changed, engine=None)


def test_relative_columns_are_taken_from_the_chunks(root, tmp_path):
    contract = contract_for()
    slots = tuple(f"slot_{c}" for c in contract.camera_names)
    checkpoint = checkpoint_for(
        "pi05_relative", tmp_path, contract, relative=("ee.x",), slots=slots
    )
    data = open_training_set(root, contract, rows=checkpoint.model.config.flow.rows)
    made = statistics_of(checkpoint, [data])
    rows = [d.actions[d.valid] for d in data]
    steps = np.concatenate(
        [r[:, 0] - d.observation.state[0] for r, d in zip(rows, data, strict=True)]
    )
    whole = np.concatenate(rows)
    s = made.actions.statistics
    assert s["q99"][0] == pytest.approx(np.quantile(steps, 0.99), abs=1e-6)
    assert s["min"][0] == pytest.approx(0.01, abs=1e-6)
    assert s["max"][7] == 1.0 and s["mean"][7] == pytest.approx(whole[:, 7].mean(), abs=1e-6)
    assert made.actions.mode == checkpoint.statistics.actions.mode
    assert {"ee.y", "ee.z", "ee.qx", "ee.qy"} == set(made.actions.constant)
    assert made.state.statistics["min"][0] == pytest.approx(x_of(0, 0))
    assert made.state.names == contract.state_names
    # The family takes it: what was learned comes back.
    trained = replace(checkpoint, statistics=made)
    training = FAMILIES[checkpoint.family].training
    example = training.example(trained, ("flow",), data[3])
    assert example["actions"].abs().max() <= LIMIT
    restored = FAMILIES[checkpoint.family].restore(
        trained, example["actions"].double().numpy(), data[3].observation
    )
    valid = data[3].valid
    assert restored.actions[valid] == pytest.approx(data[3].actions[valid], abs=1e-5)


@pytest.mark.parametrize("name", ["tiny", "rt2"])
def test_families_of_steps_get_the_ends_of_their_steps(root, tmp_path, name):
    case = CASES[name](tmp_path)
    contract = case.checkpoint.contract
    data = open_training_set(root, contract, rows=case.policy.rows)
    made = statistics_of(case.checkpoint, [data])
    assert made.actions.names == ROW
    ends = dict(zip(ROW, zip(made.actions.lower, made.actions.upper, strict=True), strict=True))
    assert ends["terminate"] == (0.0, 1.0) and ends["gripper"] == (0.0, 1.0)
    assert ends["dx"][1] == pytest.approx(0.01, abs=2e-3)
    assert ends["drz"][1] == pytest.approx(0.1, abs=2e-3)
    assert ends["dy"] == pytest.approx((-FLOOR / 2, FLOOR / 2), abs=1e-6)


def test_a_policy_with_the_contract_of_a_set_fits_its_robot(root, tmp_path):
    contract = contract_of_set(root, image_px=96, model_action_names=ROW)
    assert contracts.check(contract, ROBOT) == ()
    assert contract.camera_names == ("front", "wrist") and contract.policy_hz == 10.0
    case = CASES["tiny"](tmp_path)
    checkpoint = replace(case.checkpoint, contract=contract)
    data = open_training_set(root, contract, rows=case.policy.rows)
    save(tmp_path / "trained", replace(checkpoint, statistics=statistics_of(checkpoint, [data])))
    assert [
        f for f in check_checkpoint(str(tmp_path / "trained"), "vx300s") if f.level == "error"
    ] == []
    with pytest.raises(ValueError, match="was recorded of"):
        contract_of_set(root, image_px=96, options=SetOptions(robot="aloha"))


def test_no_set_is_refused(tmp_path):
    with pytest.raises(ValueError, match="statistics: got no data set"):
        statistics_of(CASES["tiny"](tmp_path).checkpoint, [])
