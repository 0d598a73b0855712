"""Named pictures are kept with what they are, and what is missing says how to get it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vla_policy.commands import data as data_command
from vla_policy.data.web import fetch, pictures
from vla_policy.data.web.concepts import Concept

KIWI = Concept("1F95D", {"en": "kiwi", "ja": "キウイ"}, "food-fruit", "web")


def made(folder: Path) -> pictures.WebPictures:
    Image.new("RGBA", (30, 60), (0, 200, 0, 255)).save(folder / "1f95d.png")
    drawn, _ = pictures.read_files(folder, ".png", [KIWI])
    return pictures.WebPictures((KIWI,), dict.fromkeys(pictures.STYLES, drawn))


def test_a_picture_is_drawn_in_the_middle_of_the_card_on_its_paper(tmp_path: Path) -> None:
    card = made(tmp_path).on_card(0, "noto", (250, 240, 230))
    assert card.shape == (64, 64, 3)
    assert card[32, 32].tolist() == [0, 200, 0]
    assert card[32, 2].tolist() == [250, 240, 230]


def test_a_folder_gives_back_what_was_saved(tmp_path: Path) -> None:
    web = made(tmp_path)
    pictures.save(web, tmp_path / "web")
    again = pictures.load(tmp_path / "web")
    assert again.concepts == (KIWI,)
    assert np.array_equal(again.pictures["noto"], web.pictures["noto"])


def test_what_no_file_draws_is_said_to_be_missing(tmp_path: Path) -> None:
    _, has = pictures.read_files(tmp_path, ".png", [KIWI])
    assert not has.any()


def test_an_empty_folder_says_how_to_make_the_pictures(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="`vla data web --out"):
        pictures.load(tmp_path)


def test_a_client_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="'npm' is not installed"):
        fetch.npm_package("emojibase-data@17.0.0", tmp_path / "kept")


def test_the_verb_is_there() -> None:
    assert data_command.VERBS["web"][0] == "vla_policy.commands.data_web"
