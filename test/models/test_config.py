"""What a model is asked for and does not have is refused with its name, not met later as None."""

import pytest
import torch

from vla_policy.models import config, tokenizer
from vla_policy.models.vla import VLA


@pytest.mark.parametrize(
    ("sizes", "part", "says"),
    [
        (config.tiny_cross(388), "token_head", "tiny_cross: this model has no token head"),
        (config.tiny(388), "siglip", "tiny: the vision tower of this model is no SigLIP"),
        (config.pi0(), "pointing", "pi0: the vision tower of this model does not point"),
        (config.pi0(), "token_head", "pi0: this model has no token head"),
    ],
)
def test_a_part_that_is_not_there_is_refused(sizes, part, says):
    with pytest.raises(ValueError, match=says):
        getattr(sizes, part)


def test_parts_that_are_there_are_those_of_the_sizes():
    sizes = config.tiny(388)
    assert (sizes.flow_head, sizes.token_head, sizes.pointing) == (
        sizes.flow, sizes.token, sizes.vision
    )  # fmt: skip
    assert config.pi0().siglip == config.pi0().vision


def test_a_network_without_a_flow_head_or_a_pointing_tower_says_so():
    with torch.device("meta"):
        pi0 = VLA(config.pi0())
    with pytest.raises(ValueError, match="pi0: the vision tower of this model does not point"):
        _ = pi0.pointing
    assert pi0.flow_head is pi0.flow


def test_a_token_that_a_tokenizer_does_not_have_is_refused():
    tokens = tokenizer.build(["cube"])
    assert tokenizer.id_of(tokens, tokenizer.UNK) == tokens.token_to_id(tokenizer.UNK)
    with pytest.raises(ValueError, match="token 'sphere'"):
        tokenizer.id_of(tokens, "sphere")
