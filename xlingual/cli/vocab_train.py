"""`xlingual vocab train`: one SentencePiece vocabulary for the text of many languages."""

import argparse
import pathlib
from typing import Any

from xlingual.cli import corpus_choice
from xlingual.cli.reports import json_bytes, print_report, table_of
from xlingual.data import corpus_sampling, languages, scripts, vocabularies
from xlingual.data.corpora import Corpus
from xlingual.errors import ConfigError

HELP = "train one vocabulary on temperature-sampled text of many languages, and code"
EXAMPLE = "xlingual vocab train --data_dir=corpora --vocab_size=32000 --alpha=0.3 --to=shared.model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    corpus_choice.add_corpus_arguments(parser)
    parser.add_argument("--to", required=True, metavar="FILE", help="the .model file to write")
    parser.add_argument(
        "--vocab_size",
        type=int,
        help="pieces, with bytes, control tokens and sentinels; may be left out with --pieces",
    )
    parser.add_argument("--type", default="unigram", choices=("unigram", "bpe"))
    parser.add_argument(
        "--languages",
        metavar="CODES",
        help="codes of control tokens, e.g. en,de,python (default: the known ones of the text)",
    )
    parser.add_argument("--num_sentinels", type=int, default=100, help="100 (default), UL2: 300")
    parser.add_argument(
        "--character_coverage",
        type=float,
        default=0.9995,
        help="share of each script's characters with a piece; others become bytes",
    )
    parser.add_argument(
        "--script_coverage",
        metavar="SHARES",
        default="",
        help="other shares of some scripts, e.g. Hani=0.98,Zyyy=0.99 (ISO 15924 codes)",
    )
    parser.add_argument("--pieces", metavar="FILE", help="only these pieces; from vocab allocate")
    add_sampling_arguments(parser)


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares `--alpha`, `--max_characters`, `--max_repeats` and `--seed`."""
    parser.add_argument(
        "--alpha", type=float, default=0.3, help="exponent of sizes in characters (default 0.3)"
    )
    parser.add_argument("--max_characters", type=int, default=100_000_000, help="of the sample")
    parser.add_argument(
        "--max_repeats", type=float, default=1.0, help="most copies of a line (default 1)"
    )
    parser.add_argument("--seed", type=int, default=0)


def main(args: argparse.Namespace) -> int:
    """Trains, writes the model and a record of how beside it, prints the sample; returns 0.

    Raises:
      ConfigError: bad settings or data; nothing is written then.
    """
    by_script = script_shares(args.script_coverage)
    pieces = read_pieces(args.pieces) if args.pieces else []
    corpora = corpus_choice.chosen_corpora(args)
    quotas = measured_quotas(args, corpora)
    codes = (
        args.languages.split(",")
        if args.languages
        else corpus_choice.control_codes(args, [quota.language for quota in quotas])
    )
    languages.language_names(codes)  # refuses unknown codes
    sample = list(corpus_sampling.sample_lines(corpora, quotas, args.seed))
    required = scripts.covering_characters(
        scripts.count_characters(sample), args.character_coverage, by_script
    )
    settings: dict[str, Any] = {
        "vocab_size": args.vocab_size,
        "model_type": args.type,
        "control_tokens": vocabularies.control_tokens(codes),
        "num_sentinels": args.num_sentinels,
    }
    vocabularies.train_vocabulary(
        sample,
        args.to,
        character_coverage=vocabularies.LEAST_COVERAGE,
        required_characters=required,
        pieces=pieces,
        max_lines=max(len(sample) + 1, vocabularies.LEAST_LIMIT_OF_LINES),
        seed=args.seed,
        **settings,
    )
    record = {
        **settings,
        "character_coverage": args.character_coverage,
        "script_coverage": by_script,
        "alpha": args.alpha,
        "seed": args.seed,
        "sources": [corpus.name for corpus in corpora],
        "languages": [vars(quota) for quota in quotas],
        "sampled_lines": len(sample),
        "sha256": vocabularies.vocabulary_hash(args.to),
    }
    vocabularies.write_atomically(pathlib.Path(f"{args.to}.json"), json_bytes(record))
    columns = ("lines", "characters", "rate", "copies")
    rows = [
        (q.language, f"{q.lines:,}", f"{q.characters:,}", f"{q.rate:.4f}", f"{q.copies:.4f}")
        for q in quotas
    ]
    print_report([table_of("text", ("language",), columns, rows)])
    print(f"{args.to}: {len(required)} characters required, {len(sample)} lines, {args.type}")
    return 0


def measured_quotas(
    args: argparse.Namespace, corpora: list[Corpus]
) -> list[corpus_sampling.LanguageQuota]:
    """Returns what the sampling flags take of each language; reads the corpora once.

    Raises:
      ConfigError: a setting out of range, or no text.
    """
    return corpus_sampling.temperature_quotas(
        corpus_sampling.measure_languages(corpora),
        alpha=args.alpha,
        max_characters=args.max_characters,
        max_repeats=args.max_repeats,
    )


def script_shares(text: str) -> dict[str, float]:
    """Returns script -> share of `Hani=0.98,Zyyy=0.99`.

    Raises:
      ConfigError: another form.
    """
    found = {}
    for part in filter(None, text.split(",")):
        name, _, share = part.partition("=")
        try:
            found[name] = float(share)
        except ValueError:
            raise ConfigError(
                f"--script_coverage={text}; expected e.g. Hani=0.98,Zyyy=0.99"
            ) from None
    return found


def read_pieces(path: str) -> list[str]:
    """Returns the first column of a file, a piece a line.

    Raises:
      ConfigError: the file is missing, not UTF-8 or empty.
    """
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--pieces={path} cannot be read: {error}") from error
    found = [line.partition("\t")[0] for line in lines if line.partition("\t")[0]]
    if not found:
        raise ConfigError(f"--pieces={path} is empty; expected a piece a line")
    return found
