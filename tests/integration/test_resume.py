"""A run that is stopped and started again ends where an uninterrupted one does, bit for bit."""

import functools
import os
import signal

import gin
import jax
import numpy as np
import pytest

from tasks import toy
from xlingual import config
from xlingual.data import task_registry
from xlingual.training import loop

_STEPS = 20
_SMALL = {
    "TRAIN_STEPS": str(_STEPS),
    "WARMUP_STEPS": "5",
    "D_MODEL": "32",
    "D_FF": "48",
    "D_KV": "8",
    "NUM_DECODER_LAYERS": "1",
    "DROPOUT_RATE": "0.1",
    "TASK_FEATURE_LENGTHS": "{'inputs': 64, 'targets': 64}",
    "LOG_PERIOD": "5",
    "BATCH_SIZE": "8",
    "train/datasets.SeqioSource.num_measured_records": "32",
}
_LEAVES = (
    toy.task_name("span_corruption", "ar"),
    toy.task_name("dot_denoise", "hi"),
    toy.task_name("translation", "en", "de"),
    toy.task_name("ptlm", "python", "en"),
)

_STAGES = (
    ("staged",),
    {
        "MIXTURE_OR_TASK_NAME": "''",
        "STAGES": repr(
            [
                (6, _LEAVES[0]),
                (15, {_LEAVES[0]: 1.0, _LEAVES[1]: 2.0}, True),
                (None, _LEAVES[2]),
            ]
        ),
    },
)
_ARMS = (
    ("learned_ratio",),
    {
        "MIXTURE_OR_TASK_NAME": "''",
        "ARMS": repr({"lm": _LEAVES[0], "mt": {_LEAVES[2]: 0.5, _LEAVES[3]: 0.5}}),
        "REWARD_PERIOD": "2",
    },
)


class _Stop:
    """Sends this process SIGTERM at its first run."""

    period_steps = 10

    def __init__(self):
        self.steps = []

    def prepare(self, context):
        pass

    def run(self, context, state):
        if not self.steps:
            os.kill(os.getpid(), signal.SIGTERM)
        self.steps.append(int(state.step))


@pytest.fixture
def train(tmp_path, clean_gin):
    def run(experiment, folder, extra=(), **arguments):
        task_registry.register_mixture(
            "resumed_toy", dict.fromkeys(_LEAVES, 1.0), share_unit="tokens"
        )
        gin.clear_config()
        overrides = {**_SMALL, "MODEL_DIR": str(tmp_path / folder)}
        overrides["MIXTURE_OR_TASK_NAME"] = "resumed_toy"
        if experiment == "toy":
            overrides["NUM_ENCODER_LAYERS"] = "1"
        runs, settings = extra or ((), {})
        files = [f"gin/experiments/{experiment}.gin", *(f"gin/runs/{run}.gin" for run in runs)]
        config.parse(files, list((overrides | settings).items()), [])
        return gin.get_configurable(loop.train)(config_text=config.operative_config, **arguments)

    yield run
    task_registry.unregister("resumed_toy")


@pytest.mark.parametrize(
    ("experiment", "extra"),
    [
        ("toy", ()),
        pytest.param("toy_decoder", (), marks=pytest.mark.slow),
        pytest.param("toy", _STAGES, marks=pytest.mark.slow),  # inside the second of three stages
        pytest.param("toy", _ARMS, marks=pytest.mark.slow),  # after five rewards
    ],
    ids=["encoder_decoder", "decoder_only", "staged", "learned_ratio"],
)
def test_a_stopped_run_goes_on_bit_for_bit_with_text_read_on_the_fly(
    train, experiment, extra, tmp_path
):
    train = functools.partial(train, extra=extra)
    whole = train(experiment, "whole", hooks=())
    stop = _Stop()
    parts = train(experiment, "parts", hooks=(stop,))
    assert stop.steps == [10] and int(parts.step) == 11
    assert (tmp_path / "parts" / "checkpoints" / "11").is_dir()
    text = (tmp_path / "parts" / "operative_config.gin").read_text()
    assert "num_decoder_layers = %NUM_DECODER_LAYERS" in text and "D_MODEL = 32" in text
    parts = train(experiment, "parts", hooks=())
    assert int(parts.step) == _STEPS
    first, second = (jax.tree_util.tree_leaves_with_path(state) for state in (whole, parts))
    assert len(first) == len(second) > 20
    for (path, one), (_, two) in zip(first, second, strict=True):
        np.testing.assert_array_equal(
            np.asarray(one), np.asarray(two), err_msg=jax.tree_util.keystr(path)
        )
