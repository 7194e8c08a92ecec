"""`xlingual resize`: a run of ours gets another vocabulary and keeps its optimizer's statistics."""

import argparse
import dataclasses
import pathlib
import tempfile
from typing import Any

import jax
import jax.numpy as jnp

from xlingual.checkpointing import weights
from xlingual.checkpointing.import_weights import (
    MODEL_GIN,
    appears_whole,
    check_free,
    with_other_rows,
)
from xlingual.checkpointing.model_gin import model_gin
from xlingual.checkpointing.optimizer_state import load_opt_state, save_opt_state
from xlingual.cli import gin_flags, trained_model, vocabulary_choice
from xlingual.cli.vocabulary_choice import VocabularyChange
from xlingual.errors import ConfigError
from xlingual.models.initialization import resize_opt_state
from xlingual.training.state import plan_state

HELP = "give a run another vocabulary, its optimizer's statistics included"
EXAMPLE = (
    "xlingual resize --model_dir=runs/mine --to=weights/grown --append_languages=sw,yo  # then "
    "train with INITIAL_WEIGHTS='weights/grown', RESET_OPTIMIZER=False"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    parser.add_argument("--model_dir", required=True, help="of a run; its latest checkpoint counts")
    parser.add_argument("--to", required=True, metavar="DIR", help="new folder for the weights")
    vocabulary_choice.add_vocabulary_arguments(parser)
    parser.add_argument("--seed", type=int, default=0, help="of rows that are drawn at random")
    gin_flags.add_gin_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Writes a weights folder with an optimizer's state; returns 0.

    Raises:
      ConfigError: the run or the vocabulary cannot be read, or a folder is in the way; nothing is
        left behind then.
    """
    trained_model.check_one_process("resize")
    source, folder = pathlib.Path(args.model_dir), pathlib.Path(args.to)
    if not vocabulary_choice.check_vocabulary_arguments(args):
        raise ConfigError("neither --append_languages nor --vocabulary is given; expected one")
    check_free(folder)
    bindings = trained_model.load_bindings(args, source)
    change = _change(args, bindings)
    info = weights.load_info(source)
    model, partitioner = bindings["model"], bindings["partitioner"]
    spec = {n: jax.ShapeDtypeStruct((1, 1), jnp.int32) for n in model.requires_features}
    shapes = plan_state(model, bindings["optimizer"], partitioner, spec).shapes
    params = weights.load_params(source, shapes.params)
    opt_state = load_opt_state(source, shapes.opt_state)
    config, params = with_other_rows(
        model.family, model.config, params, change.rows, partitioner, seed=args.seed
    )
    with appears_whole(folder) as unfinished:
        save_opt_state(unfinished, resize_opt_state(opt_state, change.rows))
        names = change.write_tokenizer(unfinished)
        text = model_gin(info.family, config, source=source.name)
        (unfinished / MODEL_GIN).write_text(text, encoding="utf-8")
        described = weights.WeightsInfo(
            family=info.family,
            config=dataclasses.asdict(config),
            source=str(source),
            step=info.step,
            vocabulary={"tokenizer_files": names},
        )
        weights.save_weights(unfinished, params, described)
    print(f"{folder}: step {info.step} with the optimizer's state, VOCAB_SIZE {config.vocab_size}")
    print(f"vocabulary changed: {change.rows.describe()}")
    return 0


def _change(args: argparse.Namespace, bindings: dict[str, Any]) -> VocabularyChange:
    """The change of the vocabulary that the run's tasks have."""
    from xlingual.data import tokenizer_files

    data = bindings["source"]
    vocabulary = trained_model.vocabulary_of(getattr(data, "base", data))
    add_eos = bindings["model"].family == "encoder_decoder"
    with tempfile.TemporaryDirectory() as name:
        old = pathlib.Path(name)
        tokenizer_files.export_tokenizer(vocabulary, old, add_eos=add_eos)
        args = argparse.Namespace(**{**vars(args), "tokenizer": None})
        change = vocabulary_choice.vocabulary_change(args, old, add_eos=add_eos)
    assert change is not None
    return change
