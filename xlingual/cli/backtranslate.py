"""`xlingual backtranslate`: pseudo pairs from monolingual text, written with a run's checkpoint.

The result is a tab-separated file with a header of the two language codes, which `FileTask` of
`tasks/file_tasks.py` reads. It is written in parts, so that a job that was stopped goes on where it
was, and appears under its name only when it is complete.
"""

import argparse
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from xlingual.checkpointing import weights
from xlingual.cli import line_files, trained_model
from xlingual.data import task_registry
from xlingual.errors import ConfigError
from xlingual.evaluation.backtranslation import BackTranslator, load_texts

HELP = "translate monolingual text with a run's latest checkpoint, for btmlm"
EXAMPLE = (
    "xlingual backtranslate --model_dir=runs/toy --task=toy_span_corruption_de --target_lang=en "
    "--output=pseudo/de-en.tsv"
)
_SETTINGS = "settings.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    trained_model.add_arguments(parser)
    parser.add_argument("--task", required=True, help="a registered monolingual task")
    parser.add_argument("--target_lang", required=True, help="language to translate into")
    parser.add_argument("--output", required=True, help="tab-separated file to write")
    parser.add_argument("--split", default="train")
    parser.add_argument("--num_texts", type=int, default=10_000, help="texts at most")
    parser.add_argument("--texts_per_part", type=int, default=1024, help="texts between two saves")
    parser.add_argument("--batch_size", type=int, default=64, help="texts decoded together")
    parser.add_argument("--seed", type=int, default=0, help="which texts")


def main(args: argparse.Namespace) -> int:
    """Writes the file; returns 0.

    Raises:
      ConfigError: the run has no checkpoint or no configuration, a name or number is wrong, or
        the parts that are there are those of another job.
    """
    for name in ("num_texts", "texts_per_part", "batch_size"):
        if getattr(args, name) < 1:
            raise ConfigError(f"--{name}={getattr(args, name)}; expected at least 1")
    trained_model.check_one_process("backtranslate")
    model_dir = pathlib.Path(args.model_dir)
    bindings = trained_model.load_bindings(args, model_dir)
    model = trained_model.in_dtype(bindings["model"], args.dtype)
    partitioner = bindings["partitioner"]
    params = trained_model.load_params(model, partitioner, model_dir)
    step = weights.load_info(model_dir).step
    lang = task_registry.task_metadata(args.task).src_lang
    if lang == args.target_lang:
        raise ConfigError(f"--target_lang={lang} is the language of {args.task}; expected another")
    texts = load_texts(args.task, split=args.split, num_texts=args.num_texts, seed=args.seed)
    translate = BackTranslator(
        model,
        params,
        partitioner,
        task_name=args.task,
        target_lang=args.target_lang,
        max_inputs=bindings["source"].task_feature_lengths["inputs"],
        batch_size=args.batch_size,
    )
    output = pathlib.Path(args.output)
    names = ("task", "target_lang", "split", "num_texts", "texts_per_part", "seed", "dtype")
    settings = {name: getattr(args, name) for name in names}
    parts = Parts(output, {"model_dir": str(model_dir.resolve()), "step": step, **settings})
    for number, start in enumerate(range(0, len(texts), args.texts_per_part)):
        if not parts.has(number):
            parts.write(number, translate(texts[start : start + args.texts_per_part]))
        print(f"{min(start + args.texts_per_part, len(texts))} of {len(texts)} texts", flush=True)
    count = parts.join((lang, args.target_lang))
    print(f"{count} pairs of {len(texts)} texts, written by step {step}: {output}")
    return 0


class Parts:
    """A file that is written in parts beside it, each of them whole or absent."""

    def __init__(self, output: pathlib.Path, settings: Mapping[str, Any]) -> None:
        """Opens the folder of parts, or makes it.

        Args:
          output: the file; an older one stays until `join` replaces it.
          settings: JSON types; all that the content depends on.

        Raises:
          ConfigError: the folder has parts that were made with other settings.
        """
        self._output, self._folder = output, output.with_name(f"{output.name}.parts")
        self._folder.mkdir(parents=True, exist_ok=True)
        line_files.check_settings(self._folder / _SETTINGS, settings, f"{self._folder} has parts")

    def has(self, number: int) -> bool:
        """Returns whether a part is there."""
        return self._path(number).exists()

    def write(self, number: int, pairs: Sequence[tuple[str, str]]) -> None:
        """Writes a part; texts hold neither tabs nor line breaks."""
        line_files.write_whole(
            self._path(number), "".join(f"{text}\t{result}\n" for text, result in pairs)
        )

    def join(self, header: tuple[str, str]) -> int:
        """Makes the file of all parts, removes them, and returns the number of its pairs."""
        paths = sorted(self._folder.glob("*.tsv"))
        body = "".join(path.read_text(encoding="utf-8") for path in paths)
        line_files.write_whole(self._output, "\t".join(header) + "\n" + body)
        shutil.rmtree(self._folder)
        return body.count("\n")

    def _path(self, number: int) -> pathlib.Path:
        return self._folder / f"{number:06d}.tsv"
