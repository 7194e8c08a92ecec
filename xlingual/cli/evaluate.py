"""`xlingual evaluate`: what a checkpoint, or a model from elsewhere, is worth."""

import argparse
import dataclasses
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import gin

from xlingual.checkpointing import weights
from xlingual.checkpointing.import_weights import ImportOptions, import_weights
from xlingual.checkpointing.manager import FOLDER
from xlingual.cli import gin_flags, tokenizer_choice, trained_model
from xlingual.data import feature_converters, task_checks
from xlingual.errors import ConfigError, nearest
from xlingual.evaluation.suite import ModelSource, Suite
from xlingual.losses.base import Loss
from xlingual.losses.cross_entropy import CrossEntropy
from xlingual.models.base import Model
from xlingual.outputs import Evaluation
from xlingual.partitioning.partitioner import Partitioner
from xlingual.partitioning.rules import data_parallel
from xlingual.reporting.evaluations import FILE, append_evaluation
from xlingual.training.hooks import evaluation_header
from xlingual.types import PyTree

HELP = "run evaluators on a checkpoint or an exported model; results are JSON lines"
EXAMPLE = "xlingual evaluate --gin_file=gin/evaluations/toy.gin --run=runs/toy --step=500"
_CONVERTERS: Mapping[str, Any] = {
    "encoder_decoder": feature_converters.EncDecFeatureConverter,
    "decoder_only": feature_converters.DecoderFeatureConverter,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Subject:
    """What is evaluated.

    Attributes:
      model: the model.
      params: unboxed parameters, placed by `partitioner`.
      partitioner: mesh and rules.
      losses: loss name -> loss.
      source: the run's data, or a `ModelSource`.
      step: updates that the parameters have seen.
      seed: of the run; None for a model from elsewhere.
    """

    model: Model
    params: PyTree
    partitioner: Partitioner
    losses: Mapping[str, Loss]
    source: Any
    step: int
    seed: int | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    parser.add_argument(
        "--run",
        required=True,
        metavar="DIR",
        help="a run, weights from `xlingual import`, or a model of the Hugging Face layout",
    )
    parser.add_argument("--step", type=int, help="checkpoint of the run; by default the latest")
    parser.add_argument(
        "--run_gin_file", action="append", default=[], metavar="FILE",
        help="gin file of the run, where it has no operative_config.gin",
    )  # fmt: skip
    parser.add_argument("--output", metavar="DIR", help="folder of the results; by default the run")
    parser.add_argument(
        "--only", default="", metavar="NAMES", help="evaluators to run, joined by commas"
    )
    gin_flags.add_gin_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Evaluates, writes and prints the results; returns 0.

    Raises:
      ConfigError: the model or an evaluator is wrong; no evaluator has begun then.
    """
    trained_model.check_one_process("evaluate")
    if not args.gin_file:
        raise ConfigError("--gin_file: none given; expected evaluators, e.g. " + EXAMPLE)
    folder = pathlib.Path(args.run)
    subject = _load(args, folder)
    gin_flags.parse_gin(args)
    evaluators = _choose(_suite().evaluators, args.only)
    for evaluator in evaluators:
        evaluator.prepare(subject.model, subject.partitioner, subject.losses, subject.source)
    output = pathlib.Path(args.output or args.run)
    for evaluator in evaluators:
        evaluation = evaluator(subject.params)
        header = evaluation_header(
            evaluator, model_dir=folder, step=subject.step, run_seed=subject.seed
        )
        append_evaluation(output, evaluation, header=header)
        _print_rows(evaluator.name, evaluation)
    print(f"step {subject.step} of {folder}: {output / FILE}")
    return 0


def _suite() -> Suite:
    try:
        bindings = gin.get_bindings(Suite, resolve_references=True)
    except (ValueError, KeyError) as error:
        raise ConfigError(
            f"the gin files bind no xlingual.evaluation.suite.Suite ({error}); see gin/evaluations"
        ) from error
    suite = Suite(**bindings)
    task_checks.import_task_modules(suite.task_modules)
    return suite


def _choose(evaluators: Sequence[Any], only: str) -> list[Any]:
    wanted = [name for name in only.split(",") if name]
    by_name = {evaluator.name: evaluator for evaluator in evaluators}
    for name in wanted:
        if name not in by_name:
            raise ConfigError(f"--only={only}: no evaluator {name!r}; {nearest(name, by_name)}")
    return [by_name[name] for name in wanted or by_name]


def _load(args: argparse.Namespace, folder: pathlib.Path) -> _Subject:
    is_run = (folder / FOLDER).is_dir()
    if args.step is not None and not is_run:
        raise ConfigError(f"--step={args.step}: {folder} is no run; expected none")
    if is_run:
        return _load_run(args, folder)
    if (folder / weights.INFO).is_file():
        return _load_weights(folder)
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"--run={folder}; expected a run ({FOLDER}/), weights ({weights.INFO}) or a model of "
            "the Hugging Face layout (config.json)"
        )
    with tempfile.TemporaryDirectory() as place:
        target = pathlib.Path(place) / "weights"
        copy_tokenizer = tokenizer_choice.copied_tokenizer(folder, None)
        if copy_tokenizer is None:
            raise ConfigError(f"--run={folder}: there is no tokenizer beside the model")
        import_weights(
            folder,
            target,
            partitioner=Partitioner(rules=data_parallel()),
            options=ImportOptions(),
            write_tokenizer=copy_tokenizer,
        )
        return _load_weights(target)


def _load_run(args: argparse.Namespace, folder: pathlib.Path) -> _Subject:
    checkpoint = folder if args.step is None else folder / FOLDER / str(args.step)
    if not checkpoint.is_dir():
        found = sorted(int(p.name) for p in (folder / FOLDER).iterdir() if p.name.isdecimal())
        raise ConfigError(f"--step={args.step}: the run has no such checkpoint; found {found}")
    own = argparse.Namespace(
        model_dir=args.run,
        gin_file=list(args.run_gin_file),
        gin_overrides=[],
        gin_search_paths=args.gin_search_paths,
    )
    bindings = trained_model.load_bindings(own, folder)
    source = bindings["source"]
    task_checks.import_task_modules(getattr(getattr(source, "base", source), "task_modules", ()))
    model, partitioner = bindings["model"], bindings["partitioner"]
    return _Subject(
        model=model,
        params=trained_model.load_params(model, partitioner, checkpoint),
        partitioner=partitioner,
        losses=bindings["losses"],
        source=source,
        step=weights.load_info(checkpoint).step,
        seed=bindings.get("seed", 0),
    )


def _load_weights(folder: pathlib.Path) -> _Subject:
    trained = trained_model.load_weights(folder)
    return _Subject(
        model=trained.model,
        params=trained.params,
        partitioner=trained.partitioner,
        losses={"cross_entropy": CrossEntropy()},
        source=ModelSource(
            tokenizer=trained.vocabulary,
            feature_converter=_CONVERTERS[trained.model.family](pack=False),
        ),
        step=trained.step,
    )


def _print_rows(name: str, evaluation: Evaluation) -> None:
    for row in evaluation.rows:
        pair = f"{row['src_lang']}-{row['tgt_lang']}" if row["src_lang"] else row["lang"] or ""
        where = f"{row['dataset']} {pair}".rstrip()
        layer = "" if row["layer"] is None else f" layer {row['layer']}"
        sure = "" if row["low"] is None else f" [{row['low']:.4g}, {row['high']:.4g}]"
        print(f"{name:<14} {row['metric']:<28} {row['value']:10.4f}{sure} {where}{layer}")
