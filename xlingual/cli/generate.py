"""`xlingual generate`: what a model writes for each line of a file or of standard input."""

import argparse
import dataclasses
import itertools
import json
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from xlingual.cli import line_files, trained_model
from xlingual.cli.progress import progress_bar
from xlingual.errors import ConfigError
from xlingual.evaluation.decoding_batches import make_shapes
from xlingual.evaluation.generation import MODES, GenerationOptions, Generator, Output
from xlingual.evaluation.text_requests import FORMATS, TextEncoder, make_requests

if TYPE_CHECKING:
    from xlingual.data.evaluation_sets import TextDecoder

HELP = "write what a model answers to each line: greedy, beam search or samples"
EXAMPLE = (
    "xlingual generate --model_dir=runs/toy --format=tag --target_lang=en --input=german.txt "
    "--output=english.txt --mode=beam"
)
_DEFAULT_INPUTS = 512
_BATCHES_PER_WINDOW = 16
_NOT_SETTINGS = ("output", "batch_size", "gin_search_paths")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    trained_model.add_arguments(parser)
    parser.add_argument("--input", help=".txt, .tsv with a header, or .jsonl; without it stdin")
    parser.add_argument("--input_format", choices=line_files.FORMATS, help="of --input or stdin")
    parser.add_argument("--output", help=".txt, .tsv or .jsonl; without it stdout")
    parser.add_argument("--output_format", choices=line_files.FORMATS, help="of --output or stdout")
    add_text_arguments(parser)
    parser.add_argument("--target_prefix", default="", help="with which every output begins")
    parser.add_argument(
        "--allowed", metavar="FILE", help="the outputs that are allowed, one a line"
    )
    defaults = GenerationOptions()
    parser.add_argument("--mode", choices=MODES, default=defaults.mode)
    parser.add_argument("--max_length", type=int, default=defaults.max_length, help="tokens")
    parser.add_argument("--beams", type=int, default=defaults.num_beams)
    parser.add_argument("--length_penalty", type=float, default=defaults.length_penalty)
    parser.add_argument(
        "--early_stopping", choices=("false", "true", "never"), default="false", help="of beam"
    )
    parser.add_argument("--n_best", type=int, default=1, help="hypotheses, or samples, of a line")
    parser.add_argument("--temperature", type=float, default=defaults.temperature)
    parser.add_argument("--top_k", type=int, default=defaults.top_k, help="0 keeps all")
    parser.add_argument("--top_p", type=float, default=defaults.top_p, help="1 keeps all")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of samples")
    parser.add_argument("--batch_size", type=int, default=32, help="lines decoded together")


