"""Words that stop: however they are written they do, and no task is taken for one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_policy.evaluate.suites import SUITES, trial
from vla_policy.runtime.instruction import Stop, stop_of
from vla_policy.sim.tasks.tasks import TEMPLATES, UNSEEN_TEMPLATES

LATCH = """
stop|STOP!!!|Stop.|stop it now!|please stop|stop the robot|stop stop stop|s t o p|S.T.O.P|ｓｔｏｐ
stooop|stoop|sotp|stpo|stp|st0p|STOPPP|halt|haalt|Halt!|freeze|freeeeze|emergency|emergency stop|e-stop
E-STOP|estop|e stop|don't move|don’t move|do not move|dont move!|stand still|hold still|robot, stop
would you please just stop right now|stop right there before you hit the cup with your elbow|STOP the red cube
alto|¡Alto!|para|¡para!|para el robot|pare|arrête|ARRÊTEZ|arrete|stopp|anhalten|halt an|ferma|fermati
停|停止|停下|停下来！|止まれ|止めて|とまれ|ストップ|ｽﾄｯﾌﾟ|стоп|СТОП!|стой|остановись|정지|멈춰|قف|रुको|dur
🛑|✋|stop 🛑|🛑🛑🛑|st\u200bop|\x1b[31mstop|don't stop|i said stop|no stop|you need to stop immediately
watch out|turn it off|shut down|power off|help!|panic|zatrzymaj
""".strip().replace("\n", "|").split("|")  # fmt: skip
END = """
cancel|cancel that|Cancel!|please cancel the task|abort|wait|wait!|whoa|whoaaa|woah there|hold on|hold it
hold on a second|hang on|never mind|nevermind|quit|pause|that's enough|enough|no|no no no|NO!|abbrechen|warte
待って|やめて|取消|그만|⏸|cancle|canecl
""".strip().replace("\n", "|").split("|")  # fmt: skip


@pytest.mark.parametrize("text", LATCH)
def test_they_latch(text):
    assert stop_of(text) is Stop.LATCH


@pytest.mark.parametrize("text", END)
def test_they_end_what_is_being_done(text):
    assert stop_of(text) is Stop.END


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "put it on the table at the stop sign by the window",
        "pick up the red cube and put it in the tray without waiting",
        "hold up the red cube",
        "put the cube on top of the pad",
        "push the ball to the pad",
        "top",
        "step",
        "the paradise bird",
        "go home",
        "pick up the banana",
        "move the red one to the tray",
        "help me pick up the red cube",
        "turn off the light",
    ],
)
def test_these_are_none(text):
    assert stop_of(text) is None


def test_no_task_of_any_suite_is_one():
    for name in ("pick_put", "comparative", "push", "paraphrase", "unseen_pairs", "swap"):
        for index in range(30):
            sentence = trial(SUITES[name], 7, index)[1].instruction
            for typed in (sentence, sentence.upper() + "!", f"Please {sentence} now"):
                assert stop_of(typed) is None, typed
    for table in (TEMPLATES, UNSEEN_TEMPLATES):
        for templates in table.values():
            for template in templates:
                filled = template.format(x="can", d="tray", into="into", **{"in": "in"})
                assert stop_of(filled) is None, filled


@settings(max_examples=300)
@given(st.text(max_size=300))
def test_any_text_has_an_answer(text):
    assert stop_of(text) in (None, Stop.END, Stop.LATCH)


@settings(max_examples=200)
@given(
    st.sampled_from(["stop", "halt", "freeze", "e-stop", "стоп", "arrête"]),
    st.integers(0, 10**6),
    st.sampled_from(["", "please ", "robot, ", "hey ", "now "]),
    st.sampled_from(["", "!", " now", " the robot", " please", "...", " it", " moving!!"]),
)
def test_case_and_company_do_not_matter(word, seed, before, after):
    rng = np.random.default_rng(seed)
    typed = "".join(c.upper() if rng.random() < 0.5 else c for c in word)
    assert stop_of(before + typed + after) is Stop.LATCH


def test_a_line_break_does_not_hide_one():
    assert stop_of("please\nstop\n") is Stop.LATCH


def test_a_very_long_text_is_read_in_bounded_time():
    assert stop_of("stop " * 100_000) is Stop.LATCH
    assert stop_of("x" * 1_000_000) is None
