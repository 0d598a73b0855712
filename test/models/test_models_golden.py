"""The networks against tensors made by lerobot 0.4.4's pi0 and pi0.5 (test/golden/ref_pi0*_tiny.safetensors).

Random weights, 3 layers, 3 cameras of which one is masked in part of the batch, fp32 on the CPU.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from vla_policy.formats.foreign.common import build
from vla_policy.formats.policy_file import Heads
from vla_policy.formats.tensors import pi0_names
from vla_policy.formats.tensors.safetensors_file import read, read_header
from vla_policy.formats.tensors.store import Store
from vla_policy.models import flow
from vla_policy.models.mask import block_mask
from vla_policy.models.vla import VLA, Prefix

GOLDEN = Path(__file__).parents[1] / "golden"


@dataclass(frozen=True)
class Case:
    kind: str
    model: VLA
    golden: dict[str, torch.Tensor]
    image_tokens: torch.Tensor
    image_valid: torch.Tensor
    prefix: Prefix

    @property
    def text(self) -> torch.Tensor:
        return self.golden["in.tokens"] * self.golden["in.token_mask"]


@pytest.fixture(scope="module", params=["pi0", "pi05"])
def case(request: pytest.FixtureRequest) -> Case:
    path = GOLDEN / f"ref_{request.param}_tiny.safetensors"
    entries, metadata = read_header(path)
    weights = {k.removeprefix("w."): e for k, e in entries.items() if k.startswith("w.")}
    store = Store(GOLDEN, weights, {})
    said = json.loads(metadata["config"])
    heads = Heads(said["vlm"]["num_heads"], said["vlm"]["num_kv_heads"],
                  said["vision"]["num_attention_heads"])  # fmt: skip
    named = pi0_names.name_tensors(store)
    config = pi0_names.sizes(
        store, named, rows=said["chunk"], steps=10, max_text=12, state_dim=32, heads=heads
    )
    assert (config.name, config.vocab) == (request.param, said["vocab"])
    model = build(store, named, config, device="cpu", dtype=None, network=VLA)
    golden = {k: read(e) for k, e in entries.items() if not k.startswith("w.")}
    text = golden["in.tokens"] * golden["in.token_mask"]
    with torch.no_grad():
        tokens = torch.cat([model.vision(golden[f"in.image{i}"]) for i in range(3)], 1)
        valid = [golden[f"in.image_mask{i}"][:, None].expand(-1, 16) for i in range(3)]
        prefix = model.prefix(tokens, text, golden["in.state"], torch.cat(valid, 1))
    return Case(request.param, model, golden, tokens, torch.cat(valid, 1), prefix)


def test_image_features(case: Case) -> None:
    features = case.model.projector(case.image_tokens[:, :16])
    torch.testing.assert_close(features, case.golden["out.img0_features"], atol=1e-5, rtol=0)


def test_prefix_embeddings(case: Case) -> None:
    golden = case.golden
    x, valid = case.model.embed(case.image_tokens, case.text, golden["in.state"], case.image_valid)
    torch.testing.assert_close(x[valid], golden["out.prefix_embs"][valid], atol=1e-5, rtol=1e-5)
    assert torch.equal(valid, golden["out.prefix_pad"])


def test_suffix_embeddings_and_condition(case: Case) -> None:
    golden = case.golden
    suffix = case.model.flow.embed(golden["in.state"], golden["in.noise"], golden["in.time"])
    torch.testing.assert_close(suffix.x, golden["out.suffix_embs"], atol=1e-5, rtol=0)
    if case.kind == "pi05":
        expected = golden["out.adarms_cond"]
        torch.testing.assert_close(suffix.condition, expected, atol=1e-5, rtol=0)
    else:
        assert suffix.condition is None


def test_masks(case: Case) -> None:
    rows, state = 8, case.kind == "pi0"
    starts = torch.zeros(2, 60 + state + rows, dtype=torch.bool)
    starts[:, [60, 60 + state]] = True  # state, then actions
    valid = torch.cat((case.prefix.valid, torch.ones(2, state + rows, dtype=torch.bool)), 1)
    assert torch.equal(block_mask(starts, valid), case.golden["out.att_2d"])


@pytest.mark.parametrize(("steps", "tolerance"), [(1, 1e-5), (10, 5e-5)])
def test_actions(case: Case, steps: int, tolerance: float) -> None:
    golden = case.golden
    with torch.no_grad():
        actions = flow.integrate(
            lambda x, t: case.model.flow(case.prefix, golden["in.state"], x, t),
            golden["in.noise"],
            steps,
        )
    torch.testing.assert_close(actions, golden[f"out.actions{steps}"], atol=tolerance, rtol=0)


def test_cameras_that_are_not_there_can_be_left_out(case: Case) -> None:
    """Row by row: only what is there, without padding, gives the same actions."""
    golden = case.golden
    for row in range(2):
        seen, words = case.image_valid[row], golden["in.token_mask"][row]
        prefix = case.model.prefix(
            case.image_tokens[row : row + 1, seen],
            golden["in.tokens"][row : row + 1, words],
            golden["in.state"][row : row + 1],
        )
        with torch.no_grad():
            actions = flow.integrate(
                lambda x, t: case.model.flow(prefix, golden["in.state"][row : row + 1], x, t),  # noqa: B023
                golden["in.noise"][row : row + 1],
                10,
            )
        torch.testing.assert_close(
            actions, golden["out.actions10"][row : row + 1], atol=5e-5, rtol=0
        )


def test_loss(case: Case) -> None:
    golden = case.golden
    noisy, velocity = flow.interpolate(golden["in.actions"], golden["in.noise"], golden["in.time"])
    with torch.no_grad():
        predicted = case.model.flow(case.prefix, golden["in.state"], noisy, golden["in.time"])
    torch.testing.assert_close(
        (predicted - velocity).square(), golden["out.loss"], atol=1e-5, rtol=1e-5
    )


def test_bfloat16_keeps_in_float32_what_the_reference_keeps(case: Case) -> None:
    store = Store(GOLDEN, {k.removeprefix("w."): e for k, e in read_header(
        GOLDEN / f"ref_{case.kind}_tiny.safetensors")[0].items() if k.startswith("w.")}, {})  # fmt: skip
    named = pi0_names.name_tensors(store)
    model = build(store, named, case.model.config, device="cpu", dtype=torch.bfloat16, network=VLA)
    kept = {k.split(".")[-2] for k, v in model.state_dict().items() if v.dtype == torch.float32}
    assert "action_in_proj" in kept and "patch_embedding" in kept
    assert {v.dtype for k, v in model.state_dict().items() if "q_proj" in k} == {torch.bfloat16}
    golden = case.golden
    with torch.no_grad():
        tokens = torch.cat([model.vision(golden[f"in.image{i}"]) for i in range(3)], 1)
        prefix = model.prefix(tokens, case.text, golden["in.state"], case.image_valid)
        actions = flow.integrate(
            lambda x, t: model.flow(prefix, golden["in.state"], x, t), golden["in.noise"], 10
        )
    assert actions.dtype == torch.float32
    torch.testing.assert_close(actions, golden["out.actions10"], atol=0.1, rtol=0)
