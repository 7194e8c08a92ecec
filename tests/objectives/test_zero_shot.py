"""A cipher and a "programming language" that meet only in English: does the pivot carry over?

English words are ids; the cipher permutes them, and so does the program language, into ids of its
own. A small model sees cipher <-> English by tag and English <-> program by PTLM, and is asked for
cipher -> program, which no example showed.
"""

import functools

import jax
import numpy as np
import pytest
import tensorflow as tf

from tests.training.fakes import make_model, make_partitioner
from xlingual.decoding.greedy import greedy_decode
from xlingual.losses.cross_entropy import CrossEntropy
from xlingual.objectives import denoising, pivot_translation
from xlingual.optimizers.adafactor import Adafactor
from xlingual.optimizers.schedules import linear_warmup_cosine
from xlingual.training.state import make_state, plan_state
from xlingual.training.step import make_train_step

_WORDS = 12
_LONGEST = 5
_STEPS = 400
_ROWS = 64
_LENGTHS = {"inputs": 32, "targets": 8}
_NAMES = {"en": "English", "fr": "French", "python": "Python"}
_CIPHER, _PROGRAM = "fr", "python"


def _speak(lang, words):
    """Renders word numbers in one of the three languages; their ids do not overlap."""
    first = {"en": 150, _CIPHER: 200, _PROGRAM: 250}[lang]
    order = {
        "en": np.arange(_WORDS),
        _CIPHER: np.random.default_rng(1).permutation(_WORDS),
        _PROGRAM: np.random.default_rng(2).permutation(_WORDS),
    }[lang]
    return [first + int(order[word]) for word in words]


def _sentences(count, seed):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, _WORDS, rng.integers(3, _LONGEST + 1)) for _ in range(count)]


@pytest.fixture
def make(run, pairs, special, output_features):
    """Returns both directions of PTLM over parallel sentences in two languages."""

    def examples(sentences, sides, **noise):
        dataset = pairs([(_speak(sides[0], s), _speak(sides[1], s), *sides) for s in sentences])
        objective = functools.partial(
            pivot_translation.ptlm,
            sequence_length=_LENGTHS,
            output_features=output_features,
            special_tokens=special,
            language_names=_NAMES,
            pivot_lang="en" if "en" in sides else None,
        )
        return run(objective, dataset)

    return examples


@pytest.fixture
def make_denoising(run, special, output_features):
    """Returns examples that rebuild noisy sentences, under the prompt of PTLM."""

    def examples(sentences, lang):
        def objective(dataset):
            noisy = denoising.noisy_pairs(dataset, special_tokens=special, mask_rate=0.3)
            return pivot_translation.ptlm(
                noisy,
                _LENGTHS,
                output_features,
                special_tokens=special,
                language_names=_NAMES,
                pivot_lang=None,
                direction="fwd",
            )

        texts = tf.ragged.constant([_speak(lang, s) for s in sentences], tf.int32)
        records = {"targets": texts, "lang": [lang] * len(sentences)}
        return run(objective, tf.data.Dataset.from_tensor_slices(records))

    return examples


def _padded(examples):
    inputs = _rows([example["inputs"] for example in examples], _LENGTHS["inputs"])
    targets = _rows([example["targets"] for example in examples], _LENGTHS["targets"])
    batch = {
        "encoder_input_tokens": inputs,
        "decoder_input_tokens": np.pad(targets, ((0, 0), (1, 0)))[:, :-1],
        "decoder_target_tokens": targets,
        "decoder_loss_weights": (targets > 0).astype(np.float32),
        "decoder_task_ids": (targets > 0).astype(np.int32),
    }
    for stack, tokens in (("encoder", inputs), ("decoder", targets)):
        real = (tokens > 0).astype(np.int32)
        batch[f"{stack}_segment_ids"] = real
        batch[f"{stack}_positions"] = np.arange(tokens.shape[1], dtype=np.int32) * real
    return batch


def _rows(token_lists, length):
    """Returns [rows, length] int32, padded with 0."""
    return np.array([[*ids, *[0] * (length - len(ids))] for ids in token_lists], np.int32)


def _trained(examples, vocab_size):
    model = make_model(
        d_model=64, d_ff=128, d_kv=16, num_heads=4, vocab_size=vocab_size, dropout_rate=0.0
    )
    partitioner = make_partitioner(1)
    data, rng = _padded(examples), np.random.default_rng(0)
    spec = {k: jax.ShapeDtypeStruct((_ROWS, *v.shape[1:]), v.dtype) for k, v in data.items()}
    schedule = linear_warmup_cosine(peak=0.05, warmup_steps=50, total_steps=_STEPS, final=0.0)
    optimizer = Adafactor(learning_rate=schedule, min_factored_size=32)
    layout = plan_state(model, optimizer, partitioner, spec)
    state = make_state(model, layout, partitioner, spec, 0)
    step = jax.jit(
        make_train_step(
            model=model,
            losses={"cross_entropy": CrossEntropy()},
            layout=layout,
            learning_rate=schedule,
            num_tasks=1,
        ),
        donate_argnums=0,
    )
    for _ in range(_STEPS):
        rows = rng.integers(0, len(examples), _ROWS)
        state, _ = step(state, {name: value[rows] for name, value in data.items()})
    return model, state.params


def _exact_match(model, params, examples):
    batch = _padded(examples)
    sources = {name: batch[name] for name in batch if name.startswith("encoder_")}
    decode = jax.jit(functools.partial(greedy_decode, model, max_length=_LENGTHS["targets"]))
    written = np.asarray(decode(params, sources))
    return (written == batch["decoder_target_tokens"]).all(axis=1).mean()


@pytest.mark.slow
def test_cipher_to_program_is_learned_through_english_alone(make, make_denoising):
    training = make(_sentences(2000, 1), ("en", _CIPHER))
    training += make(_sentences(2000, 2), ("en", _PROGRAM))
    for seed, lang in enumerate(_NAMES, start=3):
        training += make_denoising(_sentences(1000, seed), lang)
    model, params = _trained(training, 512)

    assert _exact_match(model, params, make(_sentences(100, 9), ("en", _PROGRAM))) > 0.9
    unseen = make(_sentences(200, 10), (_CIPHER, _PROGRAM))[::2]
    assert _exact_match(model, params, unseen) > 0.3
