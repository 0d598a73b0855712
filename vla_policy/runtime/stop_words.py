"""Stop words in many languages. Tables only; instruction.py reads them.

All are written as instruction.folded() returns a text: lower case, without accents and
punctuation.
"""

from __future__ import annotations

# After one of these no motion until a person has checked the robot: latched, like the STOP button.
LATCHING = frozenset(
    """
    stop stops stopp stopped stopping halt halte freeze emergency estop estopp panic mayday danger
    alto detente detengase pare parar parada arrete arretez arreter stoppe stoppen anhalten haltet
    ferma fermati fermare fermo stopt staak stanna pysahdy seis zatrzymaj stoj zastav zastavit
    durdur berhenti hentikan tigil simama
    стоп стой стойте остановись остановите остановить стій зупинись σταματα στοπ
    עצור توقف قف रुको रुकिए हाल्ट थांबा หยุด
    """.split()
)
# They end the instruction; the robot stays engaged, at rest.
ENDING = frozenset(
    """
    cancel cancelled canceled cancelling abort aborted wait whoa woah cease desist quit pause enough
    abbrechen abbruch warte warten cancela cancelar espera annule annuler attends annulla aspetta
    отмена отмени хватит подожди annuleer avbryt iptal batal
    """.split()
)
# The same, but these are ordinary words too (Spanish "for", French "hard", English "dead end"):
# only at the beginning of a sentence.
LATCHING_FIRST = frozenset("para dur basta quieto pára".split())
ENDING_FIRST = frozenset("no nope nein non nie nah nevermind".split())
# The same, only as the whole sentence.
LATCHING_ALONE = frozenset("help ouch off".split())
ENDING_ALONE = frozenset("undo exit end over timeout".split())

LATCHING_PHRASES = (
    "emergency stop",
    "e stop",
    "dont move",
    "do not move",
    "stand still",
    "hold still",
    "stay still",
    "keep still",
    "be still",
    "stay put",
    "stay where you are",
    "stay there",
    "no more",
    "shut down",
    "shutdown",
    "shut it down",
    "power off",
    "power down",
    "turn it off",
    "turn off the robot",
    "turn the robot off",
    "switch it off",
    "kill it",
    "kill switch",
    "hands off",
    "watch out",
    "look out",
    "nicht bewegen",
    "beweg dich nicht",
    "keine bewegung",
    "no te muevas",
    "nao se mexa",
    "ne bouge pas",
    "ne bougez pas",
    "bouge pas",
    "non muoverti",
    "не двигайся",
    "dung lai",
)
ENDING_PHRASES = (
    "hold on",
    "hold it",
    "hold up a second",
    "hang on",
    "never mind",
    "knock it off",
    "cut it out",
    "forget it",
    "give up",
    "thats enough",
    "leave it",
    "let it be",
    "one moment",
    "one second",
    "just a moment",
    "un moment",
    "un momento",
    "vergiss es",
    "hor auf",
    "hore auf",
    "lass es",
)
# Scripts without spaces: found anywhere in a short text.
LATCHING_PARTS = (
    "停", "止ま", "止め", "とまれ", "とめて", "ストップ", "动くな", "動くな", "别动", "別動", "不要动",
    "不許動", "不许动", "住手", "刹车", "정지", "멈춰", "멈추", "스톱", "스탑", "움직이지",
)  # fmt: skip
ENDING_PARTS = ("やめ", "待って", "待て", "取消", "キャンセル", "中止", "等一下", "等等", "그만", "취소", "기다려")  # fmt: skip
LATCHING_SIGNS = frozenset("🛑✋🤚🖐⛔🚫⏹🚨🆘")
ENDING_SIGNS = frozenset("⏸❌✖")

# Harmless: they request nothing and do not change the meaning of a stop word.
HARMLESS = frozenset(
    """
    a all already am and any arm at away be bot can could damn dear do doing for from god
    hello hey hi i im immediately instantly it its just kindly like machine me mean motion move movement
    moving must my need needs now of oh ok okay once one please pls plz quick quickly right robot said say
    should still that the there this to ur want we were what whatever will with would you your youre
    """.split()
)
# Words one typing error away from a stop word that mean something else.
OTHER_WORDS = frozenset(
    """
    top step shop slop stow strop stomp swop spot atop stock store half hat salt malt hall halo shalt hart
    want wart wail gait waist wit breeze frees freezer free greeze quilt quiet quite suit quip pence peace
    cause parse place pick paste pads pant haul hale hallo hello
    """.split()
)
