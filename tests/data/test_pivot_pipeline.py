"""The whole join: what comes out, and that workers and the order of the input change nothing."""

import collections
import gzip
import itertools
import json
import random

import pytest

from xlingual.cli import main
from xlingual.data.pivot_join import JoinRules, join_key
from xlingual.errors import ConfigError

pytest.importorskip("apache_beam", reason="the extra `beam` is not installed")

from xlingual.data import pivot_pipeline

pytestmark = pytest.mark.filterwarnings("default")

RIVER = "The river is wide."
TABLES = {
    "hi-en.tsv": [("hi", "en"), ("h1", RIVER), ("h2", "An old house stands."), ("h3", "Yes.")],
    "en-sw.tsv": [("en", "sw"), ("The river  is wide.", "s1"), ("Yes.", "s3"), ("", "s4")],
    "en-fi.tsv.gz": [("en", "fi"), (RIVER, "f1"), (RIVER, "f1"), ("An old house stands.", "h2")],
}


def write(folder, name, rows):
    data = "".join("\t".join(row) + "\n" for row in rows).encode()
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return str(folder / name)


@pytest.fixture
def tables(tmp_path):
    return [write(tmp_path / "in", name, rows) for name, rows in TABLES.items()]


def join(output, inputs, *, flags=(), rules=None, **options):
    files = pivot_pipeline.JoinFiles(inputs=inputs, output=str(output), **options)
    counts = pivot_pipeline.run(files, JoinRules(**(rules or {})), flags)
    return counts, {path.name: path.read_bytes() for path in sorted(output.glob("*"))}


def pairs_in(found):
    """Returns (source, target, x, y) of every line of every table."""
    pairs = []
    for name, data in found.items():
        if name.endswith(".tsv"):
            header, *lines = [line.split("\t") for line in data.decode().splitlines()]
            assert name.startswith("-".join(header))
            pairs += [(*header, *line) for line in lines]
    return pairs


def test_the_example_of_the_specification(tmp_path, tables):
    counts, found = join(tmp_path / "out", tables)
    texts = {"hi": "h1", "sw": "s1", "fi": "f1"}
    assert sorted(pairs_in(found)) == sorted(
        (s, t, texts[s], texts[t]) for s, t in itertools.permutations(texts, 2)
    )
    records = [json.loads(line) for line in found["multi.jsonl"].decode().splitlines()]
    assert [record["texts"] for record in records if len(record["texts"]) == 4] == [
        {"en": "The river  is wide.", "fi": ["f1"], "hi": ["h1"], "sw": ["s1"]}
    ]
    (river,) = [record for record in records if "sw" in record["texts"]]
    assert [[s.rsplit("/", 1)[1] for s in files] for files in river["sources"]["fi"]] == [
        ["en-fi.tsv.gz"]
    ]
    assert counts == {"rows of inputs": 9, "keys too short or long": 2, "groups": 2, "pairs": 6}


def synthetic(seed, num_sentences=60):
    """Makes corpora with shared sentences, repeated lines and many translations of one sentence."""
    rng = random.Random(seed)
    tables = {}
    for lang in ("hi", "sw", "fi", "de"):
        rows = []
        for _ in range(120):
            number = rng.randrange(num_sentences)
            space = rng.choice([" ", "  "])
            rows.append(
                (f"{lang} text {rng.randrange(40)}", f"sentence{space}number {number} is here")
            )
        rows += [(f"{lang} many {i}", "one sentence has many translations") for i in range(250)]
        rows += rows[:10]
        tables[f"{lang}-en.tsv"] = [(lang, "en"), *rows]
    return tables


def test_order_workers_and_repetition_change_nothing(tmp_path):
    tables = synthetic(0)
    inputs = [write(tmp_path / "a", name, rows) for name, rows in tables.items()]
    _, expected = join(tmp_path / "one", inputs, max_pairs=50, flags=["--direct_num_workers=1"])
    assert len(expected) == 1 + 12
    for mode in ("multi_threading", "multi_processing"):
        four = ["--direct_num_workers=4", f"--direct_running_mode={mode}"]
        assert join(tmp_path / mode, inputs, max_pairs=50, flags=four)[1] == expected
    rng = random.Random(1)
    for name, (header, *rows) in tables.items():
        rng.shuffle(rows)
        write(tmp_path / "a", name, [header, *rows])
    rng.shuffle(inputs)
    assert join(tmp_path / "shuffled", inputs, max_pairs=50)[1] == expected
    for name, data in expected.items():
        if name.endswith(".tsv"):
            assert len(data.splitlines()) <= 51


