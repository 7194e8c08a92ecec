"""New vocabulary rows: copied, averaged or drawn, and the optimizer's state with them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from xlingual.data import row_plan, token_names, vocabularies, vocabulary_extension
from xlingual.data.byte_vocabulary import ByteVocabulary
from xlingual.errors import ConfigError
from xlingual.models import initialization
from xlingual.optimizers.adafactor import Adafactor
from xlingual.optimizers.adamw import AdamW
from xlingual.optimizers.schedules import constant

OLD_SIZE, NEW_SIZE = 310, 360
OLD_TEXTS = ["the cat sat on the mat and the dog sat on the cat", "a dog, a cat, a mat"] * 9
NEW_TEXTS = [
    "der Hund sass auf der Matte und die Katze sass neben dem Hund",
    "the Hund and the Katze sat auf der Matte",
    "Zwei Hunde jagen drei Katzen, und das ist der Lauf der Dinge",
] * 9
WIDTH = 6


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    path = tmp_path_factory.mktemp("old") / "old.model"
    vocabularies.train_vocabulary(
        OLD_TEXTS,
        path,
        vocab_size=OLD_SIZE,
        control_tokens=["<2en>"],
        num_sentinels=5,
        model_type="bpe",
    )
    return vocabularies.load_vocabulary(path)


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    path = tmp_path_factory.mktemp("new") / "new.model"
    vocabularies.train_vocabulary(
        NEW_TEXTS,
        path,
        vocab_size=NEW_SIZE,
        control_tokens=["<2en>", "<2de>"],
        num_sentinels=8,
        model_type="bpe",
    )
    return vocabularies.load_vocabulary(path)


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)
    return {
        "token_embedder": {"embedding": rng.normal(3.0, 0.5, (384, WIDTH)).astype(np.float32)},
        "decoder": {
            "logits_dense": {"kernel": rng.normal(size=(WIDTH, 384)).astype(np.float32)},
            "decoder_norm": {"scale": np.ones(WIDTH, np.float32)},
        },
    }


def _tables(params):
    """Both tables, tokens first."""
    return params["token_embedder"]["embedding"], params["decoder"]["logits_dense"]["kernel"].T


@pytest.mark.parametrize("method", row_plan.METHODS)
def test_the_same_vocabulary_gives_the_same_tables(old, params, method):
    resized = initialization.resize_vocabulary(params, old, old, method=method)
    jax.tree.map(np.testing.assert_array_equal, resized, params)
    assert resized["decoder"]["decoder_norm"]["scale"] is params["decoder"]["decoder_norm"]["scale"]


def test_tokens_of_both_keep_their_rows(old, new, params):
    resized = initialization.resize_vocabulary(params, old, new)
    to_id = new.tokenizer.PieceToId
    for name in ("<pad>", "</s>", "<unk>", "<2en>", "<extra_id_0>", "<extra_id_4>", "<0x41>", "▁"):
        assert new.tokenizer.IdToPiece(to_id(name)) == name
        for table, before in zip(_tables(resized), _tables(params), strict=True):
            np.testing.assert_array_equal(table[to_id(name)], before[old.tokenizer.PieceToId(name)])


def test_other_tokens_are_means_of_their_parts(old, new, params):
    resized = initialization.resize_vocabulary(params, old, new)
    names = token_names.token_names(new)
    plan = row_plan.plan_rows(old, new)
    averaged = 0
    for index, (kind, text) in enumerate(names):
        if kind == "text" and not plan.copied[index]:
            # Behind `<2en>` there is no dummy space, so the text is split as it is.
            parts = old.encode("<2en>" + text.decode())
            parts = [
                part for part in parts[parts.index(old.encode("<2en>")[-1]) + 1 :] if part != 2
            ]
            averaged += 1
            for table, before in zip(_tables(resized), _tables(params), strict=True):
                np.testing.assert_allclose(table[index], before[parts].mean(axis=0), atol=1e-6)
    assert averaged > 10
    both = new.tokenizer.PieceToId("<2en>"), old.tokenizer.PieceToId("<2en>")
    assert plan.new_id(both[1]) == both[0] != both[1] and plan.new_id(plan.num_old) is None
    assert plan.describe().startswith(f"{plan.copied.sum()} rows copied, {averaged} averaged, ")


def test_tokens_without_signal_are_drawn_like_the_old_ones(old, new, params):
    resized = initialization.resize_vocabulary(params, old, new, method="overlap", seed=1)
    plan = row_plan.plan_rows(old, new, method="overlap")
    drawn = np.flatnonzero(~plan.copied)
    assert {new.tokenizer.PieceToId("<2de>"), new.tokenizer.PieceToId("<extra_id_7>")} <= {*drawn}
    for table, before in zip(_tables(resized), _tables(params), strict=True):
        known = before[:OLD_SIZE]
        error = table[drawn].mean(axis=0) - known.mean(axis=0)
        assert np.all(np.abs(error) < 5 * known.std(axis=0) / len(drawn) ** 0.5)
        assert 0.5 < table[drawn].std() / known.std() < 1.5
        assert len(np.unique(table[drawn], axis=0)) == len(drawn)


def test_draws_depend_on_the_seed_alone(old, new, params):
    make = lambda seed: _tables(  # noqa: E731
        initialization.resize_vocabulary(params, old, new, method="overlap", seed=seed)
    )
    for first, again, other in zip(make(1), make(1), make(2), strict=True):
        np.testing.assert_array_equal(first, again)
        assert np.any(first != other)


def test_bfloat16_and_jax_arrays(old, new, params):
    halves = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), params)
    resized = initialization.resize_vocabulary(halves, old, new)
    whole = initialization.resize_vocabulary(params, old, new)
    for half, full in zip(_tables(resized), _tables(whole), strict=True):
        assert half.dtype == jnp.bfloat16
        np.testing.assert_allclose(half.astype(np.float32), full, atol=0.05)


def test_from_bytes_every_piece_is_the_mean_of_its_bytes(new, params):
    bytes_ = ByteVocabulary(["<2en>"], num_sentinels=8)
    (table, _), (before, _) = (
        _tables(initialization.resize_vocabulary(params, bytes_, new)),
        _tables(params),
    )
    word = new.tokenizer.PieceToId("▁der")
    assert new.tokenizer.IdToPiece(word) == "▁der"
    ids = [byte + 3 for byte in b" der"]
    np.testing.assert_allclose(table[word], before[ids].mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(table[new.tokenizer.PieceToId("<0xE2>")], before[0xE2 + 3])
    np.testing.assert_array_equal(
        table[new.tokenizer.PieceToId("<extra_id_0>")], before[bytes_.vocab_size - 1]
    )


@pytest.mark.parametrize("extra_ids", [0, 10])
def test_appended_pieces_move_no_id(tmp_path, params, extra_ids):
    path = tmp_path / "bare.model"
    vocabularies.train_vocabulary(
        OLD_TEXTS, path, vocab_size=300, control_tokens=["<2en>"], num_sentinels=0, model_type="bpe"
    )
    old = vocabularies.load_vocabulary(path, extra_ids=extra_ids)
    before = vocabularies.special_tokens(old)
    control = vocabularies.control_tokens(["en", "de"])
    new = vocabulary_extension.append_pieces(old, tmp_path / "more.model", control_tokens=control)
    for index in range(old.vocab_size):
        assert new.tokenizer.IdToPiece(index) == old.tokenizer.IdToPiece(index)
    for text in [*OLD_TEXTS[:2], "<2en> dog", "ünk"]:
        assert new.encode(text) == old.encode(text)
    special = vocabularies.special_tokens(new)
    for name in control:
        assert new.encode(f"cat{name}cat").count(special.control_id(name)) == 1
    if extra_ids:
        assert (special.sentinel_start, special.num_sentinels) == (before.sentinel_start, 10)
    else:
        assert special.sentinel_start == special.vocab_size - 1 and special.num_sentinels == 100
    resized = initialization.resize_vocabulary(params, old, new)
    for table, was in zip(_tables(resized), _tables(params), strict=True):
        np.testing.assert_array_equal(table[: old.vocab_size], was[: old.vocab_size])
        assert len(table) == initialization.padded_vocab_size(new.vocab_size)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"control_tokens": ["▁the"]}, "are ordinary pieces"),
        ({"control_tokens": ["<a>", "<a>"]}, "duplicates"),
        ({"control_tokens": [], "num_sentinels": 6}, "has 5 sentinels, and more would need"),
    ],
)
def test_pieces_that_cannot_be_appended(old, tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        vocabulary_extension.append_pieces(old, tmp_path / "x.model", **settings)
    assert not list(tmp_path.iterdir())


def _state(optimizer, params):
    """A state of an optimizer with positive statistics that differ from row to row."""
    shapes = jax.eval_shape(_transform(optimizer, params).init, params)
    rng = np.random.default_rng(3)
    return jax.tree.map(lambda x: rng.uniform(0.5, 1.5, x.shape).astype(x.dtype), shapes)


def _transform(optimizer, params):
    return optimizer.make(jax.tree.map(lambda x: PartitionSpec(*(["embed"] * x.ndim)), params))


def _leaves(state):
    paths = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): x for path, x in paths}


def test_adamw_moments_of_new_tokens_are_zero(old, new, params):
    state = _state(AdamW(learning_rate=constant(0.1)), params)
    plan = row_plan.plan_rows(old, new)
    before, after = _leaves(state), _leaves(initialization.resize_opt_state(state, plan))
    tables = [name for name in after if "embedding" in name or "logits" in name]
    assert len(tables) == 4
    for name in before.keys() - tables:
        np.testing.assert_array_equal(after[name], before[name])
    kept = np.flatnonzero(plan.copied)
    for name in tables:
        axis = 1 if "logits" in name else 0
        was, now = (np.moveaxis(np.asarray(x[name]), axis, 0) for x in (before, after))
        np.testing.assert_array_equal(now[kept], was[plan.sources[plan.row_splits[kept]]])
        assert not now[: plan.num_new][~plan.copied].any()
        assert np.all(now[kept] != 0)


@pytest.mark.parametrize("factored", [True, False])
def test_adafactor_moments_of_new_tokens_are_the_mean(old, new, params, factored):
    optimizer = Adafactor(min_factored_size=2 if factored else 128)
    state = _state(optimizer, params)
    plan = row_plan.plan_rows(old, new)
    resized = initialization.resize_opt_state(state, plan)
    before, after = _leaves(state), _leaves(resized)
    changed = {name for name in before if before[name].shape != after[name].shape}
    same_size = initialization.padded_vocab_size(plan.num_new) == 384
    assert same_size == (not changed)
    sides = {
        "row": "token_embedder/embedding/row",
        "column": "decoder/logits_dense/kernel/column",
    }
    names = sides.values() if factored else ["token_embedder/embedding/value"]
    for end in names:
        (name,) = (name for name in before if name.endswith(end))
        was, now = np.asarray(before[name]), np.asarray(after[name])
        assert now.shape[0] == 384
        kept = np.flatnonzero(plan.copied)
        np.testing.assert_array_equal(now[kept], was[plan.sources[plan.row_splits[kept]]])
        fresh = now[: plan.num_new][~plan.copied]
        np.testing.assert_allclose(
            fresh, np.broadcast_to(was[:OLD_SIZE].mean(axis=0), fresh.shape), rtol=1e-5
        )


def test_the_optimizer_goes_on_with_the_resized_state(old, new, params):
    optimizer = Adafactor(min_factored_size=2)
    state, plan = _state(optimizer, params), row_plan.plan_rows(old, new)
    resized = initialization.resize_params(params, plan, num_rows=512)
    transform = _transform(optimizer, params)
    resized_state = initialization.resize_opt_state(state, plan, num_rows=512)
    fresh = jax.eval_shape(transform.init, resized)
    shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)  # noqa: E731
    assert shapes(resized_state) == shapes(fresh)
    updates, _ = jax.jit(transform.update)(resized, resized_state, resized)
    rows = np.abs(np.asarray(updates["token_embedder"]["embedding"])).max(axis=1)
    assert rows[: plan.num_new].max() < 5 * np.median(rows[: plan.num_new])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "guess"}, "new_rows='guess'; expected one of mean, overlap"),
        ({"num_rows": 100}, "num_rows=100; expected at least the 360 tokens"),
    ],
)
def test_bad_arguments_are_refused(old, new, params, arguments, message):
    with pytest.raises(ConfigError, match=message):
        initialization.resize_vocabulary(params, old, new, **arguments)


def test_parameters_of_another_vocabulary_are_refused(old, new):
    small = {"token_embedder": {"embedding": np.zeros((128, 4), np.float32)}}
    with pytest.raises(ConfigError, match="has 128 rows; expected at least the 310 tokens"):
        initialization.resize_vocabulary(small, old, new)
    with pytest.raises(ConfigError, match="no table of a vocabulary"):
        initialization.resize_vocabulary({"w": np.zeros(3)}, old, new)
    with pytest.raises(ConfigError, match="vocabulary is a int"):
        initialization.resize_vocabulary(small, old, 3)
