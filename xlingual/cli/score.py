"""`xlingual score`: how probable a model finds given targets, and which candidate it prefers."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from xlingual.cli import generate, line_files, trained_model
from xlingual.cli.progress import progress_bar
from xlingual.errors import ConfigError
from xlingual.evaluation.decoding_batches import make_shapes
from xlingual.evaluation.likelihood import Likelihood, Scorer
from xlingual.evaluation.text_requests import TextEncoder

HELP = "log-likelihood of targets given inputs; ranks candidates"
EXAMPLE = (
    "xlingual score --model_dir=runs/toy --format=tag --target_lang=en --input=pairs.tsv "
    "--output=scores.jsonl"
)
_DEFAULT_TARGETS = 512
_BATCHES_PER_WINDOW = 8
_RANKINGS = ("sum", "mean")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    trained_model.add_arguments(parser)
    parser.add_argument(
        "--input",
        help=".tsv with a header, or .jsonl; fields `text` and `target`, which may occur several "
        "times (in JSON: a list) to rank candidates, and maybe `label`, the right one; stdin",
    )
    parser.add_argument("--input_format", choices=("tsv", "jsonl"), help="of --input or stdin")
    parser.add_argument("--output", help="a .jsonl file; without it stdout")
    generate.add_text_arguments(parser)
    parser.add_argument(
        "--max_targets", type=int, help="tokens of a target at most; by default as in training"
    )
    parser.add_argument(
        "--tokens", action="store_true", help="also write ids and log-likelihoods of the tokens"
    )
    parser.add_argument(
        "--rank_by", choices=_RANKINGS, default="sum", help="log-likelihood of a candidate, or mean"
    )
    parser.add_argument("--batch_size", type=int, default=32, help="pairs scored together")


def main(args: argparse.Namespace) -> int:
    """Writes one JSON object a record, in order; returns 0.

    Raises:
      ConfigError: the model, a file, a record or an option is wrong, or the output is another's.
    """
    trained_model.check_one_process("score")
    for name in ("batch_size", "max_targets"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name}={value}; expected at least 1")
    input_format = line_files.format_of(args.input, args.input_format, "--input")
    if input_format == "txt":
        raise ConfigError(f"--input={args.input}: plain text; expected .tsv or .jsonl with targets")
    if line_files.format_of(args.output, "jsonl" if args.output is None else None, "--output") != (
        "jsonl"
    ):
        raise ConfigError(f"--output={args.output}; expected a name that ends in .jsonl")
    total = line_files.count_records(args.input, input_format)
    trained = trained_model.load(args)
    encoder = generate.make_encoder(args, trained)
    longest = args.max_targets or trained.lengths.get("targets") or _DEFAULT_TARGETS
    shards = trained.partitioner.num_batch_shards
    score = Scorer(
        trained.model,
        trained.params,
        trained.partitioner,
        inputs_shapes=make_shapes(
            args.batch_size, generate.max_inputs(args, trained), num_shards=shards
        ),
        targets_shapes=make_shapes(args.batch_size, longest, num_shards=shards),
    )
    records = line_files.read_records(args.input, input_format)
    labels: list[bool] = []
    with (
        line_files.OrderedOutput(args.output, generate.job_settings(args, trained.step)) as output,
        progress_bar() as progress,
    ):
        bar = progress.add_task("score", total=total, completed=output.position)
        position = output.position
        size = args.batch_size * _BATCHES_PER_WINDOW
        for window in generate.windows(records, position, size):
            results = _score_window(window, encoder, score, args, position, longest)
            output.write([json.dumps(result, ensure_ascii=False) for result in results])
            labels += [result["correct"] for result in results if "correct" in result]
            position += len(window)
            progress.update(bar, completed=position)
    generate.report_cut(encoder)
    if labels:
        print(
            f"{sum(labels)} of {len(labels)} labels ranked first "
            f"({100.0 * float(np.mean(labels)):.2f} %)",
            file=sys.stderr,
        )
    return 0


def _score_window(
    window: Sequence[line_files.Record],
    encoder: TextEncoder,
    score: Scorer,
    args: argparse.Namespace,
    position: int,
    longest: int,
) -> list[dict[str, Any]]:
    """Returns what is written for each record."""
    pairs, counts = [], []
    for number, record in enumerate(window, start=position + 1):
        targets = _targets(record, number)
        counts.append(len(targets))
        inputs = encoder.inputs(record)
        for target in targets:
            ids = encoder.targets(target)
            if len(ids) > longest:
                raise ConfigError(
                    f"record {number}: a target of {len(ids)} tokens; expected at most {longest} "
                    "(--max_targets)"
                )
            pairs.append((inputs, ids))
    found = iter(zip(score(pairs), pairs, strict=True))
    results = []
    for record, count in zip(window, counts, strict=True):
        mine = [next(found) for _ in range(count)]
        result = _result(record, [likelihood for likelihood, _ in mine], args.rank_by)
        if args.tokens:
            tokens = [
                {"ids": ids.tolist(), "log_likelihoods": likelihood.tokens.tolist()}
                for likelihood, (_, ids) in mine
            ]
            result["tokens"] = tokens if isinstance(record["target"], list) else tokens[0]
        results.append(result)
    return results


def _targets(record: line_files.Record, number: int) -> list[str]:
    target = record.get("target")
    targets: list[Any] = target if isinstance(target, list) else [target]
    if not targets or not all(isinstance(text, str) for text in targets):
        raise ConfigError(
            f"record {number}: target={target!r}; expected a text, or a list of candidates"
        )
    label = record.get("label")
    if label is not None and label not in targets:
        raise ConfigError(f"record {number}: label={label!r}; expected one of its targets")
    return targets


def _result(
    record: line_files.Record, likelihoods: Sequence[Likelihood], rank_by: str
) -> dict[str, Any]:
    """Returns the record with its scores; candidates are ranked, best first."""
    if not isinstance(record["target"], list):
        only = likelihoods[0]
        return {**record, "log_likelihood": only.total, "num_tokens": len(only.tokens)}
    values = [one.total if rank_by == "sum" else one.mean for one in likelihoods]
    ranking = sorted(range(len(values)), key=lambda i: -values[i])
    result = {
        **record,
        "log_likelihoods": [one.total for one in likelihoods],
        "num_tokens": [len(one.tokens) for one in likelihoods],
        "ranking": ranking,
        "best": record["target"][ranking[0]],
    }
    if record.get("label") is not None:
        result["correct"] = result["best"] == record["label"]
    return result
