"""`generate` and `score` on files and streams: order, resumption, formats, ranking, mistakes."""

import dataclasses
import io
import json
import sys

import jax
import numpy as np
import pytest

from tasks.toy_vocabulary import VOCAB_SIZE, vocabulary_path
from tests.decoding.bigram_model import BigramModel, log_probabilities, make_params
from tests.decoding.test_greedy import config, random_params
from xlingual.checkpointing import weights
from xlingual.cli import generate as generate_verb
from xlingual.cli import line_files, main, trained_model
from xlingual.data.byte_vocabulary import ByteVocabulary
from xlingual.evaluation import generation
from xlingual.models.encoder_decoder import EncoderDecoder
from xlingual.partitioning.partitioner import Partitioner
from xlingual.partitioning.rules import data_parallel

TEXTS = ["one", "a longer line of text", "", "zwei", "drei vier", "fünf", "6", "seven", "ate"]
BYTES = ByteVocabulary()


@pytest.fixture
def bigram(monkeypatch):
    """Verbs run a bigram model over bytes, whatever `--model_dir` says."""
    size = BYTES.vocab_size
    trained = trained_model.TrainedModel(
        model=BigramModel(size),
        params=make_params(size),
        partitioner=Partitioner(rules=data_parallel(), devices=tuple(jax.devices()[:1])),
        vocabulary=BYTES,
        step=7,
        lengths={"inputs": 16, "targets": 12},
    )
    monkeypatch.setattr(trained_model, "load", lambda args: trained)
    return trained


def run(verb, *words):
    return main.main([verb, "--model_dir=run", "--batch_size=2", *words])


def generate(*words):
    return run("generate", "--max_length=6", *words)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.txt"
    path.write_text("".join(f"{text}\n" for text in TEXTS), encoding="utf-8")
    return path


def test_an_interrupted_output_goes_on_where_it_stopped(
    bigram, source, tmp_path, monkeypatch, capsys
):
    words = [f"--input={source}", "--mode=sample", "--n_best=2", "--top_k=9", "--batch_size=1"]
    whole, output = tmp_path / "whole.txt", tmp_path / "new" / "out.txt"
    assert generate(*words, f"--output={whole}") == 0
    assert "1 texts were cut" in capsys.readouterr().err
    expected = whole.read_text(encoding="utf-8")
    assert expected.count("\n") == len(TEXTS) and expected.count("\t") == len(TEXTS)

    monkeypatch.setattr("xlingual.cli.generate._BATCHES_PER_WINDOW", 4)
    real, calls = generation.Generator.__call__, []

    def stopped(self, requests):
        calls.append([request.number for request in requests])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, requests)

    monkeypatch.setattr(generation.Generator, "__call__", stopped)
    with pytest.raises(KeyboardInterrupt):
        generate(*words, f"--output={output}")
    partial = output.with_name("out.txt.partial")
    assert not output.exists() and partial.read_text(encoding="utf-8").count("\n") == 4
    with open(partial, "a", encoding="utf-8") as file:
        file.write("half a li")
    assert generate(*words, "--seed=3", f"--output={output}") == 2
    assert "seed=0, now 3" in capsys.readouterr().err
    assert generate(*words, f"--output={output}") == 0
    assert calls == [[0, 1, 2, 3], [4, 5, 6, 7], [4, 5, 6, 7], [8]]
    assert output.read_text(encoding="utf-8") == expected
    assert [path.name for path in output.parent.iterdir()] == ["out.txt"]


def test_records_from_stdin_keep_their_fields_and_constraints(bigram, monkeypatch, capsys):
    records = [
        {"text": "one", "id": 3, "allowed": ["ja", "jo", "n"]},
        {"text": "two", "allowed": ["x"]},
    ]
    lines = "".join(f"{json.dumps(record)}\n" for record in records)
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    words = ["--input_format=jsonl", "--output_format=jsonl", "--mode=beam", "--n_best=3"]
    assert generate(*words) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["id"] == 3 and {o["text"] for o in first["outputs"]} == {"ja", "jo", "n"}
    scores = [output["score"] for output in first["outputs"]]
    assert scores == sorted(scores, reverse=True)
    assert [output["text"] for output in second["outputs"]] == ["x"]
    inputs, best = np.array([*BYTES.encode("one"), 1]), first["outputs"][0]
    targets = np.array([*BYTES.encode(best["text"]), 1])
    total = log_probabilities(inputs, targets, make_params(BYTES.vocab_size)).sum()
    assert best["score"] == pytest.approx(total / len(targets), abs=1e-5)


def test_allowed_outputs_and_prefixes_of_a_job(bigram, source, tmp_path, capsys):
    allowed = tmp_path / "labels"
    allowed.write_text("yes\nno\n")
    table = tmp_path / "out.tsv"
    words = [f"--input={source}", f"--output={table}"]
    assert generate(*words, f"--allowed={allowed}") == 0
    cells = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()]
    assert [text for text, _ in cells] == TEXTS and {out for _, out in cells} <= {"yes", "no"}
    assert generate(*words[:1], "--target_prefix=ab") == 0
    assert all(line.startswith("ab") for line in capsys.readouterr().out.splitlines())


