"""Stages switch at exact steps, pass over as declared, and resume exactly."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.numbered import NumberedSource
from xlingual.data.staged import Stage, StagedSource
from xlingual.errors import ConfigError

IDS = {"en": 1, "fr": 2, "mt": 3}


def make(*stages, **changes):
    return StagedSource(base=NumberedSource(**changes), stages=stages)


def draw(iterator, count):
    return [next(iterator) for _ in range(count)]


def test_a_boundary_is_exact_to_the_step():
    batches = draw(make((3, "mono"), (5, "pairs"), (None, "late")).iterator(), 7)
    seen = [set(batch["decoder_task_ids"].ravel().tolist()) for batch in batches]
    mono, pairs, late = {IDS["en"], IDS["fr"]}, {IDS["fr"], IDS["mt"]}, {IDS["mt"]}
    assert seen == [mono, mono, mono, pairs, pairs, late, late]
    rows = [batch["rows"][0, 0] for batch in batches]
    assert rows == [0, 8, 16, 0, 8, 0, 8]  # every stage begins at the beginning of its stream


def test_stages_pass_over_linearly_and_lose_no_row():
    steps = 60
    source = make(
        Stage(mixture="mono", end_step=steps, interpolate=True),
        Stage(mixture="late"),
        batch_size=40,
    )
    batches = draw(source.iterator(), steps + 2)
    late = [(batch["decoder_task_ids"] == IDS["mt"]).mean() for batch in batches]
    expected = [min(step / steps, 1.0) for step in range(steps + 2)]
    assert np.abs(np.subtract(late, expected)).max() <= 1 / 40
    assert late[0] == 0.0
    assert late[steps:] == [1.0, 1.0]
    for ids in ((IDS["en"], IDS["fr"]), (IDS["mt"],)):
        rows = [b["rows"][np.isin(b["decoder_task_ids"], ids)] for b in batches]
        numbers = np.concatenate([np.sort(part) for part in rows])
        assert numbers.tolist() == list(range(len(numbers)))
    mixed = batches[steps // 2]["decoder_task_ids"].ravel() == IDS["mt"]
    assert np.abs(np.diff(mixed.astype(int))).sum() > 4  # the rows are shuffled within a batch


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=4), st.booleans(), st.booleans())
def test_a_stopped_run_goes_on_exactly(stops, first_blends, second_blends):
    source = make(
        Stage(mixture="mono", end_step=4, interpolate=first_blends),
        Stage(mixture="pairs", end_step=9, interpolate=second_blends),
        Stage(mixture="late"),
        batch_size=5,
    )
    straight = draw(source.iterator(), 13)
    position, found = None, []
    for stop in [*sorted(stops), 13]:
        iterator = source.iterator()
        if position is not None:
            iterator.restore(position)
        found += draw(iterator, stop - len(found))
        position = iterator.state()
    for mine, theirs in zip(found, straight, strict=True):
        for name in theirs:
            np.testing.assert_array_equal(mine[name], theirs[name])


@pytest.mark.parametrize("steps", [1, 5, 10, 25, 40, 70])
def test_declared_shares_are_the_mean_over_the_steps_so_far(steps):
    source = make(
        Stage(mixture="mono", end_step=10),
        Stage(mixture="pairs", end_step=40, interpolate=True),
        Stage(mixture="late"),
        batch_size=400,
    )
    batches = draw(source.iterator(), steps)
    ids = np.concatenate([batch["decoder_task_ids"] for batch in batches])
    declared = source.declared_shares(steps)
    assert sum(declared.values()) == pytest.approx(1.0)
    for name, share in declared.items():
        assert np.mean(ids == IDS[name]) == pytest.approx(share, abs=0.005)


def test_tasks_of_all_stages_are_numbered_together():
    source = make((30, "mono"), (90, "pairs"))
    assert [task.name for task in source.tasks] == ["en", "fr", "mt"]
    assert [task.share for task in source.tasks] == pytest.approx([1 / 6, 1 / 2, 1 / 3])
    assert source.fingerprint()["num_records"] == {"en": 7, "fr": 7, "mt": 7}
    other = make((31, "mono"), (90, "pairs"))
    assert other.fingerprint() != source.fingerprint()
    assert source.spec == NumberedSource().spec


def test_the_stream_ends_with_its_last_stage():
    iterator = make((2, "mono"), (3, "late")).iterator()
    assert len(draw(iterator, 3)) == 3
    with pytest.raises(StopIteration):
        next(iterator)


def test_a_stage_may_be_given_by_shares():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Shares(NumberedSource):
        mixture_or_task_name: object = None

        @property
        def tasks(self):
            return NumberedSource(mixture_or_task_name=next(iter(self.mixture_or_task_name))).tasks

    source = StagedSource(base=Shares(), stages=[(1, {"mono": 1.0}), (None, {"late": 1.0})])
    assert [task.name for task in source.tasks] == ["en", "fr", "mt"]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], "stages is empty"),
        ([(5, "mono"), (5, "late")], r"end at the steps \[5, 5\]"),
        ([(None, "mono"), (5, "late")], r"end at the steps \[None, 5\]"),
        ([(0, "mono"), (None, "late")], r"end at the steps \[0, None\]"),
        ([(3, "mono", True)], "there is no stage after it"),
    ],
)
def test_mistakes_in_stages_are_named(stages, message):
    with pytest.raises(ConfigError, match=message):
        make(*stages)


def test_stages_must_agree_in_vocabulary_and_units():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Odd(NumberedSource):
        def __post_init__(self):
            if self.part:
                object.__setattr__(self, "vocab_size", 51)
                object.__setattr__(self, "share_unit", "examples")

    source = StagedSource(base=Odd(), stages=[(1, "mono"), (2, "late")])
    with pytest.raises(ConfigError, match="'stage 2' has vocab_size 51, but 'stage 1' 50"):
        _ = source.vocab_size
    with pytest.raises(ConfigError, match=r"shares in \['examples', 'tokens'\]; expected one unit"):
        _ = source.tasks


def test_a_position_of_another_source_is_refused():
    with pytest.raises(ConfigError, match="saved by another kind of data source"):
        make((1, "mono"), (2, "late")).iterator().restore(b"7")