def add_text_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options that say how a text becomes inputs."""
    parser.add_argument(
        "--format", choices=FORMATS, default="plain", help="how inputs name languages"
    )
    parser.add_argument("--source_lang", help="language of the texts; a record may name its own")
    parser.add_argument("--target_lang", help="language to write; a record may name its own")
    parser.add_argument("--prefix", default="", help="stands before every text, e.g. '<2en>'")
    parser.add_argument(
        "--max_inputs", type=int, help="tokens of the inputs at most; by default as in training"
    )


def main(args: argparse.Namespace) -> int:
    """Writes the outputs, in the order of the inputs; returns 0.

    Raises:
      ConfigError: the model, a file, a record or an option is wrong, or the output is another's.
    """
    trained_model.check_one_process("generate")
    options = _options(args)  # refused before anything is loaded
    if args.batch_size < 1:
        raise ConfigError(f"--batch_size={args.batch_size}; expected at least 1")
    input_format = line_files.format_of(args.input, args.input_format, "--input")
    output_format = line_files.format_of(args.output, args.output_format, "--output")
    total = line_files.count_records(args.input, input_format)
    allowed = _allowed(args.allowed)
    trained = trained_model.load(args)
    encoder = make_encoder(args, trained)
    generate = Generator(
        trained.model,
        trained.params,
        trained.partitioner,
        dataclasses.replace(options, eos_id=trained.vocabulary.eos_id),
        make_shapes(
            args.batch_size,
            max_inputs(args, trained),
            num_shards=trained.partitioner.num_batch_shards,
        ),
    )
    from xlingual.data.evaluation_sets import TextDecoder

    text_of = TextDecoder(trained.vocabulary)
    records = line_files.read_records(args.input, input_format)
    with (
        line_files.OrderedOutput(args.output, job_settings(args, trained.step)) as output,
        progress_bar() as progress,
    ):
        bar = progress.add_task("generate", total=total, completed=output.position)
        position = output.position
        for window in windows(records, position, args.batch_size * _BATCHES_PER_WINDOW):
            requests = make_requests(
                window,
                encoder,
                first=position,
                target_prefix=args.target_prefix,
                allowed=allowed,
            )
            found = generate(requests)
            output.write(
                [
                    _line(record, outputs, text_of, output_format)
                    for record, outputs in zip(window, found, strict=True)
                ]
            )
            position += len(window)
            progress.update(bar, completed=position)
    report_cut(encoder)
    return 0


def make_encoder(args: argparse.Namespace, trained: trained_model.TrainedModel) -> TextEncoder:
    """Returns what turns texts into inputs, as the options say.

    Raises:
      ConfigError: the options contradict each other or do not fit the vocabulary.
    """
    return TextEncoder(
        trained.vocabulary,
        text_format=args.format,
        source_lang=args.source_lang,
        target_lang=args.target_lang,
        prefix=args.prefix,
        max_inputs=max_inputs(args, trained),
    )


def max_inputs(args: argparse.Namespace, trained: trained_model.TrainedModel) -> int:
    """Returns the longest inputs in tokens: as asked for, else as in training.

    Raises:
      ConfigError: --max_inputs is below 2.
    """
    if args.max_inputs is not None:
        if args.max_inputs < 2:
            raise ConfigError(f"--max_inputs={args.max_inputs}; expected at least 2")
        return args.max_inputs
    return trained.lengths.get("inputs") or _DEFAULT_INPUTS


def windows(
    records: Iterator[line_files.Record], skip: int, size: int
) -> Iterator[list[line_files.Record]]:
    """Yields the records behind the first `skip`, up to `size` at a time."""
    remaining = itertools.islice(records, skip, None)
    while window := list(itertools.islice(remaining, size)):
        yield window


def job_settings(args: argparse.Namespace, step: int) -> dict[str, object]:
    """Returns all that the outputs depend on, as JSON types."""
    settings = {n: v for n, v in sorted(vars(args).items()) if n not in _NOT_SETTINGS}
    return {**settings, "model_dir": str(pathlib.Path(args.model_dir).resolve()), "step": step}


def report_cut(encoder: TextEncoder) -> None:
    """Says how many texts did not fit."""
    if encoder.num_cut:
        print(f"{encoder.num_cut} texts were cut at --max_inputs tokens", file=sys.stderr)


def _options(args: argparse.Namespace) -> GenerationOptions:
    stopping: dict[str, bool | str] = {"false": False, "true": True, "never": "never"}
    return GenerationOptions(
        mode=args.mode,
        max_length=args.max_length,
        num_beams=args.beams,
        n_best=args.n_best,
        length_penalty=args.length_penalty,
        early_stopping=stopping[args.early_stopping],
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        seed=args.seed,
    )


def _allowed(path: str | None) -> list[str] | None:
    if path is None:
        return None
    file = pathlib.Path(path)
    if not file.is_file():
        raise ConfigError(f"--allowed={path} does not exist; expected a file")
    lines = [line for line in file.read_text(encoding="utf-8").split("\n") if line]
    if not lines:
        raise ConfigError(f"--allowed={path} is empty; expected one output a line")
    return lines


def _line(
    record: line_files.Record, outputs: Sequence[Output], text_of: "TextDecoder", file_format: str
) -> str:
    texts = [text_of.text(output.tokens) for output in outputs]
    if file_format == "jsonl":
        found = [
            {"text": text} if output.score is None else {"text": text, "score": output.score}
            for text, output in zip(texts, outputs, strict=True)
        ]
        return json.dumps({**record, "outputs": found}, ensure_ascii=False)
    cells = [line_files.one_line(text) for text in texts]
    if file_format == "tsv":
        cells.insert(0, line_files.one_line(record["text"]))
    return "\t".join(cells)
