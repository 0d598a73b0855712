"""Sets that are merged, split and edited: the same values in new places, and the sources as they were."""

from pathlib import Path

import numpy as np
import pytest
from demonstrations import FPS, ROBOT, frame, record, recorded_set, require_same

from vla_policy import cli
from vla_policy.data.lerobot.reader import open_set
from vla_policy.data.lerobot.verbs import episodes_in
from vla_policy.data.lerobot.writer import SetWriter

SETS = Path(__file__).resolve().parents[2] / "golden" / "lerobot_sets"


def content(root):
    return {
        p.relative_to(root): p.read_bytes()
        for p in root.rglob("*")
        if p.is_file() and p.name != "lock"
    }


def require_episode(data, episode, of, places):
    """An episode has the frames of another set's one, whatever their numbers are now."""
    assert data.entries[episode].length == len(places)
    for number, place in enumerate(places):
        require_same(data.frame_of(episode, number), frame(of, place))


def vla(*words):
    return cli.main(["data", *map(str, words)])


def test_merged_sets_have_all_frames_and_one_list_of_tasks(tmp_path):
    one, other = recorded_set(tmp_path / "one", (4, 3)), recorded_set(tmp_path / "other", (5,))
    before = content(one), content(other)
    assert vla("merge", one, other, "--out", tmp_path / "all") == 0
    assert (content(one), content(other)) == before
    data = open_set(tmp_path / "all")
    assert (len(data), data.tasks, data.robot_yaml) == (12, ("push", "lift"), "name: vx300s\n")
    assert [data.task(e) for e in range(3)] == ["push", "lift", "push"]
    assert [data.success(e) for e in range(3)] == [None, True, None]
    for episode, (of, length) in enumerate(((0, 4), (1, 3), (0, 5))):
        require_episode(data, episode, of, range(length))
    assert data.rows(2)["index"].tolist() == list(range(7, 12))
    rows = np.concatenate([data.rows(e)["action"] for e in range(3)]).astype(float)
    assert np.allclose(data.stats["action"]["q10"], np.quantile(rows, 0.1, axis=0))
    with SetWriter(tmp_path / "all", ROBOT, FPS) as more:  # and it can be recorded into
        assert more.episodes == 3


def test_sets_of_both_old_and_new_versions_of_the_other_side_merge(tmp_path):
    assert vla("merge", SETS / "v21", SETS / "v30", "--out", tmp_path / "all") == 0
    data = open_set(tmp_path / "all")
    assert (data.version, len(data), len(data.entries)) == ("v3.0", 36, 6)
    for name, first in (("v21", 0), ("v30", 18)):
        source = open_set(SETS / name)
        for index in (0, 6, 11, 17):
            got, wanted = data.frame(first + index), source.frame(index)
            assert np.array_equal(got.state, wanted.state) and got.task == wanted.task
            assert all(np.array_equal(got.images[c], wanted.images[c]) for c in data.cameras)
    assert len(list((tmp_path / "all").rglob("*.mp4"))) == 2 * (
        3 + 1
    )  # several episodes stay in one


def test_images_in_the_table_are_kept(tmp_path):
    assert vla("edit", SETS / "v30_images", "--delete", "0", "--out", tmp_path / "rest") == 0
    got, wanted = open_set(tmp_path / "rest").frame(3), open_set(SETS / "v30_images").frame(10)
    assert np.array_equal(got.images["top"], wanted.images["top"])


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (["train=0:2", "test=2"], {"train": [0, 1], "test": [2]}),
        (["only=2,0"], {"only": [2, 0]}),
        (["a=67%", "b=33%"], {"a": 2, "b": 1}),
    ],
)
def test_a_set_is_split(tmp_path, parts, expected):
    root = recorded_set(tmp_path / "set", (4, 3, 5))
    assert vla("split", root, *parts, "--out", tmp_path / "parts") == 0
    seen = []
    for name, episodes in expected.items():
        data = open_set(tmp_path / "parts" / name)
        if isinstance(episodes, int):
            assert len(data.entries) == episodes
            seen += [e.length for e in data.entries]
        else:
            for number, episode in enumerate(episodes):
                require_episode(data, number, episode, range((4, 3, 5)[episode]))
    assert not seen or sorted(seen) == [3, 4, 5]


