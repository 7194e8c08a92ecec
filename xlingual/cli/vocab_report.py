"""`xlingual vocab report`: what a vocabulary costs each language."""

import argparse
import io
import pathlib

from rich.console import RenderableType
from rich.text import Text

from xlingual.cli import corpus_choice, reports
from xlingual.cli.vocabulary_choice import load_vocabulary_at
from xlingual.data.vocabulary_report import VocabularyReport, measure_vocabulary
from xlingual.errors import ConfigError

HELP = "show tokens per sentence, premium, fertility and coverage of a vocabulary by language"
EXAMPLE = (
    "xlingual vocab report shared.model --data_dir=corpora --sources=parallel/ \\\n"
    "    --split=validation --reference=eng_Latn --picture=premium.png"
)
_MISSING_SHOWN = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "vocabulary", help="a SentencePiece .model, or a folder with tokenizer files"
    )
    corpus_choice.add_corpus_arguments(parser)
    parser.add_argument("--reference", default="en", help="language of premium 1 (default: en)")
    parser.add_argument("--max_rows", type=int, help="of each source (default: all)")
    parser.add_argument("--json", metavar="FILE", help="also write the numbers as JSON")
    parser.add_argument("--html", metavar="FILE", help="also write the report as one HTML page")
    parser.add_argument("--picture", metavar="FILE", help="also draw the premiums, as PNG")


def main(args: argparse.Namespace) -> int:
    """Measures and prints; returns 0.

    Raises:
      ConfigError: bad settings, data or vocabulary.
    """
    if args.max_rows is not None and args.max_rows < 1:
        raise ConfigError(f"--max_rows={args.max_rows}; expected 1 or more")
    vocabulary = load_vocabulary_at(pathlib.Path(args.vocabulary))
    corpora = corpus_choice.chosen_corpora(args)
    found = measure_vocabulary(
        vocabulary, corpora, reference=args.reference, max_rows=args.max_rows
    )
    if args.reference not in found.languages:
        raise ConfigError(
            f"--reference={args.reference} is not among the languages {list(found.languages)}"
        )
    parts = report_parts(args.vocabulary, found)
    reports.print_report(parts)
    if args.json:
        reports.write_file("--json", args.json, reports.json_bytes(found.as_json()))
    if args.html:
        page = reports.html_page(f"xlingual vocab report {args.vocabulary}", parts)
        reports.write_file("--html", args.html, page.encode("utf-8"))
    if args.picture:
        reports.write_file("--picture", args.picture, draw(args.vocabulary, found))
    return 0


def report_parts(title: str, found: VocabularyReport) -> list[RenderableType]:
    """Returns the tables of a report."""
    rows = []
    for language, costs in found.languages.items():
        rates = costs.rates()
        rows.append(
            (
                language,
                f"{costs.texts:,}",
                f"{costs.aligned:,}",
                _number(rates["tokens_per_sentence"], ".1f"),
                _number(rates["premium"], ".2f"),
                _number(rates["fertility"], ".2f"),
                _number(rates["characters_per_token"], ".2f"),
                _number(rates["unknown_rate"], ".3%"),
                _number(rates["fallback_rate"], ".3%"),
            )
        )
    columns = ("texts", "aligned", "tokens/sentence", "premium", "tokens/word", "characters/token")
    scripts = [
        (script, f"{total:,}", f"{covered / total:.4%}")
        for script, (total, covered) in found.scripts.items()
    ]
    missing = list(found.missing.items())[:_MISSING_SHOWN]
    shown = " ".join(f"U+{ord(character):04X} {count:,}" for character, count in missing)
    return [
        reports.table_of(title, ("language",), (*columns, "unknown", "bytes"), rows),
        Text(
            f"aligned: texts with the same row in {found.reference}; premium: tokens of these over "
            f"those of the same rows in {found.reference}; bytes: tokens that are single bytes.",
            style="dim",
        ),
        reports.table_of("coverage by script", ("script",), ("characters", "covered"), scripts),
        Text(f"{len(found.missing)} characters without a piece, with their counts: {shown or '-'}"),
    ]


def draw(title: str, found: VocabularyReport) -> bytes:
    """Returns a PNG of the premiums and the characters a token, a bar a language.

    Raises:
      ConfigError: matplotlib is not installed, or no language has a premium.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            f"--picture needs matplotlib ({error}); run: pip install 'xlingual[corpus]'"
        ) from error

    rates = {language: costs.rates() for language, costs in found.languages.items()}
    premiums = {name: one["premium"] for name, one in rates.items() if one["premium"] is not None}
    if not premiums:
        raise ConfigError(f"--picture: no text has the same row in {found.reference!r}")
    order = sorted(premiums, key=lambda name: (premiums[name], name), reverse=True)
    figure = Figure(figsize=(8, max(2.0, 0.18 * len(order) + 1)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2, sharey=True)
    axes[0].barh(order, [premiums[name] for name in order])
    axes[0].axvline(1.0, color="black", linewidth=0.8)
    axes[0].set_xlabel(f"tokens, {found.reference} = 1")
    axes[1].barh(order, [rates[name]["characters_per_token"] or 0.0 for name in order])
    axes[1].set_xlabel("characters a token")
    for one in axes:
        one.tick_params(axis="y", labelsize=6)
        one.margins(y=0.5 / len(order))
    figure.suptitle(title, fontsize=9)
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    return data.getvalue()


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
