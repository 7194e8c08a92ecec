"""Vocabularies over `tokenizer.json` files shaped like those of Qwen or Llama 3, and of Gemma."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from xlingual.data import row_plan, task_checks, tokenizer_files, vocabularies
from xlingual.data.positions import TfDataIterator
from xlingual.data.token_names import TokenName
from xlingual.data.tokenizer_vocabulary import TokenizerVocabulary
from xlingual.errors import ConfigError
from xlingual.models import initialization
from xlingual.objectives import code_whitespace
from xlingual.objectives.pieces import part_encoder

TEXTS = [
    "the cat sat on the mat! and the dog sat on the cat!!",
    "der Hund sass auf der Matte; ein Hund, zwei Hunde",
    "for index in range(10):\n    print(index * 2)",
    "быстрая лиса прыгает, лиса и собака",
] * 5
ODD = [
    "",
    "!",
    "a!b",
    "  two  spaces\n",
    "<|endoftext|> <eos> <pad>",
    "日本 é \U0001f98a",
    "x<2de>y",
]
CONTROL = vocabularies.control_tokens(["de", "en"])


def _byte_level(folder):
    """Id 0 is `!`, as in Llama 3 and Qwen; special tokens come last."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=[], show_progress=False
    )
    backend.train_from_iterator(TEXTS, trainer)
    backend.add_special_tokens(["<|endoftext|>", "<|im_end|>"])
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": {"content": "<|endoftext|>"}}')


