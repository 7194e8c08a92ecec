import functools

import numpy as np
import pytest
import seqio
import tensorflow as tf
from t5.data import preprocessors as t5_preprocessors

from xlingual.data.feature_converters import EncDecFeatureConverter
from xlingual.errors import ConfigError
from xlingual.objectives.language_model import causal_lm, paired_prefix_lm, prefix_lm
from xlingual.objectives.special_tokens import SpecialTokens

SPECIAL = SpecialTokens(vocab_size=2000, sentinel_start=1999)
EOS = 1
rng = np.random.default_rng(0)
TEXTS = [rng.integers(3, 1800, size=n).tolist() for n in [2, 40, 1, 0, 17, 33, 5, 64]]


def model(run, objective, dataset, lengths, seed=0, **options):
    objective = functools.partial(
        objective,
        sequence_length=lengths,
        output_features={},
        special_tokens=SPECIAL,
        **options,
    )
    return run(objective, dataset, seed=seed)


def test_prefix_and_continuation_join_to_the_text(run, documents):
    examples = model(run, prefix_lm, documents(TEXTS), {"inputs": 17, "targets": 16})
    joined = []
    for example in examples:
        assert 1 <= len(example["inputs"]) <= 17 and 2 <= len(example["targets"]) <= 16
        assert example["inputs"][-1] == example["targets"][-1] == EOS
        assert EOS not in [*example["inputs"][:-1], *example["targets"][:-1]]
        joined.append(example["inputs"][:-1] + example["targets"][:-1])
    pieces = [text[i : i + 16] for text in TEXTS for i in range(0, len(text), 16)]
    assert joined == pieces


def test_prefix_follows_the_density(run, documents):
    examples = model(
        run,
        prefix_lm,
        documents([range(100, 201)] * 100),
        {"inputs": 102, "targets": 102},
        noise_density=0.25,
    )
    prefixes = [len(e["inputs"]) - 1 for e in examples]
    assert min(prefixes) >= 50 and max(prefixes) <= 100
    assert np.mean(prefixes) == pytest.approx(75, abs=5)


def test_a_segment_of_one_token_has_no_prefix(run, documents):
    found = model(run, prefix_lm, documents([[7]]), {"inputs": 8, "targets": 8})
    assert found == [{"inputs": [EOS], "targets": [7, EOS]}]


def stream_of(texts):
    return [token for text in texts if text for token in [*text, EOS]]


@pytest.mark.parametrize("reset", [True, False])
def test_chunks_reproduce_the_stream(run, documents, reset):
    examples = model(run, causal_lm, documents(TEXTS), {"targets": 12}, reset_at_eos=reset)
    targets = [e["targets"] for e in examples]
    assert [token for row in targets for token in row] == stream_of(TEXTS)
    assert all(e["inputs"] == [] for e in examples)
    if reset:
        assert all(EOS not in row[:-1] for row in targets), "a document each"
    else:
        assert {len(row) for row in targets[:-1]} == {12}


def test_documents_of_a_chunk_fill_one_packed_row(run, documents):
    """The greedy packer rebuilds the chunks, with a segment a document."""
    examples = model(run, causal_lm, documents(TEXTS), {"targets": 12})
    dataset = tf.data.Dataset.from_generator(
        lambda: ({"targets": np.array(e["targets"], np.int32)} for e in examples),
        output_signature={"targets": tf.TensorSpec([None], tf.int32)},
    )
    packed = seqio.trim_and_pack_dataset(dataset, {"targets": 12})
    stream = stream_of(TEXTS)
    for i, row in enumerate(packed.as_numpy_iterator()):
        chunk = stream[12 * i : 12 * i + 12]
        assert row["targets"][: len(chunk)].tolist() == chunk
        segments = 1 + np.cumsum([0, *(token == EOS for token in chunk[:-1])])
        assert row["targets_segment_ids"][: len(chunk)].tolist() == segments.tolist()
        starts = [
            max(j for j in range(k + 1) if j == 0 or chunk[j - 1] == EOS) for k in range(len(chunk))
        ]
        assert row["targets_positions"][: len(chunk)].tolist() == [
            k - start for k, start in enumerate(starts)
        ]
    assert i == (len(stream) - 1) // 12


def test_worked_example_of_packed_documents(run, documents):
    for form in ("concat", "packed"):
        found = model(run, causal_lm, documents([[11, 12], [21]]), {"targets": 7}, form=form)
        assert [e["targets"] for e in found] == [[11, 12, EOS], [21, EOS]]


def test_packed_form_cuts_only_long_documents(run, documents):
    examples = model(run, causal_lm, documents(TEXTS), {"targets": 20}, form="packed")
    expected = []
    for text in TEXTS:
        full = [*text, EOS] if text else []
        expected += [full[i : i + 20] for i in range(0, len(full), 20)]
    assert [e["targets"] for e in examples] == expected


