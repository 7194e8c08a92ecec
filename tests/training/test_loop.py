import dataclasses
import json
import math

import jax
import numpy as np
import pytest

from tests.training.fakes import FakeModel, FakeSource, make_arguments, make_partitioner
from xlingual.checkpointing.manager import CheckpointConfig, CheckpointManager
from xlingual.errors import ConfigError
from xlingual.losses.cross_entropy import CrossEntropy
from xlingual.training import loop, recorder


def _lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _assert_equal(one, two):
    assert jax.tree.structure(one) == jax.tree.structure(two)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize(
    ("sizes", "num_microbatches"), [({"data": 8}, 1), ({"data": 2, "fsdp": 2}, 2)]
)
def test_stop_and_resume_equal_an_uninterrupted_run(sizes, num_microbatches, tmp_path):
    changes = {
        "partitioner": make_partitioner(math.prod(sizes.values()), **sizes),
        "num_microbatches": num_microbatches,
        "log_period_steps": 5,
    }
    whole = loop.train(**make_arguments(tmp_path / "whole", train_steps=20, **changes))
    half = loop.train(**make_arguments(tmp_path / "parts", train_steps=10, **changes))
    assert int(half.step) == 10
    rest = loop.train(**make_arguments(tmp_path / "parts", train_steps=20, **changes))
    _assert_equal(whole, rest)
    for a, b in zip(_lines(tmp_path / "whole"), _lines(tmp_path / "parts"), strict=True):
        assert a.keys() == b.keys()
        same = [name for name in a if "second" not in name]
        assert {name: a[name] for name in same} == {name: b[name] for name in same}


def test_an_earlier_checkpoint_gives_the_same_end(tmp_path):
    often = CheckpointConfig(period_steps=3, keep=10)
    whole = loop.train(**make_arguments(tmp_path, train_steps=8, checkpointer=often))
    for step in (6, 8):
        (tmp_path / "checkpoints" / str(step)).rename(tmp_path / f"gone_{step}")
    again = loop.train(**make_arguments(tmp_path, train_steps=8, checkpointer=often))
    _assert_equal(whole, again)
    # Lines that the restart took back are there once.
    assert [line["step"] for line in _lines(tmp_path)] == [2, 4, 6, 8]


def test_a_run_that_is_done_only_reports_again(tmp_path, capsys):
    first = loop.train(**make_arguments(tmp_path))
    (tmp_path / "results.json").unlink()
    again = loop.train(**make_arguments(tmp_path))
    _assert_equal(first, again)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["steps"] == 4
    assert results["seconds"] > 0 and results["tokens_per_second"] > 0
    assert results["peak_rss_bytes"] > 50e6
    assert "going on after step 4" in capsys.readouterr().out


def test_the_order_of_a_step(tmp_path, monkeypatch):
    """Metrics of step n - 1 are read after step n is dispatched; batches come while it runs."""
    events = []
    get, compiled = jax.device_get, loop._Run.compile

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Source(FakeSource):
        def iterator(self, rows=None):
            inner = super().iterator(rows)

            class Iterator:
                state = inner.state
                restore = inner.restore

                def __next__(self):
                    events.append(("fetch", inner.number + 1))
                    return next(inner)

            return Iterator()

    def compile_and_note(self, layout):
        step_fn = compiled(self, layout)
        count = iter(range(1, 100))

        def step(state, batch):
            number = next(count)
            events.append(("dispatch", number))
            state, metrics = step_fn(state, batch)
            return state, _Numbered(metrics, number)

        return step

    def device_get(tree):
        if isinstance(tree, _Numbered):
            events.append(("read", tree.number))
            tree = tree.metrics
        return get(tree)

    class Hook:
        period_steps = 3

        def prepare(self, context):
            pass

        def run(self, context, state):
            events.append(("hook", int(get(state.step))))

    save = CheckpointManager.save
    monkeypatch.setattr(loop._Run, "compile", compile_and_note)
    monkeypatch.setattr(recorder.jax, "device_get", device_get)
    monkeypatch.setattr(
        CheckpointManager,
        "save",
        lambda self, step, checkpoint: (
            events.append(("save", step, checkpoint.position)),
            save(self, step, checkpoint),
        ),
    )
    loop.train(
        **make_arguments(
            tmp_path,
            source=Source(),
            train_steps=4,
            hooks=[Hook()],
            checkpointer=CheckpointConfig(period_steps=2),
        )
    )
    assert events == [
        ("fetch", 1),
        ("dispatch", 1),
        ("fetch", 2),
        ("dispatch", 2),
        ("read", 1),
        ("read", 2),  # step 2 is saved, so it is checked before
        ("save", 2, b"2"),
        ("fetch", 3),
        ("dispatch", 3),
        ("read", 3),
        ("hook", 3),
        ("fetch", 4),
        ("dispatch", 4),
        ("read", 4),
        ("save", 4, b"4"),
        ("hook", 4),
    ]


