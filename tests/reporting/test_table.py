import io

import rich.console

from xlingual.outputs import Sample
from xlingual.reporting.table import print_report


def _shown(results, samples=()):
    text = io.StringIO()
    print_report(results, samples, rich.console.Console(file=text, width=100))
    return text.getvalue()


def test_scores_losses_and_samples_are_shown():
    shown = _shown(
        {
            "directions": {
                "en-de": {"chrf": 80.04, "bleu": 50.0, "copy_chrf": 10.0, "trained": True},
                "de-en": {"chrf": 90.0, "bleu": 60.0, "copy_chrf": 11.0, "trained": True},
                "de-fr": {"chrf": 42.0, "bleu": None, "copy_chrf": 12.0, "trained": False},
            },
            "heldout_loss": {"toy_en_de": 0.123456},
            "heldout_group": {"target": 0.5, "replay": 0.25},
        },
        [Sample(task="toy_en_de", source="<2de> [red] cats", target="rote", prediction="Katzen")],
    )
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines()]
    assert ["en-de", "trained", "80.0", "50.0", "10.0"] in rows
    assert ["mean", "trained", "85.0", "55.0", "10.5"] in rows
    assert ["de-fr", "zero-shot", "42.0", "–", "12.0"] in rows
    assert ["toy_en_de", "0.1235"] in rows
    assert ["mean of target", "0.5000"] in rows and ["mean of replay", "0.2500"] in rows
    names = [row[0] for row in rows if row]
    assert names.index("de-en") < names.index("en-de") < names.index("de-fr")
    start = rows.index(["task", "toy_en_de"])
    assert rows[start + 1 : start + 4] == [
        ["source", "<2de> [red] cats"],
        ["reference", "rote"],
        ["output", "Katzen"],
    ]


def test_many_samples_are_thinned_out_evenly():
    samples = [Sample(task=f"task_{i}", source="", target="", prediction="") for i in range(36)]
    shown = _shown({}, samples)
    assert [i for i in range(36) if f" task_{i} " in shown] == list(range(0, 36, 3))


def test_nothing_found_shows_nothing():
    assert _shown({"steps": 3}) == ""
