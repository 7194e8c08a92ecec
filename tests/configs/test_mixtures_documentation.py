"""Every block of gin in docs/mixtures.md is an experiment that says what its text says."""

import pathlib

import gin
import jax
import pytest

from xlingual import config
from xlingual.data import curricula, task_checks, task_registry
from xlingual.data.arms import ArmsSource
from xlingual.data.datasets import SeqioSource
from xlingual.data.mixing_rates import Sizes, Temperature
from xlingual.data.staged import Stage, StagedSource
from xlingual.optimizers.adafactor import Adafactor
from xlingual.optimizers.freezing import Freeze
from xlingual.training import bandit, curriculum, loop, state

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "mixtures.md").read_text(encoding="utf-8")
BLOCKS = [part.split("```")[0] for part in TEXT.split("```gin\n")[1:]]


def spans(*codes):
    return [f"toy_span_corruption_{code}" for code in codes]


def check_names(values):
    assert shares_of(values)["toy_translation_de_en"] == pytest.approx(0.05)
    unit = task_registry.leaf_shares(values["source"].mixture_or_task_name)[1]
    assert unit == "tokens"


def check_temperature(values):
    shares = shares_of(values)
    sizes = [
        task_registry.get_mixture_or_task(name).source.num_input_examples("train")
        for name in spans("de", "python")
    ]
    found = [shares[name] for name in spans("de", "python")]
    assert sum(found) == pytest.approx(0.8)
    assert found[0] / found[1] == pytest.approx((sizes[0] / sizes[1]) ** 0.3)
    assert shares["toy_translation_en_de"] == pytest.approx(0.1)


def check_sizes(values):
    expected = dict(zip(spans("en", "tr"), (0.8, 0.2), strict=True))
    assert shares_of(values) == pytest.approx(expected)


def check_unimax(values):
    expected = {"en": 1.3e9, "tr": 4e8, "zh": 1.3e9}
    found = shares_of(values)
    for code, characters in expected.items():
        assert found[f"toy_span_corruption_{code}"] == pytest.approx(characters / 3e9)


def check_stages(values):
    source = values["source"]
    assert isinstance(source, StagedSource) and len(source.schedule) == 3
    assert source.blend(9999) == (0, 0.0)
    assert source.blend(10000) == (1, 0.0) and source.blend(15000) == (1, 0.5)
    assert source.blend(20000) == (2, 0.0)


def check_parallel_first(values):
    first, second = values["source"].schedule
    assert first == Stage(mixture="toy_translation_trained", end_step=5000)
    assert second == Stage(mixture="toy_mt5")


def check_anneal_alpha(values):
    first, second = values["source"].schedule
    assert first.interpolate and first.end_step == 50000
    assert first.mixture["toy_span_corruption_en"] == pytest.approx(0.9)
    sizes = Sizes(counts=dict(zip(spans("en", "tr"), (90, 10), strict=True)), unit="documents")
    assert second.mixture == pytest.approx(Temperature(alpha=0.3).rates(sizes))


def check_learned_ratio(values):
    assert isinstance(values["source"], ArmsSource)
    assert list(values["source"].arms) == ["text", "pairs"]
    expected = curriculum.LearnedRatio(rule=bandit.Fair(floor=0.2), period_steps=20)
    assert values["curriculum"] == expected


def check_embeddings_first(values):
    optimizer = values["optimizer"]
    assert isinstance(optimizer, Freeze) and isinstance(optimizer.optimizer, Adafactor)
    assert optimizer.stages == [(2000, ("token_embedder", "logits_dense")), (None, (".*",))]
    layout = state.plan_state(
        values["model"], optimizer, values["partitioner"], values["source"].spec
    )
    assert all(jax.tree.leaves(layout.trained))


CHECKS = (
    check_names,
    check_temperature,
    check_sizes,
    check_unimax,
    check_stages,
    check_parallel_first,
    check_anneal_alpha,
    check_learned_ratio,
    check_embeddings_first,
)


def shares_of(values):
    """Returns the shares of a source's tasks."""
    source = values["source"]
    assert isinstance(source, SeqioSource)
    task_checks.import_task_modules(source.task_modules)
    return task_registry.leaf_shares(source.mixture_or_task_name)[0]


@pytest.fixture(autouse=True)
def _clean(clean_gin):
    yield
    for name in ("my_temperature", "my_sizes", "my_unimax"):
        task_registry.unregister(name)


@pytest.mark.parametrize(
    ("block", "check"),
    list(zip(BLOCKS, CHECKS, strict=True)),
    ids=[check.__name__.removeprefix("check_") for check in CHECKS],
)
def test_a_block_of_the_documentation(block, check, tmp_path):
    path = tmp_path / "mine.gin"
    path.write_text(block, encoding="utf-8")
    config.parse([str(path)], [("MODEL_DIR", str(tmp_path / "model"))])
    check(gin.get_bindings(loop.train, resolve_references=True))


def test_every_named_curriculum_is_documented():
    rows = {line.split("`")[1] for line in TEXT.splitlines() if line.startswith("| `")}
    public = {
        name
        for name, value in vars(curricula).items()
        if callable(value)
        and getattr(value, "__module__", "") == curricula.__name__
        and not name.startswith("_")
    }
    assert rows == public
