import time

import jax.numpy as jnp
import pytest

from tests.training.fakes import TASKS
from xlingual.outputs import Metric
from xlingual.reporting.metrics import Book, StepMetrics, Sums
from xlingual.reporting.writers import RunWriter
from xlingual.training.recorder import Recorder


class _Log:
    def __init__(self):
        self.lines = []
        self.steps = []

    def write(self, step, numbers):
        self.lines.append((step, dict(numbers)))

    def advance(self, step):
        self.steps.append(step)

    def say(self, text):
        pass

    def close(self):
        pass


def _metrics(loss, grad_norm=1.0):
    ones = jnp.ones(4)
    return StepMetrics(
        scalars={"loss": jnp.float32(loss), "grad_norm": jnp.float32(grad_norm)},
        sums=Sums(
            losses={},
            tasks={"cross_entropy/loss": Metric(total=ones * loss, weight=ones)},
            examples=ones,
            targets=ones,
            tokens={"decoder": jnp.int32(100)},
            pairs={"decoder": jnp.float32(400)},
        ),
    )


def _recorder(**options):
    log = _Log()
    recorder = Recorder(Book(TASKS), RunWriter([log]), log_period_steps=2, **options)
    recorder.start()
    return recorder, log


def test_a_step_is_read_when_the_next_one_is_pushed():
    recorder, log = _recorder()
    recorder.push(1, _metrics(1.0))
    assert log.steps == []
    recorder.push(2, _metrics(3.0))
    assert log.steps == [1]
    recorder.push(3, _metrics(5.0))
    assert log.steps == [1, 2]
    assert [step for step, _ in log.lines] == [2]
    assert log.lines[0][1]["loss"] == 2.0
    recorder.flush()
    recorder.flush()
    assert log.steps == [1, 2, 3]
    recorder.log()
    recorder.log()
    assert [(step, numbers["loss"]) for step, numbers in log.lines] == [(2, 2.0), (3, 5.0)]


@pytest.mark.parametrize("bad", [{"loss": float("nan")}, {"loss": 1.0, "grad_norm": float("inf")}])
def test_a_number_that_is_not_finite_stops_with_the_step_it_came_from(bad):
    recorder, log = _recorder()
    recorder.push(1, _metrics(1.0))
    recorder.push(2, _metrics(**bad))
    with pytest.raises(FloatingPointError, match=r"step 2: (loss is nan|grad_norm is inf)"):
        recorder.push(3, _metrics(1.0))
    assert log.lines[-1][0] == 2  # the log shows the numbers that stopped the run


def test_a_pause_counts_for_no_step():
    recorder, log = _recorder()
    recorder.push(1, _metrics(1.0))
    recorder.flush()
    with recorder.paused():
        time.sleep(0.5)
    recorder.push(2, _metrics(1.0))
    recorder.flush()
    assert log.lines[0][1]["seconds_per_step"] < 0.25


def test_a_share_that_strays_is_told_once():
    told = []
    recorder, log = _recorder()
    log.say = told.append
    recorder._book.counters.steps = 1000
    for step in range(1, 6):
        recorder.push(step, _metrics(1.0))
    recorder.flush()
    # Every task has as many examples as the others, one of two objectives has two tasks.
    assert len(told) == 2
    assert "objective span has a share of 0.333 so far; its mixture declares 0.500" in told[0]
