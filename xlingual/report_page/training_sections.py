"""How the runs went: their key figures, curves, losses by group, and shares."""

import datetime
from collections.abc import Sequence

from xlingual.report_page.charts import (
    Chart,
    Dot,
    DotChart,
    GridChart,
    Line,
    LineChart,
    percent,
)
from xlingual.report_page.markup import Node, element, missing, table
from xlingual.report_page.runs import Run
from xlingual.report_page.sections import (
    Fold,
    Section,
    metric_chart,
    run_lines,
    run_names,
    slug,
)

MAX_CHARTS = 16
"""Groups of a kind that get a chart each; more share one of small axes."""

TRAIN = "xlingual train --gin_file=FILE --gin.MODEL_DIR={folder}"


def summary_section(runs: Sequence[Run]) -> Section:
    """Returns the figures that a reader asks for first."""
    known = [_key_figures(run) for run in runs]
    names = list(dict.fromkeys(name for figures in known for name in figures))
    body: Node
    if not names:
        body = missing("No run has figures yet.", TRAIN.format(folder=runs[0].argument))
    elif len(runs) == 1:
        cells = [
            element("div", element("dt", name), element("dd", known[0][name])) for name in names
        ]
        body = element("dl", *cells, class_="tiles")
    else:
        rows = [(name, *(figures.get(name, "–") for figures in known)) for name in names]
        body = table(("", *run_names(runs)), rows, caption="Key figures")
    return Section(name="summary", title="Summary", body=[body])


def _key_figures(run: Run) -> dict[str, str]:
    """Returns what is known of a run, for people."""
    last, results = run.last_numbers, run.results
    numbers = {
        "Steps": (last.get("step"), lambda x: f"{x:,.0f}"),
        "Tokens seen": (
            sum(value for name, value in last.items() if name.endswith("_tokens_seen")) or None,
            _large,
        ),
        "Training loss": (last.get("loss"), lambda x: f"{x:.3f}"),
        "Held-out loss": (last.get("heldout_loss/mean"), lambda x: f"{x:.3f}"),
        "chrF, trained": (last.get("chrf/mean_trained"), lambda x: f"{x:.1f}"),
        "chrF, zero-shot": (last.get("chrf/mean_zero_shot"), lambda x: f"{x:.1f}"),
        "Tokens a second": (results.get("tokens_per_second"), lambda x: f"{x:,.0f}"),
        "MFU": (last.get("mfu"), percent),
        "Wall time": (results.get("seconds"), lambda x: str(datetime.timedelta(seconds=round(x)))),
        "Peak memory": (results.get("peak_rss_bytes"), lambda x: f"{x / 2**30:.1f} GiB"),
    }
    return {name: form(value) for name, (value, form) in numbers.items() if value is not None}


def _large(value: float) -> str:
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:,.0f}"


def training_section(runs: Sequence[Run]) -> Section:
    """Returns loss, learning rate, norms, throughput and utilisation over steps."""
    loss = metric_chart(runs, "loss", "Training loss", ("loss", "loss", False))
    if not loss:
        note = missing(
            "There is no metrics.jsonl: the curves are written by training.",
            TRAIN.format(folder=runs[0].argument),
        )
        return Section(name="training", title="Training", body=[note])
    charts = [*loss, *_quality(runs), *_optimiser(runs), *_speed(runs)]
    return Section(name="training", title="Training", body=[charts])


def _quality(runs: Sequence[Run]) -> list[Chart]:
    """Returns what is measured on held-out examples while training goes on."""
    return [
        *metric_chart(
            runs,
            "heldout-loss",
            "Held-out loss",
            ("heldout_loss/mean", "mean over tasks", True),
            note="Nats a weighted target token; every task counts once.",
        ),
        *metric_chart(
            runs,
            "chrf",
            "chrF during training",
            ("chrf/mean_trained", "trained directions", False),
            ("chrf/mean_zero_shot", "zero-shot directions", True),
            from_zero=True,
        ),
    ]


def _optimiser(runs: Sequence[Run]) -> list[Chart]:
    return [
        *metric_chart(
            runs, "learning-rate", "Learning rate", ("learning_rate", "rate", False), from_zero=True
        ),
        *metric_chart(
            runs,
            "grad-norm",
            "Gradient norm",
            ("grad_norm", "norm", False),
            note="Before any clip; the mean of a log period.",
            from_zero=True,
        ),
    ]


def _speed(runs: Sequence[Run]) -> list[Chart]:
    utilisation = metric_chart(
        runs,
        "mfu",
        "Model flops utilisation",
        ("mfu", "useful work", False),
        ("nominal_mfu", "with padding", True),
        form=percent,
        from_zero=True,
    )
    return [
        *metric_chart(
            runs,
            "throughput",
            "Tokens a second",
            ("tokens_per_second", "tokens", False),
            note="Tokens that are not padding, of all stacks; without evaluations and saving.",
            from_zero=True,
        ),
        *(utilisation or _useful_flops(runs)),
        *metric_chart(
            runs,
            "fill",
            "Fill of the rows",
            ("encoder_fill", "encoder", False),
            ("decoder_fill", "decoder", True),
            form=percent,
        ),
    ]


