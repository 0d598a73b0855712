"""axe-core in a tab: what of a page people with a screen reader, a keyboard or weak eyes cannot use."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from chromium import Tab

SCRIPT = "VLA_AXE"  # path of axe.min.js
PACKAGE, NAME = "axe_core_python", "axe.min.js"
MISSING = f"needs axe-core: pip install -r requirements/test.txt; or `npm pack axe-core` and {SCRIPT}=package/{NAME}"
RULES = "wcag2a wcag2aa wcag21a wcag21aa wcag22aa best-practice".split()


def script() -> Path | None:
    """axe.min.js, where there is one."""
    if (given := os.environ.get(SCRIPT)) is not None:
        return Path(given)
    spec = importlib.util.find_spec(PACKAGE)
    return None if spec is None or spec.origin is None else Path(spec.origin).with_name(NAME)


async def violations(tab: Tab) -> list[str]:
    """One sentence for each rule that the page breaks, with the elements."""
    path = script()
    assert path is not None, MISSING
    if not await tab.run("typeof axe === 'object'"):
        await tab.run(path.read_text() + "\n;true")
    found = await tab.run(
        f"axe.run(document, {{runOnly: {RULES!r}}}).then((r) => r.violations.map((v) => "
        "`${v.id}: ${v.help}: ${v.nodes.map((n) => n.target.join(' ')).join(', ')}`))"
    )
    return list(found)
