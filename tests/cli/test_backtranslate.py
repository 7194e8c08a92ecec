"""A run's checkpoint writes pseudo pairs that a file task reads; stopped jobs go on."""

import json

import gin
import numpy as np
import pytest
import seqio

from tasks import toy
from tasks.file_tasks import FileTask
from xlingual import config
from xlingual.cli import backtranslate, main
from xlingual.data import task_registry, vocabularies
from xlingual.errors import ConfigError
from xlingual.evaluation import backtranslation
from xlingual.objectives.cross_attention_masking import btmlm
from xlingual.objectives.tokenize import tokenize
from xlingual.partitioning.partitioner import Partitioner
from xlingual.partitioning.rules import data_parallel
from xlingual.training import loop

pytestmark = pytest.mark.slow

TASK = toy.task_name("span_corruption", "de")
_SMALL = {
    "TRAIN_STEPS": "2",
    "WARMUP_STEPS": "1",
    "D_MODEL": "32",
    "D_FF": "48",
    "D_KV": "8",
    "NUM_DECODER_LAYERS": "1",
    "TASK_FEATURE_LENGTHS": "{'inputs': 64, 'targets': 64}",
    "MIXTURE_OR_TASK_NAME": toy.task_name("translation", "de", "en"),
}


@pytest.fixture
def model_dir(tmp_path, clean_gin):
    """The folder of a run of two steps."""
    folder = tmp_path / "run"
    overrides = {**_SMALL, "MODEL_DIR": str(folder)}
    config.parse(["gin/experiments/toy.gin"], list(overrides.items()), [])
    gin.get_configurable(loop.train)(config_text=config.operative_config, hooks=())
    gin.clear_config()
    return folder


def run(model_dir, output, *words):
    return main.main(
        [
            "backtranslate",
            f"--model_dir={model_dir}",
            f"--task={TASK}",
            "--target_lang=en",
            f"--output={output}",
            "--split=validation",
            "--num_texts=12",
            "--texts_per_part=5",
            "--batch_size=8",
            *words,
        ]
    )


def test_pairs_are_written_resumed_and_read(model_dir, tmp_path, monkeypatch, capsys):
    output = tmp_path / "pseudo" / "de-en.tsv"
    calls = []
    translate = backtranslation.BackTranslator.__call__

    def stopped(self, texts):
        calls.append(len(texts))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return translate(self, texts)

    monkeypatch.setattr(backtranslation.BackTranslator, "__call__", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(model_dir, output)
    assert not output.exists()
    assert run(model_dir, output, "--seed=1") == 2
    assert "seed=0, now 1" in capsys.readouterr().err
    assert run(model_dir, output) == 0
    assert calls == [5, 5, 5, 2], "the first part is not made again"
    assert sorted(path.name for path in output.parent.iterdir()) == ["de-en.tsv"]

    header, *lines = output.read_text(encoding="utf-8").splitlines()
    assert header == "de\ten"
    pairs = [line.split("\t") for line in lines]
    texts = backtranslation.load_texts(TASK, split="validation", num_texts=12, seed=0)
    assert len(texts) == 12 and [t for t in texts if t in dict(pairs)] == [t for t, _ in pairs]
    vocabulary = seqio.TaskRegistry.get(TASK).output_features["targets"].vocabulary
    for text, result in pairs:
        assert result not in ("", text)

    pseudo = FileTask(name="p", objective="btmlm", langs=("de", "en"), files=str(output))
    source = pseudo.make_source()
    features = seqio.TaskRegistry.get(TASK).output_features
    records = tokenize(source.get_dataset("train", shuffle=False), features)
    with seqio.map_seed_manager(0):
        examples = btmlm(
            records,
            {"inputs": 128, "targets": 64},
            features,
            special_tokens=vocabularies.special_tokens(vocabulary),
            max_length_ratio=None,
        )
    assert len(list(examples)) == len(pairs)

    lines, written = tmp_path / "lines.txt", tmp_path / "written.tsv"
    lines.write_text("".join(f"{text}\n" for text in texts[:3]), encoding="utf-8")
    files = [f"--input={lines}", f"--output={written}", "--max_length=8", "--batch_size=8"]
    languages = ["--format=src_tgt", "--source_lang=de", "--target_lang=en"]
    assert main.main(["generate", f"--model_dir={model_dir}", *files, *languages]) == 0
    table = written.read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[0] for line in table] == texts[:3]


