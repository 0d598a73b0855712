"""Columns of the suite rt2 draw what they promise, the same every time."""

from pathlib import Path

import numpy as np
import pytest

from vla_policy.data.web import pictures
from vla_policy.data.web.concepts import HELD_OUT_LANGUAGES, TRAINED_LANGUAGES, Concept
from vla_policy.evaluate.rt2 import COLUMNS, SENTENCES, rt2_trial


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web")
    languages = (*TRAINED_LANGUAGES, *HELD_OUT_LANGUAGES)
    things = [
        Concept(f"{role}{i}", {one: f"{role}{i}{one}" for one in languages}, "food-fruit", role)
        for role in ("robot", "web", "nowhere")
        for i in range(4)
    ]
    plain = np.full((len(things), 64, 64, 4), 255, np.uint8)
    plain[..., 0] = np.arange(len(things))[:, None, None] * 20
    drawn = {style: plain + i for i, style in enumerate(pictures.STYLES)}
    pictures.save(pictures.WebPictures(tuple(things), drawn), folder)
    return folder


def test_a_trial_is_the_same_every_time_and_another_for_another_index(web: Path) -> None:
    column = COLUMNS["rt2_web"]
    assert rt2_trial(column, 0, 5, web=web) == rt2_trial(column, 0, 5, web=web)
    assert rt2_trial(column, 0, 5, web=web) != rt2_trial(column, 0, 6, web=web)
    with pytest.raises(ValueError, match=r"index 2000, expected 0\.\.99 and 0\.\.1999"):
        rt2_trial(column, 0, 2000, web=web)


@pytest.mark.parametrize("name", COLUMNS)
def test_all_things_of_a_scene_are_of_the_columns_role_and_split(name: str, web: Path) -> None:
    column = COLUMNS[name]
    for index in range(4):
        scene, task = rt2_trial(column, 0, index, web=web)
        names = [item.name for item in scene.objects]
        assert len(set(names)) == 3 and all(n.startswith(column.role) for n in names)
        assert scene.split == column.split
        assert task.destination == (None, "tray", None, "pad")[index]


def test_every_language_is_asked_in_turn_by_its_own_name(web: Path) -> None:
    column = COLUMNS["rt2_new_languages"]
    said = [rt2_trial(column, 0, 4 * i, web=web)[1].instruction for i in range(3)]
    assert [sentence.split("web")[0] for sentence in said] == ["prendi ", "", "возьми "]
    assert set(SENTENCES) == {*TRAINED_LANGUAGES, *HELD_OUT_LANGUAGES}


def test_what_an_absent_column_asks_for_is_not_in_the_scene(web: Path) -> None:
    column = COLUMNS["rt2_absent"]
    for index in range(8):
        scene, task = rt2_trial(column, 0, index, web=web)
        asked = task.instruction.removeprefix("pick up the ").removeprefix("put the ").split()[0]
        assert asked.startswith("web") and asked not in {item.name for item in scene.objects}
