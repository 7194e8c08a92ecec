"""The defaults of the specification, each in one place of the code."""

import dataclasses
import inspect

import pytest

from xlingual.data import curricula, mixing_rates
from xlingual.losses.cross_entropy import CrossEntropy
from xlingual.objectives import registry, token_noise, ul2
from xlingual.objectives.span_corruption import MAX_DOCUMENT_TOKENS
from xlingual.training import bandit, curriculum

OPTIONS = {
    "span_corruption": {
        "noise_density": 0.15,
        "mean_noise_span_length": 3.0,
        "random_roll": False,
    },
    "prefix_lm": {"noise_density": 0.5},
    "causal_lm": {"form": "concat", "reset_at_eos": True},
    "translation": {"format": "tag", "direction": "both", "max_length_ratio": 3.0},
    "ptlm": {"rho": 1.0, "pivot_lang": "en", "direction": "both"},
    "nmt5_tlm": {"noise_density": 0.15, "mean_noise_span_length": 3.0},
    "tpsc": {"noise_density": 0.15},
    "tsc": {"noise_density": 0.5, "direction": "random"},
    "translation_prompt": {"loss_on_source": False},
    "translation_lm": {"direction": "random"},
    "pivot_chain": {"pivot_weight": 0.5},
    "pivot_multi_source": {"drop_pivot_rate": 0.5, "drop_source_rate": 0.1},
    "dot_denoise": {"shuffle_window": 3.0, "drop_rate": 0.1, "mask_rate": 0.1},
    "camlm": {"noise_density": 0.15},
    "btmlm": {"noise_density": 0.15},
    "ras": {"rate": 0.3, "max_pairs": 2000},
    "cs_input_only": {"rate": 0.05},
    "entity_cs": {"variant": "WEP", "noise_density": 0.15, "num_languages": 5},
    "lem": {"noise_density": 0.15},
    "glm": {"noise_density": 0.15},
}
FIELDS = [
    (CrossEntropy, {"z_loss": 1e-4, "label_smoothing": 0.0}),
    (mixing_rates.Temperature, {"alpha": 0.3, "maximum": None, "scale": 1.0}),
    (mixing_rates.UniMax, {"max_epochs": 1.0}),
    (bandit.Fair, {"decay": 0.9, "floor": 0.1}),
    (bandit.Exp3S, {"rate": 1e-3, "floor": 0.05}),
    (curriculum.LearnedRatio, {"period_steps": 10, "num_recent": 1000}),
    (token_noise.LocalShuffle, {"window": 3.0}),
    (token_noise.DropTokens, {"rate": 0.1}),
    (token_noise.MaskTokens, {"rate": 0.1}),
    (token_noise.PermuteSentences, {"rate": 1.0}),
    (token_noise.InfillSpans, {"rate": 0.35, "mean_span_length": 3.5}),
]


@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_objectives(name):
    parameters = inspect.signature(registry.get_objective(name).preprocess).parameters
    assert {option: parameters[option].default for option in OPTIONS[name]} == OPTIONS[name]


@pytest.mark.parametrize(("kind", "expected"), FIELDS)
def test_fields_of_settings(kind, expected):
    fields = {field.name: field.default for field in dataclasses.fields(kind)}
    assert {name: fields[name] for name in expected} == expected


def test_dot_denoises_a_third_of_the_steps():
    assert inspect.signature(curricula.dot).parameters["rho"].default == 1 / 3


def test_ul2_has_its_seven_denoisers():
    found = [
        (d.mode, d.mean_noise_span_length, d.noise_density, pytest.approx(d.rate))
        for d in ul2.PRESETS["ul2"]
    ]
    assert found == [
        ("[NLU]", 3.0, 0.15, 0.2),
        ("[NLU]", 8.0, 0.15, 0.2),
        ("[NLG]", 3.0, 0.5, 0.1),
        ("[NLG]", 8.0, 0.5, 0.1),
        ("[NLG]", 64.0, 0.15, 0.1),
        ("[NLG]", 64.0, 0.5, 0.1),
        ("[S2S]", None, 0.25, 0.2),
    ]


def test_long_documents_give_one_block():
    assert MAX_DOCUMENT_TOKENS == 65_536
