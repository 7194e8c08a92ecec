"""What a tokenised cache remembers of a task's objective, and the objective made of it again.

A recipe is JSON: the name of the objective, its options, the special tokens, and the few texts that
it encodes itself (prompts). A reader needs no SeqIO and no TensorFlow to follow it, and no
vocabulary unless records are text or noise asks where words begin: then the cache brings one.
"""

import contextlib
import dataclasses
import functools
import pathlib
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from xlingual.arrays.ragged import RaggedTensor, splits_of
from xlingual.arrays.text import text_array
from xlingual.cache import codec
from xlingual.cache.codec import Feature
from xlingual.cache.manifest import CachedTask
from xlingual.cache.record_files import RecordFiles
from xlingual.data import plain_vocabularies, recipe_options
from xlingual.errors import ConfigError
from xlingual.objectives import registry, twins
from xlingual.objectives.recorded_vocabulary import RecordedVocabulary
from xlingual.objectives.special_tokens import SpecialTokens

_SAMPLED = 1024
"""Records whose languages are looked at."""


def recipe_of(
    preprocessors: Sequence[Callable[..., Any]],
    output_features: Mapping[str, Any],
    task: CachedTask,
    folder: str,
) -> dict[str, Any]:
    """Returns the recipe of a task's objective; empty if there is none that a reader can follow.

    Args:
      preprocessors: of the task; the objective of the index of objectives is the last.
      output_features: of the task; the vocabulary of `targets` encodes prompts.
      task: as cached; the languages of some of its records tell which prompts are recorded.
      folder: the cache.
    """
    found = find_objective(preprocessors[-1], output_features)
    if found is None:
        return {}
    name, keywords = found
    objective = registry.get_objective(name)
    special_tokens: SpecialTokens = keywords.pop("special_tokens")
    try:
        options = recipe_options.dump_options(keywords, objective.files, folder)
    except ConfigError:
        return {}
    recipe: dict[str, Any] = {
        "objective": name,
        "options": options,
        "special_tokens": dataclasses.asdict(special_tokens),
        "texts": {},
    }
    known = output_features["targets"].vocabulary
    with contextlib.suppress(ConfigError):  # another kind serves where prompts are recorded
        known = plain_vocabularies.load(*plain_vocabularies.dump(known))
    vocabulary = RecordedVocabulary({}, known, records=objective.tokenized)
    try:
        twin = _make_twin(recipe, task.schema, task.row_shape, vocabulary, folder)
    except ConfigError:
        return recipe  # the reader says what is wrong, with the row shape that it is given
    if objective.tokenized:
        for pair in sorted(_languages(task, folder)):
            with contextlib.suppress(ConfigError):  # an objective may know one direction only
                twin(_sample(task.schema, pair), [0, 0])
        recipe["texts"] = vocabulary.texts
    if not objective.tokenized or vocabulary.told_pieces:
        kind, content = plain_vocabularies.dump(output_features["targets"].vocabulary)
        file = recipe_options.store_file(folder, content, ".vocabulary")
        recipe["vocabulary"] = {"kind": kind, "file": file}
    return recipe


def twin_of(
    task: CachedTask, row_shape: Mapping[str, int], folder: str | pathlib.Path
) -> twins.Twin:
    """Returns the objective of a task of a tokenised cache as a function of batches of records.

    Args:
      task: of the cache.
      row_shape: limits of `inputs` and `targets` that the objective keeps to.
      folder: the cache.

    Raises:
      ConfigError: the task has no recipe, the objective cannot be applied without TensorFlow, or
        one of its settings does not suit the row shape.
    """
    if not task.recipe:
        raise twins.no_twin(
            task.objective, f"the cache has no recipe of the objective of task {task.name!r}"
        )
    stored = task.recipe.get("vocabulary")
    known = _vocabulary(str(folder), stored["kind"], stored["file"]) if stored else None
    vocabulary = RecordedVocabulary(task.recipe["texts"], known)
    return _make_twin(task.recipe, task.schema, row_shape, vocabulary, folder)


