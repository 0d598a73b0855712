"""What several test files share: lerobot's small pi0 with its tensors (golden/ref_pi0_tiny.safetensors).

torch is imported where it is needed: most tests do without.
"""

import json
import os
from pathlib import Path

import hypothesis
import lanes
import pytest
from jaxtyping import install_import_hook

# Shapes and types of the networks are held in every test. Before anything of the package is imported.
install_import_hook(["vla_policy.models", "vla_policy.families.openvla_inputs"], "shapes.checked")

# Property tests take the same examples in every run; `make fuzz` takes others, and prints how to repeat them.
# How long an example took says something of the machine alone.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)
hypothesis.settings.register_profile("fuzz", print_blob=True, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# Beside other workers torch has no processor to spare; before torch is imported, also by what tests start.
if lanes.count() > 1:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

PI0 = Path(__file__).parent / "golden" / "ref_pi0_tiny.safetensors"
LANGUAGE = "paligemma_with_expert.paligemma.model.language_model."
VISION = "paligemma_with_expert.paligemma.model.vision_tower.vision_model."
RENAMED = (
    ("paligemma_with_expert.gemma_expert.model.", "flow.expert."),
    (LANGUAGE + "embed_tokens.", "embed_tokens."),
    (LANGUAGE, "language."),
    (VISION + "embeddings.position_embedding.weight", "vision.position_embedding"),
    (VISION + "embeddings.", "vision."),
    (VISION + "encoder.", "vision."),
    (VISION, "vision."),
    ("paligemma_with_expert.paligemma.model.multi_modal_projector.linear.", "projector."),
    (".mlp.fc", ".fc"),
)
UNUSED = ("lm_head.weight",)


def pytest_configure():
    lanes.give_way()


def pytest_terminal_summary(terminalreporter):
    """What was tried again, and why: a fault that shows only now and then would go unseen."""
    retried = terminalreporter.getreports("rerun")
    if not retried:
        return
    terminalreporter.section("tried again")
    for report in retried:
        crash = getattr(report.longrepr, "reprcrash", None)
        terminalreporter.line(report.nodeid)
        terminalreporter.line(f"  {crash or report.longreprtext}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from lane_scheduler import LaneScheduling

    return LaneScheduling(config, log)


def ours(key: str) -> str:
    for theirs, name in RENAMED:
        key = key.replace(theirs, name)
    return (
        key
        if key.startswith(("flow.", "language.", "vision.", "projector.", "embed_tokens."))
        else f"flow.{key}"
    )


@pytest.fixture
def seeded_inference():
    """The same random numbers in every run, and no gradients."""
    import torch

    torch.manual_seed(11)
    with torch.inference_mode():
        yield


@pytest.fixture(scope="session")
def pi0_golden():
    """name -> tensor; w.* weights, in.* inputs, out.* outputs."""
    from safetensors import safe_open

    with safe_open(PI0, "pt") as file:
        return {k: file.get_tensor(k) for k in file.keys()}


@pytest.fixture(scope="session")
def pi0_model(pi0_golden):
    """The network with those weights."""
    from safetensors import safe_open

    from vla_policy.models.config import FlowHeadConfig, GemmaConfig, ModelConfig, SiglipConfig
    from vla_policy.models.vla import VLA

    with safe_open(PI0, "pt") as file:
        sizes = json.loads(file.metadata()["config"])

    def gemma(c: dict):
        return GemmaConfig(
            c["width"], c["depth"], c["mlp_dim"], c["num_heads"], c["num_kv_heads"], c["head_dim"]
        )

    v = sizes["vision"]
    vision = SiglipConfig(
        v["image_size"], v["patch_size"], v["hidden_size"], v["num_hidden_layers"],
        v["intermediate_size"], v["num_attention_heads"],
    )  # fmt: skip
    config = ModelConfig(
        name="golden", vocab=sizes["vocab"], language=gemma(sizes["vlm"]), vision=vision, cameras=3,
        state_dim=32, action_dim=sizes["action_dim"], state_token="suffix", max_text=12,
        flow=FlowHeadConfig(gemma(sizes["expert"]), sizes["chunk"], 10), token=None,
    )  # fmt: skip
    model = VLA(config).eval()
    weights = {
        ours(k[2:]): v
        for k, v in pi0_golden.items()
        if k.startswith("w.") and not k.endswith(UNUSED)
    }
    model.load_state_dict(weights, strict=True)
    return model


@pytest.fixture(scope="session")
def pi0_prefix(pi0_model, pi0_golden):
    """Its view of the golden observation."""
    import torch

    features = [pi0_model.vision(pi0_golden[f"in.image{i}"]) for i in range(3)]
    valid = torch.cat(
        [pi0_golden[f"in.image_mask{i}"][:, None].expand(-1, 16) for i in range(3)], 1
    )
    text = pi0_golden["in.tokens"] * pi0_golden["in.token_mask"]
    with torch.no_grad():
        return pi0_model.prefix(torch.cat(features, 1), text, pi0_golden["in.state"], valid)
