"""Exported tokenizers, as `transformers` loads them, give our ids for every text."""

import collections
import gzip
import json
import os

import hypothesis
import hypothesis.strategies as st
import pytest
import tokenizers

from tasks import toy_corpus, toy_vocabulary
from xlingual.data import tokenizer_files, tokenizer_json, vocabularies
from xlingual.data.byte_vocabulary import ByteVocabulary
from xlingual.errors import ConfigError
from xlingual.objectives import code_whitespace

CONTROL = vocabularies.control_tokens([*toy_corpus.NATURAL_LANGUAGES, "python"])
ODD = [
    "",
    " ",
    "  two  spaces ",
    "<2en>x\ty\n\nz",
    "fox <2en> fox <extra_id_0>fox<extra_id_99>",
    "<2en><2de>",
    "</s> <pad> <unk> <0x41> a<0x41>",
    "<nl><0x41><nl></s><nl><0xFF><nl><unk>",
    "a▁b ▁̀c ▁",
    "=" * 37 + " " + "-" * 101 + "#" * 18,
    "🦊 ẞ ½ ﬁ １ ߷ e\u0301",
]


def _embedded_lines():
    """Some lines of every language of the embedded corpus, as tasks feed them."""
    prose = [t for lang in toy_corpus.NATURAL_LANGUAGES for t in toy_corpus.texts(lang, "test")]
    code = [t for lang in toy_corpus.PROGRAMMING_LANGUAGES for t in toy_corpus.texts(lang, "test")]
    encode = code_whitespace.encode_whitespace
    return [code_whitespace.escape_control(t) for t in prose] + [encode(t) for t in code]


@pytest.fixture(scope="module")
def texts():
    return _embedded_lines()


def _make_vocabulary(kind, texts, folder):
    if kind == "bytes":
        return ByteVocabulary(CONTROL)
    if kind == "bpe":
        return toy_vocabulary.toy_vocabulary()
    path = folder / "unigram.model"
    settings = {} if kind == "unigram" else {"num_sentinels": 0}
    vocabularies.train_vocabulary(
        texts[::3], path, vocab_size=1600, control_tokens=CONTROL, **settings
    )
    return vocabularies.load_vocabulary(path, extra_ids=0 if kind == "unigram" else 20)


@pytest.fixture(scope="module", params=["unigram", "unigram with added sentinels", "bpe", "bytes"])
def exported(request, texts, tmp_path_factory):
    """A vocabulary and the folder of its files, in which an mT5 model would lie."""
    folder = tmp_path_factory.mktemp("tokenizer")
    vocabulary = _make_vocabulary(request.param, texts, tmp_path_factory.mktemp("trained"))
    tokenizer_files.export_tokenizer(vocabulary, folder / "new", model_max_length=512)
    (folder / "new" / "config.json").write_text('{"model_type": "mt5"}')
    return vocabulary, folder / "new"


def _auto_tokenizer(folder):
    transformers = pytest.importorskip("transformers", reason="reads what is exported")
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def auto(exported):
    return _auto_tokenizer(exported[1])


def test_the_library_gives_our_ids_with_eos(exported, texts):
    vocabulary, folder = exported
    backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.encode_special_tokens = True  # what `split_special_tokens` becomes
    lines = [*ODD, *texts]
    found = [one.ids for one in backend.encode_batch(lines)]
    assert found == [[*vocabulary.encode(line), 1] for line in lines]
    for ids in found:
        assert backend.decode(ids[:-1]) == vocabulary.decode(ids)


def test_ids_are_ours_with_eos(exported, auto, texts):
    vocabulary, _ = exported
    lines = [*ODD, *texts]
    theirs = auto(lines).input_ids
    wrong = [
        line
        for line, ids in zip(lines, theirs, strict=True)
        if ids != [*vocabulary.encode(line), 1]
    ]
    assert not wrong
    assert auto.model_max_length == 512 and len(auto) == vocabulary.vocab_size


def test_decoding_gives_the_text_back(exported, auto, texts):
    vocabulary, _ = exported
    for line in [*ODD, *texts]:
        ids = vocabulary.encode(line)
        assert auto.decode(ids) == vocabulary.decode(ids)


