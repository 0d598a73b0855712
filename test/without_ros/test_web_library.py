"""Which data sets the page may name: those of one folder, recordings under their own name, what an edit replaced left out."""

from vla_policy.ros.nodes.web_library import MOST_SETS, sets_in


def put(*folders):
    for folder in folders:
        (folder / "meta").mkdir(parents=True)
        (folder / "meta" / "info.json").write_text("{}")


def test_sets_of_a_folder_and_of_recordings_in_it(tmp_path):
    put(tmp_path / "cups", tmp_path / "monday" / "set", tmp_path / "cups.undo")
    (tmp_path / "bags").mkdir()
    assert sets_in(tmp_path) == {
        "cups": tmp_path / "cups",
        "monday": tmp_path / "monday" / "set",
    }


def test_a_recording_s_own_folder_and_one_that_is_not_there(tmp_path):
    put(tmp_path / "takes" / "set")
    assert sets_in(tmp_path / "takes") == {"takes": tmp_path / "takes" / "set"}
    assert sets_in(tmp_path / "none") == {}


def test_not_more_than_a_page_can_show(tmp_path):
    put(*(tmp_path / f"set{k}" for k in range(MOST_SETS + 3)))
    assert len(sets_in(tmp_path)) == MOST_SETS
