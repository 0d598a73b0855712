"""Damaged, wrong and another robot's folders of pi0 and pi0.5: refused with what and where."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pi0_folders import GOLDEN, KINDS, NAMES, OPENPI_CAMERAS, as_openpi, copied, policy_file
from safetensors.torch import load_file, save_file

from vla_policy.embodiment import load_embodiment
from vla_policy.formats.tensors import pi0_names
from vla_policy.policy import load_policy


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_damaged_and_wrong_folders_are_refused(tmp_path: Path) -> None:
    weights = load_file(GOLDEN / "ckpt_pi0_tiny" / "model.safetensors")
    bias = "model.action_in_proj.bias"

    def refuse(message: str, damage: Callable[[Path], object] | None, **changes: object) -> None:
        folder = Path(shutil.copytree(GOLDEN / "ckpt_pi0_tiny", tmp_path / "damaged"))
        if damage is not None:
            damage(folder)
        with pytest.raises(ValueError, match=message):
            load_policy(str(policy_file(tmp_path, folder, **changes)))
        shutil.rmtree(folder)

    def put(tensors: dict[str, torch.Tensor]) -> Callable[[Path], object]:
        return lambda folder: save_file(tensors, folder / "model.safetensors")

    def cut(folder: Path) -> None:
        data = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(data[: len(data) * 2 // 3])

    def pickled(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    refuse(r"missing    action_in_proj", put({k: v for k, v in weights.items() if k != bias}))
    refuse(r"unexpected model\.what", put(weights | {"model.what": torch.zeros(1)}))
    refuse(
        r"shape      model\.action_in_proj\.bias: file \(3,\), model \(32,\)",
        put(weights | {bias: torch.zeros(3)}),
    )
    refuse(
        r"weights that are not numbers:\n  not finite model\.action_in_proj\.bias",
        put(weights | {bias: torch.full((32,), torch.nan)}),
    )
    refuse("the file is cut off: got .* bytes, expected", cut)
    refuse(r"pytorch_model\.bin: a pickle file can run code.*python -c", pickled)
    refuse(
        "type is 'pi05', but the weights are of pi0",
        lambda folder: edit(folder / "config.json", type="pi05"),
    )
    refuse(
        "type: got 'act', expected one of pi0, pi05",
        lambda folder: edit(folder / "config.json", type="act"),
    )
    refuse("3 query and 1 key heads do not fit", None, heads={"language": 3, "kv": 1, "vision": 4})
    refuse("not the published size.*`heads` in the policy file", None, heads=None)
    refuse("network takes at most 32", None, state=[f"joint.s{i}" for i in range(64)])
    refuse("got 6 columns.*trained with 7", None, state=NAMES[:6])
    refuse("the checkpoint has no top; it has base, wrist", None, cameras={"top": "front"})


def test_statistics_that_would_move_the_robot_wrongly_are_refused(tmp_path: Path) -> None:
    def refuse(kind: str, message: str, change: object, *, post: bool = True) -> None:
        folder = Path(shutil.copytree(GOLDEN / f"ckpt_{kind}_tiny", tmp_path / "s"))
        path = next(
            folder.glob("*_unnormalizer_*.safetensors" if post else "*_normalizer_*.safetensors")
        )
        save_file(change(load_file(path)), path)
        try:
            with pytest.raises(ValueError, match=message):
                load_policy(str(policy_file(tmp_path, folder)))
        finally:
            shutil.rmtree(folder)

    def renamed(stats: dict) -> dict:
        return {k.replace("action.", "so100.buffer.action."): v for k, v in stats.items()}

    def with_value(key: str, index: int, value: float):
        def change(stats: dict) -> dict:
            stats[key][index] = value
            return stats

        return change

    refuse(
        "pi0",
        "no statistics of 'action'; there are some of observation.state, so100.buffer.action",
        renamed,
    )
    refuse(
        "pi0",
        "'joint.j2': got mean .*, std 0, expected a spread",
        with_value("action.std", 2, 0.0),
    )
    refuse("pi0", "'joint.j1': got .* not finite", with_value("action.mean", 1, float("nan")))
    refuse(
        "pi05",
        "'gripper': got .* expected a spread",
        lambda s: s | {"action.q99": s["action.q01"] + torch.tensor([1.0] * 6 + [1e-7])},
    )
    refuse(
        "pi05",
        "q99 is missing, mode quantiles needs q01 and q99",
        lambda s: {k: v for k, v in s.items() if k != "action.q99"},
    )
    refuse(
        "pi0",
        "expected 7 .*statistics of another robot",
        lambda s: {k: v[:6].clone() for k, v in s.items()},
    )
    refuse(
        "pi0",
        "beyond are not padding",
        lambda s: {k: torch.cat((v, v)) for k, v in s.items()},
        post=False,
    )


def test_statistics_of_another_robot_or_unit_do_not_fit_the_robot(tmp_path: Path) -> None:
    robot = load_embodiment("vx300s")
    joints = [f"joint.{name}" for name in robot.joint_names[:6]]
    folder = copied(tmp_path, "pi05")
    path = next(folder.glob("*_normalizer_*.safetensors"))
    stats = load_file(path)
    middle = torch.tensor((robot.joints.lower + robot.joints.upper)[:6] / 2).float()

    def problems(scale: float) -> tuple[str, ...]:
        for key, side in (("q01", -0.2), ("q99", 0.2)):
            ends = torch.cat((middle + side, torch.tensor([0.5 + side]))) * scale
            stats[f"observation.state.{key}"] = ends
        save_file(stats, path)
        names = [*joints, "gripper"]
        policy = load_policy(str(policy_file(tmp_path, folder, state=names)))
        return tuple(p for p in policy.check(robot) if p.startswith("statistics"))

    assert problems(1.0) == ()
    found = problems(180 / np.pi)
    assert any("in another unit" in p and "joint." in p for p in found)
    assert any(p.startswith("statistics of gripper: trained around 28.6") for p in found)


def change_tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors")

    return spoil


def change_statistics(key: str, change: Callable[[list[float]], object]) -> Callable[[Path], None]:
    """change the numbers of both quantities' key in norm_stats.json."""

    def spoil(folder: Path) -> None:
        path = folder / "assets" / "trossen" / "norm_stats.json"
        data = json.loads(path.read_text())
        for name in ("state", "actions"):
            change(data["norm_stats"][name][key])
        path.write_text(json.dumps(data))

    return spoil


