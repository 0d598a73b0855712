"""Adapters: laid over a base, trained, saved alone, loaded as BASE+ADAPTER, and refused where they do not belong."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from training_cases import CASES, Case

from vla_policy.families.training import LossOptions
from vla_policy.formats import adapter as adapters_on_disk
from vla_policy.formats.native import folder as native
from vla_policy.policy import Policy, load_policy
from vla_policy.train import adapters
from vla_policy.train.adapter_options import AdapterOptions
from vla_policy.train.adapters import Laid

# Case -> linear layers that the family's own expressions reach.
REACHED = {
    "pi0": 7 * (3 + 3), "pi05": 7 * (3 + 3), "smolvla": 7 * (4 + 4), "rt2": 7 * 2, "tiny": 7 * (4 + 4),
}  # fmt: skip


def trained(case: Case, steps: int = 3, **options: object) -> Laid:
    laid = adapters.lay(case.checkpoint, "BASE", AdapterOptions(rank=4, alpha=8, **options))
    batch = case.batch([case.demonstration(i) for i in range(2)])
    learned = [p for p in case.checkpoint.model.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(learned, lr=0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        case.training.loss(
            case.checkpoint, batch, LossOptions(), torch.Generator().manual_seed(0)
        ).total.backward()
        optimiser.step()
    return laid


def infer(policy: Policy, case: Case) -> np.ndarray:
    return policy.infer(case.observe(0), seed=3).actions


@pytest.mark.slow
@pytest.mark.parametrize("name", REACHED)
def test_an_adapter_is_saved_alone_and_loaded_with_its_base(name: str, tmp_path: Path) -> None:
    case = CASES[name](tmp_path)
    native.save(tmp_path / "base", case.checkpoint)
    before, weights = (
        infer(case.policy, case),
        {k: v.clone() for k, v in case.checkpoint.model.state_dict().items()},
    )
    laid = adapters.lay(case.checkpoint, str(tmp_path / "base"), AdapterOptions(rank=4))
    assert len(laid.layers) == REACHED[name]
    np.testing.assert_array_equal(infer(case.policy, case), before)  # B is 0
    adapters.take_up(laid)
    assert {k: v.tolist() for k, v in case.checkpoint.model.state_dict().items()} == {
        k: v.tolist() for k, v in weights.items()
    }
    laid = trained(case)
    learned = infer(case.policy, case)
    adapters.save(tmp_path / "own", laid)
    assert sorted(p.name for p in (tmp_path / "own").iterdir() if p.suffix != ".md") == [
        "adapter_config.json", "adapter_model.safetensors", "base.json",
    ]  # fmt: skip
    both = load_policy(f"{tmp_path / 'base'}+{tmp_path / 'own'}", head=case.policy.head)
    np.testing.assert_allclose(infer(both, case), learned, atol=2e-4)
    tensors = load_file(tmp_path / "own" / "adapter_model.safetensors")
    assert sum(k.endswith("lora_A.weight") for k in tensors) == REACHED[name]
    moved = sum(p.numel() for p in tensors.values())
    assert moved < 0.6 * sum(p.numel() for p in both.checkpoint.model.parameters())

    native.save(tmp_path / "merged", both.checkpoint)
    merged = load_policy(str(tmp_path / "merged"), head=case.policy.head, engine="off")
    np.testing.assert_allclose(infer(merged, case), infer(both, case), atol=1e-5)
    if case.policy.head == "flow":
        assert np.abs(learned - before).max() > 1e-3


@pytest.mark.slow
def test_the_folder_is_pefts_own(tmp_path: Path) -> None:
    from peft import PeftConfig, load_peft_weights

    case = CASES["pi05"](tmp_path)
    laid = trained(case)
    adapters.save(tmp_path / "own", laid)
    config = PeftConfig.from_pretrained(str(tmp_path / "own"))
    assert (config.peft_type, config.r, config.base_model_name_or_path) == ("LORA", 4, "BASE")
    assert set(config.target_modules) == set(laid.layers)
    assert load_peft_weights(str(tmp_path / "own"), device="cpu").keys() == {
        *adapters.tensors(laid)
    }
    adapters.take_up(laid)
    merged = {k: v.clone() for k, v in case.checkpoint.model.state_dict().items()}
    other = CASES["pi05"](tmp_path)
    adapters_on_disk.merge(other.checkpoint.model, adapters_on_disk.read_adapter(tmp_path / "own"))
    for name, values in other.checkpoint.model.state_dict().items():
        torch.testing.assert_close(values, merged[name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "name", ["pi0", *(pytest.param(n, marks=pytest.mark.slow) for n in ("pi05", "rt2", "openvla"))]
)
def test_a_base_in_bfloat16_gives_the_same_numbers_in_half_the_memory(
    name: str, tmp_path: Path
) -> None:
    case = CASES[name](tmp_path)
    assert case.training.half_base
    laid = trained(case, steps=1)
    batch = case.batch([case.demonstration(i) for i in range(2)])

    def gradients() -> dict[str, torch.Tensor]:
        case.checkpoint.model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = case.loss(batch).total
        loss.backward()
        learned = case.checkpoint.model.named_parameters()
        return {n: p.grad.clone() for n, p in learned if p.grad is not None} | {"": loss.detach()}

    def held() -> int:
        linear = (m for m in case.checkpoint.model.modules() if isinstance(m, torch.nn.Linear))
        return sum(p.nbytes for m in linear for p in m.parameters() if not p.requires_grad)

    before, bytes_before = gradients(), held()
    adapters.halve_base(laid)
    assert held() == bytes_before // 2
    assert all(p.dtype == torch.float32 for p in adapters.tensors(laid).values())
    after = gradients()
    assert after.keys() == before.keys()
    assert not [n for n, value in before.items() if not torch.equal(after[n], value)]


def test_what_is_no_adapter_of_this_base_is_refused(tmp_path: Path) -> None:
    case = CASES["pi0"](tmp_path)
    native.save(tmp_path / "base", case.checkpoint)
    with pytest.raises(ValueError, match="targets: 'nothing' reaches no linear layer"):
        adapters.reached(case.checkpoint, AdapterOptions(targets=("nothing",)))
    with pytest.raises(ValueError, match="whole: got 'eyes', expected some of vision, language"):
        adapters.lay(case.checkpoint, "BASE", AdapterOptions(whole=("eyes",)))
    adapters.save(tmp_path / "own", trained(case, steps=1))
    own, base = tmp_path / "own", str(tmp_path / "base")
    with pytest.raises(ValueError, match=r"an adapter of BASE, not a whole checkpoint; name the"):
        load_policy(str(own))
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load_policy(f"{base}+{tmp_path / 'none'}")
    other = load_policy(base).checkpoint
    with torch.no_grad():
        other.model.embed_tokens.weight.mul_(1.5)
    native.save(tmp_path / "other", other)
    with pytest.raises(ValueError, match=r"an adapter of 'BASE' .*, got another base"):
        load_policy(f"{tmp_path / 'other'}+{own}")

    def spoiled(**changes: object) -> str:
        folder = Path(shutil.copytree(own, tmp_path / f"spoiled{len(list(tmp_path.iterdir()))}"))
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps(config | changes))
        return f"{base}+{folder}"

    with pytest.raises(ValueError, match="use_dora: got True, expected False"):
        load_policy(spoiled(use_dora=True))
    with pytest.raises(ValueError, match="got r 0"):
        load_policy(spoiled(r=0))
    name = spoiled()
    path = Path(name.rpartition("+")[2]) / "adapter_model.safetensors"
    tensors = load_file(path)
    layer = next(k for k in tensors if k.endswith("lora_B.weight"))
    save_file(tensors | {layer: tensors[layer][:-1].clone()}, path)
    with pytest.raises(ValueError, match=r"is \(\d+, \d+\) there, the base has"):
        load_policy(name)
    save_file({k: v for k, v in tensors.items() if k != layer}, path)
    with pytest.raises(ValueError, match=r"got no \.lora_B\.weight of"):
        load_policy(name)
    save_file(tensors | {layer: tensors[layer] * torch.nan}, path)
    with pytest.raises(ValueError, match="not finite"):
        load_policy(name)


def test_a_fingerprint_is_of_the_numbers_and_not_of_their_precision(tmp_path: Path) -> None:
    model = CASES["tiny"](tmp_path).checkpoint.model
    first = adapters_on_disk.fingerprint(model)
    assert adapters_on_disk.fingerprint(model.to(torch.bfloat16)) == first
    with torch.no_grad():
        model.flow.action_in_proj.bias.add_(0.1)
    assert adapters_on_disk.fingerprint(model) != first
