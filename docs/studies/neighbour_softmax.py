"""A softmax over targets and their neighbours against the exact one: speed, and held-out loss.

    python docs/studies/neighbour_softmax.py --out=runs/neighbours

Speed is that of the training step over 250,112 entries, on random tokens that follow Zipf's law:
in each round every arm takes the same new batch twice, so that the second time nothing has to be
searched. Held-out loss is that of runs on the embedded corpus that differ in the loss alone; it is
exact for all of them. Runs that are done are not repeated. The last line is one JSON object;
`neighbour_softmax.md` says what came out.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import gin
import jax
import numpy as np

from xlingual import config
from xlingual.losses.base import Loss
from xlingual.losses.blockwise_cross_entropy import BlockwiseCrossEntropy
from xlingual.losses.neighbour_cross_entropy import NeighbourCrossEntropy
from xlingual.models.config import TransformerConfig
from xlingual.models.encoder_decoder import EncoderDecoder
from xlingual.optimizers.adafactor import Adafactor
from xlingual.optimizers.schedules import constant
from xlingual.partitioning import rules
from xlingual.partitioning.partitioner import Partitioner
from xlingual.training import loop
from xlingual.training.programs import TrainProgram
from xlingual.training.state import make_state, plan_state

LISTS = (5, 25, 50)
"""Entries of a list of neighbours."""
PERIOD = 1000
"""Steps between refreshments over which the search is spread."""
HELDOUT_TASKS = (
    "toy_span_corruption_en",
    "toy_span_corruption_ru",
    "toy_translation_de_en",
    "toy_translation_en_hi",
)


def arms() -> dict[str, Loss]:
    """Returns arm -> the loss whose training step is timed."""
    exact = BlockwiseCrossEntropy()
    sampled = {
        f"k = {k}": NeighbourCrossEntropy(exact=exact, num_neighbours=k, max_candidates=32768)
        for k in LISTS
    }
    return {"exact": exact, **sampled}


def zipf_tokens(random: np.random.Generator, shape: tuple[int, ...], size: int) -> np.ndarray:
    """Returns token ids from 3 on, the n-th of them in proportion to 1 / n."""
    chances = 1.0 / np.arange(1, size - 2)
    edges = np.cumsum(chances / chances.sum())
    places = np.searchsorted(edges, random.random(shape))
    return (3 + np.minimum(places, size - 4)).astype(np.int32)


def make_batch(args: argparse.Namespace, number: int) -> dict[str, np.ndarray]:
    """Returns a batch of full rows, every target weighted 1."""
    random = np.random.default_rng([0, number])
    batch: dict[str, np.ndarray] = {}
    for stack, length in (("encoder", args.inputs_length), ("decoder", args.targets_length)):
        shape = (args.batch_size, length)
        batch[f"{stack}_input_tokens"] = zipf_tokens(random, shape, args.vocab_size)
        batch[f"{stack}_segment_ids"] = np.ones(shape, np.int32)
        batch[f"{stack}_positions"] = np.tile(np.arange(length, dtype=np.int32), (shape[0], 1))
    batch["decoder_target_tokens"] = zipf_tokens(random, shape, args.vocab_size)
    batch["decoder_task_ids"] = np.ones(shape, np.int32)
    batch["decoder_loss_weights"] = np.ones(shape, np.float32)
    return batch


class Steps:
    """Compiled training steps of all arms, which share one set of parameters."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Compiles the steps of a model of mT5-small's widths."""
        model = EncoderDecoder(
            TransformerConfig(
                vocab_size=args.vocab_size,
                d_model=args.d_model,
                d_ff=2 * args.d_model,
                d_kv=64,
                num_heads=6,
                num_encoder_layers=args.layers,
                num_decoder_layers=args.layers,
                dtype="float32",
                scan_layers=False,
            )
        )
        optimizer = Adafactor(learning_rate=constant(0.001))
        self.partitioner = Partitioner(rules=rules.data_parallel(), devices=(jax.devices()[0],))
        spec = {
            name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in make_batch(args, 0).items()
        }
        self._programs, self._extra = {}, {}
        for name, loss in arms().items():
            losses = {"cross_entropy": loss}
            layout = plan_state(model, optimizer, self.partitioner, spec, losses)
            self._programs[name] = TrainProgram(
                model=model,
                losses=losses,
                optimizer=optimizer,
                partitioner=self.partitioner,
                layout=layout,
                spec=spec,
                num_tasks=1,
            ).compile()
            self._extra[name] = self.partitioner.jit(
                layout.init_extra, out_shardings=layout.shardings.extra
            )()
            if name == "exact":
                self._state = make_state(model, layout, self.partitioner, spec, seed=0)

    def take(self, arm: str, features: Mapping[str, jax.Array]) -> dict[str, float]:
        """Returns seconds of a step, by the clock and of all cores, and its numbers of entries."""
        state = dataclasses.replace(self._state, extra=self._extra[arm])
        begun, busy = time.perf_counter(), time.process_time()
        state, metrics = jax.block_until_ready(self._programs[arm](state, features))
        times = {
            "seconds": time.perf_counter() - begun,
            "core_seconds": time.process_time() - busy,
        }
        self._extra[arm] = state.extra
        self._state = dataclasses.replace(state, extra={})
        numbers = {
            name.removeprefix("cross_entropy/"): float(metric.total)
            for name, metric in metrics.sums.losses.items()
        }
        return {**times, **numbers}


