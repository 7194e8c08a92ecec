"""`xlingual vocab` and `xlingual stats` on a small folder: files, tables, pictures, refusals."""

import gzip
import json
import random
import sys

import pytest

from tasks import corpus_folder
from xlingual.cli import main, vocab
from xlingual.data import (
    corpora,
    language_identification,
    scripts,
    vocabularies,
    vocabulary_report,
)
from xlingual.data.byte_vocabulary import ByteVocabulary

pytest.importorskip("fontTools", reason="the Unicode tables of scripts are not installed")

WORDS = {
    "eng_Latn": "the quick brown fox jumps over a lazy dog while five wizards play chess",
    "deu_Latn": "der schnelle braune Fuchs springt über den faulen Hund während Zauberer spielen",
    "ell_Grek": "γρήγορη καφέ αλεπού πηδάει πάνω από το τεμπέλικο σκυλί",
}
ENGLISH, GERMAN, GREEK = (words.split() for words in WORDS.values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpora")
    draw = random.Random(0)

    def sentence(words):
        return " ".join(draw.choices(words, k=8))

    rows = [f"{sentence(ENGLISH)}\t{sentence(GERMAN)} {sentence(GERMAN)}\t" for _ in range(60)]
    rows += [f"{sentence(ENGLISH)}\t\t{sentence(GREEK)}" for _ in range(20)]
    english = [sentence(ENGLISH) for _ in range(300)]
    common = {"lang": "eng_Latn", "pl": "python"}
    code = [
        json.dumps({"nl": sentence(ENGLISH), "code": f"def f{n}():\n\treturn {n}", **common})
        for n in range(40)
    ]
    near = sentence(ENGLISH) + " and then they all went home together"
    files = {
        "mono/eng_Latn.txt.gz": [*english, english[0], english[0], near, near.upper() + "!"],
        "parallel/both.train.tsv.gz": ["eng_Latn\tdeu_Latn\tell_Grek", *rows],
        "parallel/both.valid.tsv.gz": ["eng_Latn\tdeu_Latn\tell_Grek", *rows[:5], "☃ snow\tx\t"],
        "code/small.train.jsonl.gz": code,
    }  # fmt: skip
    for name, lines in files.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress("\n".join(lines).encode()))
    (root / "languages.tsv").write_text(
        "code\tbcp47\neng_Latn\ten\ndeu_Latn\tde\nell_Grek\tel\n", encoding="utf-8"
    )
    return root


