"""pi0, pi0.5 and OpenVLA: ours with the engine, ours plain and transformers, side by side in one run.

Same weights (random), same inputs, chunk, cameras, prompt and precision; every round runs all of them in a new order,
and ratios are taken within a round. Before anything is timed their actions must agree.

python benchmarks/inference.py --out benchmarks/inference.json                    # CPU, about ten minutes a core
python benchmarks/inference.py --curves --size small --out benchmarks/inference_curves.json
python benchmarks/inference.py --ladder --out benchmarks/inference_ladder.json
python benchmarks/inference.py --device cuda --size full --rounds 200 --float8 --out benchmarks/inference_gpu.json
python benchmarks/inference.py --size tiny --rounds 3                              # checks the program itself
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from inference_cases import (
    CASES,
    CURVES,
    DTYPES,
    GPU_CASES,
    Case,
    Run,
    fast,
    ladder,
    of_rows,
    plain,
    random_inputs,
    random_model,
    sized,
    stage_runs,
    with_rows,
)
from inference_measure import (
    CLOCKS,
    Clock,
    header,
    peak_memory,
    products_alone,
    ratios,
    resumed,
    roofline_device,
    rounds_of,
    save,
    spread,
    timed,
)
from inference_peers import transformers_openvla, transformers_pi0

from vla_policy.families.architectures import stages
from vla_policy.models.config import ModelConfig
from vla_policy.models.engine import Engine, compile_engine
from vla_policy.models.openvla import OpenVla, openvla_7b, write_action

AGREE = {"float32": 1e-4, "bfloat16": 0.15}
OURS, PLAIN, PEER = "ours, engine", "ours, plain", "transformers"
PRODUCTS = "the engine's products alone"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", default="quarter", choices=("tiny", "small", "quarter", "full"))
    parser.add_argument("--precision", nargs="*", choices=tuple(DTYPES))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--clock", default="wall", choices=tuple(CLOCKS))
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument(
        "--float8", action="store_true", help="also the engine in float8, on a GPU"
    )
    parser.add_argument(
        "--curves", action="store_true", help="growth with cameras, steps, rows, batch and words"
    )
    parser.add_argument(
        "--ladder", action="store_true", help="what each kind of saving gives, on the CPU"
    )
    parser.add_argument(
        "--cases", type=int, nargs="*", help="numbers of the cases, from 0; else all, and OpenVLA"
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--add", action="store_true", help="to the report that --out already is")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    on_gpu = args.device.startswith("cuda")
    precisions = args.precision or (["bfloat16"] if on_gpu else ["float32", "bfloat16"])
    clock = CLOCKS[args.clock]
    cases = GPU_CASES if on_gpu else CASES
    if args.cases is not None:
        cases = tuple(cases[i] for i in args.cases)
    report = header(args.device, args.threads, args.clock)
    if args.add:
        report = resumed(report, args.out)
    with torch.inference_mode():
        if args.curves:
            report["curves"] = curves(args.size, precisions[0], args.device, args.rounds, clock)
        elif args.ladder:
            report["ladder"] = climb(args.size, precisions[0], cases, args)
        else:
            report.setdefault("chunks", [])
            for kind in ("pi0", "pi05") if on_gpu or args.size == "tiny" else ("pi0",):
                for precision in precisions:
                    for entry in chunks(kind, precision, args, cases):
                        report["chunks"].append(entry)
                        save(report, args.out)
            if args.cases is None:
                report["openvla"] = openvla(
                    args.size, precisions[-1], args.device, args.rounds, clock
                )
    print(json.dumps(report, indent=2))
    save(report, args.out)


def chunks(
    kind: str, precision: str, args: argparse.Namespace, cases: tuple[Case, ...]
) -> Iterator[dict]:
    """Every case of one model in one precision."""
    config = sized(kind, args.size)
    model = random_model(config, DTYPES[precision], args.device)
    engine, built_s = timed(lambda: compile_engine(model, precision=precision))
    engines = {OURS: engine}
    if args.float8:
        engines["ours, engine in float8"] = compile_engine(model, precision=precision, float8=True)
    peer = transformers_pi0(model) if kind == "pi0" else None
    for case in cases:
        runs = {name: fast(of_rows(e, case.rows)) for name, e in engines.items()} | {
            PLAIN: plain(model)
        }
        if peer is not None:
            runs[PEER] = peer
        entry = compare(runs, config, case, precision, args)
        print(
            f"{config.name} {precision} {case.name}: {entry['ratio_to_engine']}", file=sys.stderr
        )
        yield (
            {"model": config.name, "parameters": count(model), "precision": precision}
            | {"case": asdict(case), "engine_built_s": round(built_s, 2)}
            | entry
            | {"stages": stage_times(engine, config, case, args)}
        )


def compare(
    runs: dict[str, Run], config: ModelConfig, case: Case, precision: str, args: argparse.Namespace
) -> dict:
    """First calls, agreement, times and ratios of runs on one case."""
    device = args.device
    inputs = random_inputs(with_rows(config, case.rows), case, device)
    first, actions = {}, {}
    for name, run in runs.items():
        actions[name], first[name] = timed(lambda run=run: run(inputs, case.steps).float(), device)
    reference = actions.get(PEER, actions[PLAIN])
    differences = {name: (a - reference).abs().max().item() for name, a in actions.items()}
    for name, difference in differences.items():
        if not difference <= AGREE[precision] * (4 if "float8" in name else 1):
            raise ValueError(
                f"{name} differs by {difference:.2g} from {PEER if PEER in runs else PLAIN}"
            )
    calls = {name: (lambda run=run: run(inputs, case.steps)) for name, run in runs.items()}
    if device == "cpu":
        calls[PRODUCTS] = products_alone(calls[OURS])
    times = rounds_of(calls, device, args.rounds, CLOCKS[args.clock])
    memory = (
        {name: peak_memory(call, device) for name, call in calls.items()}
        if device != "cpu"
        else {}
    )
    return {
        "largest_difference": {k: float(f"{v:.2g}") for k, v in differences.items()},
        "first_call_s": {k: round(v, 3) for k, v in first.items()},
        "ms": {k: spread([t * 1e3 for t in v]) for k, v in times.items()},
        "ratio_to_engine": ratios(times, OURS),
    } | ({"peak_memory_gb": memory} if memory else {})


def stage_times(engine: Engine, config: ModelConfig, case: Case, args: argparse.Namespace) -> dict:
    """Milliseconds of vision, prefix and actions, beside the least that the device allows where it is known."""
    device = args.device
    there = replace(case, slots=case.cameras, tokens=case.words)
    inputs = random_inputs(with_rows(config, case.rows), there, device)
    runs = stage_runs(of_rows(engine, case.rows), inputs, case.steps)
    times = rounds_of(runs, device, max(args.rounds // 3, 3), CLOCKS[args.clock])
    roof = roofline_device(device)
    least = stages(with_rows(config, case.rows), cameras=case.cameras, prompt=case.words)
    return {
        stage.name: {"ms": spread([t * 1e3 for t in times[stage.name]])}
        | ({} if roof is None else {f"least_ms_{roof.name}": round(stage.seconds(roof) * 1e3, 3)})
        for stage in least
    }


def climb(
    size: str, precision: str, cases: tuple[Case, ...], args: argparse.Namespace
) -> list[dict]:
    """Milliseconds of each rung of the ladder on each case."""
    config = sized("pi0", size)
    runs = ladder(random_model(config, DTYPES[precision], args.device), precision)
    result = []
    for case in cases:
        inputs = random_inputs(config, case, args.device)
        calls = {name: partial(run, inputs, case.steps) for name, run in runs.items()}
        for call in calls.values():
            call()
        times = rounds_of(calls, args.device, args.rounds, CLOCKS[args.clock])
        result.append(
            {"model": config.name, "precision": precision, "case": case.name}
            | {k: spread([t * 1e3 for t in v]) for k, v in times.items()}
        )
    return result


def curves(size: str, precision: str, device: str, rounds: int, clock: Clock) -> dict:
    """Milliseconds of ours and of transformers as one thing grows."""
    config = sized("pi0", size)
    model = random_model(config, DTYPES[precision], device)
    engine, peer = compile_engine(model, precision=precision), transformers_pi0(model)
    result: dict = {"model": config.name, "precision": precision}
    for name, cases in CURVES.items():
        result[name] = []
        for case in cases:
            inputs = random_inputs(with_rows(config, case.rows), case, device)
            runs = {OURS: fast(of_rows(engine, case.rows)), PEER: peer}
            calls = {
                k: (lambda run=run, i=inputs, s=case.steps: run(i, s)) for k, run in runs.items()
            }
            for call in calls.values():
                call()
            times = rounds_of(calls, device, rounds, clock)
            at = {"slots": "cameras"}.get(name, name)
            result[name].append(
                {name: getattr(case, at)}
                | {k: spread([t * 1e3 for t in v]) for k, v in times.items()}
            )
            print(f"{name} {result[name][-1]}", file=sys.stderr)
    return result


def openvla(size: str, precision: str, device: str, rounds: int, clock: Clock) -> dict:
    """One action of seven tokens: ours, and transformers' Llama with generate, as OpenVLA runs it."""
    full = openvla_7b()
    if size == "full":
        config = full
    else:
        c = {"width": 512, "depth": 4, "mlp": 1376, "heads": 4, "kv_heads": 4}
        config = replace(
            full,
            name=f"openvla-{size}",
            dino=replace(full.dino, width=256, depth=3, mlp=1024, heads=4),
            siglip=replace(full.siglip, width=288, depth=3, mlp=1076, heads=4),
            language=replace(full.language, **c),
        )
    model: OpenVla = random_model(config, DTYPES[precision], device)
    pixels = torch.randn(1, 6, 224, 224, device=device, dtype=DTYPES[precision])
    text = torch.randint(1, 32_000, (1, 20), device=device)
    peer = transformers_openvla(model)
    calls = {
        PLAIN: lambda: write_action(model, pixels, text, constrained=False)[0],
        "transformers' generate": lambda: peer(pixels, text),
    }
    ids = [call()[:, : config.action_dim].tolist() for call in calls.values()]
    times = rounds_of(calls, device, rounds, clock)
    result = {
        "model": config.name,
        "parameters": count(model),
        "precision": precision,
        "same_ids": ids[0] == ids[1],
    }
    roof = roofline_device(device)
    least = (
        []
        if roof is None
        else [round(s.seconds(roof) * 1e3, 2) for s in stages(config, cameras=1, prompt=20)]
    )
    return result | {
        "ms": {k: spread([t * 1e3 for t in v]) for k, v in times.items()},
        "ratio_to_ours": ratios(times, PLAIN),
        "least_ms": least,
    }


def count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


if __name__ == "__main__":
    main()