def compare_speed(args: argparse.Namespace) -> dict[str, Any]:
    """Returns arm -> figures of its training step; see the top of this file."""
    steps, names = Steps(args), list(arms())
    again: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    first: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(args.rounds + 1):
        features = steps.partitioner.shard_batch(make_batch(args, number))
        for name in names:
            found = [steps.take(name, features), steps.take(name, features)]
            if number:  # the first round warms caches up
                first[name].append(found[0])
                again[name].append(found[1])
        names.reverse()
    occurring = count_targets(args)
    tokens = args.batch_size * (args.inputs_length + args.targets_length)
    figures = {
        name: {
            "candidates": statistics.fmean(step.get("candidates", 0.0) for step in again[name]),
            "searched": statistics.fmean(step.get("searched", 0.0) for step in first[name]),
            "seconds_min": min(step["seconds"] for step in again[name]),
            "tokens_per_second": tokens / statistics.median(x["seconds"] for x in again[name]),
            **spread_search(first[name], again[name], occurring),
        }
        for name in arms()
    }
    for figure in figures.values():
        for unit in ("seconds", "core_seconds", "core_seconds_with_search"):
            figure[f"ratio_of_{unit}"] = figures["exact"][unit] / figure[unit]
    return {"arms": figures, "targets_of_a_period": occurring, "tokens": tokens}


def spread_search(
    first: Sequence[Mapping[str, float]], again: Sequence[Mapping[str, float]], occurring: int
) -> dict[str, float]:
    """Returns medians of the time of a step without search, and with its part of a period's.

    Args:
      first: steps on new batches.
      again: the same batches once more.
      occurring: entries that are searched in a period.
    """
    found = {}
    for unit in ("seconds", "core_seconds"):
        found[unit] = statistics.median(step[unit] for step in again)
        searched = sum(step.get("searched", 0.0) for step in first)
        more = sum(new[unit] - old[unit] for new, old in zip(first, again, strict=True))
        per_entry = more / searched if searched else 0.0
        found[f"{unit}_per_searched_entry"] = per_entry
        found[f"{unit}_with_search"] = found[unit] + per_entry * occurring / PERIOD
    return found


def count_targets(args: argparse.Namespace) -> int:
    """Returns how many entries are targets in a period, of which each is searched once."""
    random = np.random.default_rng(0)
    size = args.batch_size * args.targets_length
    found = [np.unique(zipf_tokens(random, (size,), args.vocab_size)) for _ in range(PERIOD)]
    return len(np.unique(np.concatenate(found)))


