"""The engine on a GPU: one graph, float8; and without one, that nothing in it waits for the GPU."""

import pytest
import torch
from engine_models import BOTH, CAMERAS, ENGINES, MODELS, network_of, observation, whole
from torch._subclasses import FakeTensorMode

from vla_policy.models.engine import build, compile_engine

pytestmark = pytest.mark.usefixtures("seeded_inference")
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="runs where there is a CUDA GPU")


@pytest.mark.slow
@BOTH
def test_nothing_waits_for_a_gpu(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one CUDA graph is made of: tensors without values cannot be asked for one, nor can a graph."""
    monkeypatch.setattr(build, "can_pack", lambda dtype: False)
    engine = compile_engine(MODELS[kind])
    engine.prepare(10, "heun")
    with FakeTensorMode(allow_non_fake_inputs=True):
        given = observation(words=(6, 6))
        images, text = given["images"][:, :2].flatten(0, 1), given["text"][:, :6]
        actions = engine.without_gaps(
            images, text, given["state"], given["noise"], steps=10, solver="heun"
        )
    assert actions.shape == (2, 9, 8)


@GPU
@BOTH
def test_graph_on_a_gpu(kind: str) -> None:
    given = observation(words=(6, 6))
    model = network_of(kind).cuda()
    engine = compile_engine(model, precision="float32")
    valid = torch.tensor(CAMERAS[1], dtype=torch.bool)
    for _ in range(3):  # captured, then replayed on other pictures
        given["images"], given["noise"] = torch.rand(2, 3, 3, 28, 28), torch.randn(2, 9, 8)
        arguments = (given["images"], valid, given["text"], given["state"], given["noise"])
        fast = engine.sample(*(a.cuda() for a in arguments), steps=5)
        exact = ENGINES[kind].sample(*arguments, steps=5)
        torch.testing.assert_close(fast.cpu(), exact, atol=1e-4, rtol=0)


@GPU
def test_float8_on_a_gpu() -> None:
    given = observation(words=(6, 6))
    engine = compile_engine(network_of("pi0").cuda(), precision="bfloat16", float8=True)
    fast = engine.sample(*(a.cuda() for a in whole(given)), steps=5)
    exact = ENGINES["pi0"].sample(*whole(given), steps=5)
    assert (fast.cpu() - exact).abs().max() < 0.2
