"""The README of an exported model: what it was trained on, how, and how well it does.

Everything comes from files of the run: counters, tasks and configuration from the checkpoint,
scores from `results.json`. What is not known is left out, never guessed.

References:
  Mitchell et al., 2019, "Model Cards for Model Reporting", FAccT, arXiv:1810.03993.
"""

import json
import math
import pathlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xlingual.checkpointing.manager import FOLDER
from xlingual.data.languages import NATURAL_LANGUAGES, is_programming_language
from xlingual.errors import ConfigError

_AUTO_CLASS = {
    "encoder_decoder": "AutoModelForSeq2SeqLM",
    "decoder_only": "AutoModelForCausalLM",
}
_SCORES = {"chrf": "chrF", "bleu": "BLEU", "copy_chrf": "chrF of copying"}
_NOT_SCORES = ("steps", "seconds", "tokens_per_second", "peak_rss_bytes")


def make_model_card(
    path: str | pathlib.Path, *, name: str | None = None, license_id: str | None = None
) -> str:
    """Returns a model card in Markdown with Hugging Face's YAML in front.

    Args:
      path: a run's folder (its latest checkpoint), one checkpoint of a run, or a folder of
        imported weights.
      name: title of the card; None for the name of the run's folder.
      license_id: as Hugging Face names licences, e.g. `apache-2.0`; None leaves the choice to the
        user, with a line that says so.

    Raises:
      ConfigError: there is neither a checkpoint nor `weights.json`.
    """
    path = pathlib.Path(path)
    checkpoint = _find_checkpoint(path)
    if checkpoint is None:
        return _imported_card(path, name, license_id)
    model_dir = checkpoint.parent.parent
    content = _read(checkpoint / "metadata" / "metadata.json")
    run, arrays = content["run"], content["arrays"]
    tasks = run.get("tasks") or [{"name": task} for task in run["counters"]["targets"]]
    results = _read(model_dir / "results.json")
    config = checkpoint / "config" / "operative_config.gin"
    model_class = run.get("fingerprint", {}).get("model.class", "")
    family = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", model_class.rpartition(".")[2]).lower()
    objectives = sorted({task["objective"] for task in tasks if task.get("objective")})
    parts = [
        _front_matter(_languages(tasks), [family, *objectives], license_id),
        f"# {name or model_dir.resolve().name}",
        _introduction(family, arrays, run),
        _usage(family),
        "## Objectives and mixture",
        _mixture(tasks, run),
        "## Tokens seen",
        _tokens(tasks, run["counters"]),
        "## Evaluation",
        _evaluation(results),
        "## Configuration",
        _code("gin", config.read_text(encoding="utf-8") if config.is_file() else ""),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _find_checkpoint(path: pathlib.Path) -> pathlib.Path | None:
    """Returns the checkpoint at `path` or the newest below it; None if there is none."""
    if (path / "metadata" / "metadata.json").is_file():
        return path
    steps = [p for p in (path / FOLDER).glob("*") if p.name.isdigit()]
    complete = [p for p in steps if (p / "metadata" / "metadata.json").is_file()]
    return max(complete, key=lambda p: int(p.name)) if complete else None


def _imported_card(path: pathlib.Path, name: str | None, license_id: str | None) -> str:
    info = _read(path / "weights.json")
    if not info:
        raise ConfigError(
            f"{path} holds neither a checkpoint nor weights.json; expected the MODEL_DIR of a run, "
            "one of its checkpoints, or a folder of imported weights"
        )
    parts = [
        _front_matter([], [info["family"]], license_id),
        f"# {name or path.resolve().name}",
        f"Weights imported from `{info['source']}`, a model of {_count(info['arrays'])} "
        "parameters, without further training here.",
        _usage(info["family"]),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(languages: Sequence[str], tags: Iterable[str], license_id: str | None) -> str:
    """Returns the YAML header; strings are quoted as JSON, which is YAML (`no` is Norwegian)."""
    lines = ["---"]
    if languages:
        lines += ["language:", *(f"- {json.dumps(code)}" for code in languages)]
    if license_id:
        lines.append(f"license: {json.dumps(license_id)}")
    else:
        lines.append("# license: choose one before publishing; the data may ask for it")
    lines += ["library_name: transformers", "tags:"]
    lines += [f"- {json.dumps(tag)}" for tag in ["xlingual", *filter(None, tags)]]
    return "\n".join([*lines, "---"])


def _languages(tasks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the natural languages of the tasks, without script or region."""
    codes = {task.get(side) for task in tasks for side in ("src_lang", "tgt_lang")}
    natural = (code for code in codes if code and not is_programming_language(code))
    return sorted({re.split("[-_]", code)[0] for code in natural})


def _introduction(family: str, arrays: Mapping[str, str], run: Mapping[str, Any]) -> str:
    params = {name: array for name, array in arrays.items() if name.startswith(".params")}
    mixture = run.get("fingerprint", {}).get("data.mixture.name", "")
    seen = sum(run["counters"]["tokens"].values())
    article = "An" if family[:1] in "aeiou" else "A"
    return (
        f"{article} {family.replace('_', '-')} model of {_count(params)} parameters, trained with "
        f"xlingual for {run['step']:,} steps and {seen:,} tokens on the mixture `{mixture}`."
    )


def _usage(family: str) -> str:
    auto = _AUTO_CLASS.get(family, "AutoModel")
    code = (
        f"from transformers import {auto}, AutoTokenizer\n\n"
        f'model = {auto}.from_pretrained("PATH")\n'
        'tokenizer = AutoTokenizer.from_pretrained("PATH")'
    )
    return _code("python", code)


def _mixture(tasks: Sequence[Mapping[str, Any]], run: Mapping[str, Any]) -> str:
    counters = run["counters"]
    targets = counters["targets"]
    whole = sum(targets.values())
    rows = []
    for task in tasks:
        name = task["name"]
        declared = f"{task['share']:.4f} of {task['share_unit']}" if "share" in task else ""
        rows.append(
            [
                f"`{name}`",
                task.get("objective", ""),
                "-".join(filter(None, (task.get("src_lang"), task.get("tgt_lang")))),
                declared,
                f"{targets.get(name, 0.0) / whole:.4f}" if whole else "",
                f"{counters['examples'].get(name, 0.0):,.0f}",
                f"{targets.get(name, 0.0):,.0f}",
            ]
        )
    titles = ("task", "objective", "languages", "declared share", "share of target tokens")
    return _table([*titles, "examples", "target tokens"], rows, text_columns=4)


def _tokens(tasks: Sequence[Mapping[str, Any]], counters: Mapping[str, Any]) -> str:
    by_language: defaultdict[str, float] = defaultdict(float)
    for task in tasks:
        code = task.get("tgt_lang") or task.get("src_lang")
        if code:
            by_language[code] += counters["targets"].get(task["name"], 0.0)
    most_first = sorted(by_language.items(), key=lambda item: (-item[1], item[0]))
    rows = [[code, NATURAL_LANGUAGES.get(code, ""), f"{n:,.0f}"] for code, n in most_first]
    stacks = ", ".join(f"{count:,} in the {stack}" for stack, count in counters["tokens"].items())
    text = f"Positions that are not padding: {stacks}."
    if rows:
        table = _table(["language", "name", "target tokens"], rows, text_columns=2)
        text += " Tokens that the loss counts, by the language of the targets:\n\n" + table
    return text


def _evaluation(results: Mapping[str, Any]) -> str:
    parts = []
    directions = results.get("directions") or {}
    if directions:
        rows = [
            [direction, "trained" if scores.get("trained") else "zero-shot"]
            + [_number(scores.get(key)) for key in _SCORES]
            for direction, scores in sorted(directions.items())
        ]
        parts.append(_table(["direction", "kind", *_SCORES.values()], rows, text_columns=2))
    plain = {}
    for group, value in results.items():
        if isinstance(value, Mapping) and group != "directions":
            numbers = {k: v for k, v in value.items() if isinstance(v, int | float)}
            title = group.replace("_", " ")
            rows = [[f"`{key}`", _number(number)] for key, number in sorted(numbers.items())]
            if rows:
                parts.append(_table([title, "value"], rows, text_columns=1))
        elif isinstance(value, int | float) and group not in _NOT_SCORES:
            plain[group] = value
    if plain:
        rows = [[key, _number(value)] for key, value in sorted(plain.items())]
        parts.append(_table(["measure", "value"], rows, text_columns=1))
    return "\n\n".join(parts) or "No evaluation was run."


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]], *, text_columns: int) -> str:
    """Returns a Markdown table; columns behind the text ones are numbers."""
    rule = ["---" if index < text_columns else "---:" for index in range(len(titles))]
    return "\n".join(f"| {' | '.join(row)} |" for row in [titles, rule, *rows])


def _code(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```" if text else ""


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) and math.isfinite(value) else ""


def _count(arrays: Mapping[str, str]) -> str:
    """Returns the number of entries of arrays, from descriptions such as `float32[64, 16]`."""
    shapes = (re.findall(r"\d+", array.partition("[")[2]) for array in arrays.values())
    return f"{sum(math.prod(map(int, shape)) for shape in shapes):,}"


def _read(path: pathlib.Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