def test_every_pair_shares_a_pivot_sentence_and_caps_hold(tmp_path):
    tables = synthetic(2)
    inputs = [write(tmp_path / "a", name, rows) for name, rows in tables.items()]
    _, found = join(tmp_path / "out", inputs)
    keys = collections.defaultdict(set)
    for (lang, _), *rows in tables.values():
        for text, pivot in rows:
            keys[lang, text].add(join_key(pivot))
    pairs = pairs_in(found)
    assert len(pairs) == len(set(pairs)) > 100
    per_key = collections.Counter()
    for s, t, x, y in pairs:
        shared = keys[s, x] & keys[t, y]
        assert shared
        per_key["many translations" in min(shared), s, t] += 1
    assert {count for (many, _, _), count in per_key.items() if many} == {4}


def test_evaluation_sentences_never_appear_in_any_language(tmp_path, tables):
    held = [("xx", "sw"), ("an OLD house  stands", ""), ("", "s1")]
    exclude = [write(tmp_path / "held", "eval.tsv", held)]
    counts, found = join(tmp_path / "out", tables, exclude=exclude)
    assert sorted(pairs_in(found)) == [("fi", "hi", "f1", "h1"), ("hi", "fi", "h1", "f1")]
    assert counts["links excluded"] == 3
    assert b"house" not in found["multi.jsonl"] and b"s1" not in found["multi.jsonl"]


def test_loose_keys_and_the_pivot(tmp_path):
    inputs = [
        write(tmp_path, "a.tsv", [("hi", "en"), ("h", "The RIVER is wide")]),
        write(tmp_path, "b.tsv", [("en", "fi"), ("the river is wide!", "f")]),
    ]
    assert pairs_in(join(tmp_path / "strict", inputs)[1]) == []
    _, found = join(tmp_path / "loose", inputs, rules={"loose": True})
    assert sorted(pairs_in(found)) == [("fi", "hi", "f", "h"), ("hi", "fi", "h", "f")]
    _, found = join(tmp_path / "pivot", inputs, rules={"include_pivot": True})
    assert len(pairs_in(found)) == 4


def test_shards_hold_the_same_lines_in_the_same_order(tmp_path):
    inputs = [write(tmp_path / "a", name, rows) for name, rows in synthetic(3).items()]
    _, whole = join(tmp_path / "whole", inputs)
    _, parts = join(tmp_path / "parts", inputs, num_shards=3)
    for name, data in whole.items():
        stem, _, suffix = name.partition(".")
        header = 0 if suffix == "jsonl" else 1
        shards = [d.splitlines() for n, d in sorted(parts.items()) if n.startswith(f"{stem}-0")]
        assert [line for lines in shards for line in lines[header:]] == data.splitlines()[header:]


def test_the_verb_prints_counts_and_bad_input_is_refused(tmp_path, tables, capsys):
    output = str(tmp_path / "out")
    flags = ["--beam.direct_num_workers=2", "--beam.direct_running_mode=multi_threading"]
    assert main.main(["pivot-join", output, "--inputs", *tables, *flags]) == 0
    printed = capsys.readouterr().out
    assert "pairs" in printed and "written to" in printed
    broken = write(tmp_path / "bad", "bad.tsv", [("hi", "hi"), ("a", "b")])
    other = write(tmp_path / "bad", "other.tsv", [("hi", "fi"), ("a", "b")])
    for arguments, words in (
        ([output, "--inputs", *tables], "is not empty"),
        (["new", "--inputs", "none.tsv"], "no file matches none.tsv"),
        (["new"], "inputs is empty"),
        (["new", "--inputs", broken], "distinct language codes"),
        (["new", "--inputs", other], "expected 'en'"),
        (["new", "--inputs", other, "--num_shards=0"], "num_shards is 0"),
    ):
        assert main.main(["pivot-join", *arguments]) == 2
        assert words in capsys.readouterr().err


def test_bad_lines_are_counted(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"hi\ten\nh\tx\ty\ncaf\xe9\tz\nh\tThe river is wide.\r\n")
    counts, _ = join(tmp_path / "out", [str(tmp_path / "a.tsv")])
    assert counts["bad lines"] == 2 and counts["rows of inputs"] == 1
    with pytest.raises(ConfigError, match="max_pairs is 0"):
        join(tmp_path / "b", [str(tmp_path / "a.tsv")], max_pairs=0)
