"""Which objective beside span corruption, and how much of it: a controlled study on toy data.

    python docs/studies/objectives.py --out=runs/study

Every run trains the same tiny encoder-decoder on the same number of tokens of four foreign
languages and English, then takes the same short adaptation to translation by tag, so that models
that never saw a pair can be asked as well. Runs that are done are not repeated. The last line is
one JSON object; `objectives.md` says what came out.
"""

import argparse
import json
import pathlib
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gin

from tasks import toy, toy_objectives
from xlingual import config
from xlingual.data import task_registry
from xlingual.training import loop

FOREIGN = ("de", "fr", "ru", "hi")
LANGUAGES = ("en", *FOREIGN)
STEPS, ADAPTATION_STEPS = 400, 120
SEEDS = (0, 1, 2)
RATIOS = (0.1, 0.3, 0.5, 0.7, 0.9)
TRAINED = [d for language in FOREIGN for d in ((language, "en"), ("en", language))]
ZERO_SHOT = list(zip(FOREIGN, (*FOREIGN[1:], FOREIGN[0]), strict=True))


def names(objective: str, codes: Iterable[Sequence[str]]) -> list[str]:
    """Returns the names of toy tasks."""
    return [toy.task_name(objective, *code) for code in codes]


SPANS = names("span_corruption", [(language,) for language in LANGUAGES])
GROUPS = {
    "translation": names("translation", TRAINED),
    "ptlm": names("ptlm", TRAINED),
    "tsc": names("tsc", [(language, "en") for language in FOREIGN]),
}
ADAPTATION = {
    "translation": (0.8, GROUPS["translation"]),
    "denoising": (0.2, names("dot_denoise", [(language,) for language in LANGUAGES])),
}
EVALUATED = [*GROUPS["translation"], *names("translation", ZERO_SHOT)]


def shares(**groups: tuple[float, Sequence[str]]) -> dict[str, float]:
    """Returns task -> share in tokens."""
    return {task: share / len(tasks) for share, tasks in groups.values() for task in tasks}


def register(name: str, leaves: Mapping[str, float]) -> str:
    """Registers a mixture once; returns its name."""
    task_registry.register_mixture(name, leaves, share_unit="tokens")
    return name


def mixtures() -> dict[str, str]:
    """Returns arm -> the mixture that it trains on."""
    arms = {"span corruption": register("study_spans", shares(spans=(1.0, SPANS)))}
    for objective, tasks in GROUPS.items():
        leaves = shares(spans=(0.5, SPANS), other=(0.5, tasks))
        arms[f"+ {objective}"] = register(f"study_{objective}", leaves)
    return arms


def train(folder: pathlib.Path, seed: int, settings: Mapping[str, str]) -> dict[str, Any]:
    """Trains one model and returns its results; those of a finished run are read."""
    results = folder / "results.json"
    if not results.is_file():
        gin.clear_config()
        overrides = {
            "MODEL_DIR": str(folder),
            "TRAIN_STEPS": str(STEPS + ADAPTATION_STEPS),
            "SEED": str(seed),
            "HELDOUT_PERIOD": "0",
            "HELDOUT_TASKS": repr([*SPANS, *GROUPS["translation"]]),
            "TRANSLATION_TASKS": repr(EVALUATED),
            "TRANSLATION_EXAMPLES": "24",
            "CHECKPOINT_PERIOD": "100000",
            "LOG_PERIOD": "100",
            "VOCAB_SIZE": "4608",
            **settings,
        }
        stages = [] if "ARMS" in settings else ["gin/runs/staged.gin"]
        arms = ["gin/runs/learned_ratio.gin"] if "ARMS" in settings else []
        config.parse(["gin/experiments/toy.gin", *stages, *arms], list(overrides.items()))
        gin.get_configurable(loop.train)()
    found: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))
    return summary(found) | {"seconds": found["seconds"]}


def summary(results: Mapping[str, Any]) -> dict[str, float]:
    """Returns the four figures of a run."""
    directions = results["directions"].values()
    chrf = {
        trained: statistics.fmean(d["chrf"] for d in directions if d["trained"] == trained)
        for trained in (True, False)
    }
    heldout = results["heldout_loss"]
    return {
        "span loss": statistics.fmean(heldout[task] for task in SPANS),
        "translation loss": statistics.fmean(heldout[task] for task in GROUPS["translation"]),
        "trained chrF": chrf[True],
        "zero-shot chrF": chrf[False],
    }


def table(title: str, runs: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Returns a Markdown table: mean and, over several seeds, standard deviation."""
    columns = ("span loss", "translation loss", "trained chrF", "zero-shot chrF")
    lines = [f"| {title} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for arm, found in runs.items():
        cells = []
        for column in columns:
            values = [one[column] for one in found]
            digits = 1 if "chrF" in column else 2
            spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.{digits}f}{spread}")
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def compare_objectives(out: pathlib.Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Returns arm -> the figures of its seeds, all adapted in the same way."""
    adaptation = register("study_adaptation", shares(**ADAPTATION))
    return {
        arm: [
            train(
                out / f"{mixture}_{seed}",
                seed,
                {"STAGES": repr([(STEPS, mixture), (None, adaptation)])},
            )
            for seed in seeds
        ]
        for arm, mixture in mixtures().items()
    }


def compare_ratios(out: pathlib.Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Returns share of translation -> figures, and those of a learned share; no adaptation."""
    found = {}
    translation = register("study_mt", shares(mt=(1.0, GROUPS["translation"])))
    spans = register("study_spans", shares(spans=(1.0, SPANS)))
    for ratio in RATIOS:
        leaves = shares(spans=(1 - ratio, SPANS), mt=(ratio, GROUPS["translation"]))
        mixture = register(f"study_mt_{round(100 * ratio)}", leaves)
        settings = {"STAGES": repr([(None, mixture)])}
        found[f"translation {ratio:.0%}"] = [
            train(out / f"{mixture}_{seed}", seed, settings) for seed in seeds
        ]
    for rule in ("Fair", "Exp3S"):
        settings = {
            "ARMS": repr({"lm": spans, "mt": translation}),
            "RULE": f"@bandit.{rule}()",
            "REWARD_PERIOD": "5",
        }
        runs = [out / f"learned_{rule.lower()}_{seed}" for seed in seeds]
        results = [train(run, seed, settings) for run, seed in zip(runs, seeds, strict=True)]
        found[f"learned ({rule}), translation {learned_share(runs):.0%}"] = results
    return found


def learned_share(runs: Sequence[pathlib.Path]) -> float:
    """Returns the share of target tokens that were of translation, a mean over runs."""
    shares_found = []
    for run in runs:
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        shares_found.append(json.loads(lines[-1])["objective/translation/share"])
    return statistics.fmean(shares_found)


def main() -> None:
    """Runs what is missing and prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--ratio_seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    begun = time.monotonic()
    toy_objectives.register_tasks()
    objectives = compare_objectives(args.out, args.seeds)
    ratios = compare_ratios(args.out, args.ratio_seeds)
    print(table("objectives", objectives), table("share", ratios), sep="\n\n")
    seconds = time.monotonic() - begun
    print(json.dumps({"objectives": objectives, "ratios": ratios, "seconds": seconds}))


if __name__ == "__main__":
    main()
