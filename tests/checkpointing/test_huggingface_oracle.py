"""Models of `transformers` and ours compute the same, whichever way the weights go."""

import dataclasses
import json

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the oracle runs in PyTorch, which is not installed")
pytest.importorskip("transformers", reason="the oracle is transformers, which is not installed")

from tests.checkpointing import oracle, small_models  # noqa: E402

TINY = [kind for kind in oracle.KINDS if not kind.endswith("small")]


@pytest.mark.parametrize("kind", oracle.KINDS)
def test_what_is_imported_computes_the_same(theirs, kind):
    reference, folder = theirs(kind)
    model, params = small_models.load_ours(folder)
    assert model.config.logits_via_embedding == oracle.KINDS[kind].tied
    assert model.config.start_token_id == oracle.start_token(reference)
    for packed in (False, True):
        batch = small_models.make_batch(model.family, packed=packed)
        ours = small_models.our_logits(model, params, batch)
        oracle.assert_close(ours, oracle.their_logits(reference, batch), batch)
        if not packed:
            expected = oracle.their_loss(reference, batch)
            assert small_models.our_loss(ours, batch) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kind", TINY)
def test_what_is_exported_is_loaded_whole_and_computes_the_same(theirs, kind, tmp_path):
    """Our own random weights; the class of transformers finds all its tensors and no others."""
    model, _ = small_models.load_ours(theirs(kind)[1])
    batch = small_models.make_batch(model.family, packed=True)
    params = small_models.random_params(model)
    folder = tmp_path / "out"
    small_models.export_ours(model, params, folder, details={"model_type": kind.split("_")[0]})
    settings = json.loads((folder / "config.json").read_text())
    assert settings["architectures"] == [type(theirs(kind)[0]).__name__]
    reference = oracle.load_theirs(model, folder)
    assert oracle.start_token(reference) == model.config.start_token_id
    ours = small_models.our_logits(model, params, batch)
    oracle.assert_close(ours, oracle.their_logits(reference, batch), batch)
    padded = small_models.make_batch(model.family, packed=False)
    expected = oracle.their_loss(reference, padded)
    found = small_models.our_loss(small_models.our_logits(model, params, padded), padded)
    assert found == pytest.approx(expected, abs=1e-5)
    again, back = small_models.load_ours(folder)
    assert again == model
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-7, atol=1e-7), params, back)


def test_an_untied_umt5_for_transformers_4_is_not_scaled(theirs, tmp_path):
    """Version 4 reads `tie_word_embeddings`; version 5 must be told after loading."""
    model, params = small_models.load_ours(theirs("umt5_untied")[1])
    small_models.export_ours(model, params, tmp_path / "out", transformers=4)
    reference = oracle.load_theirs(model, tmp_path / "out")
    reference.config.tie_word_embeddings = False
    batch = small_models.make_batch(model.family, packed=True)
    ours = small_models.our_logits(model, params, batch)
    oracle.assert_close(ours, oracle.their_logits(reference, batch), batch)
    assert small_models.load_ours(tmp_path / "out")[0] == model


def test_a_tied_model_without_scaled_logits_stays_one(theirs, tmp_path):
    model, params = small_models.load_ours(theirs("t5_tied")[1])
    model = type(model)(dataclasses.replace(model.config, scale_tied_logits=False))
    small_models.export_ours(model, params, tmp_path / "out")
    reference = oracle.load_theirs(model, tmp_path / "out")
    batch = small_models.make_batch(model.family, packed=True)
    theirs_logits = oracle.their_logits(reference, batch)
    ours = small_models.our_logits(model, params, batch)
    there = batch["decoder_segment_ids"] > 0
    scale = np.std(ours)
    np.testing.assert_allclose(
        ours[there] / scale, theirs_logits.detach().numpy()[there] / scale, atol=1e-5
    )
    assert small_models.load_ours(tmp_path / "out")[0] == model
