"""`xlingual vocab allocate`: how many pieces each language gets, after VoCap."""

import argparse
import functools
import pathlib

from xlingual.cli import corpus_choice
from xlingual.cli.reports import json_bytes, print_report, table_of, write_file
from xlingual.cli.vocab_train import add_sampling_arguments, measured_quotas
from xlingual.data import corpora, corpus_sampling, vocabulary_allocation
from xlingual.errors import ConfigError
from xlingual.objectives.code_whitespace import WHITESPACE_PIECES

HELP = "give each language the number of pieces that its text profits from (VoCap)"
EXAMPLE = (
    "xlingual vocab allocate --data_dir=corpora --sizes=1000:50000:1000 --target=500000 \\\n"
    "    --work_dir=vocap --to=pieces.tsv"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    corpus_choice.add_corpus_arguments(parser)
    parser.add_argument("--to", required=True, metavar="FILE", help="the list of pieces to write")
    parser.add_argument(
        "--target", type=int, required=True, help="pieces of all languages together"
    )
    parser.add_argument(
        "--sizes", default="1000:50000:1000", help="first:last:step (default 1000:50000:1000)"
    )
    parser.add_argument("--beta", type=float, default=0.7, help="exponent of rates (default 0.7)")
    parser.add_argument("--fill_from", metavar="LANGUAGE", help="whose pieces fill up the rest")
    parser.add_argument("--max_lines", type=int, default=1_000_000, help="measured, a language")
    parser.add_argument(
        "--work_dir",
        required=True,
        metavar="DIR",
        help="keeps a model a language and size; a second run goes on where the first stopped",
    )
    parser.add_argument("--json", metavar="FILE", help="also write curves and sizes as JSON")
    add_sampling_arguments(parser)
    parser.set_defaults(alpha=0.7)


def main(args: argparse.Namespace) -> int:
    """Measures, allocates, writes the pieces and prints the table; returns 0.

    Raises:
      ConfigError: bad settings or data, or a target that cannot be met.
    """
    sizes = size_range(args.sizes)
    chosen = corpus_choice.chosen_corpora(args)
    quotas = measured_quotas(args, chosen)
    lines = {q.language: _lines(chosen, q, args.seed, args.max_lines) for q in quotas}
    folder = pathlib.Path(args.work_dir)
    control = {
        language: WHITESPACE_PIECES if any(c.is_code(language) for c in chosen) else ()
        for language in lines
    }
    curves = {
        language: vocabulary_allocation.measure_curve(
            text, sizes, folder / language, control_tokens=control[language]
        )
        for language, text in lines.items()
    }

    @functools.cache
    def pieces_of(language: str, size: int) -> list[str]:
        path = vocabulary_allocation.model_path(
            lines[language], size, folder / language, control[language]
        )
        return vocabulary_allocation.text_pieces(path)

    found = vocabulary_allocation.allocate(
        curves,
        {quota.language: quota.rate for quota in quotas},
        pieces_of,
        target=args.target,
        beta=args.beta,
        fill_from=args.fill_from,
    )
    write_file("--to", args.to, "".join(f"{piece}\n" for piece in found.pieces).encode("utf-8"))
    if args.json:
        content = {**vars(found), "pieces": len(found.pieces)}
        content["curves"] = {language: vars(curve) for language, curve in curves.items()}
        write_file("--json", args.json, json_bytes(content))
    _print(found, curves, {language: len(text) for language, text in lines.items()})
    print(f"{args.to}: {len(found.pieces)} pieces, {found.filled} of them to fill up")
    return 0


def size_range(text: str) -> list[int]:
    """Returns the sizes of `first:last:step`, ascending.

    Raises:
      ConfigError: another form, or no size.
    """
    try:
        first, last, step = (int(part) for part in text.split(":"))
        sizes = list(range(first, last + 1, step))
    except ValueError:
        sizes = []
    if not sizes or sizes[0] < 1 or step < 1:
        raise ConfigError(f"--sizes={text}; expected first:last:step, such as 1000:50000:1000")
    return sizes


def _lines(
    chosen: list[corpora.Corpus], quota: corpus_sampling.LanguageQuota, seed: int, most: int
) -> list[str]:
    """Returns at most `most` lines of one language, evenly spread over its text."""
    copies = min(1.0, most / max(quota.lines, 1))
    (whole,) = corpus_sampling.with_copies([quota], copies)
    one = corpora.only_languages(chosen, [quota.language])
    return [line for line in corpus_sampling.sample_lines(one, [whole], seed) if line]


def _print(
    found: vocabulary_allocation.Allocation,
    curves: dict[str, vocabulary_allocation.Curve],
    lines: dict[str, int],
) -> None:
    rows = []
    for language, size in found.sizes.items():
        curve = curves[language]
        rows.append(
            (
                language,
                f"{lines[language]:,}",
                f"{found.weights[language]:.4f}",
                f"{size:,}",
                f"{curve.alp[0]:.2f}",
                f"{curve.alp[curve.sizes.index(size)]:.2f}",
                f"{curve.alp[-1]:.2f}",
                f"{found.last_increments[language]:.4f}",
                f"{curve.sizes[-1]:,}{' (all its text)' if curve.exhausted else ''}",
            )
        )
    columns = ("lines", "weight", "pieces", "ALP smallest", "ALP given", "ALP largest")
    part = table_of("VoCap", ("language",), (*columns, "last step", "largest measured"), rows)
    print_report([part])
