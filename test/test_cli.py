"""Wrong words get one clear sentence and no traceback."""

import importlib

import pytest

from vla_policy import cli


def test_no_verb_lists_all(capsys):
    assert cli.main([]) == 0
    listed = capsys.readouterr().out
    assert all(verb in listed for verb in cli.VERBS)


def test_unknown_verb_names_its_neighbour(capsys):
    assert cli.main(["trian"]) == 2
    assert capsys.readouterr().err == "vla: unknown verb 'trian'; did you mean 'train'?\n"


def test_unknown_argument_is_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["models", "--bogus"])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--bogus" in error


def test_expected_errors_are_sentences(capsys, monkeypatch):
    from vla_policy.commands import models

    def refuse(args):
        raise ValueError("got 3, expected 4")

    monkeypatch.setattr(models, "run", refuse)
    assert cli.main(["models"]) == 1
    assert capsys.readouterr().err == "vla models: got 3, expected 4\n"


def test_missing_ros_says_what_to_do(capsys, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError("No module named 'rclpy'", name="rclpy")

    monkeypatch.setattr(importlib, "import_module", absent)
    assert cli.main(["up"]) == 1
    assert "make setup" in capsys.readouterr().err


def test_a_mistake_of_ours_is_not_hidden(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError("No module named 'vla_policy.trian'", name="vla_policy.trian")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ModuleNotFoundError):
        cli.main(["train"])


def test_models(capsys):
    assert cli.main(["models"]) == 0
    assert "tiny" in capsys.readouterr().out
