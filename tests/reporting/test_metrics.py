import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlingual.outputs import Metric
from xlingual.reporting.metrics import Book, StepMetrics, Sums, make_groups


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Task:
    name: str
    objective: str = ""
    src_lang: str = ""
    tgt_lang: str = ""
    share: float = 1.0
    share_unit: str = "examples"
    examples_per_epoch: float | None = None


TASKS = (
    _Task(name="span_en", objective="span", src_lang="en", tgt_lang="en", share=0.5),
    _Task(name="en_de", objective="translation", src_lang="en", tgt_lang="de", share=0.3),
    _Task(name="raw_fr", src_lang="fr", share=0.2, examples_per_epoch=8.0),
)


def _metrics(totals, weights, examples, loss=1.0, learning_rate=0.1):
    """Arrays over task ids 0 (padding) to 3."""
    return StepMetrics(
        scalars={"loss": np.float32(loss), "learning_rate": np.float32(learning_rate)},
        sums=Sums(
            losses={"contrast/loss": Metric(total=np.float32(6.0), weight=np.float32(2.0))},
            tasks={
                "cross_entropy/loss": Metric(total=np.float32(totals), weight=np.float32(weights))
            },
            examples=np.float32(examples),
            targets=np.float32(weights),
            tokens={"encoder": np.int32(30), "decoder": np.int32(20)},
            pairs={"encoder": np.float32(1), "decoder": np.float32(1)},
        ),
    )


def test_tasks_languages_directions_and_objectives_are_groups():
    assert make_groups(TASKS) == {
        "task/span_en": [0],
        "task/en_de": [1],
        "task/raw_fr": [2],
        "objective/span": [0],
        "objective/translation": [1],
        "language/en": [0],
        "language/de": [1],
        "language/fr": [2],
        "direction/en-de": [1],
    }


def test_a_period_gives_means_and_the_whole_run_gives_shares():
    book = Book(TASKS)
    book.add(_metrics([9, 8, 3, 0], [9, 4, 1, 0], [0, 3, 1, 0], loss=2.0), seconds=1.0)
    book.add(_metrics([9, 4, 0, 0], [9, 2, 0, 0], [0, 1, 1, 2], loss=4.0, learning_rate=0.2), 3.0)
    numbers = book.take()
    assert numbers["loss"] == 3.0
    assert numbers["learning_rate"] == pytest.approx(0.2)
    assert numbers["seconds_per_step"] == 2.0
    assert numbers["tokens_per_second"] == 100 / 4.0
    assert numbers["encoder_tokens_seen"] == 60
    assert numbers["contrast/loss"] == 3.0
    assert numbers["cross_entropy/loss"] == pytest.approx((8 + 3 + 4) / (4 + 1 + 2))
    assert numbers["task/span_en/cross_entropy/loss"] == pytest.approx(12 / 6)
    assert numbers["direction/en-de/cross_entropy/loss"] == 3.0
    assert "task/raw_fr/cross_entropy/loss" not in numbers  # no weight, no mean
    assert numbers["task/raw_fr/targets"] == 0
    assert numbers["task/span_en/targets"] == 6
    assert numbers["task/span_en/share"] == 4 / 8
    assert numbers["task/span_en/declared_share"] == 0.5
    assert numbers["task/raw_fr/epochs"] == 2 / 8
    assert "task/en_de/epochs" not in numbers
    assert book.take() == {}
    book.add(_metrics([0, 0, 0, 8], [0, 0, 0, 8], [0, 0, 0, 8]), seconds=1.0)
    numbers = book.take()
    assert numbers["task/raw_fr/epochs"] == 10 / 8
    assert numbers["task/span_en/share"] == 4 / 16
    assert numbers["cross_entropy/loss"] == 1.0
    assert "task/span_en/cross_entropy/loss" not in numbers


def test_shares_declared_in_tokens_are_counted_in_weighted_targets():
    book = Book([dataclasses.replace(task, share_unit="tokens") for task in TASKS])
    book.add(_metrics([0, 1, 1, 1], [0, 6, 3, 1], [0, 1, 1, 8]), seconds=1.0)
    assert [book.realised_share([index]) for index in range(3)] == [0.6, 0.3, 0.1]


def test_counters_go_through_json_unchanged():
    rng = np.random.default_rng(0)
    book = Book(TASKS)
    for _ in range(50):
        weights = rng.integers(0, 9, 4) / 2
        book.add(_metrics(rng.random(4), weights, rng.integers(0, 9, 4)), rng.random())
    other = Book(TASKS)
    other.restore(json.loads(json.dumps(book.state())))
    assert other.state() == book.state()
    assert other.counters.steps == 50
    assert other.counters.tokens_per_second == book.counters.tokens_per_second > 0
    for each in (book, other):
        each.add(_metrics([0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]), 0.1)
    assert other.state() == book.state()


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_groups_add_up_to_the_whole(data):
    numbers = st.lists(st.integers(0, 50), min_size=4, max_size=4)
    book = Book(TASKS)
    weights = np.zeros(4)
    totals = np.zeros(4)
    for _ in range(data.draw(st.integers(1, 4))):
        weight, total = np.array(data.draw(numbers)), np.array(data.draw(numbers))
        total = total * (weight > 0)
        weights, totals = weights + weight, totals + total
        book.add(_metrics(total, weight, weight), 1.0)
    found = book.take()
    shares = [found[f"task/{task.name}/share"] for task in TASKS]
    whole = weights[1:].sum()
    assert sum(shares) == pytest.approx(1.0 if whole else 0.0)
    if whole:
        assert found["cross_entropy/loss"] == pytest.approx(totals[1:].sum() / whole)


def test_objectives_that_stray_from_their_share_are_named_after_a_thousand_steps():
    book = Book(TASKS)
    step = _metrics([0, 1, 1, 1], [0, 1, 1, 1], [0, 52, 20, 28])
    for _ in range(999):
        book.add(step, 0.1)
    assert book.strayed_objectives() == {}
    book.add(step, 0.1)
    strayed = book.strayed_objectives()
    assert list(strayed) == ["translation"]  # 0.52 is within a tenth of 0.5
    assert strayed["translation"] == (pytest.approx(0.2), 0.3)
