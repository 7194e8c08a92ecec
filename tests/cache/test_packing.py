"""Packers: the rows of SeqIO, full rows by best fit, and every token once."""

import numpy as np
import pytest
import seqio
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from xlingual.cache import packing
from xlingual.errors import ConfigError

SHAPE = {"inputs": 12, "targets": 10}
FAMILIES = packing.FAMILIES
_SIZES = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 10)), max_size=60)


def _room(family, **shape):
    return packing.Room(family=family, row_shape=shape or SHAPE)


def _examples(sizes, seed=0):
    """Returns examples whose every token differs from all others, ids from 2."""
    count = sum(map(sum, sizes))
    tokens = iter(np.random.default_rng(seed).permutation(count).astype(np.int32) + 2)
    found = []
    for size in sizes:
        inputs, targets = (np.array([next(tokens) for _ in range(n)], np.int32) for n in size)
        found.append({"inputs": inputs, "targets": targets, "targets_weights": targets % 3})
    return found


def _draw_pairs(count, seed=0):
    """Returns sizes like those of sentence pairs: about 38 + 38 tokens, lengths correlated."""
    random = np.random.default_rng(seed)
    inputs = random.lognormal(np.log(38) - 0.125, 0.5, count)
    targets = inputs * np.exp(random.normal(0, 0.2, count))
    return np.clip(np.round(np.stack([inputs, targets], 1)), 3, 250).astype(int).tolist()


def _fill(rows, room):
    tokens = sum(len(e["inputs"]) + len(e["targets"]) for row in rows for e in row)
    return tokens / (len(rows) * sum(room.row_shape.values()))


@pytest.mark.parametrize("name", ["best_fit", "in_order"])
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=30, deadline=None)
@given(sizes=_SIZES)
def test_every_example_is_in_one_row_whole_and_rows_hold_it(name, family, sizes):
    room = _room(family)
    examples = _examples(sizes)
    options = {"window": 7} if name == "best_fit" else {}
    rows = list(packing.make_packer(name, **options).rows(iter(examples), room))
    placed = [id(example) for row in rows for example in row]
    assert sorted(placed) == sorted(map(id, examples)), "each once, none cut"
    for row in rows:
        totals = np.sum([room.size(example) for example in row], axis=0)
        assert row and (totals <= room.limits).all()
    again = packing.make_packer(name, **options).rows(iter(examples), room)
    assert [[id(e) for e in row] for row in again] == [[id(e) for e in row] for row in rows]


@pytest.mark.parametrize("seed", [0])
def test_stock_order_gives_the_rows_of_seqio(seed):
    random = np.random.default_rng(seed)
    sizes = np.stack([random.integers(1, 13, 90), random.integers(1, 11, 90)], 1).tolist()
    examples = [{k: e[k] for k in SHAPE} for e in _examples(sizes, seed)]
    signature = {name: tf.TensorSpec([None], tf.int32) for name in SHAPE}
    dataset = tf.data.Dataset.from_generator(lambda: examples, output_signature=signature)
    expected = list(seqio.utils.trim_and_pack_dataset(dataset, SHAPE).as_numpy_iterator())
    found = list(packing.InOrder().rows(iter(examples), _room("encoder_decoder")))
    assert len(found) == len(expected) > 10
    for row, theirs in zip(found, expected, strict=True):
        for name, length in SHAPE.items():
            ours = np.concatenate([example[name] for example in row])
            np.testing.assert_array_equal(np.pad(ours, (0, length - len(ours))), theirs[name])
            segments = np.repeat(np.arange(len(row)) + 1, [len(e[name]) for e in row])
            np.testing.assert_array_equal(
                np.pad(segments, (0, length - len(ours))), theirs[f"{name}_segment_ids"]
            )


def test_best_fit_of_the_worked_example():
    examples = _examples([(4, 3), (3, 3), (2, 3), (1, 1)])
    room = _room("encoder_decoder", inputs=6, targets=6)
    for name, expected in (("in_order", [[0], [1, 2], [3]]), ("best_fit", [[0, 2], [1, 3]])):
        rows = packing.make_packer(name).rows(iter(examples), room)
        places = {id(example): place for place, example in enumerate(examples)}
        assert [[places[id(example)] for example in row] for row in rows] == expected