@pytest.fixture(scope="module")
def model(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "shared.model"
    arguments = ["--vocab_size=430", "--num_sentinels=20", "--alpha=0.3", "--max_repeats=2"]
    assert main.main(["vocab", "train", f"--data_dir={folder}", f"--to={path}", *arguments]) == 0
    return path


def test_train_writes_a_model_and_how_it_was_made(folder, model, tmp_path, capsys):
    vocabulary = vocabularies.load_vocabulary(model)
    special = vocabularies.special_tokens(vocabulary)
    assert vocabulary.vocab_size == 430 and special.num_sentinels == 20
    assert {"<2en>", "<2de>", "<2el>", "<2python>", "<tab>", "[NLU]"} <= set(special.control)
    record = json.loads((model.parent / "shared.model.json").read_text(encoding="utf-8"))
    assert record["sha256"] == vocabularies.vocabulary_hash(model)
    languages = {one["language"]: one for one in record["languages"]}
    assert set(languages) == {"eng_Latn", "deu_Latn", "ell_Grek", "python"}
    sizes = {name: one["characters"] ** 0.3 for name, one in languages.items()}
    for name, one in languages.items():
        assert one["rate"] == pytest.approx(sizes[name] / sum(sizes.values()))
        assert one["copies"] == 2.0
    for character in "γργή":
        assert vocabulary.tokenizer.PieceToId(character) > 258
    again = tmp_path / "again.model"
    arguments = ["--vocab_size=430", "--num_sentinels=20", "--alpha=0.3", "--max_repeats=2"]
    assert main.main(["vocab", "train", f"--data_dir={folder}", f"--to={again}", *arguments]) == 0
    assert again.read_bytes() == model.read_bytes(), "training is deterministic"
    assert "ell_Grek" in capsys.readouterr().out


def test_the_report_is_the_sums_over_the_text(folder, model, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="pictures are not installed")
    out = {name: tmp_path / f"report.{name}" for name in ("json", "html", "png")}
    arguments = [f"--data_dir={folder}", "--split=validation", "--reference=eng_Latn"]
    files = [f"--json={out['json']}", f"--html={out['html']}", f"--picture={out['png']}"]
    assert main.main(["vocab", "report", str(model), *arguments, *files]) == 0
    shown = capsys.readouterr().out
    assert "premium" in shown and "Latn" in shown and "U+2603 1" in shown
    found = json.loads(out["json"].read_text(encoding="utf-8"))
    tokenizer = vocabularies.load_vocabulary(model).tokenizer
    (corpus,) = corpus_folder.folder_corpora(str(folder), "validation")
    rows = list(corpus.read())
    pairs = [(row["eng_Latn"], row["deu_Latn"]) for row in rows if "deu_Latn" in row]
    counts = [[len(tokenizer.EncodeAsIds(text)) for text in pair] for pair in pairs]
    german = found["languages"]["deu_Latn"]
    english_tokens, german_tokens = (sum(column) for column in zip(*counts, strict=True))
    assert german["premium"] == pytest.approx(german_tokens / english_tokens) and len(pairs) == 6
    assert german["tokens_per_sentence"] == pytest.approx(german_tokens / 6)
    words = sum(len(text.split()) for _, text in pairs)
    assert german["fertility"] == pytest.approx(german_tokens / words)
    assert found["languages"]["eng_Latn"]["premium"] == 1.0
    assert german["unknown"] == 0 and found["missing"]["☃"] == 1
    latin = found["scripts"]["Latn"]
    text = "".join("".join(row.values()) for row in rows)
    assert latin["characters"] == sum(c.isalpha() for c in text) == latin["covered"]
    assert found["scripts"]["Zyyy"]["coverage"] < 1
    snow = found["languages"]["eng_Latn"]
    assert snow["fallback"] == 3, "three bytes of a snowman"
    assert out["png"].read_bytes().startswith(b"\x89PNG") and "<html" in out["html"].read_text()


def test_bytes_know_ascii_and_need_no_unknown():
    corpus = corpora.Corpus(name="x", read=lambda: iter([{"en": "ab ☃"}]))
    found = vocabulary_report.measure_vocabulary(ByteVocabulary(), [corpus], reference="en")
    assert found.scripts == {"Latn": (2, 2), "Zyyy": (1, 0)}
    assert (found.languages["en"].tokens, found.languages["en"].unknown) == (6, 0)


def test_allocate_then_train_from_the_list(folder, tmp_path, capsys):
    pieces = tmp_path / "pieces.tsv"
    arguments = [f"--data_dir={folder}", "--sources=parallel/", "--sizes=30:60:10", "--target=120"]
    files = [f"--to={pieces}", f"--json={tmp_path / 'curves.json'}", f"--work_dir={tmp_path / 'w'}"]
    assert main.main(["vocab", "allocate", *arguments, *files, "--fill_from=eng_Latn"]) == 0
    shown = capsys.readouterr().out
    assert "VoCap" in shown and "deu_Latn" in shown and "largest measured" in shown
    curves = json.loads((tmp_path / "curves.json").read_text(encoding="utf-8"))
    listed = pieces.read_text(encoding="utf-8").splitlines()
    assert curves["pieces"] == len(listed) == len(set(listed)) <= 120
    assert set(curves["sizes"]) == {"eng_Latn", "deu_Latn", "ell_Grek"}
    target = tmp_path / "listed.model"
    arguments = [f"--data_dir={folder}", f"--pieces={pieces}", f"--to={target}"]
    assert main.main(["vocab", "train", *arguments, "--languages=en"]) == 0
    tokenizer = vocabularies.load_vocabulary(target).tokenizer
    found = {tokenizer.IdToPiece(i) for i in range(259, len(tokenizer))}
    assert set(listed) <= found


def test_merge_and_extend(model, tmp_path, capsys):
    tags = tmp_path / "tags.model"
    assert main.main(["vocab", "extend", str(model), "--languages=sw,fr", f"--to={tags}"]) == 0
    extended = vocabularies.load_vocabulary(tags)
    assert extended.vocab_size == 434 and "20 sentinels, the first 429" in capsys.readouterr().out
    both = tmp_path / "both.model"
    assert main.main(["vocab", "merge", str(model), str(tags), f"--to={both}"]) == 0
    assert "0 of text added" in capsys.readouterr().out
    assert vocabularies.load_vocabulary(both).vocab_size == 434
    assert main.main(["vocab", "extend", str(model), "--languages=qq", f"--to={tags}"]) == 2
    assert "language 'qq' is unknown" in capsys.readouterr().err


def test_stats_of_a_folder(folder, model, tmp_path, capsys):
    pytest.importorskip("datasketch", reason="MinHash is not installed")
    pytest.importorskip("py3langid", reason="the language model is not installed")
    out = {name: tmp_path / f"stats.{name}" for name in ("json", "html")}
    arguments = [f"--data_dir={folder}", f"--vocabulary={model}", "--reference=eng_Latn"]
    files = [f"--json={out['json']}", f"--html={out['html']}"]
    assert main.main(["stats", *arguments, *files]) == 0
    shown = capsys.readouterr().out
    assert "length ratios in tokens" in shown and "deu_Latn / eng_Latn" in shown
    page = out["html"].read_text(encoding="utf-8")
    assert "mono/eng_Latn" in page and "src=" not in page and "href=" not in page
    found = json.loads(out["json"].read_text(encoding="utf-8"))
    texts = {(one["source"], one["language"]): one for one in found["texts"]}
    english = texts["mono/eng_Latn", "eng_Latn"]
    corpus = next(
        one
        for one in corpus_folder.folder_corpora(str(folder), "train")
        if one.name == "mono/eng_Latn"
    )
    lines = [row["eng_Latn"] for row in corpus.read()]
    assert english["documents"] == 304 and english["characters"] == sum(map(len, lines))
    assert english["exact_duplicates"] == len(lines) - len(set(lines)) >= 2
    assert english["near_duplicates"] >= 1, "case and a final mark do not count"
    assert english["language_agreed"] > 0.9 * english["language_sampled"] > 0
    assert english["character_quantiles"][-1] == max(map(len, lines))
    assert texts["code/small", "python"]["language_sampled"] == 0
    ratios = {(one["source"], one["language"]): one for one in found["ratios"]}
    assert set(ratios) == {("parallel/both", "deu_Latn"), ("parallel/both", "ell_Grek")}
    assert ratios["parallel/both", "deu_Latn"]["rows"] == 60
    assert 1.5 < ratios["parallel/both", "deu_Latn"]["quantiles"][4] < 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vocab", "train", "--vocab_size=400", "--to=x"], "expected one of them"),
        (["vocab", "train", "toy", "--data_dir=.", "--to=x"], "expected one of them"),
        (["vocab", "train", "--data_dir=nowhere", "--to=x"], "no data folder 'nowhere'"),
        (["vocab", "train", "--data_dir=F", "--to=x"], "vocab_size is None"),
        (["vocab", "train", "--data_dir=F", "--to=x", "--sources=zz"], "no source has such a name"),
        (["vocab", "train", "--data_dir=F", "--to=x", "--pieces=nope"], "--pieces=nope cannot"),
        (["vocab", "train", "--data_dir=F", "--to=x", "--script_coverage=Latn"], "expected e.g."),
        (["vocab", "allocate", "--data_dir=F", "--to=x", "--work_dir=w", "--target=9",
          "--sizes=5"], "--sizes=5; expected first:last:step"),
        (["vocab", "report", "nope.model", "--data_dir=F"], "nope.model does not exist"),
        (["vocab", "report", "M", "--data_dir=F", "--reference=xx"], "--reference=xx is not among"),
        (["vocab", "report", "M", "--data_dir=F", "--max_rows=0"], "--max_rows=0"),
        (["vocab", "merge", "M", "M", "--to=x", "--max_pieces=-1"], "--max_pieces=-1"),
        (["stats", "--data_dir=F", "--max_near=-1"], "--max_near=-1"),
        (["stats", "--data_dir=F", "--threshold=0"], "threshold of near duplicates is 0"),
        (["stats", "--data_dir=F", "--max_near=0", "--json=/no/such/folder"], "cannot be written"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(folder, model, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    filled = [a.replace("=F", f"={folder}") if a != "M" else str(model) for a in arguments]
    assert main.main(filled) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not (tmp_path / "x").exists()


def test_every_subcommand_shows_an_example(capsys):
    for name in vocab.SUBCOMMANDS:
        with pytest.raises(SystemExit) as stop:
            main.main(["vocab", name, "--help"])
        assert stop.value.code == 0
        assert f"xlingual vocab {name}" in capsys.readouterr().out.split("example:")[1]


@pytest.mark.parametrize("library", ["py3langid", "datasketch", "fontTools", "matplotlib"])
def test_a_missing_library_is_named(folder, model, monkeypatch, capsys, library):
    for one in (language_identification._identifier, language_identification._codes):
        one.cache_clear()
    scripts._unicode_data.cache_clear()
    scripts.script_of.cache_clear()
    for name in [n for n in sys.modules if n.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    report = ["vocab", "report", str(model), f"--data_dir={folder}", "--reference=eng_Latn"]
    verbs = {"fontTools": report, "matplotlib": [*report, "--picture=x.png"]}
    assert main.main(verbs.get(library, ["stats", f"--data_dir={folder}"])) == 2
    assert "pip install 'xlingual[corpus]'" in capsys.readouterr().err
    scripts._unicode_data.cache_clear()
