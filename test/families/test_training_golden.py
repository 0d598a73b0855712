"""Loss and gradients of pi0, pi0.5 and SmolVLA against lerobot 0.6.1's own (test/golden/training_*.safetensors).

From the raw observation and the chunk in robot units on: what is read, the action transform and its statistics are
compared with them. Made by test/golden/make_training_golden.py, float32 on the CPU.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_cases import Case, pi0, smolvla

from vla_policy.families import pi0_training, smolvla_training
from vla_policy.families.losses import Drawn
from vla_policy.families.training import Demonstration, Loss, LossOptions
from vla_policy.formats.tensors import pi0_names, smolvla_names
from vla_policy.types import Observation

GOLDEN = Path(__file__).parents[1] / "golden"
TASKS = ("pick up the_cube", "put it down")
CAMERAS = {"base": "front", "wrist": "hand", "image": "front", "image2": "wrist"}
KINDS: dict[str, tuple[Callable[[Path], Case], object, object]] = {
    "pi0": (lambda folder: pi0(folder, "ckpt061_pi0"), pi0_training, pi0_names),
    "pi05": (lambda folder: pi0(folder, "ckpt061_pi05_relative"), pi0_training, pi0_names),
    "smolvla": (smolvla, smolvla_training, smolvla_names),
}


@pytest.fixture(scope="module", params=KINDS)
def golden(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Case, dict[str, torch.Tensor]]:
    make = KINDS[request.param][0]
    case = make(tmp_path_factory.mktemp(request.param))
    case.checkpoint.model.requires_grad_(True)
    return request.param, case, load_file(GOLDEN / f"training_{request.param}.safetensors")


def demonstrations(
    kind: str, case: Case, golden: dict[str, torch.Tensor], *, ends: bool
) -> list[Demonstration]:
    """What lerobot was given. ends: with the rows behind the end of an episode that it was told."""
    contract, statistics = case.checkpoint.contract, case.checkpoint.statistics
    states, chunks = (golden[k].double().numpy() for k in ("obs.state", "action"))
    if kind == "smolvla":  # lerobot was given what its normaliser would have made
        states, chunks = statistics.state.restore(states), statistics.actions.restore(chunks)
    padded = golden.get("action_is_pad")
    found = []
    for i, (state, chunk) in enumerate(zip(states, chunks, strict=True)):
        images = {
            CAMERAS[key.removeprefix("obs.")]: values[i].permute(1, 2, 0).numpy()
            for key, values in golden.items()
            if key.startswith("obs.") and key != "obs.state"
        }
        seen = Observation(images, state, contract.state_names, TASKS[i], obs_ns=0)
        valid = np.ones(len(chunk), bool)
        if ends and padded is not None:
            valid = ~padded[i].numpy()
        found.append(Demonstration(seen, chunk, valid))
    return found


def loss(
    kind: str,
    case: Case,
    given: list[Demonstration],
    golden: dict[str, torch.Tensor],
    **options: object,
) -> Loss:
    none = torch.zeros(len(given), dtype=torch.long)
    drawn = Drawn(golden["noise"], golden["time"], none, none.bool())
    family = KINDS[kind][1]
    return family.loss_of(case.checkpoint, case.batch(given), LossOptions(**options), drawn)


def test_loss_is_lerobots(golden: tuple[str, Case, dict[str, torch.Tensor]]) -> None:
    kind, case, expected = golden
    got = loss(kind, case, demonstrations(kind, case, expected, ends=True), expected)
    torch.testing.assert_close(got.total.detach(), expected["loss"], rtol=1e-5, atol=1e-6)
    if "loss_each" in expected:  # of samples with different numbers of valid rows
        for weight, wanted in ((0.0, expected["loss_each"][0]), (1e6, expected["loss_each"][1])):
            given = demonstrations(kind, case, expected, ends=True)
            given[1] = replace(given[1], weight=weight)
            total = loss(kind, case, given, expected).total.detach()
            torch.testing.assert_close(total, wanted, rtol=1e-5, atol=1e-5)


def test_gradients_are_lerobots(golden: tuple[str, Case, dict[str, torch.Tensor]]) -> None:
    kind, case, expected = golden
    model, naming = case.checkpoint.model, KINDS[kind][2].NAMING
    model.zero_grad()
    loss(kind, case, demonstrations(kind, case, expected, ends=True), expected).total.backward()
    compared = 0
    for name, wanted in expected.items():
        if name.startswith("grad."):
            ours = naming.ours(naming.canonical(name.removeprefix("grad.")))
            got = model.get_parameter(ours).grad
            assert got is not None and wanted.abs().max() > 1e-5, ours
            torch.testing.assert_close(
                got, wanted, rtol=1e-4, atol=2e-5 * wanted.abs().max().item()
            )
            compared += 1
    assert compared == 8


def test_padding_columns_count_as_in_openpi_when_asked(
    golden: tuple[str, Case, dict[str, torch.Tensor]],
) -> None:
    kind, case, _ = golden
    batch = case.batch([case.demonstration(i) for i in range(2)])
    with torch.no_grad():
        few = case.loss(batch).total
        many = case.loss(batch, padding_columns=True).total
        every = case.loss(batch | {"columns": torch.ones_like(batch["columns"])}).total
    assert many.item() == every.item() != few.item(), kind
