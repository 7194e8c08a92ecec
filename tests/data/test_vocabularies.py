import pathlib

import hypothesis
import hypothesis.strategies as st
import pytest
import sentencepiece
import seqio
import tensorflow as tf

from xlingual.data import vocabularies
from xlingual.errors import ConfigError

TEXTS = [
    "Pack my box with five dozen liquor jugs; how vexingly quick daft zebras jump!",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich, und niemand sieht hin.",
    "for index in range(10):<nl><sp4>print(index * 2)<nl>while True:<nl><sp4>break",
    "The quick brown fox jumps over the lazy dog, again and again.",
    "Der schnelle braune Fuchs springt über den faulen Hund.",
    "def add(a, b):<nl><sp4>return a + b",
    "Быстрая коричневая лиса прыгает через ленивую собаку.",
    "敏捷的棕色狐狸跳过懒狗。",
] * 20
CONTROL = vocabularies.control_tokens(["en", "de", "ru", "zh-Hant", "python"])
VOCAB_SIZE = 500


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> pathlib.Path:
    file = tmp_path_factory.mktemp("vocabulary") / "new" / "toy.model"
    vocabularies.train_vocabulary(TEXTS, file, vocab_size=VOCAB_SIZE, control_tokens=CONTROL)
    return file


@pytest.fixture(scope="module")
def vocabulary(path) -> seqio.SentencePieceVocabulary:
    return vocabularies.load_vocabulary(path)


def test_layout_of_the_ids(vocabulary):
    special = vocabularies.special_tokens(vocabulary)
    assert vocabulary.vocab_size == special.vocab_size == VOCAB_SIZE
    assert (special.pad_id, special.eos_id, special.unk_id) == (0, 1, 2)
    assert special.num_sentinels == 100
    for k in range(100):
        assert vocabulary.tokenizer.IdToPiece(VOCAB_SIZE - 1 - k) == f"<extra_id_{k}>"
        assert special.sentinel_id(k) == VOCAB_SIZE - 1 - k
    first = VOCAB_SIZE - 100 - len(CONTROL)
    assert dict(special.control) == {name: first + i for i, name in enumerate(CONTROL)}


@pytest.mark.parametrize("name", CONTROL)
def test_each_control_token_is_exactly_one_id_wherever_it_stands(vocabulary, name):
    index = vocabularies.special_tokens(vocabulary).control_id(name)
    for text in (f"{name}fox", f"fox{name}", f"fox{name}fox", f"fox {name} fox"):
        ids = vocabulary.encode(text)
        assert ids.count(index) == 1
        assert all(i < 400 - len(CONTROL) for i in ids if i != index), "the tag was split"
        assert vocabulary.decode(ids) == text


def test_tensorflow_and_python_encode_alike(vocabulary):
    for text in [*TEXTS[:5], "  two  spaces ", "<2en>x\ty\n\nz", "unseen: ߷ 🦊"]:
        assert vocabulary.encode_tf(tf.constant(text)).numpy().tolist() == vocabulary.encode(text)


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0▁"), max_size=40)
)
def test_every_text_has_an_exact_round_trip(vocabulary, text):
    ids = vocabulary.encode(text)
    assert vocabulary.unk_id not in ids
    assert vocabulary.tokenizer.DecodeIds(ids) == text


def test_the_space_mark_of_sentencepiece_does_not_turn_into_a_space(vocabulary):
    assert vocabulary.decode(vocabulary.encode("a▁b c")) == "a_b c"


def test_same_arguments_give_the_same_bytes_and_hash(path, tmp_path):
    again = tmp_path / "again.model"
    vocabularies.train_vocabulary(TEXTS, again, vocab_size=VOCAB_SIZE, control_tokens=CONTROL)
    assert again.read_bytes() == path.read_bytes()
    assert vocabularies.vocabulary_hash(again) == vocabularies.vocabulary_hash(path)
    assert [file.name for file in tmp_path.iterdir()] == ["again.model"], "a temporary file is left"


def test_moving_the_pieces_does_not_change_the_splits(path, vocabulary):
    """The id order is ours; the segmentation must stay SentencePiece's."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    pieces = processor.EncodeAsPieces("def add(a, b):<nl><sp4>return a + b")
    assert pieces.count("<nl>") == 1 and pieces.count("<sp4>") == 1
    assert "".join(pieces).replace("▁", " ").strip() == "def add(a, b):<nl><sp4>return a + b"


def test_sentinels_added_on_load_are_found(path):
    special = vocabularies.special_tokens(vocabularies.load_vocabulary(path))
    assert special.sentinel_start == VOCAB_SIZE - 1


def test_a_model_without_sentinels_gets_them_on_load(tmp_path):
    file = tmp_path / "bare.model"
    vocabularies.train_vocabulary(
        TEXTS, file, vocab_size=380, control_tokens=["<sep>"], num_sentinels=0
    )
    assert vocabularies.special_tokens(vocabularies.load_vocabulary(file)).num_sentinels == 0
    special = vocabularies.special_tokens(vocabularies.load_vocabulary(file, extra_ids=10))
    assert (special.vocab_size, special.sentinel_start, special.num_sentinels) == (390, 389, 10)
    assert special.control == {"<sep>": 379}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 100_000}, r"vocab_size=100000 is too large for the text; expected <= \d+"),
        ({"vocab_size": 150}, "vocab_size=150"),
        ({"texts": []}, "expected at least one line"),
        ({"control_tokens": ["<a>", "<a>"]}, "duplicates"),
    ],
)
def test_impossible_vocabularies_are_refused(tmp_path, change, message):
    arguments = {"texts": TEXTS, "vocab_size": VOCAB_SIZE, "control_tokens": CONTROL} | change
    with pytest.raises(ConfigError, match=message):
        vocabularies.train_vocabulary(path=tmp_path / "x.model", **arguments)
    assert not list(tmp_path.iterdir())


def test_missing_and_broken_files_are_named(tmp_path):
    missing = tmp_path / "no.model"
    for function in (vocabularies.load_vocabulary, vocabularies.vocabulary_hash):
        with pytest.raises(ConfigError, match=r"no\.model does not exist"):
            function(missing)
    broken = tmp_path / "broken.model"
    broken.write_bytes(b"not a model")
    with pytest.raises(ConfigError, match=r"broken\.model is not a SentencePiece model"):
        vocabularies.load_vocabulary(broken)
