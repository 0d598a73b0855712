"""Every policy can be asked the same: networks, the expert, and what plays a policy in tests and examples."""

import ast
import inspect
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from vla_policy.evaluate.expert_policy import ExpertPolicy
from vla_policy.models.sampling import InferenceOptions, Pull, Sampling
from vla_policy.policy import Policy
from vla_policy.runtime.policy_protocol import KeywordInfer, PlainPolicy, PolicyProtocol

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("vla_policy", "test", "examples", "benchmarks")
QUESTIONS = {
    name: inspect.signature(kind)
    for name, kind in vars(PolicyProtocol).items()
    if inspect.isfunction(kind) and not name.startswith("_")
}
PROPERTIES = [n for n, kind in vars(PolicyProtocol).items() if isinstance(kind, property)]


def policies():
    """'file:class' -> the class of everything in the repository that infers from an observation."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            source = path.read_text()
            for node in ast.walk(ast.parse(source)) if "def infer" in source else ():
                if isinstance(node, ast.ClassDef) and {"infer", "infer_chunk"} & {*_methods(node)}:
                    yield f"{path.relative_to(ROOT)}:{node.name}", node


def _methods(node: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    return {f.name: f for f in node.body if isinstance(f, ast.FunctionDef)}


def _arguments(function: ast.FunctionDef) -> str:
    """The arguments as they are written, without annotations."""
    bare = ast.parse(ast.unparse(function)).body[0]
    for argument in ast.walk(bare.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return ast.unparse(bare.args)


FOUND = dict(policies())
PROTOCOL = _methods(FOUND["vla_policy/runtime/policy_protocol.py:PolicyProtocol"])


def test_all_policies_are_found():
    names = {name.rpartition(":")[2] for name in FOUND}
    assert {"Policy", "ExpertPolicy", "StubModel", "OptionsModel", "ScriptedModel", "Up"} <= names


@pytest.mark.parametrize("name", FOUND)
def test_a_policy_takes_exactly_what_may_be_asked(name):
    for question, function in _methods(FOUND[name]).items():
        if question in QUESTIONS:
            assert _arguments(function) == _arguments(PROTOCOL[question]), question


@pytest.mark.parametrize("kind", [Policy, ExpertPolicy])
def test_a_policy_answers_everything_that_may_be_asked(kind):
    for name in set(PROPERTIES) - ({"contract"} if kind is ExpertPolicy else set()):
        assert hasattr(kind, name), name
    for name, expected in QUESTIONS.items():
        assert inspect.signature(getattr(kind, name)) == expected, name


OTHER = {
    "seed": 3, "num_steps": 7, "solver": "heun", "guidance": 2.0, "frozen_rows": 1, "guidance_rows": 2,
    "pull": Pull("ones"), "candidates": 4,
}  # fmt: skip


def test_the_keywords_of_infer_are_the_options_and_are_written_once():
    keywords = {
        name: parameter.default
        for name, parameter in inspect.signature(KeywordInfer.infer).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    assert keywords == {f.name: f.default for f in fields(InferenceOptions)}
    assert [name for name in FOUND if "infer" in _methods(FOUND[name])] == [
        "vla_policy/runtime/policy_protocol.py:KeywordInfer"
    ]


def test_every_keyword_of_infer_reaches_the_policy_and_the_network():
    class Keeps(PlainPolicy):
        def infer_chunk(self, observation, previous, options):
            return observation, previous, options

    assert set(OTHER) == {f.name for f in fields(InferenceOptions)}
    assert Keeps().infer("seen", "before", **OTHER) == (
        "seen", "before", InferenceOptions(**OTHER)
    )  # fmt: skip
    previous, known = np.array([[0.0], [1.0]]), np.array([True])
    sampling = Sampling.of(InferenceOptions(**OTHER), previous=previous, known=known)
    assert {name: getattr(sampling, name) for name in OTHER} == OTHER
    assert len(sampling.previous) == 2


def test_a_plain_policy_refuses_what_it_cannot_do():
    policy = PlainPolicy()
    assert not (policy.continues or policy.can_point or policy.can_answer)
    for ask in (
        lambda: policy.point(None),
        lambda: policy.ask(None, "?"),
        lambda: policy.infer_candidates(None, None),
    ):
        with pytest.raises(ValueError, match="this policy"):
            ask()
