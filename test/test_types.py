"""The gate of types lets no new error pass; examples in docstrings give what they say."""

import doctest
import importlib
from pathlib import Path

import check_types
import pytest
from jaxtyping import TypeCheckError

PACKAGE = check_types.ROOT / "vla_policy"
PLANTED = """
from vla_policy.timing import NS_PER_S

def seconds(ns: int) -> float:
    return ns / NS_PER_S

seconds("now")
"""
WITH_EXAMPLES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in path.read_text()
]


def test_a_wrong_type_at_a_call_is_found(tmp_path: Path):
    file = tmp_path / "planted.py"
    file.write_text(PLANTED)
    found = check_types.errors(check_types.run_mypy(str(file), "--follow-imports=silent"))
    what = 'Argument 1 to "seconds" has incompatible type "str"; expected "int"  [arg-type]'
    assert list(found) == [what]
    assert found[what][0].endswith("planted.py:7")
    assert check_types.new_errors(found, check_types.read_baseline("# none\n1 other  [misc]"))


def test_one_more_of_a_known_kind_is_new():
    found = check_types.errors(
        ["a.py:3: error: wrong  [misc]", "b.py:9: error: wrong  [misc]", "b.py:9: note: why"]
    )
    assert not check_types.new_errors(found, check_types.read_baseline("2 wrong  [misc]"))
    assert check_types.new_errors(found, check_types.read_baseline("1 wrong  [misc]")) == [
        "a.py:3: wrong  [misc] (one of 2; 1 known)",
        "b.py:9: wrong  [misc] (one of 2; 1 known)",
    ]


def test_a_known_error_may_move_to_another_file_and_line():
    before = check_types.errors(["a.py:3: error: defined on line 7  [misc]"])
    after = check_types.errors(["x/b.py:30: error: defined on line 70  [misc]"])
    assert list(before) == list(after)


def test_a_wrong_shape_at_a_call_is_found():
    import torch

    from vla_policy.models.vla import Prefix

    with pytest.raises(TypeCheckError, match=r"parameter 'valid'"):
        Prefix(torch.zeros(2, 5, 8), [], torch.ones(3, 5, dtype=torch.bool))


def test_a_wrong_type_at_a_call_is_found_while_it_runs():
    from vla_policy.models.config import GemmaConfig

    with pytest.raises(TypeCheckError, match="head_dim"):
        GemmaConfig(64, 2, 128, 4, 1, head_dim="16")


def test_examples_are_found():
    assert len(WITH_EXAMPLES) >= 3


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_in_docstrings(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted and not result.failed