def train(folder: pathlib.Path, args: argparse.Namespace, seed: int, k: int | None) -> Any:
    """Trains one model and returns its held-out losses by step; those of a finished run are read.

    Args:
      folder: of the run.
      args: of the command.
      seed: of the run.
      k: entries of a list; None for the exact loss.
    """
    if not (folder / "results.json").is_file():
        gin.clear_config()
        overrides = {
            "MODEL_DIR": str(folder),
            "TRAIN_STEPS": str(args.steps),
            "SEED": str(seed),
            "TASK_FEATURE_LENGTHS": "{'inputs': 64, 'targets': 64}",
            "HOOKS": "[@heldout/hooks.EvaluateHook()]",
            "HELDOUT_TASKS": repr(HELDOUT_TASKS),
            "HELDOUT_PERIOD": str(args.steps // 3),
            "CHECKPOINT_PERIOD": "100000",
            "LOG_PERIOD": "50",
        }
        losses = ["gin/losses/blockwise_cross_entropy.gin"]
        if k is not None:
            losses = ["gin/losses/neighbour_cross_entropy.gin"]
            overrides |= {"NUM_NEIGHBOURS": str(k), "REFRESH_PERIOD": "50"}
        config.parse(["gin/experiments/toy.gin", *losses], list(overrides.items()))
        gin.get_configurable(loop.train)()
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    used = [row["cross_entropy/candidates"] for row in rows if "cross_entropy/candidates" in row]
    return {
        "heldout": {
            row["step"]: row["heldout_loss/mean"] for row in rows if "heldout_loss/mean" in row
        },
        "candidates": statistics.fmean(used) if used else None,
    }


def compare_losses(args: argparse.Namespace) -> dict[str, list[Any]]:
    """Returns arm -> what `train` returns of each seed."""
    found: dict[str, list[Any]] = {}
    for seed in args.seeds:
        for k in (None, *LISTS):
            name = "exact" if k is None else f"k = {k}"
            folder = args.out / f"{name.replace(' = ', '')}_{seed}"
            found.setdefault(name, []).append(train(folder, args, seed, k))
    return found


def speed_table(speed: Mapping[str, Any]) -> str:
    """Returns the figures of speed as Markdown."""
    lines = [
        "| loss | candidates | s a step | times exact | core s a step | times exact "
        "| core s with search | times exact |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, found in speed["arms"].items():
        used = f"{found['candidates']:,.0f}" if found["candidates"] else "all"
        cells = [
            f"{found[unit]:.2f} | {found[f'ratio_of_{unit}']:.2f}"
            for unit in ("seconds", "core_seconds", "core_seconds_with_search")
        ]
        lines.append(f"| {name} | {used} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def loss_table(losses: Mapping[str, Sequence[Any]]) -> str:
    """Returns the held-out losses as Markdown: mean and standard deviation over seeds."""
    steps = list(losses["exact"][0]["heldout"])
    lines = [
        "| loss | candidates | " + " | ".join(f"step {step}" for step in steps) + " |",
        "|---|---|" + "---|" * len(steps),
    ]
    for name, runs in losses.items():
        used = [run["candidates"] for run in runs if run["candidates"]]
        cells = [f"{statistics.fmean(used):,.0f}" if used else "all"]
        for step in steps:
            values = [run["heldout"][step] for run in runs]
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.3f}{spread}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measures what is missing and prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=240, help="of a run on the corpus")
    parser.add_argument("--rounds", type=int, default=3, help="of timed steps; 0 times nothing")
    parser.add_argument("--vocab_size", type=int, default=250_112)
    parser.add_argument("--d_model", type=int, default=512)
    parser.add_argument("--layers", type=int, default=2, help="of each stack; mT5-small has 8")
    parser.add_argument("--batch_size", type=int, default=4, help="rows")
    parser.add_argument("--inputs_length", type=int, default=128)
    parser.add_argument("--targets_length", type=int, default=114)
    args = parser.parse_args()
    found: dict[str, Any] = {"load": os.getloadavg()[0], "cores": len(os.sched_getaffinity(0))}
    if args.rounds:
        found["speed"] = compare_speed(args)
        print(speed_table(found["speed"]), flush=True)
    if args.seeds and args.steps:
        found["losses"] = compare_losses(args)
        print(loss_table(found["losses"]), flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
