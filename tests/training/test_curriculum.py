"""A learned ratio inside the train loop: rewards, resuming, logs, hosts."""

import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from tests.training.fakes import FakeSource, make_arguments, make_batch
from xlingual.data.arms import ArmsSource
from xlingual.errors import ConfigError
from xlingual.training import bandit, curriculum, loop

ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arm(FakeSource):
    """`same` is one batch over and over, from which a model learns; `noise` is new each time."""

    mixture_or_task_name: str = "same"
    part: int = 0
    family: str = "fake"

    def iterator(self, rows=None):
        inner = super().iterator(rows)
        if self.mixture_or_task_name == "same":
            repeated = make_batch(self, 0)

            class Iterator:
                state, restore = inner.state, inner.restore

                def __next__(self):
                    next(inner)
                    return repeated

            return Iterator()
        return inner


def arms(**changes):
    return ArmsSource(base=Arm(**changes), arms={"lm": "same", "mt": "noise"})


def learned(**changes):
    return curriculum.LearnedRatio(period_steps=2, **changes)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_arm_whose_loss_falls_is_drawn_more_often(tmp_path):
    arguments = make_arguments(
        tmp_path, train_steps=160, source=arms(), curriculum=learned(), log_period_steps=20
    )
    loop.train(**arguments)
    found = [line["curriculum/probability/lm"] for line in lines(tmp_path)]
    assert found[0] == pytest.approx(0.5, abs=0.1)  # too few rewards to know
    assert found[-1] > 0.6
    last = lines(tmp_path)[-1]
    assert last["curriculum/probability/mt"] == pytest.approx(1 - found[-1])
    assert not any("declared_share" in name for name in last)


@pytest.mark.parametrize("rule", [bandit.Fair(), bandit.Exp3S(rate=0.1)])
@pytest.mark.parametrize("stop", [30, 31])
def test_a_stopped_run_draws_the_same_arms_and_ends_the_same(tmp_path, rule, stop):
    changes = {"source": arms(), "curriculum": learned(rule=rule), "log_period_steps": 1}
    whole = loop.train(**make_arguments(tmp_path / "whole", train_steps=60, **changes))
    loop.train(**make_arguments(tmp_path / "parts", train_steps=stop, **changes))
    rest = loop.train(**make_arguments(tmp_path / "parts", train_steps=60, **changes))
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(rest), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    for a, b in zip(lines(tmp_path / "whole"), lines(tmp_path / "parts"), strict=True):
        name = "curriculum/probability/lm"
        assert (a["loss"], a[name]) == (b["loss"], b[name])


def test_the_reward_is_the_fall_of_the_loss_on_a_batch_of_its_own(tmp_path, monkeypatch):
    """Counted by hand: the scored batch is drawn from the arm and never trained on."""
    falls, trained, drawn = [], [], []
    fall, compiled = bandit.relative_fall, loop._Run.compile

    def watch(before, after):
        falls.append((before, after))
        return fall(before, after)

    def compile_and_watch(self, layout):
        step = compiled(self, layout)

        def run(state, batch):
            trained.append(jax.device_get(batch["decoder_target_tokens"]).tobytes())
            return step(state, batch)

        return run

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Watched(Arm):
        mixture_or_task_name: str = "noise"

        def iterator(self, rows=None):
            inner = super().iterator(rows)

            class Iterator:
                state, restore = inner.state, inner.restore

                def __next__(self):
                    batch = next(inner)
                    drawn.append(batch["decoder_target_tokens"].tobytes())
                    return batch

            return Iterator()

    monkeypatch.setattr(bandit, "relative_fall", watch)
    monkeypatch.setattr(loop._Run, "compile", compile_and_watch)
    source = ArmsSource(base=Watched(), arms={"a": "noise", "b": "noise"})
    loop.train(**make_arguments(tmp_path, train_steps=6, source=source, curriculum=learned()))
    assert len(falls) == 3
    assert all(before > 0 and after > 0 and before != after for before, after in falls)
    assert (len(drawn), len(trained)) == (9, 6)
    assert trained == [drawn[i] for i in (0, 1, 3, 4, 6, 7)]


def test_who_chooses_and_what_is_chosen_from_must_fit(tmp_path):
    with pytest.raises(ConfigError, match=r"arms \['lm', 'mt'\], but no curriculum chooses"):
        loop.train(**make_arguments(tmp_path, source=arms()))
    with pytest.raises(ConfigError, match="FakeSource has none; expected an ArmsSource"):
        loop.train(**make_arguments(tmp_path, curriculum=learned()))
    with pytest.raises(ConfigError, match=r"arms are \['lm'\]; expected two or more"):
        ArmsSource(base=Arm(), arms={"lm": "same"})
    with pytest.raises(ConfigError, match="period_steps=0; expected a positive integer"):
        curriculum.LearnedRatio(period_steps=0)


HOST = """
import sys

import jax

jax.distributed.initialize(f"localhost:{sys.argv[1]}", num_processes=2, process_id=int(sys.argv[2]))
"""
RUN = """
import sys

from tests.training import test_curriculum as t
from tests.training.fakes import make_arguments
from xlingual.data.arms import ArmsSource
from xlingual.partitioning import rules
from xlingual.partitioning.partitioner import Partitioner
from xlingual.training import curriculum, loop

partitioner = Partitioner(rules=rules.data_parallel(), data=2)

seen = []
draw = curriculum.bandit.draw
curriculum.bandit.draw = lambda *a: seen.append(draw(*a)) or seen[-1]
source = ArmsSource(base=t.Arm(), arms={"lm": "same", "mt": "noise"})
state = loop.train(
    **make_arguments(
        sys.argv[3], source=source, partitioner=partitioner, train_steps=60,
        curriculum=curriculum.LearnedRatio(period_steps=2),
    )
)
print("ARMS", "".join(map(str, seen)))
"""


@pytest.mark.slow
def test_hosts_draw_the_same_arms_as_one(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])

    def start(code, index, folder, num_devices):
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}",
            "PYTHONPATH": str(ROOT),
        }
        return subprocess.Popen(
            [sys.executable, "-c", code, port, str(index), str(folder)],
            env=environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    runs = [start(HOST + RUN, index, tmp_path / "two", 1) for index in range(2)]
    runs.append(start(RUN, 0, tmp_path / "one", 2))
    try:
        outputs = [run.communicate(timeout=240) for run in runs]
    finally:
        for run in runs:
            run.kill()
    found = []
    for out, error in outputs:
        assert "ARMS" in out, error[-2000:]
        found.append(next(line for line in out.splitlines() if line.startswith("ARMS")))
    assert len(found[0].split()[1]) == 60
    assert len(set(found[0].split()[1])) == 2
    assert found[0] == found[1] == found[2]
