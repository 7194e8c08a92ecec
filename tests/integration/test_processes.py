"""One run by several real processes: computed, stopped and ended as one, resumed by others."""

import json
import re
import signal
import time

import jax
import numpy as np
import pytest

from tests.integration.hosts import FAKE, NUM_DEVICES, TRAIN, Hosts
from tests.training.fakes import make_arguments, make_partitioner
from xlingual.checkpointing.manager import CheckpointConfig
from xlingual.training import loop

HEARTBEAT = 10
"""Seconds without a sign of a process until the others end, in these tests."""


def _lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _steps(folder):
    return sorted(int(path.name) for path in (folder / "checkpoints").glob("[0-9]*"))


def _assert_close(one, two):
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(two), strict=True
    ):
        np.testing.assert_allclose(
            np.asarray(a), np.asarray(b), rtol=1e-6, atol=1e-6, err_msg=jax.tree_util.keystr(path)
        )


def _assert_same_run(one, two, rtol=1e-6):
    """The same losses, and exactly the same tokens of every task at every step."""
    assert [line["step"] for line in one] == [line["step"] for line in two]
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            if "second" not in name and name != "mfu":
                exact = "tokens" in name or "share" in name or "epoch" in name
                np.testing.assert_allclose(a[name], b[name], rtol=0 if exact else rtol, atol=1e-7)


def _one_process(folder, train_steps):
    return loop.train(
        **make_arguments(
            folder,
            train_steps=train_steps,
            partitioner=make_partitioner(NUM_DEVICES),
            log_period_steps=1,
            checkpointer=CheckpointConfig(period_steps=5),
        )
    )


def _ends_after(hosts, index, number):
    """Sends a signal to one process; returns the exit codes and the seconds until all ended."""
    begun = time.monotonic()
    hosts.runs[index].send_signal(number)
    return hosts.wait(60), time.monotonic() - begun


@pytest.mark.slow
def test_two_processes_stop_as_one_die_as_one_and_one_process_goes_on(tmp_path):
    run = tmp_path / "run"
    with Hosts(2, tmp_path, FAKE, str(run), "100000", heartbeat=HEARTBEAT) as hosts:
        hosts.wait_for("step 3 is done")
        codes, _ = _ends_after(hosts, 1, signal.SIGTERM)
        assert codes == [0, 0], hosts.text(0) + hosts.text(1)
        stopped = int(re.search(r"stopped by a signal; .*/(\d+); ", hosts.text(0)).group(1))
        assert "stopped by a signal" not in hosts.text(1)  # process 0 alone speaks
    assert _steps(run)[-1] == stopped
    positions = run / "checkpoints" / str(stopped) / "position"
    assert len(list(positions.glob("process_*"))) == 2
    with Hosts(2, tmp_path, FAKE, str(run), "100000", heartbeat=HEARTBEAT) as hosts:
        hosts.wait_for(f"step {stopped + 8} is done", index=1)
        codes, seconds = _ends_after(hosts, 1, signal.SIGKILL)
        assert f"going on after step {stopped}" in hosts.text(0)
        assert codes[1] == -signal.SIGKILL and codes[0] != 0
        assert seconds < 4 * HEARTBEAT
        assert re.search("another task died|the run with it", hosts.text(0))
    saved = _steps(run)[-1]
    assert saved > stopped and saved % 5 == 0
    resumed = _one_process(run, saved + 3)
    _assert_close(_one_process(tmp_path / "whole", saved + 3), resumed)
    _assert_same_run(_lines(tmp_path / "whole"), _lines(run))


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_processes_give_the_losses_of_one(tmp_path, count):
    run = tmp_path / "run"
    with Hosts(count, tmp_path, FAKE, str(run), "12") as hosts:
        assert hosts.wait() == [0] * count, hosts.text(0)
    _assert_close(_one_process(tmp_path / "whole", 14), _one_process(run, 14))
    _assert_same_run(_lines(tmp_path / "whole"), _lines(run))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "index", "number"),
    [(2, 0, signal.SIGKILL), (2, 1, signal.SIGSTOP), (4, 2, signal.SIGKILL)],
    ids=["first_of_two_killed", "second_of_two_stopped", "third_of_four_killed"],
)
def test_a_process_that_dies_or_freezes_ends_all_others(tmp_path, count, index, number):
    with Hosts(count, tmp_path, FAKE, str(tmp_path / "run"), "100000") as hosts:
        hosts.wait_for("step 3 is done")
        begun = time.monotonic()
        hosts.runs[index].send_signal(number)
        for other in set(range(count)) - {index}:
            assert hosts.runs[other].wait(timeout=60) != 0
            assert re.search("another task died|the run with it", hosts.text(other))
        assert time.monotonic() - begun < 4 * HEARTBEAT


