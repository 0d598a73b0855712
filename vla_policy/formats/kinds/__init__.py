"""The kinds of checkpoint folders of other projects, one module each, with a record: how to detect, read, describe one.

To add a kind: write `formats/kinds/<name>.py` that ends with `FORMAT = Format(...)` (formats/format.py says what each
function gets and gives) and add it to FORMATS. docs/adding_a_family.md does it once from end to end.
"""

from vla_policy.formats.format import Format
from vla_policy.formats.kinds import lerobot, openpi, openvla, paligemma, smolvla

OWN = "vla"  # this project's own folder (formats/native), which needs no policy file

# In the order in which a folder is asked what it is.
FORMATS: dict[str, Format] = {
    "lerobot": lerobot.FORMAT,
    "smolvla": smolvla.FORMAT,
    "openvla": openvla.FORMAT,
    "paligemma": paligemma.FORMAT,
    "openpi": openpi.FORMAT,
}