def test_full_lm_of_t5_gives_the_same_chunks(run, documents):
    feature = seqio.Feature(seqio.PassThroughVocabulary(size=2000, eos_id=EOS), add_eos=True)
    dataset = t5_preprocessors.full_lm(documents(TEXTS), {"targets": 12}, {"targets": feature})
    theirs = [e["targets"].tolist() for e in dataset.as_numpy_iterator()]
    ours = model(run, causal_lm, documents(TEXTS), {"targets": 12}, reset_at_eos=False)
    assert [e["targets"] for e in ours] == theirs


def paired_rows(run, texts, length, seed=0):
    """Packed rows of paired texts, as the converter of a model makes them."""
    converter = EncDecFeatureConverter()
    lengths = {"inputs": length, "targets": length}

    def rows(dataset):
        examples = paired_prefix_lm(dataset, lengths, {}, special_tokens=SPECIAL)
        return converter(examples, lengths)

    return run(rows, texts, seed=seed)


def split_by_segment(row, stack, tokens):
    found = {1: [], 2: []}
    for token, segment in zip(row[tokens], row[f"{stack}_segment_ids"], strict=True):
        found[segment].append(token)
    return found[1], found[2]


def test_paired_texts_fill_packed_rows_without_padding(run, documents):
    length = 6
    # 400 rows: more than one group of the converter.
    examples = paired_rows(run, documents([range(100, 160)] * 80), length)
    stream = stream_of([list(range(100, 160))] * 80)
    texts = [stream[i : i + length] for i in range(0, len(stream), length)]
    assert len(examples) == len(stream) // (2 * length) > 256
    found = []
    for row in examples:
        read = split_by_segment(row, "encoder", "encoder_input_tokens")
        written = split_by_segment(row, "decoder", "decoder_target_tokens")
        assert all(read) and all(written)
        found.append((read[0] + written[0], read[1] + written[1]))
        assert row["decoder_loss_weights"] == [1.0] * length
    # The packer may join A of one pair with B of another that was split at the same place.
    assert sorted(text for row in found for text in row) == sorted(texts[: 2 * len(examples)])
    assert len({tuple(e["encoder_segment_ids"]) for e in examples}) == length - 1


def test_paired_rows_equal_those_of_t5(run, documents):
    """Same two texts, same split: every feature equals T5's packing."""
    texts = tf.data.Dataset.from_tensor_slices(
        {"targets": np.stack([range(31, 39), range(41, 49)]).astype(np.int32)}
    )
    with seqio.map_seed_manager(0):
        packed = t5_preprocessors.pack_prefix_lm_encoder_decoder(texts, {"inputs": 8, "targets": 8})
    theirs = {name: row.tolist() for name, row in next(packed.as_numpy_iterator()).items()}
    joined = documents([[*range(31, 39), *range(41, 48)]])
    theirs["decoder_target_tokens"][-1] = EOS  # ours end the document, theirs goes on to 48
    for seed in range(100):
        (row,) = paired_rows(run, joined, 8, seed=seed)
        if row["encoder_segment_ids"] == theirs["encoder_segment_ids"]:
            del row["decoder_task_ids"]
            assert row == theirs
            return
    pytest.fail("no seed drew the split of T5")


@pytest.mark.parametrize(
    ("objective", "lengths", "options", "message"),
    [
        (prefix_lm, {"inputs": 2, "targets": 9}, {}, r"\['inputs'\]=2 is too short.*at least 3"),
        (prefix_lm, {"inputs": 9, "targets": 7}, {}, r"\['targets'\]=7 is too short.*at least 8"),
        (prefix_lm, {"inputs": 9, "targets": 9}, {"noise_density": 0.6}, r"noise_density is 0\.6"),
        (causal_lm, {"targets": 1}, {}, r"\['targets'\]=1 is too short"),
        (causal_lm, {"inputs": 9}, {}, r"\['targets'\] is missing"),
        (causal_lm, {"targets": 9}, {"form": "chunk"}, "form is 'chunk'; expected one of concat"),
        (paired_prefix_lm, {"inputs": 7, "targets": 7}, {}, "one even length"),
        (paired_prefix_lm, {"inputs": 8, "targets": 6}, {}, "inputs=8 and targets=6"),
    ],
)
def test_mistakes_are_refused_at_once(run, documents, objective, lengths, options, message):
    with pytest.raises(ConfigError, match=message):
        model(run, objective, documents([[5]]), lengths, **options)


@pytest.mark.parametrize("objective", [prefix_lm, causal_lm, paired_prefix_lm])
def test_text_with_sentinel_ids_is_refused(run, documents, objective):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"sentinel ids.*1950\]"):
        model(run, objective, documents([[5, 1950, 6]]), {"inputs": 4, "targets": 4})