def test_scores_and_ranks(bigram, tmp_path, capsys):
    table = tmp_path / "pairs.tsv"
    table.write_text("text\ttarget\nab\tx\nab\tyz\n")
    output = tmp_path / "scores.jsonl"
    assert run("score", f"--input={table}", f"--output={output}", "--tokens") == 0
    results = [json.loads(line) for line in output.read_text().splitlines()]
    inputs = np.array([*BYTES.encode("ab"), 1])
    for result in results:
        ids = np.array([*BYTES.encode(result["target"]), 1])
        expected = log_probabilities(inputs, ids, make_params(BYTES.vocab_size))
        assert result["tokens"]["ids"] == ids.tolist() and result["num_tokens"] == len(ids)
        np.testing.assert_allclose(result["tokens"]["log_likelihoods"], expected, atol=1e-5)
        assert result["log_likelihood"] == pytest.approx(expected.sum(), abs=1e-4)

    by_sum = {result["target"]: result["log_likelihood"] for result in results}
    best = max(by_sum, key=by_sum.get)
    table.write_text(f"text\ttarget\ttarget\tlabel\nab\tx\tyz\t{best}\n")
    capsys.readouterr()
    assert run("score", f"--input={table}") == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["best"] == best and found["correct"] is True
    assert found["log_likelihoods"] == pytest.approx(list(by_sum.values()), abs=1e-5)
    assert "1 of 1 labels ranked first (100.00 %)" in printed.err
    assert run("score", f"--input={table}", "--rank_by=mean") == 0
    means = [by_sum["x"] / 2, by_sum["yz"] / 3]
    assert json.loads(capsys.readouterr().out)["ranking"] == np.argsort(means)[::-1].tolist()


def test_a_weights_folder_is_read(tmp_path, source, monkeypatch):
    """The toy vocabulary and a random model; the text of the output is not looked at."""
    folder, output = tmp_path / "imported", tmp_path / "out.txt"
    model = EncoderDecoder(config(vocab_size=VOCAB_SIZE))
    params = jax.tree.map(jax.numpy.asarray, random_params(model))
    info = weights.WeightsInfo(
        family="encoder_decoder", config=dataclasses.asdict(model.config), source="test"
    )
    weights.save_weights(folder, params, info)
    words = [f"--input={source}", f"--output={output}", "--format=tag", "--target_lang=en"]
    arguments = ["generate", f"--model_dir={folder}", "--batch_size=8", "--max_length=3"]
    arguments += ["--max_inputs=16", *words]
    assert main.main(arguments) == 2
    (folder / "spiece.model").write_bytes(vocabulary_path().read_bytes())
    found = []
    make = generation.Generator
    monkeypatch.setattr(generate_verb, "Generator", lambda *a: found.append(a[0]) or make(*a))
    assert main.main([*arguments, "--dtype=bfloat16"]) == 0
    assert [model.config.dtype for model in found] == ["bfloat16"]
    assert output.read_text(encoding="utf-8").count("\n") == len(TEXTS)


def test_without_dtype_a_model_keeps_its_own():
    model = EncoderDecoder(config(vocab_size=VOCAB_SIZE))
    assert trained_model.in_dtype(model, None) is model
    assert trained_model.in_dtype(model, "bfloat16").config.dtype == "bfloat16"


@pytest.mark.parametrize(
    "verb, words, message",
    [
        ("generate", ["--input=none.txt"], "--input=none.txt does not exist"),
        ("generate", ["--input=a.csv"], "expected a name that ends in .txt, .tsv or .jsonl"),
        ("generate", ["--n_best=2"], "n_best=2; expected 1 with mode=greedy"),
        ("generate", ["--allowed=none"], "--allowed=none does not exist"),
        ("generate", ["--format=tag"], "needs the second"),
        ("generate", ["--target_lang=en"], "expected none with format=plain"),
        ("generate", ["--format=tag", "--target_lang=xx"], "<2xx> is not in the vocabulary"),
        ("generate", ["--max_inputs=1"], "--max_inputs=1; expected at least 2"),
        ("score", ["--input=a.txt"], "plain text; expected .tsv or .jsonl"),
        ("score", ["--input_format=tsv", "--output=a.tsv"], "ends in .jsonl"),
        ("score", ["--input_format=tsv"], "header ['hello']; expected a column named 'text'"),
        ("score", ["--input_format=jsonl"], "standard input, line 1: not JSON"),
    ],
)
def test_mistakes_are_named(bigram, monkeypatch, capsys, tmp_path, verb, words, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\n"))
    assert run(verb, *words) == 2
    error = capsys.readouterr().err
    assert message in error and f"xlingual {verb}: error:" in error


def test_records_that_do_not_fit_are_named(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("text\tid\nok\t1\nbroken\n")
    with pytest.raises(line_files.ConfigError, match=r"line 3: 1 columns; expected 2"):
        list(line_files.read_records(str(path), "tsv"))
    path.write_bytes(b"text\n\xff\n")
    with pytest.raises(line_files.ConfigError, match="not UTF-8"):
        list(line_files.read_records(str(path), "tsv"))
    path.write_text('{"text": 3}\n')
    with pytest.raises(line_files.ConfigError, match="line 1: no text in the field 'text'"):
        list(line_files.read_records(str(path), "jsonl"))