def make_batch(records: Sequence[bytes], schema: Sequence[Feature]) -> twins.Batch:
    """Returns records as a batch for a twin.

    Args:
      records: of one task, at least one, as stored.
      schema: of the records.

    Raises:
      ConfigError: a record is not one of this schema.
    """
    batch: dict[str, Any] = {}
    for name, column in codec.decode_columns(records, schema).items():
        if isinstance(column, list) and isinstance(column[0], list):
            batch[name] = RaggedTensor.from_rows(list(map(text_array, column)), np.dtype(object))
        elif isinstance(column, list):
            batch[name] = text_array(column)
        else:
            values, lengths = column
            batch[name] = RaggedTensor(values, splits_of(lengths))
    return batch


def _make_twin(
    recipe: Mapping[str, Any],
    schema: Sequence[Feature],
    row_shape: Mapping[str, int],
    vocabulary: RecordedVocabulary,
    folder: str | pathlib.Path,
) -> twins.Twin:
    objective = registry.get_objective(recipe["objective"])
    feature = types.SimpleNamespace(vocabulary=vocabulary)
    return twins.make_twin(
        objective.name,
        objective.preprocess,
        fields=[one.name for one in schema],
        sequence_length=row_shape,
        output_features={"inputs": feature, "targets": feature},
        special_tokens=SpecialTokens(**recipe["special_tokens"]),
        **recipe_options.load_options(recipe["options"], folder),
    )


@functools.cache
def _vocabulary(folder: str, kind: str, file: str) -> plain_vocabularies.PlainVocabulary:
    return plain_vocabularies.load(kind, recipe_options.read_file(folder, file))


def _languages(task: CachedTask, folder: str) -> set[tuple[str, str]]:
    """Returns source and target languages of some records of a task, in both directions."""
    files = RecordFiles(folder, task)
    numbers = np.unique(np.linspace(0, len(files) - 1, min(len(files), _SAMPLED), dtype=np.int64))
    found = {(task.src_lang, task.tgt_lang)}
    for record in files.read(numbers):
        fields = codec.decode(record, task.schema)
        found.add((str(fields.get("src_lang", "")), str(fields.get("tgt_lang", ""))))
    return found | {(target, source) for source, target in found}


def _sample(schema: Sequence[Feature], languages: tuple[str, str]) -> twins.Batch:
    """Returns one record in these languages, as a batch."""
    codes = {"src_lang": languages[0], "tgt_lang": languages[1], "lang": languages[1]}
    tokens = np.array([3, 4, 5], np.int32)
    record = {
        feature.name: codes.get(feature.name, "")
        if feature.dtype == "text"
        else tokens.astype(feature.dtype)
        for feature in schema
    }
    return make_batch([codec.encode(record, schema)], schema)


def find_objective(
    preprocessor: Callable[..., Any], output_features: Mapping[str, Any]
) -> tuple[str, dict[str, Any]] | None:
    """Returns the objective that a preprocessor applies and the options that it gets.

    The preprocessor is called with a recorder in the place of the objective, which it holds as a
    partial, or as a value that it captured, by itself or in its entry of the index.
    """
    names = {objective.preprocess: name for name, objective in registry.objectives().items()}
    calls: list[tuple[str, dict[str, Any]]] = []

    def substitute(function: Any) -> Any:
        if isinstance(function, types.FunctionType) and function in names:
            name = names[function]
            return lambda *args, **keywords: calls.append((name, _options(keywords)))
        if isinstance(function, registry.Objective):
            return dataclasses.replace(function, preprocess=substitute(function.preprocess))
        if isinstance(function, functools.partial):
            return functools.partial(substitute(function.func), *function.args, **function.keywords)
        if isinstance(function, types.FunctionType) and function.__closure__:
            cells = tuple(types.CellType(substitute(c.cell_contents)) for c in function.__closure__)
            copy = types.FunctionType(
                function.__code__,
                function.__globals__,
                function.__name__,
                function.__defaults__,
                cells,
            )
            copy.__kwdefaults__ = function.__kwdefaults__
            return copy
        return function

    try:
        substitute(preprocessor)(None, sequence_length=None, output_features=output_features)
    except (AttributeError, TypeError):
        return None
    return calls[0] if len(calls) == 1 else None


def _options(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the keywords that are options: not those that SeqIO passes."""
    passed = ("dataset", "sequence_length", "output_features")
    return {name: value for name, value in keywords.items() if name not in passed}