@hypothesis.settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(
    st.lists(
        st.sampled_from(
            [*CONTROL[:3], "<nl>", "<sp4>", "</s>", "<0x20>", "<extra_id_7>", "<", "  "]
        )
        | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9),
        max_size=7,
    ).map("".join)
)
def test_any_text_has_our_ids(exported, auto, text):
    assert auto(text).input_ids == [*exported[0].encode(text), 1]


def test_special_tokens_have_our_ids_and_can_be_skipped(exported, auto):
    vocabulary, _ = exported
    special = vocabularies.special_tokens(vocabulary)
    assert (auto.pad_token_id, auto.eos_token_id, auto.unk_token_id) == (0, 1, 2)
    for name in ("<2en>", "<lg:de>", "[S2S]", "<mask>", "<nl>"):
        assert auto.convert_tokens_to_ids(name) == special.control_id(name)
    ids = [0, special.control_id("<2de>"), *vocabulary.encode("Hund"), special.sentinel_id(3), 1]
    assert auto.decode(ids, skip_special_tokens=True).strip() == "Hund"
    code = vocabulary.encode("<nl><sp4>x")
    assert auto.decode(code, skip_special_tokens=True).strip() == "<nl><sp4>x"


def test_batches_are_padded_behind(auto):
    batch = auto(["a", "a b c d"], padding=True)
    assert batch.input_ids[0][-2:] == [0, 0] and batch.attention_mask[0][-2:] == [0, 0]


def test_what_is_exported_is_loaded_and_copied(exported, tmp_path):
    vocabulary, folder = exported
    files = tokenizer_files.copy_tokenizer_files(folder, tmp_path / "copy")
    assert {file.name for file in (tmp_path / "copy").iterdir()} == set(files)
    assert "config.json" not in files
    loaded = tokenizer_files.load_tokenizer_vocabulary(tmp_path / "copy")
    assert vocabularies.special_tokens(loaded) == vocabularies.special_tokens(vocabulary)
    for text in ODD:
        assert loaded.encode(text) == vocabulary.encode(text)


def test_saved_again_by_transformers_it_is_the_same(exported, auto, tmp_path):
    auto.save_pretrained(tmp_path)
    again = _auto_tokenizer(tmp_path)
    assert again(ODD).input_ids == auto(ODD).input_ids


def test_prompts_of_decoders_have_no_eos(exported, tmp_path):
    vocabulary, _ = exported
    tokenizer_files.export_tokenizer(vocabulary, tmp_path, add_eos=False)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    auto = _auto_tokenizer(tmp_path)
    assert auto("ein Hund").input_ids == vocabulary.encode("ein Hund")


@pytest.mark.parametrize(
    ("files", "sentinels"),
    [
        ({"tokenizer_config.json": {"extra_ids": 5}}, 5),
        ({"tokenizer_config.json": {"additional_special_tokens": ["<extra_id_0>"]}}, 1),
        ({"tokenizer.json": {"added_tokens": [{"content": "<extra_id_0>"}]}}, 1),
        ({}, 100),
    ],
)
def test_sentinels_of_public_folders_are_counted(texts, tmp_path, files, sentinels):
    """T5's model file has none: the files beside it say how many there are."""
    path = tmp_path / "spiece.model"
    vocabularies.train_vocabulary(
        texts[:200], path, vocab_size=450, control_tokens=[], num_sentinels=0
    )
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    special = vocabularies.special_tokens(tokenizer_files.load_tokenizer_vocabulary(tmp_path))
    assert (special.num_sentinels, special.vocab_size) == (sentinels, 450 + sentinels)
    assert special.sentinel_start == special.vocab_size - 1