def _byte_fallback(folder):
    """Padding is id 0 and spaces are marked, as in Gemma."""
    backend = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    names = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{value:02X}>" for value in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=names, show_progress=False)
    backend.train_from_iterator(TEXTS, trainer)
    content = json.loads(backend.to_str())
    content["added_tokens"] = content["added_tokens"][:4]
    (folder / "tokenizer.json").write_text(json.dumps(content))
    roles = {"eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(roles))


@pytest.fixture(
    scope="module", params=[_byte_level, _byte_fallback], ids=["byte level", "fallback"]
)
def folder(request, tmp_path_factory):
    made = tmp_path_factory.mktemp("tokenizer")
    request.param(made)
    return made


@pytest.fixture(scope="module")
def vocabulary(folder):
    return tokenizer_files.load_tokenizer_vocabulary(
        folder, control_tokens=CONTROL, num_sentinels=20
    )


@pytest.fixture(scope="module")
def original(folder):
    backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.encode_special_tokens = True
    return backend


def test_ids_of_the_file_stay_but_for_text_at_zero(vocabulary, original):
    moved = original.id_to_token(0)
    for index in range(1, original.get_vocab_size()):
        assert vocabulary.id_to_piece(index) == original.id_to_token(index)
    new_id = original.get_vocab_size() if moved == "!" else None
    for text in [*TEXTS, *ODD[:-1]]:
        theirs = original.encode(text, add_special_tokens=False).ids
        assert vocabulary.encode(text) == [new_id if i == 0 else i for i in theirs]


def test_control_tokens_and_sentinels_are_behind(vocabulary, original):
    special = vocabularies.special_tokens(vocabulary)
    assert special.pad_id == 0 and special.sentinel_start == vocabulary.vocab_size - 1
    assert min(special.control.values()) >= original.get_vocab_size()
    for name, index in [*special.control.items(), ("<extra_id_3>", special.sentinel_id(3))]:
        for text in (name, f"cat{name}cat", f" {name} "):
            assert vocabulary.encode(text).count(index) == 1
            assert vocabulary.decode(vocabulary.encode(text)) == text
    assert len({0, special.eos_id, special.unk_id, *special.control.values()}) == 3 + len(CONTROL)


def test_every_text_has_a_round_trip(vocabulary):
    for text in [*TEXTS, *ODD]:
        ids = vocabulary.encode(text)
        assert 0 not in ids and vocabulary.decode(ids) == text
        code = vocabulary.encode(code_whitespace.encode_whitespace(text))
        assert code_whitespace.decode_whitespace(vocabulary.decode(code)) == text


def test_tensorflow_and_python_encode_alike(vocabulary):
    texts = [*TEXTS[:4], *ODD]
    ragged = vocabulary.encode_tf(tf.constant(texts))
    assert ragged.to_list() == [vocabulary.encode(text) for text in texts]
    nested = tf.ragged.constant([texts[:2], [], texts[2:]])
    assert vocabulary.encode_tf(nested).to_list()[0] == ragged.to_list()[:2]
    assert vocabulary.encode_tf(tf.constant("a!")).numpy().tolist() == vocabulary.encode("a!")
    padded = ragged.to_tensor()[:3]
    decoded = [text.decode() for text in vocabulary.decode_tf(padded).numpy()]
    pad = vocabulary.id_to_piece(0)
    assert [text.replace(pad, "") for text in decoded] == texts[:3]


def test_parts_of_texts_are_encoded(vocabulary):
    encode = part_encoder(vocabulary, vocabularies.special_tokens(vocabulary))
    ids = encode(tf.constant(["the", " cat"]), tf.constant([True, False])).to_list()
    assert vocabulary.decode([*ids[0], *ids[1]]) == "the cat"


def test_the_position_in_the_data_can_be_saved(vocabulary):
    def batches():
        texts = tf.data.Dataset.from_tensor_slices(TEXTS).shuffle(9, seed=1).repeat().batch(3)
        encoded = texts.map(lambda text: {"ids": vocabulary.encode_tf(text).to_tensor()})
        return TfDataIterator(encoded)

    one = batches()
    next(one)
    position = one.state()
    expected = [next(one)["ids"] for _ in range(3)]
    two = batches()
    two.restore(position)
    for ids in expected:
        np.testing.assert_array_equal(next(two)["ids"], ids)


def test_what_is_exported_is_loaded_again(vocabulary, tmp_path):
    tokenizer_files.export_tokenizer(vocabulary, tmp_path)
    again = tokenizer_files.load_tokenizer_vocabulary(tmp_path)
    assert again == vocabulary and hash(again) == hash(vocabulary)
    assert vocabularies.special_tokens(again) == vocabularies.special_tokens(vocabulary)
    assert task_checks.describe_vocabulary(again).startswith("tokenizer:")


def test_transformers_loads_what_is_exported(vocabulary, tmp_path):
    transformers = pytest.importorskip("transformers", reason="reads what is exported")
    tokenizer_files.export_tokenizer(vocabulary, tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert len(auto) == vocabulary.vocab_size
    assert (auto.pad_token_id, auto.eos_token_id) == (0, vocabulary.eos_id)
    for text in [*TEXTS, *ODD]:
        assert auto(text, add_special_tokens=False).input_ids == vocabulary.encode(text)
    ids = [*vocabulary.encode("ein Hund<nl>"), vocabulary.eos_id, 0]
    assert auto.decode(ids, skip_special_tokens=True) == "ein Hund<nl>"


def test_rows_follow_the_names_of_tokens(folder, vocabulary, original):
    """A table in the order of the file becomes one for the vocabulary with additions."""
    names = vocabulary.token_names()
    ids = {name: index for index, name in enumerate(names)}
    assert len(ids) == vocabulary.vocab_size
    words = [name for name in names if name.kind == "text" and len(name.name) > 2]
    assert len(words) > 10 and any(name.startswith(b" ") for _, name in words)
    whole = [word for word in words if vocabulary.split_token(word) == [ids[word]]]
    assert len(whole) > 0.7 * len(words)
    assert vocabulary.split_token(TokenName("special", b"<2de>")) == []
    assert len(vocabulary.split_token(TokenName("byte", b"\xe2"))) == 1
    plan = row_plan.plan_rows(vocabulary, vocabulary)
    np.testing.assert_array_equal(plan.sources, np.arange(vocabulary.vocab_size))
    table = np.random.default_rng(0).normal(size=(512, 4)).astype(np.float32)
    params = {"token_embedder": {"embedding": table}}
    as_is = tokenizer_files.load_tokenizer_vocabulary(folder, as_is=True)
    resized = initialization.resize_vocabulary(params, as_is, vocabulary)
    rows, same = resized["token_embedder"]["embedding"], original.get_vocab_size()
    np.testing.assert_array_equal(rows[1:same], table[1:same])
    if original.id_to_token(0) == "!":
        assert as_is.encode("!") == [0]
        assert (vocabulary.moved_token, as_is.moved_token) == ("!", None)
        np.testing.assert_array_equal(rows[vocabulary.encode("!")], table[:1])
    else:
        assert vocabulary.moved_token is None
        np.testing.assert_array_equal(rows[0], table[0])


def test_pieces_are_means_of_tokens_of_a_file(vocabulary, tmp_path):
    path = tmp_path / "new.model"
    vocabularies.train_vocabulary(
        TEXTS, path, vocab_size=400, control_tokens=[], num_sentinels=5, model_type="bpe"
    )
    plan = row_plan.plan_rows(vocabulary, vocabularies.load_vocabulary(path))
    # Everything but UNK and perhaps padding has a name or bytes on the other side.
    assert (plan.num_sources == 0).sum() <= 3
    assert plan.copied.sum() > 250


def test_bad_files_and_tokens_are_named(folder, tmp_path):
    file = folder / "tokenizer.json"
    with pytest.raises(ConfigError, match=r"eos_token='<nope>' is not a token of"):
        TokenizerVocabulary(file, eos_token="<nope>")
    with pytest.raises(ConfigError, match="does not exist"):
        TokenizerVocabulary(tmp_path / "tokenizer.json", eos_token="x")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"is not a tokenizer\.json"):
        TokenizerVocabulary(tmp_path / "tokenizer.json", eos_token="x")
    (tmp_path / "tokenizer.json").write_text(file.read_text())
    with pytest.raises(ConfigError, match="names no eos_token"):
        tokenizer_files.load_tokenizer_vocabulary(tmp_path)
