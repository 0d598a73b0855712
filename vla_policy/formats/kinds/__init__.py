"""The kinds of checkpoint folders of other projects: one module and one record each.

To add a kind: write `formats/kinds/<name>.py` that ends with `FORMAT = Format(...)`
(formats/format.py documents each function) and add it to FORMATS. docs/adding_a_family.md is a
complete example.
"""

from vla_policy.formats.format import Format
from vla_policy.formats.kinds import lerobot, openpi, openvla, paligemma, smolvla

OWN = "vla"  # this project's own folder (formats/native), which needs no policy file

# In the order in which their detect functions are tried.
FORMATS: dict[str, Format] = {
    "lerobot": lerobot.FORMAT,
    "smolvla": smolvla.FORMAT,
    "openvla": openvla.FORMAT,
    "paligemma": paligemma.FORMAT,
    "openpi": openpi.FORMAT,
}
