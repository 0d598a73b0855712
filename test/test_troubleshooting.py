"""docs/troubleshooting.md has an entry for what the software says, and the checks name its headings."""

import re

import check_docs
import message_reader
import pytest
import site_messages

from vla_policy.check.doctor.machine import HINT, Note
from vla_policy.check.guide import GUIDE, HEADINGS, read_on
from vla_policy.commands.doctor import advice
from vla_policy.runtime.task import Outcome

PAGE = " ".join((site_messages.ROOT / GUIDE).read_text().replace("\\|", "|").split())
IN_CODE = set(re.findall(r"`([^`]+)`", PAGE))
PHRASES = [
    re.compile(".*".join(map(re.escape, phrase.split(site_messages.HOLE))))
    for row in re.findall(r"\| (`.*?) \| ", PAGE.partition("## By its words")[2])
    for phrase in re.findall(r"`([^`]+)`", row)
]
SPOKEN = frozenset({"error", "log", "answer", "page"})
LEVELS = site_messages.ROOT / "docs" / "safety.md"


def leading(template: str) -> str:
    """The longest run of a template's own words: by it a message is looked for."""
    return max((part.strip(" :;,.'\"()") for part in template.split(site_messages.HOLE)), key=len)


def matches(template: str) -> bool:
    """Whether a code, with holes for what is put in, is on the page."""
    pattern = ".+".join(map(re.escape, template.split(site_messages.HOLE)))
    return any(re.fullmatch(pattern, word) for word in IN_CODE)


def codes(kind: str) -> set[str]:
    return {
        code
        for message in site_messages.collect(frozenset({kind}))
        for code in message.codes
        if code.strip(site_messages.HOLE)
    }


@pytest.mark.parametrize(("kind", "at_least"), [("reason", 75), ("data", 19)])
def test_each_code_has_an_entry(kind, at_least):
    found = codes(kind)
    assert len(found) >= at_least  # the reader still finds them
    assert not sorted(code for code in found if not matches(code))


def test_each_code_of_the_guard_has_an_entry():
    table = LEVELS.read_text().partition("## Reason codes")[2]
    named = {c for row in re.findall(r"^\| (`[^|]*)\|", table, re.M) for c in re.findall(r"`(\w+)`", row)}  # fmt: skip
    assert len(named) > 50
    assert not sorted(named - IN_CODE)


def test_each_outcome_has_an_entry():
    assert {outcome.name for outcome in Outcome} <= IN_CODE


def test_each_note_of_the_doctor_is_found_by_its_words():
    notes = site_messages.collect(frozenset({"note"}))
    words = {leading(says).replace("`", "") for note in notes for says in note.says}
    assert len(words) >= 20
    assert not sorted(w for w in words if len(w) > 4 and w not in PAGE.replace("`", ""))


def test_each_sentence_is_found_by_words_of_its_own():
    """By a phrase of the last table, or literally; a few new ones may wait for their row."""
    plain = PAGE.replace("`", "")
    spoken = {" ".join(t.split()) for m in site_messages.collect(SPOKEN) for t in m.says}
    spoken = {t for t in spoken if message_reader.words(t) >= 2}
    found = {t for t in spoken if any(phrase.search(t) for phrase in PHRASES)}
    found |= {t for t in spoken - found if leading(t).replace("`", "") in plain}
    assert len(spoken) > 1100 and len(PHRASES) > 100
    assert len(spoken - found) <= len(spoken) // 50, sorted(spoken - found)


def test_no_phrase_of_the_table_finds_nothing():
    spoken = [" ".join(t.split()) for m in site_messages.collect(SPOKEN) for t in m.says]
    idle = [p.pattern for p in PHRASES if not any(p.search(t) for t in spoken)]
    assert len(idle) <= len(PHRASES) // 20, idle


def test_each_message_is_in_the_list_of_all_and_belongs_to_a_heading():
    anchors = check_docs.anchors((site_messages.ROOT / GUIDE).read_text())
    listed = site_messages.page()
    for message in site_messages.collect():
        assert site_messages.area(message.where) in anchors, message.where
        for says in message.says:
            assert site_messages.text(says) in listed or not message_reader.words(says)


def test_a_file_that_is_nowhere_is_refused():
    with pytest.raises(ValueError, match="no heading of docs/troubleshooting"):
        site_messages.area("elsewhere/x.py")


def test_a_message_is_read_with_its_holes_and_through_names():
    source = """
def f(x, y):
    detail = f"{x} is {y:g} s late"
    return Reason("late_" + x, detail if y else "never came")

def g():
    detail = "of another function"
    raise ValueError(f"rate: got {x}, expected " + "1 to 2")
"""
    error, reason = message_reader.messages_of(source, "policy.py")
    assert reason.codes == ("late_…",)
    assert reason.says == ("… is … s late", "never came")
    assert error.says == ("rate: got …, expected 1 to 2",)
    assert leading(error.says[0]) == "expected 1 to 2"


def test_words_around_an_error_lines_of_logs_and_answers_are_read():
    source = """
def far(place):
    return ValueError(f"{place}: too far away")

def f(self, place, x) -> "str | None":
    self._log.problem("state", "old", f"no state for {x} s")
    self.get_logger().info("all is well here")
    response.success, response.message = False, "the node is asleep"
    if x:
        raise place.refuse(x, "a name of a joint")
    if place:
        raise far(place)
    print(f"stopped after {x}", file=sys.stderr)
    return "the arm is not there" if x else None
""".replace('"str | None"', "str | None")
    said = {(m.kind, *m.says) for m in message_reader.messages_of(source, "policy.py")}
    assert said == {
        ("log", "no state for … s"),
        ("answer", "the node is asleep"),
        ("error", "…: got …, expected a name of a joint"),
        ("error", "…: too far away"),
        ("log", "stopped after …"),
        ("answer", "the arm is not there"),
    }
    page = """
show(`Nothing came for ${s.at.toFixed(1)} s.`, "bad"); // It is "of a comment."
x = "no sentence here";
"""
    (line,) = message_reader.messages_of_page(page, "web/x.js")
    assert line.says == ("Nothing came for … s.",)


def test_what_the_checks_print_is_a_heading():
    for checked in HEADINGS:
        name, _, anchor = read_on(checked).removeprefix("what to do: ").partition("#")
        assert anchor in check_docs.anchors((site_messages.ROOT / name).read_text())


def test_the_doctor_names_the_page_below_what_is_wrong():
    assert advice([Note(HINT, "little memory", "end what runs")]).endswith(read_on("doctor"))
    assert GUIDE not in advice([])
