"""Small runs with everything that a report can show, written as a run writes them."""

import json
import random

import pytest

from xlingual.evaluation.rows import make_row
from xlingual.evaluation.scores import score_corpus
from xlingual.outputs import Evaluation
from xlingual.reporting.evaluations import append_evaluation

LANGUAGES = ("ar", "de", "en", "python")
TEXTS = {
    "ar": "القطة تنام على 3 كراسي",
    "de": "Die Katze schläft auf 3 Stühlen",
    "en": "The cat sleeps on 3 chairs",
    "python": "for cat in cats:\n    cat.sleep(chairs=3)",
}
DIRECTIONS = [(a, b) for a in LANGUAGES for b in LANGUAGES if a != b]
NUM_EXAMPLES = 40


def write_metrics(folder, *, steps=100, slope=1.0):
    """Writes `metrics.jsonl` of a run with two tasks in two languages."""
    lines = []
    for step in range(10, steps + 1, 10):
        loss = 8.0 - slope * step / 20
        line = {
            "step": step,
            "loss": loss,
            "learning_rate": 1e-3 * step,
            "grad_norm": 1.5,
            "tokens_per_second": 1000.0 + step,
            "mfu": 0.25,
            "encoder_fill": 0.9,
            "decoder_tokens_seen": 100 * step,
        }
        for code, share in (("de", 0.75), ("ar", 0.25)):
            for group in (f"task/toy_{code}", f"language/{code}"):
                line[f"{group}/cross_entropy/loss"] = loss + share
                line[f"{group}/share"] = share + 1 / step
                line[f"{group}/declared_share"] = share
        lines.append(line)
        if step % 50 == 0:
            held_out = {f"heldout_loss/toy_{code}": loss + 0.5 for code in ("de", "ar")}
            lines.append({"step": step, **held_out, "heldout_loss/mean": loss + 0.5})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_evaluations(folder, *, kept=0.5, salt="", step=100):
    """Writes translations, retrieval, and similarity by layer; `kept` letters are right."""
    rows, details = [], {}
    for source, target in DIRECTIONS:
        trained = "en" in (source, target)
        name = f"toy_{source}_{target}"
        references = [f"{TEXTS[target]} {i}" for i in range(NUM_EXAMPLES)]
        predictions = [_spoil(text, kept * (1 if trained else 0.6), salt) for text in references]
        scores = score_corpus(predictions, references)
        common = {
            "src_lang": source, "tgt_lang": target, "trained": trained,
            "num_examples": NUM_EXAMPLES, "data_hash": f"sha256:{name}", "dataset": name,
        }  # fmt: skip
        limits = {"low": scores.chrf - 2, "high": scores.chrf + 2}
        rows.append(make_row(metric="chrf", value=scores.chrf, **limits, **common))
        rows.append(make_row(metric="exact_match", value=0.25, **common))
        counts = scores.counts["chrf"]
        details[name] = [
            {
                "id": i, "source": f"{TEXTS[source]} {i}", "reference": references[i],
                "prediction": predictions[i], "chrf": 50.0, "chrf_stats": counts[i].tolist(),
                "exact_match": float(i % 4 == 0),
            }
            for i in range(NUM_EXAMPLES)
        ]  # fmt: skip
    append(folder, "translation", step, rows, details)
    retrieval = [
        make_row(metric="accuracy", value=value, dataset="tatoeba", lang=code, low=0.1, high=0.9)
        for code, value in (("ar", 0.25), ("de", 0.75))
    ]
    append(folder, "retrieval", step, retrieval)
    layers = [
        make_row(metric="cosine", value=slope * layer, dataset="toy", lang=code, layer=layer)
        for layer in range(4)
        for code, slope in (("ar", 0.2), ("de", 0.4))
    ]
    append(folder, "probes", step, layers)


def _spoil(text, kept, salt=""):
    """Returns the text with some letters replaced; the same ones for the same text."""
    draws = random.Random(salt + text)
    return "".join(c if draws.random() < kept or c == " " else "·" for c in text)


def append(folder, evaluator, step, rows, details=None):
    """Appends rows as the hook does."""
    evaluation = Evaluation(scalars={}, rows=rows, details=details or {})
    header = {"evaluator": evaluator, "step": step, "model": folder.name, "config_hash": "sha256:1"}
    append_evaluation(folder, evaluation, header=header)


def make_run(folder, **settings):
    """Returns the folder of a run with all files."""
    folder.mkdir(parents=True)
    write_metrics(folder, slope=settings.get("slope", 1.0))
    write_evaluations(folder, kept=settings.get("kept", 0.6), salt=settings.get("salt", ""))
    results = {"tokens_per_second": 1234.0, "seconds": 3725.0, "peak_rss_bytes": 2**31}
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "operative_config.gin").write_text(f"SEED = {settings.get('seed', 0)}\nSTEPS = 9\n")
    premiums = {"en": 1.0, "de": 1.2, "ar": settings.get("premium", 1.9)}
    report = {"reference": "en", "languages": {c: {"premium": p} for c, p in premiums.items()}}
    (folder / "vocab_report.json").write_text(json.dumps(report))
    return folder


@pytest.fixture(scope="session")
def close_folders(tmp_path_factory):
    """Two runs that are equally good, on other letters."""
    parent = tmp_path_factory.mktemp("close")
    for name in ("a", "b"):
        (parent / name).mkdir()
        write_evaluations(parent / name, salt=name)
    return [str(parent / name) for name in ("a", "b")]


@pytest.fixture(scope="session")
def run_folders(tmp_path_factory):
    """Two runs; the second is better in every direction."""
    parent = tmp_path_factory.mktemp("runs")
    return [
        str(make_run(parent / "first")),
        str(make_run(parent / "second", kept=0.9, slope=1.2, seed=1, premium=1.4)),
    ]
