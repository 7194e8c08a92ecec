"""Vocabularies with another number of sentinels than 100, and objectives that need more of them."""

import gzip
import types

import numpy as np
import pytest

from tests.objectives import conftest
from xlingual.arrays.ragged import RaggedTensor
from xlingual.cli import main
from xlingual.data import vocabularies
from xlingual.data.byte_vocabulary import ByteVocabulary
from xlingual.errors import ConfigError
from xlingual.objectives import registry, twins
from xlingual.objectives.span_corruption import merge_spans
from xlingual.objectives.special_tokens import SpecialTokens

NUM_SENTINELS = 300
TEXTS = (
    "if x:\n\t  return\t {'a' :  1}   \n\n \t",
    "🙂 👩‍👩‍👧 שלום עולם العربية \u200f\u202e abc",
    "\x00\x01\x07\x1b[0m \x7f\u0085\u2028",
    "  full-width ｆｏｏ ﬁ ² <mask> <extra_id_7x> ",
)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A vocabulary of pieces with 300 sentinels, made by the command."""
    root = tmp_path_factory.mktemp("sentinels")
    (root / "mono").mkdir()
    for language, lines in (("en", conftest.TEXTS[:1]), ("hi", conftest.TEXTS[3:4])):
        content = "\n".join(lines * 20).encode()
        (root / "mono" / f"{language}.txt.gz").write_bytes(gzip.compress(content))
    (root / "languages.tsv").write_text("code\tbcp47\nen\ten\nhi\thi\n", encoding="utf-8")
    path = root / "many.model"
    arguments = ["--vocab_size=620", f"--num_sentinels={NUM_SENTINELS}", f"--to={path}"]
    assert main.main(["vocab", "train", f"--data_dir={root}", *arguments]) == 0
    return vocabularies.load_vocabulary(path)


@pytest.fixture(params=["pieces", "bytes"])
def rich(request, many):
    if request.param == "pieces":
        return many
    control = vocabularies.control_tokens(["en", "hi"])
    return ByteVocabulary(control, num_sentinels=NUM_SENTINELS)


def apply(objective, special, lengths, **options):
    feature = types.SimpleNamespace(vocabulary=None)
    twin = twins.make_twin(
        objective,
        registry.get_objective(objective).preprocess,
        fields=["targets", "lang"],
        sequence_length=lengths,
        output_features={"inputs": feature, "targets": feature},
        special_tokens=special,
        **options,
    )
    draw = np.random.default_rng(0)
    documents = [draw.integers(3, 250, 900).astype(np.int32) for _ in range(twin.batch_size)]
    batch = {"targets": RaggedTensor.from_rows(documents, np.dtype(np.int32))}
    return np.concatenate(documents).tolist(), twin(batch, [0, 1])


def rows_of(features):
    names = ("inputs", "targets")
    columns = [np.split(features[n].values, features[n].row_splits[1:-1]) for n in names]
    return [(one.tolist(), other.tolist()) for one, other in zip(*columns, strict=True)]


def test_sentinels_are_the_highest_ids_and_text_keeps_its_round_trip(rich):
    special = vocabularies.special_tokens(rich)
    assert special.num_sentinels == NUM_SENTINELS
    for k in (0, 99, 100, 299):
        assert rich.encode(f"<extra_id_{k}>")[-1] == special.vocab_size - 1 - k
    for text in TEXTS:
        assert rich.decode(rich.encode(text)) == text


def test_span_corruption_uses_more_than_a_hundred(rich):
    special = vocabularies.special_tokens(rich)
    lengths = {"inputs": 1024, "targets": 1024}
    text, found = apply("span_corruption", special, lengths, noise_density=0.5)
    joined = []
    for inputs, targets in rows_of(found):
        sentinels = [i for i in inputs if i >= special.sentinel_end]
        top = special.sentinel_start
        assert sentinels == list(range(top, top - len(sentinels), -1))
        joined += merge_spans(np.array(inputs), np.array(targets), special).tolist()
        assert len(sentinels) == 256 or len(joined) == len(text)
    assert joined == text


def test_every_denoiser_of_ul2_is_affordable(rich):
    special = vocabularies.special_tokens(rich)
    _, found = apply("ul2", special, {"inputs": 512, "targets": 512})
    used = [sum(i >= special.sentinel_end for i in inputs) for inputs, _ in rows_of(found)]
    assert max(used) == 127


def test_a_hundred_are_refused_at_the_start():
    special = SpecialTokens(vocab_size=400, sentinel_start=399)
    with pytest.raises(ConfigError, match="needs 256 sentinels, but the vocabulary has 100"):
        apply("span_corruption", special, {"inputs": 1024, "targets": 1024}, noise_density=0.5)