@dataclasses.dataclass
class _Numbered:
    metrics: object
    number: int


@pytest.mark.parametrize("period_steps", [2, 3])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(period_steps, tmp_path):
    losses = {"cross_entropy": CrossEntropy(weight=lambda step: _nan_from(4, step))}
    often = CheckpointConfig(period_steps=period_steps, keep=10)
    good = period_steps * (4 // period_steps)
    arguments = make_arguments(tmp_path, losses=losses, train_steps=9, checkpointer=often)
    with pytest.raises(ConfigError, match=rf"step 5: loss is nan.*checkpoints/{good}$"):
        loop.train(**arguments)
    assert not (tmp_path / "results.json").exists()
    assert _lines(tmp_path)[-1]["step"] == 5 and _lines(tmp_path)[-1]["loss"] is None
    with CheckpointManager(tmp_path, often) as manager:
        assert manager.latest_step() == good
    with pytest.raises(ConfigError, match="step 5: loss is nan"):
        loop.train(**arguments)  # the same command starts from the good checkpoint


def _nan_from(first, step):
    return jax.numpy.where(step >= first, jax.numpy.nan, 1.0)


def test_no_transfer_is_implicit(tmp_path):
    """The guard is on in the steps: a host array for a batch is refused."""
    seen = []

    class Hook:
        period_steps = 1

        def prepare(self, context):
            pass

        def run(self, context, state):
            seen.append(float(state.params["kernel"].sum()))  # hooks may do as they like

    with jax.transfer_guard("log"):
        loop.train(**make_arguments(tmp_path / "a", hooks=[Hook()]))
    assert len(seen) == 4

    partitioner = make_partitioner(8)
    object.__setattr__(partitioner, "shard_batch", lambda host_batch: host_batch)
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        loop.train(**make_arguments(tmp_path / "b", partitioner=partitioner))


def test_data_that_end_are_reported_with_the_step(tmp_path):
    arguments = make_arguments(tmp_path, source=FakeSource(num_batches=3), train_steps=9)
    with pytest.raises(ConfigError, match=r"data end after step 3; expected an endless stream"):
        loop.train(**arguments)


REFUSED = {
    "vocabulary": {"source": FakeSource(vocabulary="b" * 8)},
    "mixture": {"source": FakeSource(mixture="other")},
    "model.width": {"model": FakeModel(width=24)},
    "seed": {"seed": 3},
}


@pytest.mark.parametrize("name", REFUSED)
def test_another_configuration_is_refused_and_changes_nothing(name, tmp_path):
    loop.train(**make_arguments(tmp_path))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(ConfigError, match=rf"{name}: the checkpoint has .*, this run has "):
        loop.train(**make_arguments(tmp_path, train_steps=6, **REFUSED[name]))
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}


def test_an_allowed_change_of_data_starts_the_stream_anew(tmp_path):
    loop.train(**make_arguments(tmp_path))
    starts = []

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Source(FakeSource):
        def iterator(self, rows=None):
            inner = super().iterator(rows)
            inner.restore = starts.append
            return inner

    arguments = make_arguments(tmp_path, source=Source(mixture="other"), train_steps=6)
    state = loop.train(**arguments, allow_changes=("mixture",))
    assert int(state.step) == 6 and starts == []
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["steps"] == 6  # counters go on


def test_the_configuration_is_saved_as_it_is_at_that_time(tmp_path):
    texts = iter(["start", "first", "second"])
    saves = CheckpointConfig(period_steps=2)
    loop.train(**make_arguments(tmp_path, checkpointer=saves, config_text=lambda: next(texts)))
    found = [
        (tmp_path / "checkpoints" / step / "config" / "operative_config.gin").read_text()
        for step in ("2", "4")
    ]
    assert found == ["first", "second"]
    assert (tmp_path / "operative_config.gin").read_text() == "start"
