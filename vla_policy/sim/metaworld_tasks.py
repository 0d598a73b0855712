"""Meta-World's fifty tasks, by name; readable where it is not installed."""

ROBOT = "metaworld_sawyer"
EASY = (
    "button-press", "button-press-topdown", "button-press-topdown-wall", "button-press-wall", "coffee-button", "dial-turn",
    "door-close", "door-lock", "door-open", "door-unlock", "drawer-close", "drawer-open", "faucet-close", "faucet-open",
    "handle-press", "handle-press-side", "handle-pull", "handle-pull-side", "lever-pull", "peg-unplug-side", "plate-slide",
    "plate-slide-back", "plate-slide-back-side", "plate-slide-side", "reach", "reach-wall", "window-close", "window-open",
)  # fmt: skip
MEDIUM = (
    "basketball", "bin-picking", "box-close", "coffee-pull", "coffee-push", "hammer", "peg-insert-side", "push-wall", "soccer",
    "sweep", "sweep-into",
)  # fmt: skip
HARD = ("assembly", "hand-insert", "pick-out-of-hole", "pick-place", "push", "push-back")
VERY_HARD = ("disassemble", "pick-place-wall", "shelf-place", "stick-pull", "stick-push")
# Difficulty as in arXiv:2206.14244, by which published rows are grouped.
GROUPS = {"easy": EASY, "medium": MEDIUM, "hard": HARD, "very hard": VERY_HARD}
MT50 = tuple(sorted(name for group in GROUPS.values() for name in group))


def sentence_of(name: str) -> str:
    """What a policy is told."""
    return name.replace("-", " ")
