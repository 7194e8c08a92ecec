"""The blocks of gin in docs/continued_pretraining.md are experiments that say what it says."""

import pathlib

import gin
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xlingual import config
from xlingual.optimizers.freezing import Freeze
from xlingual.training import loop, state

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "continued_pretraining.md").read_text(encoding="utf-8")
BLOCKS = [part.split("```")[0] for part in TEXT.split("```gin\n")[1:]]


def values_of(text, tmp_path):
    path = tmp_path / "mine.gin"
    path.write_text(text)
    config.parse([str(path)], [("MODEL_DIR", str(tmp_path / "run"))])
    return gin.get_bindings(loop.train, resolve_references=True)


def names(tree):
    return {
        jax.tree_util.keystr(p, simple=True, separator="/")
        for p, _ in jax.tree_util.tree_leaves_with_path(tree)
    }


def test_target_and_replay_are_mixed_and_evaluated_apart(tmp_path, clean_gin):
    values = values_of(BLOCKS[0], tmp_path)
    assert values["initial_weights"] == "runs/old" and values["reset_optimizer"] is True
    shares = values["source"].mixture_or_task_name
    assert shares["toy_pretrain"] == pytest.approx(0.1)
    assert shares["toy_translation_hi_en"] == pytest.approx(0.9 * 0.35)
    assert sum(shares.values()) == pytest.approx(1)
    groups = values["hooks"][0].evaluator.groups
    assert set(groups) == {"target", "replay"} and groups["replay"] == "toy_pretrain"
    rates = [float(values["optimizer"].learning_rate(jnp.int32(s))) for s in (0, 25, 50, 175, 300)]
    np.testing.assert_allclose(rates, [0, 0.03, 0.06, 0.03, 0], atol=1e-7)


def test_stages_train_what_they_name(tmp_path, clean_gin):
    assert len(BLOCKS) == 2
    values = values_of(BLOCKS[1], tmp_path)
    optimizer = values["optimizer"]
    assert isinstance(optimizer, Freeze)
    assert [end for end, _ in optimizer.stages] == [100, None]
    layout = state.plan_state(
        values["model"], optimizer, values["partitioner"], values["source"].spec
    )
    trained = names(layout.select_trained(layout.shapes.params))
    frozen = names(layout.shapes.params) - trained
    assert frozen and all(name.startswith("encoder/") for name in frozen)
    assert "token_embedder/embedding" in trained and "decoder/logits_dense/kernel" in trained
