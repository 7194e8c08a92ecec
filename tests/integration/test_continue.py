"""`gin/runs/continue.gin` from the command line: a run goes on from another with new data."""

import json

import jax
import numpy as np
import pytest

from tasks import toy
from xlingual.checkpointing import weights
from xlingual.cli import main as cli

pytestmark = pytest.mark.slow

_TARGET = toy.task_name("span_corruption", "hi")
_REPLAY = toy.task_name("span_corruption", "ar")
_TINY = {
    "D_MODEL": "32",
    "D_FF": "48",
    "D_KV": "8",
    "NUM_ENCODER_LAYERS": "1",
    "NUM_DECODER_LAYERS": "1",
    "NUM_HEADS": "4",
    "TASK_FEATURE_LENGTHS": "{'inputs': 64, 'targets': 64}",
    "LOG_PERIOD": "5",
    "HELDOUT_PERIOD": "5",
    "HELDOUT_BATCH_SIZE": "8",
    "TRANSLATION_TASKS": "()",
    "HOOKS": "(@heldout/hooks.EvaluateHook(),)",
    "WARMUP_STEPS": "2",
}
_INCLUDES = "include 'gin/experiments/toy.gin'\ninclude 'gin/runs/continue.gin'\n"


def run(gin_file, folder, **settings):
    overrides = {**_TINY, "MODEL_DIR": str(folder), **settings}
    flags = [f"--gin.{name}={value}" for name, value in overrides.items()]
    return cli.main(["train", f"--gin_file={gin_file}", *flags])


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The folder of a run of four steps that never saw Hindi."""
    folder = tmp_path_factory.mktemp("base")
    code = run(
        "gin/experiments/toy.gin",
        folder,
        TRAIN_STEPS="4",
        MIXTURE_OR_TASK_NAME=_REPLAY,
        HOOKS="()",
    )
    assert code == 0
    return folder


@pytest.fixture
def experiment(tmp_path):
    path = tmp_path / "continued.gin"
    path.write_text(_INCLUDES)
    return str(path)


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def params_of(folder):
    shapes = weights.array_shapes(weights.load_info(folder).arrays)
    return jax.device_get(weights.load_params(folder, shapes))


def test_ten_steps_go_on_from_a_run_and_resume(base, experiment, tmp_path, capsys, clean_gin):
    settings = {
        "INITIAL_WEIGHTS": str(base),
        "TARGET": repr({_TARGET: 1.0}),
        "REPLAY": _REPLAY,
        "REPLAY_RATE": "0.25",
        "TRAINABLE": "[(4, ('token_embedder',)), (None, ('^decoder/', 'token_embedder'))]",
        "TRAIN_STEPS": "10",
        "CHECKPOINT_PERIOD": "3",
        "CHECKPOINTS_TO_KEEP": "5",
    }
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(experiment, whole, **settings) == 0
    shown = capsys.readouterr().out
    assert f"starting from the weights in {base}" in shown
    assert "step 5/10 held-out loss target " in shown and ", replay " in shown
    results = json.loads((whole / "results.json").read_text())
    losses = results["heldout_loss"]
    assert set(losses) == {_TARGET, _REPLAY}
    expected = {"target": losses[_TARGET], "replay": losses[_REPLAY]}
    assert results["heldout_group"] == pytest.approx(expected)
    lines = lines_of(whole)
    rates = [line["learning_rate"] for line in lines if "learning_rate" in line]
    cosine = [0.06 * 0.5 * (1 + np.cos(np.pi * part)) for part in (2 / 8, 7 / 8)]
    assert rates == pytest.approx(cosine, rel=1e-5)
    assert [line["step"] for line in lines if "heldout_group/replay" in line] == [5, 10]
    (events,) = (whole / "tensorboard").glob("events.*")
    for group in ("target", "replay"):
        assert f"heldout_group/{group}".encode() in events.read_bytes()

    # The encoder is never trained, the decoder from step 4.
    before, at_three, after = (
        params_of(path) for path in (base, whole / "checkpoints" / "3", whole)
    )
    jax.tree.map(np.testing.assert_array_equal, before["encoder"], after["encoder"])
    jax.tree.map(np.testing.assert_array_equal, before["decoder"], at_three["decoder"])
    for changed in (at_three, after):
        assert (
            changed["token_embedder"]["embedding"] != before["token_embedder"]["embedding"]
        ).any()
    assert any(
        jax.tree.leaves(
            jax.tree.map(lambda a, b: (a != b).any(), before["decoder"], after["decoder"])
        )
    )

    # A run that is cut off there goes on from its own checkpoint, to the same arrays.
    parts.mkdir()
    (whole / "checkpoints").rename(parts / "checkpoints")
    for step in ("6", "9", "10"):
        (parts / "checkpoints" / step).rename(tmp_path / step)
    assert run(experiment, parts, **settings, HOOKS="()") == 0
    assert "going on after step 3" in capsys.readouterr().out
    jax.tree.map(np.testing.assert_array_equal, params_of(parts), after)


def test_other_sizes_are_refused_with_every_name(base, experiment, tmp_path, capsys, clean_gin):
    settings = {"INITIAL_WEIGHTS": str(base), "TARGET": _TARGET, "REPLAY": _REPLAY}
    code = run(experiment, tmp_path / "run", **settings, D_FF="64", HOOKS="()")
    shown = capsys.readouterr().err
    assert code != 0 and not (tmp_path / "run").exists()
    assert "(6 differ)" in shown
    for stack in ("encoder", "decoder"):
        for name in ("wi_0", "wi_1", "wo"):
            assert f"{stack}/layers_0/mlp/{name}/kernel is float32" in shown