def _useful_flops(runs: Sequence[Run]) -> list[Chart]:
    """Returns the numerator of the utilisation, where the peak of the devices is not known."""
    return [
        *metric_chart(
            runs,
            "useful-flops",
            "Useful flops a second",
            ("useful_flops_per_second", "flops a second", False),
            form=_flops,
            note="No MFU: these devices have no entry in the table of peaks (a CPU has none).",
            from_zero=True,
        )
    ]


def _flops(value: float) -> str:
    for size, letter in ((1e15, " P"), (1e12, " T"), (1e9, " G"), (1e6, " M")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def loss_section(runs: Sequence[Run]) -> Section:
    """Returns the loss of every objective, language, direction and task over steps."""
    lead = (
        "Cross-entropy in nats a weighted target token. A language is that of the targets. The "
        "loss in training is solid, that of held-out examples dashed."
    )
    body: list[Node | Sequence[Chart] | Fold] = []
    for kind in ("objective", "language", "task"):
        panels = _loss_panels(runs, kind)
        if 0 < len(panels) <= MAX_CHARTS and kind != "task":
            charts: list[Chart] = [
                LineChart(
                    name=slug("loss", kind, label), title=label, lines=lines, runs=run_names(runs)
                )
                for label, lines in panels
            ]
            body += [element("h3", f"By {kind}"), charts]
        elif panels:
            chart = GridChart(
                name=f"loss-{kind}", title=f"Loss by {kind}", panels=panels, runs=run_names(runs)
            )
            body.append([chart])
    if not body:
        body.append(
            missing(
                "No losses by task: metrics.jsonl has no line of training.",
                TRAIN.format(folder=runs[0].argument),
            )
        )
    return Section(name="losses", title="Losses by group", lead=lead, body=body)


def _loss_panels(runs: Sequence[Run], kind: str) -> list[tuple[str, list[Line]]]:
    """Returns the losses of the members of a kind of groups; those without any are left out."""
    panels = []
    for member in members(runs, kind):
        losses = loss_names(runs, f"{kind}/{member}/")
        alone = len(losses) == 1
        names = [(n, "training" if alone else _loss_words(n), False) for n in losses]
        if kind == "task":
            names.append((f"heldout_loss/{member}", "held-out", True))
        if lines := run_lines(runs, names):
            panels.append((member, lines))
    return panels


def loss_names(runs: Sequence[Run], prefix: str) -> list[str]:
    """Returns the names `PREFIX LOSS/loss` that runs have."""
    return sorted(
        {
            name
            for run in runs
            for name in run.last_numbers
            if name.startswith(prefix)
            and name.endswith("/loss")
            and name.removeprefix(prefix).count("/") == 1
        }
    )


def _loss_words(name: str) -> str:
    return name.split("/")[-2].replace("_", " ")


def members(runs: Sequence[Run], kind: str) -> list[str]:
    """Returns the names of a kind of groups that a run reports, sorted.

    Args:
      runs: with names `KIND/MEMBER/...` in their metrics.
      kind: `task`, `objective`, `language` or `direction`.
    """
    found = set()
    for run in runs:
        for name in run.last_numbers:
            if name.startswith(f"{kind}/") and name.endswith("/share"):
                found.add(name.removeprefix(f"{kind}/").removesuffix("/share"))
    return sorted(found)


def shares_section(runs: Sequence[Run]) -> Section:
    """Returns what the mixture gave each group beside what it declares."""
    lead = (
        "Share of the weighted target tokens (or of the examples, where the mixture counts those) "
        "over the whole run: the dot is realised, the stroke declared."
    )
    charts: list[Chart] = []
    folds: list[Node | Sequence[Chart] | Fold] = []
    for kind in ("objective", "language", "task"):
        found = _share_chart(runs, kind)
        if found and kind == "task":
            folds.append(Fold(summary="By task", charts=found))
        else:
            charts += found
    if not charts:
        note = missing(
            "No shares: metrics.jsonl has no line of training.",
            TRAIN.format(folder=runs[0].argument),
        )
        return Section(name="shares", title="Shares of the mixture", body=[note])
    return Section(name="shares", title="Shares of the mixture", lead=lead, body=[charts, *folds])


def _share_chart(runs: Sequence[Run], kind: str) -> list[Chart]:
    last = [run.last_numbers for run in runs]
    rows = []
    for member in members(runs, kind):
        dots = [
            Dot(
                value=numbers[f"{kind}/{member}/share"],
                target=numbers.get(f"{kind}/{member}/declared_share"),
                run=index,
            )
            for index, numbers in enumerate(last)
            if f"{kind}/{member}/share" in numbers
        ]
        rows.append((member, dots))
    if not rows:
        return []
    rows.sort(key=lambda row: -max(dot.value for dot in row[1]))
    chart = DotChart(
        name=f"shares-{kind}",
        title=f"Shares by {kind}",
        rows=rows,
        form=percent,
        target_name="declared",
        runs=run_names(runs),
    )
    return [chart]
