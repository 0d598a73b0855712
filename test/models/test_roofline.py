"""Operations and bytes against the published analysis of pi0 and pi0.5, and against a counted run."""

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vla_policy import cli
from vla_policy.families.architectures import network, parameters, published, stages
from vla_policy.models.engine import build, compile_engine
from vla_policy.models.roofline import DEVICES, Accelerator, total_seconds

CONFIGS = published()
BY_NAME = {device.name: device for device in DEVICES}
# cameras, prompt: (10^12 operations, 10^9 bytes, ms) of vision, prefix and actions, ms in all. H200, bf16, 50 rows, 10 steps.
PI0 = {
    (1, 48): ((0.220, 0.83, 0.28), (1.154, 3.76, 1.46), (0.348, 6.36, 1.34), 3.08),
    (2, 48): ((0.440, 0.83, 0.56), (2.146, 3.76, 2.72), (0.367, 6.41, 1.37), 4.64),
    (3, 48): ((0.661, 0.83, 0.84), (3.156, 3.77, 3.99), (0.386, 6.45, 1.39), 6.22),
}


@pytest.mark.parametrize("case", PI0)
def test_pi0_on_an_h200(case: tuple[int, int]) -> None:
    of = stages(CONFIGS["pi0"](), cameras=case[0], prompt=case[1])
    *rows, total = PI0[case]
    for stage, (tera, giga, ms) in zip(of, rows, strict=True):
        assert stage.flops / 1e12 == pytest.approx(tera, rel=0.01)
        assert stage.bytes / 1e9 == pytest.approx(giga, rel=0.01)
        # Published times of the actions are up to 4 % above their own bytes over the bandwidth.
        assert stage.seconds(BY_NAME["H200"]) * 1e3 == pytest.approx(ms, rel=0.045)
    assert total_seconds(of, BY_NAME["H200"]) * 1e3 == pytest.approx(total, rel=0.015)


@pytest.mark.parametrize(
    ("name", "cameras", "prompt", "device", "ms"),
    [
        ("pi0", 3, 0, "H200", 5.98),
        ("pi05", 2, 200, "H200", 5.40),
        ("pi05", 3, 200, "H200", 6.99),
        ("pi0", 3, 0, "H100", 5.61),
        ("openvla-7b", 1, 20, "H200", 21.9),
    ],
)
def test_totals(name: str, cameras: int, prompt: int, device: str, ms: float) -> None:
    of = stages(CONFIGS[name](), cameras=cameras, prompt=prompt)
    assert total_seconds(of, BY_NAME[device]) * 1e3 == pytest.approx(ms, rel=0.02)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config(name: str) -> None:
    config = CONFIGS[name]()
    assert name != "pi0" or parameters(config) == 3_238_048_528
    of = stages(config, cameras=1, prompt=20)
    assert [stage.name for stage in of] == ["vision", "prefix", "actions"]
    assert all(stage.flops > 0 and stage.bytes > 0 for stage in of)


def test_what_the_engine_computes_is_what_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small pi0 by torch's own counter, which knows neither packed products nor the CPU's attention."""
    monkeypatch.setattr(build, "can_pack", lambda dtype: False)
    full = CONFIGS["pi0"]()
    heads = {"depth": 2, "heads": 8, "kv_heads": 1, "head_dim": 16}
    config = replace(
        full,
        vocab=100,
        language=replace(full.language, width=64, mlp=128, **heads),
        vision=replace(full.vision, image_px=56, width=48, mlp=96, depth=2, heads=4),
        flow=replace(full.flow, expert=replace(full.flow.expert, width=32, mlp=64, **heads)),
    )
    torch.manual_seed(0)
    engine = compile_engine(network(config).eval())
    arguments = (
        torch.zeros(1, 3, 3, 56, 56),
        torch.tensor([[True, True, False]]),
        torch.tensor([[1, 2, 3, 4, 5] + [0] * 43]),
        torch.zeros(1, 32),
        torch.zeros(1, 50, 32),
    )
    with torch.inference_mode():
        engine.sample(*arguments, steps=10)  # times are prepared here
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            engine.sample(*arguments, steps=10)
    counted = sum(stage.flops for stage in stages(config, cameras=2, prompt=5))
    assert counter.get_total_flops() == pytest.approx(counted, rel=0.05)


def test_a_stage_is_bound_by_what_is_slower() -> None:
    vision, _, actions = stages(CONFIGS["pi0"](), cameras=1, prompt=48)
    no_memory, no_compute = Accelerator("a", 1e15, 1e6), Accelerator("b", 1e6, 1e15)
    assert vision.seconds(no_memory) == vision.bytes / 1e6
    assert actions.seconds(no_compute) == actions.flops / 1e6


@pytest.mark.slow
def test_vla_models_prints_every_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models"]) == 0
    out = capsys.readouterr().out
    assert "3,238,048,528" in out
    for name in CONFIGS:
        assert name in out
    for device in DEVICES:
        assert device.name in out