@pytest.mark.parametrize(
    ("shape", "stock"), [((512, 512), 0.93), ((256, 256), 0.88)], ids=["512", "256"]
)
def test_pairs_fill_their_own_shape(shape, stock):
    room = _room("encoder_decoder", inputs=shape[0], targets=shape[1])
    examples = _examples(_draw_pairs(4_000))
    assert _fill(list(packing.InOrder().rows(examples, room)), room) < stock
    assert _fill(list(packing.BestFit().rows(examples, room)), room) >= 0.95


def test_pairs_fill_rows_of_decoders():
    room = _room("decoder_only", inputs=256, targets=256)
    rows = list(packing.BestFit().rows(_examples(_draw_pairs(4_000)), room))
    assert _fill(rows, room) >= 0.98


def test_nobody_waits_for_ever():
    """One long example among many that fit each other better opens a row after a window's time."""
    sizes = [(6, 5), (12, 10)] + [(6, 5)] * 200
    examples = _examples(sizes)
    rows = list(packing.BestFit(window=4).rows(iter(examples), _room("encoder_decoder")))
    places = [n for n, row in enumerate(rows) for example in row if example is examples[1]]
    assert places[0] <= 4


@pytest.mark.parametrize("length", [5, 8, 100])
@pytest.mark.parametrize("reset", [True, False])
def test_chunks_are_the_stream_cut_to_full_rows(length, reset):
    """OBJECTIVES 2.4: the targets of all chunks, one after the other, are the EOS-joined stream."""
    random = np.random.default_rng(0)
    documents = [
        np.append(random.integers(2, 90, random.integers(0, 12)), 1).astype(np.int32)
        for _ in range(30)
    ]
    empty = np.zeros(0, np.int32)
    examples = [{"inputs": empty, "targets": d, "targets_weights": d % 2} for d in documents]
    room = _room("decoder_only", inputs=0, targets=length)
    rows = list(packing.Chunk(reset_at_eos=reset).rows(iter(examples), room))
    stream = np.concatenate(documents)
    for name, expected in (("targets", stream), ("targets_weights", stream % 2)):
        found = [np.concatenate([e[name] for e in row]) for row in rows]
        np.testing.assert_array_equal(np.concatenate(found), expected)
        assert {len(row) for row in found[:-1]} <= {length} and len(found[-1]) <= length
    for row in rows:
        tokens = np.concatenate([e["targets"] for e in row])
        before = np.cumsum(np.append(0, tokens[:-1] == 1))
        segments = np.repeat(np.arange(len(row)), [len(e["targets"]) for e in row])
        np.testing.assert_array_equal(segments, before if reset else np.zeros_like(tokens))


def test_chunks_have_no_inputs():
    with pytest.raises(ConfigError, match="has 2 inputs; the packing `chunk` takes"):
        list(packing.Chunk().rows(_examples([(2, 3)]), _room("decoder_only")))


def test_what_fits_no_row_is_refused():
    for family, size in (("encoder_decoder", (13, 1)), ("decoder_only", (12, 11))):
        for name in ("best_fit", "in_order"):
            with pytest.raises(ConfigError, match=rf"{size[0]} inputs and {size[1]} targets, more"):
                list(packing.make_packer(name).rows(_examples([size]), _room(family)))


def test_bad_settings_are_refused():
    with pytest.raises(ConfigError, match="no packing is named 'bestfit'; nearest: best_fit"):
        packing.make_packer("bestfit")
    with pytest.raises(ConfigError, match=r"'in_order' has not the options \['window'\]"):
        packing.make_packer("in_order", window=3)
    with pytest.raises(ConfigError, match="window is 0"):
        packing.make_packer("best_fit", window=0)
    with pytest.raises(ConfigError, match="family is 'encoder'"):
        _room("encoder")
    with pytest.raises(ConfigError, match="a row shape is"):
        _room("encoder_decoder", inputs=0, targets=4)
    with pytest.raises(ConfigError, match="a row shape is"):
        _room("decoder_only", inputs=4)
