"""A set takes another's place: wherever the process is killed, one of both is there, and the next start finishes it."""

import os
import shutil

import pytest

from vla_policy.data.lerobot import exchange as module
from vla_policy.data.lerobot.exchange import edited_of, exchange, finish_exchange, undo_of


class Killed(BaseException):
    """As SIGKILL: nobody catches it."""


def folders(tmp_path):
    source = tmp_path / "set"
    for path, words in ((source, "old"), (edited_of(source), "new"), (undo_of(source), "older")):
        path.mkdir()
        (path / "info").write_text(words)
    return source


def said(path):
    return (path / "info").read_text() if path.exists() else None


def kill_after(monkeypatch, count, *, swaps):
    """Let count changes of names happen, and then none."""
    left = [count]

    def counting(work):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return work(*args, **kwargs)

        return call

    monkeypatch.setattr(module.os, "rename", counting(os.rename))
    monkeypatch.setattr(module.shutil, "rmtree", counting(shutil.rmtree))
    monkeypatch.setattr(module, "replace_json", counting(module.replace_json))
    swap = counting(module._swap) if swaps else lambda a, b: False
    monkeypatch.setattr(module, "_swap", swap)
    return left


@pytest.mark.parametrize("swaps", [True, False])
@pytest.mark.parametrize("which", ["edited", "undo"])
def test_killed_anywhere_both_sets_are_there_and_the_next_start_finishes(
    tmp_path, monkeypatch, swaps, which
):
    count, done = 0, False
    while not done:
        folder = tmp_path / str(count)
        folder.mkdir()
        source = folders(folder)
        if which == "undo":
            shutil.rmtree(edited_of(source))
        new = {"edited": edited_of(source), "undo": undo_of(source)}[which]
        wanted = said(new)
        with monkeypatch.context() as patch:
            left = kill_after(patch, count, swaps=swaps)
            try:
                exchange(source, new)
                done = True
            except Killed:
                pass
            assert done == (left[0] >= 0)
        if swaps:
            assert said(source) in ("old", wanted), "there is nothing in its place"
        sets = {said(p) for p in (source, edited_of(source), undo_of(source))}
        assert {"old", wanted} <= sets
        decided = finish_exchange(source) or done
        assert decided == (count > 0)
        if decided:
            assert (said(source), said(undo_of(source))) == (wanted, "old")
            assert sorted(p.name for p in folder.iterdir()) == ["set", "set.undo"]
        count += 1
    assert count >= (2 if swaps and which == "undo" else 4)


def test_a_journal_of_folders_that_are_gone_changes_nothing(tmp_path):
    source = folders(tmp_path)
    module.journal_of(source).write_text('{"new": 1}\n')
    with pytest.raises(OSError, match="names a folder that is not beside it"):
        finish_exchange(source)
    assert said(source) == "old"
