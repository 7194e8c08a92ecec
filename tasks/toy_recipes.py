"""Mixtures of the recipes that the field knows, on the toy corpus; importing registers them.

Each is what a paper trains on, with the toy corpus in place of its data: for other data the same
shares go to other tasks. Languages within an objective are drawn by temperature where the paper
says so. The experiments of `gin/experiments/` name them.
"""

from collections.abc import Mapping, Sequence

from tasks import mixtures, toy, toy_objectives
from tasks.toy_corpus import NATURAL_LANGUAGES, PROGRAMMING_LANGUAGES
from tasks.toy_grammar import PIVOT
from xlingual.data import task_registry
from xlingual.data.mixing_rates import Temperature

_MT5 = Temperature(alpha=0.3)
_MBART = Temperature(alpha=0.7)
_LANGUAGES = [*NATURAL_LANGUAGES]
_WITH_CODE = [*NATURAL_LANGUAGES, *PROGRAMMING_LANGUAGES]


def _texts(objective: str, languages: Sequence[str] = _LANGUAGES) -> list[str]:
    return [toy.task_name(objective, language) for language in languages]


def _pairs(objective: str) -> list[str]:
    return toy.task_names(objective, ((language, PIVOT) for language in toy.FOREIGN))


def _sizes(names: Sequence[str]) -> dict[str, float]:
    """Returns the number of documents of toy tasks, which their sources know."""
    sizes = {}
    for name in names:
        task = task_registry.get_mixture_or_task(name)
        sizes[name] = float(task.source.num_input_examples("train"))
    return sizes


def register_mixtures() -> None:
    """Registers the mixture of every recipe; a second call does nothing."""
    spans, code = _texts("span_corruption"), _texts("span_corruption", _WITH_CODE)
    translation = toy.task_names("translation", toy.TRANSLATION_TRAINED)
    ptlm = toy.task_names("ptlm", toy.TRANSLATION_TRAINED)
    ptlm_code = toy.task_names("ptlm", toy.CODE_TRAINED)

    _register("toy_mt5", {"span_corruption": (1.0, spans)}, "mT5: span corruption", _MT5)
    _register(
        "toy_nmt5",
        {"span_corruption": (0.9, spans), "translation": (0.1, translation)},
        "nmT5: nine in ten examples span corruption, one translation",
        _MT5,
        share_unit="examples",
    )
    _register(
        "toy_mt6",
        {"span_corruption": (0.5, spans), "tsc_pnat": (0.5, _pairs("tsc_pnat"))},
        "mT6: span corruption and translation span corruption, groups decoded apart",
        _MT5,
    )
    _register(
        "toy_ernie_code",
        {
            "span_corruption": (0.5, code),
            "ptlm": (0.25, ptlm),
            "ptlm_code": (0.25, ptlm_code),
        },
        "ERNIE-Code: span corruption of text and code, pivot translation",
        _MT5,
    )
    _register("toy_mbart", {"mbart": (1.0, _texts("mbart"))}, "mBART: denoising of documents")
    _register("toy_ul2", {"ul2": (1.0, _texts("ul2"))}, "UL2: a mixture of denoisers", _MT5)
    _register(
        "toy_dot_denoise",
        {"dot_denoise": (1.0, _texts("dot_denoise"))},
        "DoT, stage 1: denoising both sides of the pairs",
    )
    _register(
        "toy_bit",
        {"bit": (1.0, _pairs("bit"))},
        "BiT: both directions of the pairs",
    )
    _register(
        "toy_causal_lm_english",
        {
            "english": (0.6, _texts("causal_lm", [PIVOT])),
            "others": (0.4, _texts("causal_lm", toy.FOREIGN)),
        },
        "Gamayun, stage 2: language modelling enriched with English",
    )


def _register(
    name: str,
    objectives: Mapping[str, tuple[float, list[str]]],
    description: str,
    sampling: Temperature | None = None,
    share_unit: task_registry.ShareUnit = "tokens",
) -> None:
    mixtures.register_objectives(
        name=name,
        shares={objective: share for objective, (share, _) in objectives.items()},
        tasks={objective: tasks for objective, (_, tasks) in objectives.items()},
        sampling=sampling,
        task_sizes=None if sampling is None else _sizes(_all_tasks(objectives)),
        share_unit=share_unit,
        description=f"Toy corpus: {description}.",
    )


def _all_tasks(objectives: Mapping[str, tuple[float, list[str]]]) -> list[str]:
    return [task for _, tasks in objectives.values() for task in tasks]


toy_objectives.register_tasks()
register_mixtures()