@pytest.mark.slow
def test_an_error_in_one_process_is_shown_and_ends_all(tmp_path):
    with Hosts(2, tmp_path, FAKE, str(tmp_path / "run"), "100", "--fail", "1") as hosts:
        codes = hosts.wait(120)
        assert codes[1] == 1 and codes[0] != 0
        assert "process 1 of 2 ends, and the run with it" in hosts.text(1)
        assert "RuntimeError: process" in hosts.text(1)


@pytest.mark.slow
def test_processes_that_do_not_come_are_waited_for_no_longer_than_said(tmp_path):
    own = [("--num_processes", "2", "--start_timeout_seconds", "5")]
    with Hosts(1, tmp_path, FAKE, str(tmp_path / "run"), "100", own=own) as hosts:
        assert hosts.wait(60)[0] != 0
        assert re.search("did not find each other|DEADLINE_EXCEEDED", hosts.text(0))


_TOY = {
    "MIXTURE_OR_TASK_NAME": "{'toy_span_corruption_ar': 1.0, 'toy_translation_en_de': 2.0}",
    "NUM_DATA_SHARDS": 4,
    "BATCH_SIZE": 8,
    "D_MODEL": 32,
    "D_FF": 48,
    "D_KV": 8,
    "NUM_ENCODER_LAYERS": 1,
    "NUM_DECODER_LAYERS": 1,
    "DROPOUT_RATE": 0.1,
    "TASK_FEATURE_LENGTHS": "{'inputs': 64, 'targets': 64}",
    "WARMUP_STEPS": 3,
    "LOG_PERIOD": 1,
    "CHECKPOINT_PERIOD": 100,
    "HELDOUT_TASKS": "('toy_translation_en_de',)",
    "TRANSLATION_TASKS": "()",
    "HELDOUT_PERIOD": 4,
    "HELDOUT_BATCH_SIZE": 4,
}


@pytest.mark.slow
@pytest.mark.parametrize("partitioning", ["data_parallel", "fsdp_tensor"])
def test_the_number_of_processes_changes_and_the_run_on_text_does_not(tmp_path, partitioning):
    """Written by 4, read by 2, then by 1: the data and losses of one process that never stopped.

    With `fsdp_tensor` a tensor axis of 4 joins all processes, which then supply the same rows.
    """
    mesh = {"MESH_TENSOR": 4, "MESH_FSDP": 1} if partitioning == "fsdp_tensor" else {}

    def train(folder, count, train_steps):
        settings = {
            **_TOY,
            **mesh,
            "schedules.linear_warmup_cosine.total_steps": 10,
            "TRAIN_STEPS": train_steps,
            "MODEL_DIR": folder,
        }
        arguments = [f"--gin.{name}={value}" for name, value in settings.items()]
        files = [
            f"--gin_file=gin/{f}.gin" for f in ("experiments/toy", f"partitioning/{partitioning}")
        ]
        with Hosts(count, tmp_path, TRAIN, *files, *arguments, heartbeat=30) as hosts:
            assert hosts.wait(500) == [0] * count, hosts.text(0) + hosts.text(count - 1)

    for count, train_steps in ((4, 4), (2, 7), (1, 10)):
        train(tmp_path / "run", count, train_steps)
    train(tmp_path / "whole", 1, 10)
    whole, parts = (
        [line for line in _lines(tmp_path / name) if "loss" in line] for name in ("whole", "run")
    )
    assert [line["step"] for line in whole] == list(range(1, 11))
    _assert_same_run(whole, parts)