def test_public_bytes_are_known_by_their_class(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    loaded = tokenizer_files.load_tokenizer_vocabulary(tmp_path)
    theirs = _auto_tokenizer(tmp_path)
    assert loaded.vocab_size == 384
    assert theirs("a ü").input_ids == [*loaded.encode("a ü"), 1]


def test_folders_without_a_tokenizer_are_named(tmp_path):
    for function in (
        tokenizer_files.load_tokenizer_vocabulary,
        lambda folder: tokenizer_files.copy_tokenizer_files(folder, tmp_path / "x"),
    ):
        with pytest.raises(ConfigError, match=r"holds no tokenizer; expected one of spiece\.model"):
            function(tmp_path)
    (tmp_path / "byte_vocabulary.json").write_text("{}")
    with pytest.raises(ConfigError, match="expected control_tokens and num_sentinels"):
        tokenizer_files.load_tokenizer_vocabulary(tmp_path)
    (tmp_path / "byte_vocabulary.json").write_text("no")
    with pytest.raises(ConfigError, match="is not JSON"):
        tokenizer_files.load_tokenizer_vocabulary(tmp_path)
    with pytest.raises(ConfigError, match="expected a SentencePieceVocabulary"):
        tokenizer_files.export_tokenizer(object(), tmp_path)


def _lines_of_every_language(data_dir, limit):
    """Language (`code:` in front of programming languages) -> at most `limit` lines."""
    lines = collections.defaultdict(list)

    def rows(pattern):
        for path in sorted(data_dir.glob(pattern)):
            with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
                yield path.name.split("."), (line.rstrip("\n") for line in file)

    for name, texts in rows("mono/*.gz"):
        lines[name[0]].extend(texts)
    for pattern in ("parallel/**/*.tsv.gz", "lexicon/**/*.tsv.gz"):
        for _, texts in rows(pattern):
            languages = next(texts).split("\t")
            for row in texts:
                for language, text in zip(languages, row.split("\t"), strict=True):
                    lines[language].append(text)
    for name, texts in rows("classification/**/*.tsv.gz"):
        next(texts)
        lines[name[1]].extend(row.split("\t")[-1] for row in texts)
    for _, texts in rows("ner/*.gz"):
        for record in map(json.loads, texts):
            lines[record["lang"]].append(" ".join(record["tokens"]))
    for _, texts in rows("code/**/*.gz"):
        for record in map(json.loads, texts):
            lines[f"code:{record['pl']}"].append(record["code"])
    return {language: [t for t in texts if t][:limit] for language, texts in lines.items()}


LINES = int(os.environ.get("XLINGUAL_TEST_LINES", "40"))
"""Lines of each language; 1000 takes a minute and a half."""


@pytest.mark.slow
def test_lines_of_every_language_have_our_ids(data_dir, tmp_path):
    lines = _lines_of_every_language(data_dir, LINES)
    table = (data_dir / "languages.tsv").read_text(encoding="utf-8").splitlines()[1:]
    assert {row.split("\t")[0] for row in table} <= set(lines)
    fed = {
        language: list(
            map(
                code_whitespace.encode_whitespace
                if language.startswith("code:")
                else code_whitespace.escape_control,
                texts,
            )
        )
        for language, texts in lines.items()
    }
    model = tmp_path / "all.model"
    vocabularies.train_vocabulary(
        [text for texts in fed.values() for text in texts[:15]],
        model,
        vocab_size=6000,
        control_tokens=CONTROL,
        character_coverage=0.999,
    )
    vocabulary = vocabularies.load_vocabulary(model)
    tokenizer_files.export_tokenizer(vocabulary, tmp_path / "out")
    auto = _auto_tokenizer(tmp_path / "out")
    wrong = {}
    for language, texts in fed.items():
        for text, ids in zip(texts, auto(texts).input_ids, strict=True):
            if ids != [*vocabulary.encode(text), 1]:
                wrong.setdefault(language, []).append(text)
    assert not wrong


def test_models_that_cannot_be_expressed_are_refused(texts, tmp_path):
    trained = tmp_path / "trained.model"
    vocabularies.train_vocabulary(
        texts[:200], trained, vocab_size=450, control_tokens=[], num_sentinels=0
    )
    vocabulary = vocabularies.load_vocabulary(trained)
    path = tmp_path / "letters.model"
    proto = vocabularies._ModelProto.FromString(vocabulary.sp_model)
    proto.trainer_spec.model_type = proto.trainer_spec.CHAR
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ConfigError, match="expected unigram or bpe"):
        tokenizer_json.make_tokenizer(vocabularies.load_vocabulary(path))
    proto.trainer_spec.treat_whitespace_as_suffix = True
    other = tmp_path / "suffix.model"
    other.write_bytes(proto.SerializeToString())
    with pytest.raises(ConfigError, match="a mark in front"):
        tokenizer_json.make_tokenizer(vocabularies.load_vocabulary(other))
