"""Train `small` from `tiny` and named pictures, stage by stage.

    python -m vla_policy.train.meaning.recipe wide --web data/web --out runs/meaning
    python -m vla_policy.train.meaning.recipe wide --web data/web --out runs/meaning --robot-only   # for comparison
    python -m vla_policy.train.meaning.recipe more --web data/web --out runs/meaning --collages 600  # goes on from wide, or from the shipped head
    python -m vla_policy.train.meaning.recipe crops --web data/web --out runs/meaning                # part of wide; repeats it
    python -m vla_policy.train.meaning.recipe presence --web data/web --out runs/meaning             # part of crops; repeats it
    python -m vla_policy.train.meaning.recipe places --web data/web --out runs/meaning
    python -m vla_policy.train.meaning.recipe assemble --out runs/meaning                           # writes runs/meaning/small

Encoded pictures and sentences are cached in the folder, and computed if missing.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from vla_policy.data.web.fetch import digit_fonts
from vla_policy.data.web.pictures import load
from vla_policy.formats.native.folder import save
from vla_policy.models import config
from vla_policy.models.crops import FIGURE_WINDOW
from vla_policy.models.wide import WidePointing
from vla_policy.parsing.json_document import read_json, write_json
from vla_policy.policy import load_local
from vla_policy.train.meaning import (
    crops,
    errors,
    figures,
    learn,
    pictures,
    places,
    presence,
    readers,
)
from vla_policy.train.meaning.assemble import assemble
from vla_policy.train.meaning.camera import fit_camera
from vla_policy.train.meaning.digits import DIGITS
from vla_policy.train.meaning.words import other_words

# Seeds of the first scenes; no other training or evaluation uses these.
ROBOT_SEED, CHECK_SEED, BOXES_SEED, PLAIN_SEED = 700_000, 720_000, 730_000, 740_000
CAMERA_SEED, SHOWN_SEED, CROPS_SEED = 760_000, 725_000, 770_000
ROBOT, PLACES = "vx300s", "places.safetensors"
PARTS = ("texts", "robot", "web", "check", "check_shown", "crops_web", "crops_robot")
MORE_PARTS = ("more", "words", "read", "crops_digits", "crops_other")
CROPS_EACH, CROPS_SCENES, CROPS_STEPS = 6, 300, 1500
MORE_SEED, DIGIT_SETS, DIGITS_EACH = 1, 5, 100
ERRORS_STEPS, FIGURES_STEPS, READ_STEPS = 900, 500, 1600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=tuple(STAGES))
    parser.add_argument("--web", type=Path, default=Path("data/web"))
    parser.add_argument("--out", type=Path, default=Path("runs/meaning"))
    parser.add_argument("--scenes", type=int, default=600)
    parser.add_argument("--collages", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--named", action="store_true", help="it tells what is on the table, too")
    parser.add_argument("--robot-only", action="store_true", help="without web data, to compare")
    parser.add_argument(
        "--prepare", choices=(*PARTS, *MORE_PARTS), action="append", help="only make these parts"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    STAGES[args.stage](args)


def _wide(args: argparse.Namespace) -> None:
    made = {name: _part(args, name) for name in args.prepare or PARTS}
    if args.prepare:
        return
    texts, robot, web = (made[name] for name in ("texts", "robot", "web"))
    torch.manual_seed(args.seed)
    head = learn.fresh(_encoders(), texts)
    started = time.process_time()
    sets = [robot] if args.robot_only else [robot, web]
    learn.train(head, sets, texts, steps=args.steps, seed=args.seed)
    print(f"{time.process_time() - started:.0f} CPU seconds")
    head.camera.copy_(torch.from_numpy(fit_camera(CAMERA_SEED, 120)))
    save_file(head.state_dict(), _head_file(args))
    _crops(args)


def _more(args: argparse.Namespace) -> None:
    """Other words, typing errors, figures and sums, and what is unclear, for a head that is trained; without one, for the shipped one."""
    texts, collages, words, read = (
        _part(args, name) for name in ("texts", "more", "words", "read")
    )
    digits, other = (_part(args, name) for name in ("crops_digits", "crops_other"))
    other = crops.Cropped(other.pooled, torch.full_like(other.number, -1))
    head = _known_head(args, texts)
    known = len(texts.vectors) - len(DIGITS)
    started = time.process_time()
    errors.train(head, texts, words, known=known, steps=ERRORS_STEPS, seed=args.seed)
    figures.train(
        head, collages, crops.joined(digits, other), texts, steps=FIGURES_STEPS, seed=args.seed
    )
    readers.train(head, texts, read, steps=READ_STEPS, seed=args.seed)
    print(f"{time.process_time() - started:.0f} CPU seconds")
    save_file(head.state_dict(), _head_file(args))
    _presence(args)


def _known_head(args: argparse.Namespace, texts: learn.EncodedTexts) -> WidePointing:
    """The head of the folder, or the shipped one, with room for the names of texts; its rates are then beside it."""
    if _head_file(args).is_file():
        weights = load_file(_head_file(args))
    else:
        shipped = load_local("small", embodiment=ROBOT).checkpoint
        weights = shipped.model.vision.wide.state_dict()
        beyond = None if shipped.language is None else shipped.language.beyond
        write_json(_head_file(args).with_suffix(".json"), dict(beyond or {}))
    head = learn.fresh(_encoders(), texts)
    own = head.state_dict()
    for name in ("known", "shown"):
        own[name][: len(weights[name])] = weights[name]
    head.load_state_dict(own | {k: v for k, v in weights.items() if k not in ("known", "shown")})
    return head.eval()


def _crops(args: argparse.Namespace) -> None:
    """What crops show, for a head that is trained."""
    texts, web, robot = (_part(args, name) for name in ("texts", "crops_web", "crops_robot"))
    if args.robot_only:
        shown = torch.tensor([-1, *robot.number.unique().tolist()])
        kept = torch.isin(web.number, shown)
        web = crops.Cropped(web.pooled[kept], web.number[kept])
    head = _trained(args, texts)
    started = time.process_time()
    crops.train(head, web, robot, texts, steps=CROPS_STEPS, seed=args.seed)
    print(f"{time.process_time() - started:.0f} CPU seconds")
    save_file(head.state_dict(), _head_file(args))
    _presence(args)


def _presence(args: argparse.Namespace) -> None:
    """Set the presence thresholds of a trained head."""
    texts, other, seen = (_part(args, name) for name in ("texts", "check", "check_shown"))
    named = load(args.web)
    shown = presence.shown_names(named)
    head = _trained(args, texts)
    presence.set_known(head, texts, shown)
    asked = presence.ask(head, seen, texts, shown, seed=0)
    refused, told = presence.set_presence(head, asked, shown=True)
    print(f"of robot data: of the present {refused:.1%} refused, of the absent {told:.1%}")
    names = [one.name for one in presence.validation_things(named)]
    asked = presence.ask(head, other, texts, names, seed=0)
    refused, told = presence.set_presence(head, asked, shown=False)
    print(f"others: of the present {refused:.1%} refused, of the absent {told:.1%}")
    save_file(head.state_dict(), _head_file(args))
    write_json(_head_file(args).with_suffix(".json"), {"refuses": refused, "accepts": 1 - told})


def _trained(args: argparse.Namespace, texts: learn.EncodedTexts) -> WidePointing:
    head = learn.fresh(_encoders(), texts)
    head.load_state_dict(load_file(_head_file(args)))
    return head.eval()


def _head_file(args: argparse.Namespace) -> Path:
    name = "robot_only" if args.robot_only else "wide"
    file: Path = args.out / f"{name}_{args.seed}.safetensors"
    return file


def _encoders() -> config.WideConfig:
    vision = config.small(1).pointing.wide
    if vision is None:
        raise ValueError("small: got no pre-trained encoders in its sizes")
    return vision


def _places(args: argparse.Namespace) -> None:
    tiny, named = load_local("tiny", embodiment=ROBOT).checkpoint, load(args.web)
    boxes = places.make_frames(named, BOXES_SEED, args.scenes, cards=True)
    plain = places.make_frames(named, PLAIN_SEED, args.scenes, cards=False)
    tower, room = tiny.model.pointing, tiny.model.config.max_text
    torch.manual_seed(args.seed)
    places.train(
        tower, tiny.tokenizer, boxes, plain, steps=args.steps, length=room, seed=args.seed
    )
    save_file(tower.state_dict(), args.out / PLACES)


def _assemble(args: argparse.Namespace) -> None:
    tiny = load_local("tiny", embodiment=ROBOT).checkpoint
    wide, beyond = load_file(_head_file(args)), read_json(_head_file(args).with_suffix(".json"))
    named = tuple(learn.numbers_of(load(args.web))) if args.named else ()
    save(args.out / "small", assemble(tiny, _tower(args), wide, beyond, named))


def _tower(args: argparse.Namespace) -> dict[str, torch.Tensor]:
    """The tower of the stage places; of the shipped policy where that was not run."""
    if (args.out / PLACES).is_file():
        return load_file(args.out / PLACES)
    tower = load_local("small", embodiment=ROBOT).checkpoint.model.vision.state_dict()
    return {k: v for k, v in tower.items() if not k.startswith("wide.")}


def _part(args: argparse.Namespace, name: str) -> Any:
    """Encoded texts or pictures, from the folder or computed and cached there."""
    kind: Any = learn.EncodedTexts if name == "texts" else learn.Looked
    kind = crops.Cropped if name.startswith("crops") else kind
    kind = {"read": readers.ReadTexts, "words": errors.OtherWords}.get(name, kind)
    crop_px = _encoders().crop_px
    path = args.out / f"{name}.pt"
    if not path.is_file():
        named = load(args.web)
        numbers = learn.numbers_of(named)
        fonts = partial(digit_fonts, args.web / "packages")
        make: dict[str, Callable[[], Any]] = {
            "texts": lambda: learn.make_texts(named),
            "robot": lambda: learn.make_examples(
                pictures.robot_scenes(named, ROBOT_SEED, args.scenes), numbers
            ),
            "web": lambda: learn.make_examples(
                pictures.collages(named, 0, args.collages), numbers
            ),
            "more": lambda: learn.make_examples(
                pictures.collages(named, MORE_SEED, args.collages, fonts=fonts()), numbers
            ),
            "crops_digits": lambda: crops.joined(
                *(
                    crops.digit_crops(named, fonts(), numbers, DIGITS_EACH, crop_px, seed)
                    for seed in range(DIGIT_SETS)
                )
            ),
            "crops_other": lambda: crops.web_crops(
                named, numbers, 1, crop_px, args.seed, FIGURE_WINDOW
            ),
            "words": lambda: errors.other_texts(other_words(named.concepts), numbers),
            "read": lambda: readers.make_texts(
                [c.name for c in named.concepts if c.role != "nowhere"]
            ),
            "check": lambda: learn.make_examples(
                pictures.robot_scenes(  # as when the named object is searched
                    named, CHECK_SEED, 200, things=presence.validation_things(named), working=0.0
                ),
                numbers,
                images=True,
            ),
            "check_shown": lambda: learn.make_examples(
                pictures.robot_scenes(named, SHOWN_SEED, 150, working=0.0), numbers, images=True
            ),
            "crops_web": lambda: crops.web_crops(named, numbers, CROPS_EACH, crop_px, args.seed),
            "crops_robot": lambda: crops.robot_crops(
                pictures.robot_scenes(named, CROPS_SEED, CROPS_SCENES, working=0.3),
                numbers,
                crop_px,
                args.seed,
            ),
        }
        made = make[name]()
        torch.save({field: getattr(made, field) for field in made.__slots__}, path)
    return kind(**torch.load(path, weights_only=True))


STAGES = {
    "wide": _wide,
    "more": _more,
    "crops": _crops,
    "presence": _presence,
    "places": _places,
    "assemble": _assemble,
}

if __name__ == "__main__":
    main()
