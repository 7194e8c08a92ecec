"""Teaching a model one more language: what replay of the old ones costs and saves, on toy data.

    python docs/studies/continued_pretraining.py --out=runs/continued

A tiny encoder-decoder is trained on four languages, then goes on with a fifth at three rates of
replay, through `gin/runs/continue.gin`. Runs that are done are not repeated. The last line is one
JSON object; `continued_pretraining.md` says what came out.
"""

import argparse
import json
import pathlib
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import gin

from tasks import toy
from xlingual import config
from xlingual.training import loop

OLD, NEW = ("en", "de", "fr", "ru"), "hi"
STEPS, CONTINUED_STEPS = 600, 300
REPLAY_RATES = (0.0, 0.1, 0.25)
SEEDS = (0, 1, 2)
SPANS_SHARE = 0.3
FIGURES = ("new loss", "new chrF", "old loss", "old chrF")


def spans(languages: Sequence[str]) -> list[str]:
    """Returns the tasks of span corruption of languages."""
    return [toy.task_name("span_corruption", language) for language in languages]


def translations(languages: Sequence[str]) -> list[str]:
    """Returns the tasks of translation between languages and English, both ways."""
    pairs = [d for one in languages if one != "en" for d in ((one, "en"), ("en", one))]
    return toy.task_names("translation", pairs)


def mixture(languages: Sequence[str]) -> dict[str, float]:
    """Returns task -> share in tokens: spans and translation of some languages."""
    return toy.shares(
        spans=(SPANS_SHARE, spans(languages)),
        translation=(1 - SPANS_SHARE, translations(languages)),
    )


OLD_TASKS, NEW_TASKS = mixture(OLD), mixture([NEW])


def train(folder: pathlib.Path, seed: int, runs: Sequence[str], **settings: str) -> dict[str, Any]:
    """Trains one model and returns its figures; those of a finished run are read."""
    results = folder / "results.json"
    if not results.is_file():
        gin.clear_config()
        overrides = {
            "MODEL_DIR": str(folder),
            "SEED": str(seed),
            "HELDOUT_PERIOD": "0",
            "HELDOUT_BATCH_SIZE": "32",
            "HELDOUT_GROUPS": repr({"new": NEW_TASKS, "old": OLD_TASKS}),
            "TRANSLATION_TASKS": repr(translations([NEW, *OLD])),
            "TRANSLATION_EXAMPLES": "32",
            "CHECKPOINT_PERIOD": "100000",
            "LOG_PERIOD": "100",
            **settings,
        }
        files = ["gin/experiments/toy.gin", *(f"gin/runs/{run}.gin" for run in runs)]
        config.parse(files, list(overrides.items()))
        gin.get_configurable(loop.train)()
    found: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))
    return summary(found) | {"seconds": found["seconds"]}


def summary(results: Mapping[str, Any]) -> dict[str, float]:
    """Returns the four figures of a run: loss per task, and chrF per direction, are averaged."""
    chrf: dict[str, list[float]] = {"new": [], "old": []}
    for direction, scores in results["directions"].items():
        chrf["new" if NEW in direction.split("-") else "old"].append(scores["chrf"])
    assert len(chrf["new"]) == 2 and len(chrf["old"]) == 2 * (len(OLD) - 1)
    losses = results["heldout_group"]
    return {
        "new loss": losses["new"],
        "new chrF": statistics.fmean(chrf["new"]),
        "old loss": losses["old"],
        "old chrF": statistics.fmean(chrf["old"]),
    }


def study(out: pathlib.Path, seeds: Sequence[int]) -> dict[str, list[dict[str, Any]]]:
    """Returns arm -> the figures of its seeds."""
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in seeds:
        base = out / f"base_{seed}"
        old = {"MIXTURE_OR_TASK_NAME": repr(OLD_TASKS), "TRAIN_STEPS": str(STEPS)}
        found.setdefault("before", []).append(train(base, seed, [], **old))
        for rate in REPLAY_RATES:
            figures = train(
                out / f"replay_{round(100 * rate)}_{seed}",
                seed,
                ["continue"],
                INITIAL_WEIGHTS=str(base),
                TARGET=repr(NEW_TASKS),
                REPLAY=repr(OLD_TASKS),
                REPLAY_RATE=str(rate),
                TRAIN_STEPS=str(CONTINUED_STEPS),
                WARMUP_STEPS="50",
            )
            found.setdefault(f"replay {rate:.0%}", []).append(figures)
    return found


def differences(
    found: Mapping[str, Sequence[Mapping[str, float]]],
) -> dict[str, list[dict[str, float]]]:
    """Returns arm -> gain on the new language and loss of the old ones, seed by seed.

    Both are counted so that more is more: of what was learned, and of what was forgotten.
    """
    signs = {"new loss": -1, "new chrF": 1, "old loss": 1, "old chrF": -1}
    return {
        arm: [
            {name: sign * (after[name] - before[name]) for name, sign in signs.items()}
            for before, after in zip(found["before"], runs, strict=True)
        ]
        for arm, runs in found.items()
        if arm != "before"
    }


def table(title: str, runs: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Returns a Markdown table: mean and, over several seeds, standard deviation."""
    lines = [f"| {title} | {' | '.join(FIGURES)} |", "|---" * (len(FIGURES) + 1) + "|"]
    for arm, found in runs.items():
        cells = []
        for column in FIGURES:
            values = [one[column] for one in found]
            digits = 1 if "chrF" in column else 2
            spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.{digits}f}{spread}")
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Runs what is missing and prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    args = parser.parse_args()
    begun = time.monotonic()
    found = study(args.out, args.seeds)
    print(table("values", found), table("gain and forgetting", differences(found)), sep="\n\n")
    print(json.dumps({"runs": found, "seconds": time.monotonic() - begun}))


if __name__ == "__main__":
    main()
