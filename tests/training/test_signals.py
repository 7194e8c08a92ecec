"""Signals, seen from outside: a process is told to stop, and started again."""

import os
import pathlib
import re
import signal
import subprocess
import sys

import jax
import numpy as np

from tests.training.fakes import make_arguments
from xlingual.checkpointing.manager import CheckpointConfig, CheckpointManager
from xlingual.training import loop
from xlingual.training.interruption import Interruption

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = """
import sys, time
import jax
from tests.training.fakes import make_arguments
from xlingual.training import loop

class Slowly:
    period_steps = 1
    def prepare(self, context):
        pass
    def run(self, context, state):
        if int(state.step) == 3:
            print("step 3 is done", flush=True)
        time.sleep(0.05)

loop.train(**make_arguments(sys.argv[1], train_steps=int(sys.argv[2]), hooks=[Slowly()]))
"""


def _start(folder, train_steps):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(folder), str(train_steps)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
    )


def _interrupt(folder, number):
    """Returns the exit code and the output of a run that gets a signal after step 3."""
    with _start(folder, 100_000) as process:
        try:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if "step 3 is done" in line:
                    process.send_signal(number)
            errors = process.stderr.read()
            return process.wait(timeout=120), "".join(lines), errors
        finally:
            process.kill()


def test_sigterm_saves_and_exits_with_zero_and_a_restart_goes_on(tmp_path):
    code, output, errors = _interrupt(tmp_path / "run", signal.SIGTERM)
    assert code == 0, errors
    saved = int(re.search(r"stopped by a signal; .*checkpoints/(\d+)", output).group(1))
    assert 3 <= saved < 100_000
    assert not (tmp_path / "run" / "results.json").exists()
    end = saved + 3
    with _start(tmp_path / "run", end) as process:
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert f"going on after step {saved}" in output
    whole = loop.train(**make_arguments(tmp_path / "whole", train_steps=end))
    with CheckpointManager(tmp_path / "run", CheckpointConfig()) as manager:
        shapes = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), whole
        )
        resumed = manager.load_state(end, shapes)
    for one, two in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))


def test_sigint_saves_and_does_not_look_like_success(tmp_path):
    code, output, errors = _interrupt(tmp_path, signal.SIGINT)
    assert code != 0
    assert "stopped by a signal" in output and "KeyboardInterrupt" in errors
    assert list((tmp_path / "checkpoints").glob("[0-9]*"))


def test_a_second_signal_acts_as_usual_and_the_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Interruption() as interruption:
        assert not interruption.stop_requested(1)
        signal.raise_signal(signal.SIGTERM)
        assert interruption.received == signal.SIGTERM
        assert interruption.stop_requested(2) and interruption.stopped
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    with Interruption() as interruption:
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
