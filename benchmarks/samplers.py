"""Which sampler reaches the best score with equally many scored candidates?

    python -m benchmarks.samplers --checkpoint ADAPTED.safetensors --refit --steps 200 --seeds 0 1 2

needs EYAS_DATA (CIFAR-10 as Parquet, pretrained weights). Same dense network, same criterion, same race of one rung:
every candidate judged on the same images by ``dense_probe``, with ``--refit`` after a refit as in the default race,
which takes five times as long. ``--steps`` fine-tunes each winner alike, refitted first. A search is a line of
``results/samplers.jsonl`` with all its scores in the order of proposal; what is there is not measured again.
``--run FOLDER`` takes data and dense network of a finished run instead. ``--report`` writes the table of what is there.
Whether the default search needs a third of the candidates that random widths need::

    python -m benchmarks.samplers --checkpoint ADAPTED.safetensors --refit --candidates 300 --samplers budget
    python -m benchmarks.samplers --checkpoint ADAPTED.safetensors --refit --samplers evolution
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import eyas
from benchmarks.candidates import Bench, Recipe, bench_parser, trained_accuracy
from benchmarks.common import RESULTS, append_row, mean_and_error, publish, read_rows
from benchmarks.common import table as markdown
from benchmarks.criteria import built
from eyas.pruning.criteria import Criterion
from eyas.pruning.planner import Planner
from eyas.sampling.budget import Budget
from eyas.sampling.generations import Generations
from eyas.sampling.measured import Measured
from eyas.sampling.samplers import Sampler
from eyas.scoring import GrowingPlans, Rung

ROWS = RESULTS / "samplers.jsonl"
KEY = ("model", "dense", "share", "sampler", "rung", "candidates", "seed")
"""What makes a measurement."""
CRITERION = {"kind": "weight_activation", "activation": "std"}
SCORER = "dense_probe"
RUNGS = {False: Rung(images=256), True: Rung(steps=0, mode="fused", images=512)}
"""The only rung, without and with a refit."""
SMALL = {
    "evolution": {"first": 40, "generation": 20},
    "evolution without seeds": {"kind": "evolution", "seeds": 0, "first": 40, "generation": 20},
    "evolution as by default": {"kind": "evolution"},
    "spdy": {"first": 32, "generation": 8},
    "pool": {"first": 40, "generation": 20},
    "surrogate": {"first": 40, "generation": 10},
}
"""Generations for a hundred candidates in all; everything else is the default. A name that is no kind is a variant."""


def measure(bench: Bench, args: argparse.Namespace) -> None:
    """Everything that is asked for and not there yet, every sampler once before any a second time."""
    finished = {tuple(row[name] for name in KEY) for row in read_rows(ROWS)}
    rung = RUNGS[args.refit]
    planner = bench.space.planner(Criterion.parse(CRITERION), data=bench.images.calibration[:4096])
    tables: dict[tuple[Any, ...], tuple[Measured | None, float]] = {}  # of all seeds, and of errors all budgets
    for seed in args.seeds:
        for share in args.shares:
            for kind in args.samplers:
                key = (args.model, args.dense, share, kind, words_of(rung, args.scorer), args.candidates, seed)
                if key in finished:
                    continue
                sampler = Sampler.parse({"kind": kind, **SMALL.get(kind, {})})
                errors, seconds = None, 0.0
                if sampler.needs_table:
                    refitted = getattr(sampler, "refitted", None)  # evolution's seeds need no more than a rough table
                    if refitted is not None:
                        sampler = sampler.model_copy(update={"refitted": args.refit})
                    made: tuple[Any, ...] = (sampler, share)
                    if not sampler.trains:
                        made = (sampler.levels, sampler.images, bool(refitted is not None and args.refit))
                    if made not in tables:
                        tables[made] = timed_table(bench, planner, sampler, share)
                    errors, seconds = tables[made]
                how: dict[str, Any] = {"rung": rung, "candidates": args.candidates, "scorer": args.scorer}
                row = search(bench, planner, sampler, share, seed, **how, errors=errors)
                if args.steps:
                    row |= {"steps": args.steps, "tuned": tuned(bench, planner, row["winner"], args)}
                append_row(ROWS, {**dict(zip(KEY, key, strict=True)), **row, "table_seconds": seconds})


def words_of(rung: Rung, scorer: str) -> str:
    """What tells one rung from the other."""
    judge = "" if scorer == SCORER else f", {scorer}"
    return f"{rung.images} images{'' if rung.steps is None else ', refitted'}{judge}"


def timed_table(bench: Bench, planner: Planner, sampler: Sampler, share: float) -> tuple[Measured | None, float]:
    """The error table, or what was learned for a share of the MACs, and its CPU seconds."""
    start, budget = time.process_time(), Budget.of(bench.space, "macs", share)
    errors = sampler.measure(bench.model, bench.space, planner, bench.images.calibration, budget=budget)
    return errors, round(time.process_time() - start, 1)


def search(
    bench: Bench,
    planner: Planner,
    sampler: Sampler,
    share: float,
    seed: int,
    *,
    rung: Rung,
    candidates: int,
    scorer: str,
    errors: Measured | None,
) -> dict[str, Any]:
    """Scores of all candidates of one search, in the order of proposal, and its CPU seconds."""
    start, images = time.process_time(), bench.images
    budget = Budget.of(bench.space, "macs", share)
    generations = Generations(bench.space, budget, sampler, candidates=candidates, seed=seed, table=errors)
    plans = GrowingPlans(generations.first(), planner, generations)
    scores = eyas.score(
        bench.model,
        bench.space,
        plans,
        images.calibration[:4096],
        images.scoring[:4096],
        None if images.labels is None else images.labels[:4096],
        rungs=[rung],
        scorer=scorer,
    )
    return {
        "scores": [round(float(score), 5) for score in scores.score],
        "accuracy": float(scores.accuracy[scores.winner]),
        "winner": [int(width) for width in plans.widths[scores.winner]],
        "seconds": round(time.process_time() - start, 1),
    }


def tuned(bench: Bench, planner: Planner, winner: list[int], args: argparse.Namespace) -> float:
    """Accuracy of the winner on all test images, refitted and fine-tuned as every other."""
    small = built(bench, planner(np.asarray(winner)), "least_squares")
    return trained_accuracy(bench, small, Recipe(args.steps, args.rate))


def report(rows: list[dict[str, Any]]) -> None:
    """Per network, rung, sampler and budget: the best score, and after how many candidates ``budget`` is reached."""
    parts = []
    for which in dict.fromkeys((row["model"], row["dense"], row["rung"]) for row in rows):
        measured = [row for row in rows if (row["model"], row["dense"], row["rung"]) == which]
        shares = sorted({row["share"] for row in measured}, reverse=True)
        header = ["sampler", "candidates"]
        for share in shares:
            best = f"best at {100 * share:g} %"
            header += [best, "mean of all", "candidates to the best of budget", "fine-tuned", "CPU seconds", "n"]
        lines = []
        for kind, candidates in dict.fromkeys((row["sampler"], row["candidates"]) for row in measured):
            cells: list[object] = [kind, candidates]
            for share in shares:
                here = [row for row in measured if row["share"] == share]
                own = [row for row in here if (row["sampler"], row["candidates"]) == (kind, candidates)]
                cells += cells_of(own, aim_of(here))
            lines.append(cells)
        parts.append(f"**{', '.join(which)}**\n\n{markdown(header, lines)}")
    notes = [
        f"scores of `{SCORER}` where nothing else stands, higher is better; median over n seeds, range of several",
        "candidates that each search had scored when it first reached what `budget` ends with: the median of its bests "
        "with the most candidates that were measured",
        "fine-tuned: accuracy of the winner in percent on all test images, mean and standard error over the searches",
    ]
    publish("samplers", "Samplers at equally many scored candidates", notes, "\n\n".join(parts))


def aim_of(rows: list[dict[str, Any]]) -> float:
    """The median best of ``budget`` with the most candidates; nothing reaches it where there is none."""
    drawn = [row for row in rows if row["sampler"] == "budget"]
    most = max((row["candidates"] for row in drawn), default=0)
    bests = [max(row["scores"]) for row in drawn if row["candidates"] == most]
    return statistics.median(bests) if bests else float("inf")


def cells_of(searches: list[dict[str, Any]], aim: float) -> list[object]:
    """Best, mean, the candidates that reach the aim, winners and seconds, of one sampler's searches at one budget."""
    if not searches:
        return ["", "", "", "", "", 0]
    scored = [row["scores"] for row in searches]
    best = [max(scores) for scores in scored]
    reached = [next((str(at + 1) for at, score in enumerate(row) if score >= aim), f"> {len(row)}") for row in scored]
    spread = f" ({min(best):.4f} to {max(best):.4f})" if len(best) > 1 else ""
    winners = [row["tuned"] for row in searches if "tuned" in row]
    seconds = statistics.median(row["seconds"] + row["table_seconds"] for row in searches)
    return [
        f"{statistics.median(best):.4f}{spread}",
        f"{float(np.mean([np.mean(scores) for scores in scored])):.4f}",
        ", ".join(reached),
        mean_and_error(winners) if winners else "",
        round(seconds),
        len(best),
    ]


def main() -> None:
    """The command line."""
    parser = bench_parser(__doc__)
    parser.add_argument("--samplers", nargs="+", default=[*Sampler.members()], help="kinds")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.25], help="of the dense MACs")
    parser.add_argument("--run", type=Path, help="a run's folder: its data and dense network in place of CIFAR-10")
    parser.add_argument("--scorer", default=SCORER, help="what ranks")
    parser.add_argument("--candidates", type=int, default=100, help="that every search scores")
    parser.add_argument("--refit", action="store_true", help="as in the default race")
    parser.add_argument("--dense", help="what rows call the dense network: adapted with --checkpoint, else public")
    parser.add_argument("--steps", type=int, default=0, help="of the fine-tuning of each winner; 0: none")
    parser.add_argument("--rate", type=float, default=0.05, help="peak learning rate of the fine-tuning")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.report:
        report(read_rows(ROWS))
        return
    args.dense = args.dense or ("of a run" if args.run else "adapted" if args.checkpoint else "public")
    measure(Bench.of_run(args.run) if args.run else Bench.from_arguments(args), args)


if __name__ == "__main__":
    main()
