"""`xlingual compile`: gin in, a table and JSON out, and an exit code that says whether it fits."""

import json

import jax
import pytest

from xlingual.cli.main import main

TOY = ["compile", "--gin_file=gin/experiments/toy.gin", "--topology=cpu:8", "--steps=eval"]


@pytest.fixture(autouse=True)
def _quick_compiles():
    """Leaves out what only makes programs faster."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def test_a_run_is_compiled_from_its_gin_file_alone(capsys):
    """MODEL_DIR, which training needs, may stay unset; the last line is one JSON object."""
    assert main([*TOY, "--json", "--inputs_length=32", "--targets_length=16"]) == 0
    out = capsys.readouterr().out
    facts = json.loads(out.strip().splitlines()[-1])
    assert facts["fits"] and facts["lengths"] == {"encoder": 32, "decoder": 16}
    assert facts["batch_rows"] == 8 and facts["mesh"]["data"] == 8
    assert facts["steps"]["eval"]["flops"] * 8 == facts["formula_flops_per_step"] / 3
    assert "memory of the device" in out


def test_what_does_not_fit_fails(capsys):
    assert main([*TOY, "--batch_size=65536"]) == 1
    assert "NO" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["compile", "--topology=cpu:8"], "--gin_file: none given"),
        ([*TOY, "--steps=train,test"], "--steps=train,test; expected some of train, eval, decode"),
        ([*TOY, "--save=somewhere"], "keeps the train step; --steps=eval lacks it"),
        ([*TOY, "--inputs_length=32"], "expected both or none"),
        ([*TOY, "--batch_size=3"], "batch_size=3 does not divide over 8 batch shards"),
        ([*TOY, "--gin.VOCAB_SIZE=%gin.REQUIRED"], "VOCAB_SIZE"),
        ([*TOY, "--gin.DROPOUT=0.1"], "no gin file uses a macro of this name"),
        (["compile", "--gin_file=gin/experiments/toy.gin", "--topology=v9:1"], "topology='v9:1'"),
    ],
)
def test_bad_input_is_refused(argv, message, capsys):
    assert main(argv) == 2
    assert message in capsys.readouterr().err