class _Echo:
    """Decodes to the inputs without tag, twice: a translation of known length."""

    def __init__(self, width):
        self.width = width

    def __call__(self, params, batch):
        tokens = np.asarray(batch["encoder_input_tokens"])
        rows = [[i for i in row[1:] if i > 1] * 2 + [1] for row in tokens]
        written = np.zeros((len(rows), int(1.5 * self.width)), np.int32)
        for row, ids in zip(written, rows, strict=True):
            row[: len(ids)] = ids[: len(row)]
        return written


def test_translations_are_cut_and_copies_left_out(monkeypatch):
    translator = backtranslation.BackTranslator(
        None,
        None,
        Partitioner(rules=data_parallel()),
        task_name=TASK,
        target_lang="en",
        max_inputs=40,
        batch_size=8,
    )
    monkeypatch.setattr(translator, "_decoder", _Echo)
    vocabulary = seqio.TaskRegistry.get(TASK).output_features["targets"].vocabulary
    texts = backtranslation.load_texts(TASK, split="validation", num_texts=20, seed=3)
    found = translator([*texts, "", "x " * 60])
    assert [text for text, _ in found] == texts
    for text, result in found:
        ids = vocabulary.encode(text)
        assert result == vocabulary.decode((ids * 2)[: int(1.5 * len(ids))])
    monkeypatch.setattr(backtranslation, "LENGTH_RATIO", 1.0)
    assert translator(texts) == [], "one length is a copy"


def test_mistakes_are_named(tmp_path):
    arguments = ["backtranslate", "--task=a", "--target_lang=en", "--output=x"]

    def message(*words):
        parser = backtranslate.argparse.ArgumentParser()
        backtranslate.add_arguments(parser)
        with pytest.raises(ConfigError) as caught:
            backtranslate.main(parser.parse_args([*arguments[1:], *words]))
        return str(caught.value)

    assert "has no folder checkpoints/" in message(f"--model_dir={tmp_path}")
    (tmp_path / "checkpoints").mkdir()
    assert "operative_config.gin is missing" in message(f"--model_dir={tmp_path}")
    assert "--batch_size=0" in message(f"--model_dir={tmp_path}", "--batch_size=0")
    with pytest.raises(ConfigError, match="no split 'dev'"):
        backtranslation.load_texts(TASK, split="dev", num_texts=1, seed=0)
    pair_task = toy.task_name("translation", "de", "en")
    with pytest.raises(ConfigError, match="expected `text`: a monolingual task"):
        backtranslation.load_texts(pair_task, split="validation", num_texts=1, seed=0)
    with pytest.raises(ConfigError):
        task_registry.task_metadata("no_such_task")


def test_parts_of_another_job_are_refused(tmp_path):
    backtranslate.Parts(tmp_path / "a.tsv", {"step": 5}).write(0, [("x", "y")])
    with pytest.raises(ConfigError, match="step=5, now 6"):
        backtranslate.Parts(tmp_path / "a.tsv", {"step": 6})
    parts = backtranslate.Parts(tmp_path / "a.tsv", {"step": 5})
    assert parts.has(0) and not parts.has(1)
    assert json.loads((tmp_path / "a.tsv.parts" / "settings.json").read_text()) == {"step": 5}
    assert parts.join(("de", "en")) == 1
    assert (tmp_path / "a.tsv").read_text() == "de\ten\nx\ty\n"