def test_edited_in_place_and_back(tmp_path, capsys):
    root = recorded_set(tmp_path / "set", (4, 3, 5))
    before = content(root)
    words = (
        "--delete",
        "1",
        "--task",
        "push=push the block",
        "--rename",
        "front=base",
        "--robot",
        "arm",
    )
    assert vla("edit", root, *words, "--in-place") == 0
    data = open_set(root)
    assert (len(data), data.tasks, data.cameras, data.robot_type) == (
        9,
        ("push the block",),
        ("base", "wrist"),
        "arm",
    )
    assert data.task(1) == "push the block"
    got, wanted = data.frame(8), frame(2, 4)
    assert np.array_equal(got.action, wanted.action) and got.ages_s["base"] == np.float32(
        wanted.ages_s["front"]
    )
    assert np.abs(got.images["base"].astype(int) - wanted.images["front"]).mean() < 4
    assert vla("edit", root, "--undo") == 0
    assert content(root) == before
    assert vla("edit", root, "--undo") == 0
    assert len(open_set(root)) == 9


def test_what_an_edit_that_was_cut_off_left_is_named(tmp_path):
    root = recorded_set(tmp_path / "set", (2,))
    root.rename(tmp_path / "set.undo")
    with pytest.raises(FileNotFoundError, match=r"set.undo is the set before an edit"):
        open_set(root)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("edit SET --delete 7 --out NEW", "got '7', expected some of 0:3"),
        ("edit SET --delete 0:3 --out NEW", "no episode is left"),
        ("edit SET --delete x --out NEW", "got 'x', expected 3 or 0:80"),
        ("edit SET --task pull=push --out NEW", "no task 'pull'; there are 'push', 'lift'"),
        ("edit SET --task pull --out NEW", "--task: got 'pull', expected different OLD=NEW"),
        ("edit SET --rename left=right --out NEW", "no feature or camera 'left'"),
        ("edit SET --rename front=wrist --out NEW", "two features of one name"),
        ("edit SET --out NEW", "nothing to change"),
        ("edit SET --delete 1 --out SET", "there is something already"),
        ("edit SET --undo", "SET.undo: no data set here"),
        ("split SET a=80% b=30% --out NEW", "shares of 100 %"),
        ("split SET a=0:2 b=30% --out NEW", "one of both"),
        ("split SET a=0,0 --out NEW", "has one twice"),
        ("split SET ../a=0 --out NEW", "expected a name for a folder"),
        ("merge SET FAST --out NEW", "FAST: fps is 20, expected 10"),
        ("merge SET THEIRS --out NEW", "robot_type is 'paper_arm', expected 'vx300s'"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_leaves_nothing(made, capsys, words, said):
    folder, before = made
    places = {w: str(folder / w) for w in ("SET", "FAST", "NEW")} | {"THEIRS": str(SETS / "v30")}
    assert vla(*(places.get(w, w) for w in words.split())) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert content(folder) == before


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a set of three episodes and one of another rate, which refusals leave as they are."""
    folder = tmp_path_factory.mktemp("made")
    recorded_set(folder / "SET", (1, 2, 1))
    with SetWriter(folder / "FAST", ROBOT, 20) as writer:
        record(writer, 0, 1)
    return folder, content(folder)


def test_episodes_in_words():
    assert episodes_in("3", 5) == [3]
    assert episodes_in(":2,4", 5) == [0, 1, 4]
    assert episodes_in("3:", 5) == [3, 4]
    for wrong in ("", "5", "2:2", "-1", "1:9", "1,1", "a:b"):
        with pytest.raises(ValueError, match="episodes: got"):
            episodes_in(wrong, 5)


def test_files_that_are_cut_off_are_named_with_their_episode(tmp_path):
    root = recorded_set(tmp_path / "set", (6, 5))
    for name, said in (
        (
            "videos/observation.images.wrist/chunk-000/file-001.mp4",
            r"not (a )?readable .*cut off.*\(episode 1, frame 2\)",
        ),
        ("data/chunk-000/file-001.parquet", r"not a readable parquet file.*\(episode 1\)"),
        ("meta/episodes/chunk-000/file-000.parquet", "not a readable parquet file"),
    ):
        whole = (root / name).read_bytes()
        for kept in (len(whole) // 2, len(whole) * 9 // 10, 0):
            (root / name).write_bytes(whole[:kept])
            with pytest.raises(ValueError, match=said) as error:
                open_set(root).frame(8)
            assert name in str(error.value) and "\n" not in str(error.value)
        (root / name).unlink()
        with pytest.raises(FileNotFoundError):
            open_set(root).frame(8)
        (root / name).write_bytes(whole)
    require_same(open_set(root).frame(8), frame(1, 2))


def test_a_video_whose_frames_end_early_is_named(tmp_path):
    root = recorded_set(tmp_path / "set", (6, 3))
    videos = root / "videos/observation.images.front/chunk-000"
    (videos / "file-000.mp4").write_bytes((videos / "file-001.mp4").read_bytes())
    with pytest.raises(
        ValueError, match=r"file-000.mp4: no frame at 0.400 s .*\(episode 0, frame 4\)"
    ):
        open_set(root).frame(4)