def cut(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-1000])


def without_time(weights: dict[str, torch.Tensor]) -> None:
    for name in [k for k in weights if "time_mlp" in k]:
        del weights[name]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut, r"openpi/model\.safetensors: the file is cut off: got \d+ bytes, expected \d+"),
        (
            change_tensors(lambda w: w["action_in_proj.bias"][3:4].fill_(torch.inf)),
            r"openpi: weights that are not numbers:\n  not finite action_in_proj\.bias \(in model\.safe",
        ),
        (change_tensors(without_time), "openpi: the weights are neither of pi0 nor of pi0.5"),
        (
            change_tensors(lambda w: w.pop("action_out_proj.bias")),
            r"missing    action_out_proj\.bias \(32,\)",
        ),
        (
            change_statistics("mean", lambda v: v.append(0.3)),
            r"norm_stats\.json: state: mean has 8 values, expected 7 .*another robot",
        ),
        (
            change_statistics("mean", lambda v: v.pop()),
            r"norm_stats\.json: state: mean has \[6\] values, expected 7 .*another robot",
        ),
    ],
)
def test_openpi_folders_that_are_wrong(
    kind: str, spoil: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    folder = as_openpi(GOLDEN / f"ckpt_{kind}_tiny", tmp_path / "openpi")
    path = policy_file(tmp_path, folder, cameras=OPENPI_CAMERAS)
    load_policy(str(path))
    spoil(folder)
    with pytest.raises(ValueError, match=message):
        load_policy(str(path))


def test_openpi_statistics_without_spread_and_columns_without_room(tmp_path: Path) -> None:
    for kind, key, found in (("pi0", "std", "std 0"), ("pi05", "q99", r"q01 .*, q99 ")):
        folder = as_openpi(GOLDEN / f"ckpt_{kind}_tiny", tmp_path / kind)
        asset = json.loads((folder / "assets" / "trossen" / "norm_stats.json").read_text())
        same = 0.0 if key == "std" else asset["norm_stats"]["state"]["q01"][2]
        asset["norm_stats"]["state"][key][2] = same
        (folder / "assets" / "trossen" / "norm_stats.json").write_text(json.dumps(asset))
        with pytest.raises(
            ValueError,
            match=f"norm_stats.json: state, 'joint.j2': got .*{found}.*expected a spread",
        ):
            load_policy(str(policy_file(tmp_path, folder, cameras=OPENPI_CAMERAS)))
        many = [f"joint.s{i}" for i in range(64)]
        with pytest.raises(
            ValueError, match=r"policy\.yaml: state: got 64 columns, the network takes at most 32"
        ):
            load_policy(str(policy_file(tmp_path, folder, cameras=OPENPI_CAMERAS, state=many)))


def test_openpi_has_one_embedding(tmp_path: Path) -> None:
    folder = as_openpi(GOLDEN / "ckpt_pi0_tiny", tmp_path / "openpi")
    weights = load_file(folder / "model.safetensors")
    embedding = weights[pi0_names.EMBEDDING]
    path = policy_file(tmp_path, folder, cameras=OPENPI_CAMERAS)
    save_file(weights | {pi0_names.TIED: embedding.clone()}, folder / "model.safetensors")
    load_policy(str(path))
    save_file(weights | {pi0_names.TIED: embedding + 1.0}, folder / "model.safetensors")
    with pytest.raises(ValueError, match="differ, but are one tensor in openpi"):
        load_policy(str(path))
