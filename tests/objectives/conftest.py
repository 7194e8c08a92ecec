"""One small vocabulary and short ways to run an objective on records."""

import functools

import numpy as np
import pytest
import seqio
import tensorflow as tf

from tests.objectives import cases, small_models
from xlingual.data import vocabularies
from xlingual.objectives.special_tokens import SpecialTokens

LANGUAGES = ["en", "fr", "de", "hi", "zh", "python"]
TEXTS = [
    "Where is the old library? The library is behind the green park, next to the river.",
    "Où est la vieille bibliothèque ? Elle est derrière le parc vert, près de la rivière.",
    "Wo ist die alte Bibliothek? Sie ist hinter dem grünen Park, neben dem Fluss.",
    "पुराना पुस्तकालय कहाँ है? वह हरे उद्यान के पीछे, नदी के पास है।",
    "旧图书馆在哪里？它在绿色公园后面，靠近河边。",
    "def f(a, b):<nl><sp2>return a + b<nl>for i in range(10):<nl><tab>print(i, '<', \"x\")",
    "translate English to German: French Hindi Chinese Python",
]


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory) -> seqio.SentencePieceVocabulary:
    path = tmp_path_factory.mktemp("vocabulary") / "small.model"
    control = vocabularies.control_tokens(LANGUAGES)
    vocabularies.train_vocabulary(TEXTS * 10, path, vocab_size=510, control_tokens=control)
    return vocabularies.load_vocabulary(path)


@pytest.fixture(scope="session")
def special(vocabulary) -> SpecialTokens:
    return vocabularies.special_tokens(vocabulary)


@pytest.fixture(scope="session")
def output_features(vocabulary) -> dict[str, seqio.Feature]:
    feature = seqio.Feature(vocabulary, add_eos=False, required=False)
    return {"inputs": feature, "targets": feature}


@pytest.fixture(scope="session")
def documents():
    """Makes a dataset `{targets}` from lists of ids."""

    def make(token_lists) -> tf.data.Dataset:
        ragged = tf.ragged.constant([list(ids) for ids in token_lists], tf.int32, ragged_rank=1)
        return tf.data.Dataset.from_tensor_slices({"targets": ragged})

    return make


@pytest.fixture(scope="session")
def pairs():
    """Makes a dataset of tokenised pairs from (src ids, tgt ids, src_lang, tgt_lang)."""

    def make(records) -> tf.data.Dataset:
        src, tgt, src_lang, tgt_lang = zip(*records, strict=True)
        return tf.data.Dataset.from_tensor_slices(
            {
                "src": tf.ragged.constant([list(ids) for ids in src], tf.int32, ragged_rank=1),
                "tgt": tf.ragged.constant([list(ids) for ids in tgt], tf.int32, ragged_rank=1),
                "src_lang": list(src_lang),
                "tgt_lang": list(tgt_lang),
            }
        )

    return make


@pytest.fixture(scope="session")
def run():
    """Runs a preprocessor with a map seed; returns its examples as dicts of lists."""

    def apply(objective, dataset, *, seed=0, **arguments) -> list[dict[str, list[int]]]:
        with seqio.map_seed_manager(seed):
            result = objective(dataset, **arguments)
        return [
            {name: np.asarray(value).tolist() for name, value in example.items()}
            for example in result.as_numpy_iterator()
        ]

    return apply


@pytest.fixture(scope="session")
def examples_of(output_features, special, vocabulary, run, tmp_path_factory):
    """Makes the first examples of a case, `cases.CASES`; without TensorFlow where that is quick."""

    @functools.cache
    def make(case):
        records, objective = cases.bind(
            case,
            lengths=small_models.LENGTHS,
            output_features=output_features,
            special_tokens=special,
            folder=tmp_path_factory.mktemp("files"),
        )
        batch = next(iter(records.ragged_batch(cases.NUM_RECORDS)))
        twin = cases.make_twin(case, objective, batch, vocabulary)
        examples = cases.split_rows(twin(cases.as_numpy(batch), [0, 0]))
        return examples[: small_models.NUM_EXAMPLES]

    return make
