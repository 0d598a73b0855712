"""The navigation of the site names every document once; the pages that are made of the sources say what is there."""

from pathlib import Path

import pytest
import site_messages
import site_reference
import yaml

ROOT = Path(__file__).resolve().parent.parent


def named(entry) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [page for part in parts for page in named(part)]


def test_the_navigation_names_every_page_once():
    pages = named(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    there = {p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")}
    made = {f"reference/{name}" for name in site_reference.PAGES}
    assert sorted(pages) == sorted(there | made)


def test_the_pages_that_need_no_ros_are_made():
    assert "## Run" in site_reference.run_file()
    assert "| `micro_batch` | `int | None` | `None` |".replace("int |", "int \\|") in site_reference.run_file()  # fmt: skip
    robot = site_reference.robot_file()
    assert "| `max_still_s` | `float` | required |" in robot
    assert "| `joint_position` | `rad`, `m`, `deg` |" in robot


def test_interfaces_are_made_with_their_comments():
    page = site_reference.interfaces()
    assert "| `bool` | `engaged` | an operator lets commands through |" in page
    for kind in ("msg", "srv", "action"):
        for path in (ROOT / kind).iterdir():
            assert f"`vla_policy/{kind}/{path.stem}`" in page


def test_every_message_has_its_row():
    page = site_messages.page()
    assert "| `chunk_late` | its last row was due before it came, … s old |" in page
    assert "PyTorch does not load: …" in page


@pytest.mark.parametrize(
    ("words", "expected"),
    [("a `x*y` of <z>", r"a `x*y` of \<z\>"), ("a|b\n c", r"a\|b c"), ("_x_", r"\_x\_")],
)
def test_what_would_be_markup_is_escaped(words, expected):
    assert site_messages.text(words) == expected


def test_every_film_of_the_gallery_is_made_by_its_program():
    films = (ROOT / "tools" / "gallery.py").read_text()
    shown = {p.stem for p in (ROOT / "docs" / "images" / "gallery").iterdir()}
    assert shown
    for name in shown:
        assert f'"{name}": Film(' in films
        assert f"`{name}`" in (ROOT / "docs" / "gallery.md").read_text()
