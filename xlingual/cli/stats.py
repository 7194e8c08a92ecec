"""`xlingual stats`: what corpora hold, by source and language."""

import argparse
import pathlib

from rich.console import RenderableType
from rich.text import Text

from xlingual.cli import corpus_choice, filter_report, reports
from xlingual.cli.vocabulary_choice import load_vocabulary_at
from xlingual.data import near_duplicates
from xlingual.data.corpus_statistics import (
    QUANTILES,
    CorpusStatistics,
    TextStatistics,
    measure_corpora,
)
from xlingual.errors import ConfigError

HELP = "count documents, tokens, lengths, duplicates and doubtful languages by source"
EXAMPLE = "xlingual stats --data_dir=corpora --vocabulary=shared.model --html=stats.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    corpus_choice.add_corpus_arguments(parser)
    parser.add_argument(
        "--vocabulary", metavar="PATH", help="also count its tokens: a .model, or a folder"
    )
    parser.add_argument("--reference", default="en", help="language of length ratio 1")
    parser.add_argument(
        "--max_near", type=int, default=20_000, help="texts compared, a source and language"
    )
    parser.add_argument(
        "--max_identified", type=int, default=1_000, help="texts whose language is identified"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=near_duplicates.THRESHOLD,
        help=f"similarity of near duplicates (default {near_duplicates.THRESHOLD})",
    )
    parser.add_argument("--json", metavar="FILE", help="also write the numbers as JSON")
    parser.add_argument("--html", metavar="FILE", help="also write the report as one HTML page")


def main(args: argparse.Namespace) -> int:
    """Counts and prints; returns 0.

    Raises:
      ConfigError: bad settings, data or vocabulary.
    """
    for name in ("max_near", "max_identified"):
        if getattr(args, name) < 0:
            raise ConfigError(f"--{name}={getattr(args, name)}; expected 0 or more")
    vocabulary = load_vocabulary_at(pathlib.Path(args.vocabulary)) if args.vocabulary else None
    found = measure_corpora(
        corpus_choice.chosen_corpora(args),
        vocabulary=vocabulary,
        reference=args.reference,
        max_near=args.max_near,
        max_identified=args.max_identified,
        threshold=args.threshold,
    )
    parts = report_parts(found)
    if args.names:
        parts += filter_report.filter_parts(args.names, args.split)
    reports.print_report(parts)
    if args.json:
        reports.write_file("--json", args.json, reports.json_bytes(found.as_json()))
    if args.html:
        page = reports.html_page("xlingual stats", parts)
        reports.write_file("--html", args.html, page.encode("utf-8"))
    return 0


def report_parts(found: CorpusStatistics) -> list[RenderableType]:
    """Returns the tables of a report."""
    words = ("source", "language")
    texts = [
        (source, language, *_text_cells(one)) for (source, language), one in found.texts.items()
    ]
    columns = ("documents", "characters", "tokens", "characters a text", "tokens a text")
    checks = ("same", "near same", "language agrees", "others")
    parts: list[RenderableType] = [
        reports.table_of("texts", words, (*columns, *checks), texts),
        Text(
            "a text: quantiles 0.05, 0.5, 0.95 and the longest; same: of all texts, near same: of "
            "a sample of distinct texts; language agrees: of a sample, by py3langid, with the most "
            "frequent other guesses; - where the model does not know the language.",
            style="dim",
        ),
    ]
    ratios = [
        (source, f"{language} / {reference}", f"{one.rows:,}", *(f"{q:.2f}" for q in one.quantiles))
        for (source, reference, language), one in found.ratios.items()
    ]
    if ratios:
        unit = next(iter(found.ratios.values())).unit
        quantiles = ("rows", *(f"{share:g}" for share in QUANTILES))
        parts.append(
            reports.table_of(f"length ratios in {unit}", ("source", "pair"), quantiles, ratios)
        )
    return parts


def _text_cells(one: TextStatistics) -> list[str]:
    near = f"{one.near_duplicates / max(one.near_sampled, 1):.2%} of {one.near_sampled:,}"
    agreed = f"{one.language_agreed / max(one.language_sampled, 1):.1%} of {one.language_sampled:,}"
    return [
        f"{one.documents:,}",
        f"{one.characters:,}",
        "" if one.tokens is None else f"{one.tokens:,}",
        _lengths(one.character_quantiles),
        "" if one.token_quantiles is None else _lengths(one.token_quantiles),
        f"{one.exact_duplicates / one.documents:.2%}",
        near if one.near_sampled else "-",
        agreed if one.language_sampled else "-",
        " ".join(f"{language} {count}" for language, count in one.other_languages),
    ]


def _lengths(quantiles: tuple[int, ...]) -> str:
    shown = [quantiles[QUANTILES.index(share)] for share in (0.05, 0.5, 0.95, 1.0)]
    return " ".join(f"{value:,}" for value in shown)
