"""Every text survives a vocabulary and back: prose and code, as training reads them."""

import gzip
import json

import hypothesis
import hypothesis.strategies as st
import pytest
import tensorflow as tf

from tasks import file_streams
from xlingual.data import vocabularies
from xlingual.objectives import code_whitespace

TEXTS = [
    "Pack my box with five dozen liquor jugs; how vexingly quick daft zebras jump!",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
    "for index in range(10):<nl><sp4>print(index * 2)<nl>while True:<nl><sp4>break",
    "Быстрая коричневая лиса прыгает через ленивую собаку. 敏捷的棕色狐狸跳过懒狗。",
    "الثعلب البني السريع يقفز فوق الكلب الكسول. השועל החום המהיר קופץ מעל הכלב העצלן.",
] * 20
CONTROL = vocabularies.control_tokens(["en", "de", "python"])
PROSE = [
    "",
    " ",
    "  two  spaces  ",
    "tab\tand\ttabs\t",
    "family 👨‍👩‍👧‍👦, skin 👋🏽, flag 🇺🇳, keycap 1️⃣, zero width \u200b\u200c\u200d\ufeff",
    "عربي \u202bembedded\u202c \u200f mark, עברית with points: שָׁלוֹם",
    "\x00\x01\x02\x07\x08\x0b\x0c\x1b[0m\x1f\x7f\x80\x85\x9f",
    "line\u2028separator\u2029paragraph\r\ncarriage\rreturn",
    "NFD e\u0301 and NFC é, ligature ﬁ, full width Ａ, superscript ², Å and Å",
    "combining a\u0300\u0301\u0302\u0303, Zalgo z̷̢̛, Indic क्ष ක්‍ෂ, Thai ที่, Hangul 한 한",
    "private \ue000 \U000f0000, noncharacter \ufdd0 \uffff, last \U0010ffff, musical 𝄞",
    "<2de> <mask> [NLU] <\\nl> <lg:en> <nl>",
]
CODE = [
    "if x:\n\ty = 1\n\t  z = 2\n   return\t\n",
    "def f():\n        return 1  \n\n\n\n   # odd\n     \n",
    "a\r\n\tb\r\n",
    " " * 33 + "x" + " " * 7,
    "printf('%s\\n<tab><nl>');\t//  <sp4> ",
    "x = '\t👩‍💻 عربي'  # \x0c\x00",
    "\n",
    "\t\t\t",
]


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def vocabulary(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / f"{request.param}.model"
    vocabularies.train_vocabulary(
        TEXTS, path, vocab_size=500, control_tokens=CONTROL, model_type=request.param
    )
    return vocabularies.load_vocabulary(path)


def prose_through(vocabulary, text):
    ids = vocabulary.tokenizer.EncodeAsIds(code_whitespace.escape_control(text))
    return ids, code_whitespace.decode_whitespace(vocabulary.tokenizer.DecodeIds(ids))


def code_through(vocabulary, text):
    ids = vocabulary.tokenizer.EncodeAsIds(code_whitespace.encode_whitespace(text))
    return ids, code_whitespace.decode_whitespace(vocabulary.tokenizer.DecodeIds(ids))


@pytest.mark.parametrize("text", PROSE, ids=range(len(PROSE)))
def test_prose_survives(vocabulary, text):
    ids, found = prose_through(vocabulary, text)
    assert found == text and vocabulary.unk_id not in ids


@pytest.mark.parametrize("text", [*CODE, *PROSE], ids=range(len(CODE) + len(PROSE)))
def test_code_survives(vocabulary, text):
    ids, found = code_through(vocabulary, text)
    assert found == text and vocabulary.unk_id not in ids


def test_pieces_of_whitespace_are_used(vocabulary):
    pieces = [vocabulary.tokenizer.IdToPiece(i) for i in code_through(vocabulary, CODE[0])[0]]
    assert pieces.count("<nl>") == 4 and pieces.count("<tab>") == 3 and "<sp2>" in pieces
    assert not any("\n" in piece or "\t" in piece for piece in pieces)


TEXT = st.lists(
    st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="▁"),
        st.sampled_from(" \t\n\r\x00\u200d\u200f\ufeff<>[]\\é한"),
        st.sampled_from(["<2de>", "<nl>", "<\\nl>", "    ", "👨‍👩‍👧", "<extra", "[NLU]", "\n\t "]),
    ),
    max_size=40,
).map("".join)


@hypothesis.settings(max_examples=150, deadline=None, derandomize=True)
@hypothesis.given(TEXT)
def test_any_text_survives_as_prose_and_as_code(vocabulary, text):
    for through in (prose_through, code_through):
        ids, found = through(vocabulary, text)
        assert found == text
        assert vocabulary.unk_id not in ids


@hypothesis.settings(max_examples=25, deadline=None, derandomize=True)
@hypothesis.given(st.lists(TEXT, min_size=1, max_size=8))
def test_tensorflow_encodes_and_decodes_the_same(vocabulary, texts):
    encoded = vocabulary.encode_tf(code_whitespace.encode_whitespace_tf(tf.constant(texts)))
    for text, ids in zip(texts, encoded.to_list(), strict=True):
        assert ids == code_through(vocabulary, text)[0]


def test_the_one_character_that_does_not_survive(vocabulary):
    assert prose_through(vocabulary, "a▁b")[1] == "a_b"


@pytest.mark.slow
def test_every_line_of_the_real_data_survives(data_dir, tmp_path, record_property):
    """A vocabulary of 4,000 lines; every line of every text file, as prose and as code."""
    files = sorted(data_dir.glob("*/*.gz")) + sorted(data_dir.glob("*.tsv"))
    sample = [line for path in files for line in list(file_streams.read_lines(str(path)))[:20]]
    path = tmp_path / "real.model"
    vocabularies.train_vocabulary(
        sample[:20_000], path, vocab_size=8000, control_tokens=CONTROL, character_coverage=0.9995
    )
    vocabulary = vocabularies.load_vocabulary(path)
    lines = parts = 0
    for file in files:
        for line in _lines(file):
            lines += 1
            texts = [line]
            if file.suffixes[-2:] == [".jsonl", ".gz"]:
                texts += [v for v in json.loads(line).values() if isinstance(v, str)]
            for text in texts:
                parts += 1
                assert prose_through(vocabulary, text)[1] == text, (file, lines)
                assert code_through(vocabulary, text)[1] == text, (file, lines)
    record_property("lines", lines)
    print(f"{lines} lines and {parts} texts in {len(files)} files survive")
    assert lines > 100_000


def _lines(path):
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        yield from (line.decode("utf-8").rstrip("\n") for line in file)
