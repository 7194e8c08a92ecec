"""Tasks over plain files, chosen in gin: names, languages, objectives, vocabularies, messages."""

import json
import pathlib

import gin
import pytest
import seqio

from tasks import file_tasks
from tasks.file_tasks import FileMixture, FileTask
from xlingual import config
from xlingual.cli import main
from xlingual.data import evaluation_sets, feature_converters, task_registry, vocabularies
from xlingual.data.datasets import SeqioSource
from xlingual.data.filters import PairFilter, ScoreFilter
from xlingual.errors import ConfigError
from xlingual.objectives import registry
from xlingual.training import loop

_LENGTHS = {"inputs": 64, "targets": 64}
_SMALL = {"vocab_size": 430, "num_sentinels": 100}


@pytest.fixture(autouse=True)
def _unregister():
    yield
    for name in [*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()]:
        if name.startswith(("own_", "german", "mine")):
            task_registry.unregister(name)


@pytest.fixture
def files(tmp_path, write_lines, cache):
    """Paths of one small file of each kind: text, pairs, code, entities."""
    sentences = [f"sentence {i} of the small corpus, number {i * 7}" for i in range(60)]
    words = (
        "Satz {0} von sechzig kurzen Zeilen",
        "sentence {0} of sixty",
        "phrase {0} parmi d'autres",
    )
    rows = ["\t".join(words).format(i) for i in range(60)]
    pairs = ["de\ten\tfr", *rows]
    code = [
        {"code": f"def f{i}():\n    return {i}", "doc": f"return the number {i}", "pl": "Python"}
        for i in range(60)
    ]
    return {
        "text": write_lines(tmp_path / "en.txt.gz", sentences),
        "jsonl": write_lines(
            tmp_path / "en.jsonl.zst", [json.dumps({"text": text}) for text in sentences]
        ),
        "pairs": write_lines(tmp_path / "pairs.tsv", pairs),
        "code": write_lines(tmp_path / "code.jsonl", [json.dumps(record) for record in code]),
    }


def _examples(name, split="train"):
    return evaluation_sets.load_examples(
        name, split=split, num_examples=3, task_feature_lengths=_LENGTHS
    )


def _task(paths, /, **settings):
    default = {"name": "own_task", "objective": "span_corruption", "langs": "en"}
    return FileTask(**{**default, "files": paths["text"], **settings})


def _pairs(paths):
    return _task(
        paths,
        name="own_pairs",
        objective="translation",
        langs=("de", "en"),
        files=paths["pairs"],
    )


def _code(paths, langs):
    return _task(
        paths,
        name="own_code",
        objective="ptlm",
        langs=langs,
        records="code",
        files=paths["code"],
    )


def test_one_of_each_kind_makes_batches(files):
    tasks = (
        _task(files, name="own_text", split_shares={"train": 0.9, "validation": 0.1}),
        _task(files, name="own_jsonl", files=files["jsonl"], options={"noise_density": 0.3}),
        _pairs(files),
        _code(files, langs=("en", "python")),
    )
    names = file_tasks.register_files(tasks, (FileMixture(name="own_mixture"),), **_SMALL)
    assert names == ("own_text", "own_jsonl", "own_pairs", "own_code")
    source = SeqioSource(
        mixture_or_task_name="own_mixture",
        task_feature_lengths=_LENGTHS,
        batch_size=4,
        feature_converter=feature_converters.EncDecFeatureConverter(),
    )
    assert [task.share for task in source.tasks] == [0.25] * 4
    batch = next(source.iterator())
    assert batch["encoder_input_tokens"].shape == (4, 64)
    assert set(seqio.TaskRegistry.get("own_text").splits) == {"train", "validation"}


def test_code_goes_in_both_directions_with_its_lines(files):
    both = [
        _task(
            files,
            name=f"own_{a}_{b}",
            objective="ptlm",
            langs=(a, b),
            records="code",
            files=files["code"],
            options={"direction": "fwd"},
            where={"pl": "Python"},
        )
        for a, b in (("en", "python"), ("python", "en"))
    ]
    file_tasks.register_files(both, **_SMALL)
    for example in _examples("own_en_python"):
        assert example.source_text.startswith("return the number")
        assert "\n    return" in example.target_text
    for example in _examples("own_python_en"):
        assert example.target_text.startswith("return the number")
        assert example.source_text.startswith("def f")
    assert task_registry.task_metadata("own_python_en").src_lang == "python"


@pytest.mark.parametrize("pivot", [None, "en"])
def test_multiway_files_become_pairs(files, pivot):
    tasks = file_tasks.multiway_tasks(
        "own",
        "translation",
        files["pairs"],
        ("de", "en", "fr"),
        pivot=pivot,
        split_shares={"train": 0.8, "validation": 0.2},
        options={"direction": "fwd"},
    )
    trained = {task.codes for task in tasks if task.trained}
    if pivot is None:
        assert len(trained) == len(tasks) == 6
        return
    assert trained == {("de", "en"), ("en", "de"), ("en", "fr"), ("fr", "en")}
    assert {task.codes for task in tasks} - trained == {("de", "fr"), ("fr", "de")}
    file_tasks.register_files(tasks, vocab_size=420)
    assert tuple(seqio.TaskRegistry.get("own_de_fr").splits) == ("validation",)
    for example in _examples("own_de_fr", "validation"):
        number = example.source_text.split()[1]
        assert example.source_text.startswith(f"Satz {number} von")
        assert example.target_text.startswith(f"phrase {number} parmi")


def test_multiway_files_become_triples_around_the_pivot(files):
    tasks = file_tasks.multiway_tasks(
        "own",
        "any",
        files["pairs"],
        {"de": "de", "zh-Hant": "fr", "en": "en"},
        pivot="en",
        records="multi",
    )
    assert [task.name for task in tasks] == ["own_de_zh_Hant", "own_zh_Hant_de"]
    (record, *_) = tasks[0].make_source().get_dataset("train", shuffle=False).as_numpy_iterator()
    assert record == {
        "src": b"Satz 0 von sechzig kurzen Zeilen",
        "pivot": b"sentence 0 of sixty",
        "tgt": b"phrase 0 parmi d'autres",
        "src_lang": b"de",
        "pivot_lang": b"en",
        "tgt_lang": b"zh-Hant",
    }
    for settings, message in (
        ({"records": "multi"}, "'multi' with a pivot"),
        ({"pivot": "cs"}, "pivot is 'cs'; expected one of"),
    ):
        with pytest.raises(ConfigError, match=message):
            file_tasks.multiway_tasks("own", "any", files["pairs"], ("de", "en"), **settings)


def test_aligned_files_and_tables_give_the_same_task(files, tmp_path, write_lines):
    write_lines(tmp_path / "c.de-en.de", ["eins", "zwei"])
    write_lines(tmp_path / "c.de-en.en", ["one", "two"])
    table = write_lines(tmp_path / "c.tsv", ["en\tde", "one\teins", "two\tzwei"])
    headless = write_lines(tmp_path / "d.tsv", ["eins\tone\t0.9", "zwei\ttwo\t0.8"])
    tasks = [
        _task(files, langs=("de", "en"), files=str(tmp_path / "c.de-en.{column}")),
        _task(files, langs=("de", "en"), files={"train": [table]}),
        _task(files, langs=("de", "en"), files=headless, header=False),
    ]
    found = [
        list(task.make_source().get_dataset("train", shuffle=False).as_numpy_iterator())
        for task in tasks
    ]
    assert found[0] == found[1] == found[2]
    assert found[0][1]["src"] == b"zwei" and found[0][1]["tgt"] == b"two"


def test_a_vocabulary_file_is_used_as_it_is(files, tmp_path):
    path = tmp_path / "own.model"
    vocabularies.train_vocabulary(
        [f"sentence {i} of the small corpus, number {i}" for i in range(200)],
        path,
        vocab_size=420,
        control_tokens=vocabularies.control_tokens(["en"]),
    )
    file_tasks.register_files([_task(files)], vocabulary_file=str(path))
    vocabulary = seqio.TaskRegistry.get("own_task").output_features["targets"].vocabulary
    assert vocabulary.vocab_size == 420
    assert 419 in _examples("own_task")[0].inputs  # the first sentinel
    with pytest.raises(ConfigError, match=r"absent\.model"):
        file_tasks.register_files([_task(files, name="b")], vocabulary_file="absent.model")


def test_a_trained_vocabulary_holds_the_tags_of_all_languages(files):
    tasks = (
        _pairs(files),
        _code(files, langs=("python", "en")),
    )
    file_tasks.register_files(tasks, **_SMALL)
    vocabulary = seqio.TaskRegistry.get("own_code").output_features["targets"].vocabulary
    for code in ("de", "en", "python"):
        vocabulary.special_tokens.control_id(f"<2{code}>")
    assert vocabulary.vocab_size == 430


def test_tasks_over_the_same_records_share_them(files):
    tasks = [_task(files, name=f"own_{o}", objective=o) for o in ("span_corruption", "prefix_lm")]
    file_tasks.register_files(tasks, **_SMALL)
    first, second = (seqio.TaskRegistry.get(task.name).source for task in tasks)
    assert first is second
    file_tasks.register_files(tasks, **_SMALL)  # the same again changes nothing
    changed = [_task(files, name="own_span_corruption", files=files["jsonl"]), tasks[1]]
    with pytest.raises(ConfigError, match="already registered with other content"):
        file_tasks.register_files(changed, **_SMALL)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "span_coruption"}, "nearest: span_corruption"),
        ({"objective": "translation"}, r"takes \['pair'\] records, found 'mono'"),
        (
            {"options": {"noise_densty": 1}},
            r"no options \['noise_densty'\]; nearest: noise_density",
        ),
        ({"langs": ("de", "en", "fr", "cs")}, "records is ''; expected one of"),
        ({"records": "pair"}, "'pair' records have"),
        ({"columns": {"txt": "a"}}, r"columns names the fields \['txt'\]"),
        ({"files": "/no/such.txt"}, "task 'own_task': files='/no/such.txt': no such file"),
        ({"files": {}}, "expected at least one"),
        ({"files": {"train": "a.txt"}, "split_shares": {"train": 1}}, "without splits"),
    ],
)
def test_bad_settings_get_one_clear_message(files, settings, message):
    with pytest.raises(ConfigError, match=message):
        file_tasks.register_files([_task(files, **settings)], **_SMALL)


def test_filters_of_a_task_drop_records_and_inspect_says_which(
    files, tmp_path, write_lines, capsys
):
    rows = [f"sentence {i} of sixty\tSatz {i} von sechzig\t{i / 60}" for i in range(60)]
    rows[50] = "one side only\t" + "viel zu lang " * 20 + "\t0.9"
    rows[51] = "this has a score\tdas hat keinen\tnone"
    path = write_lines(tmp_path / "scored.tsv", ["en\tde\tlaser", *rows])
    chain = [
        ScoreFilter(score="laser", minimum=0.5),
        ScoreFilter(score="characters", field="src", max_quantile=0.9),
        PairFilter(max_tokens=60),
    ]
    settings = {"objective": "translation", "langs": ("en", "de"), "files": str(path)}
    task = FileTask(name="own_scored", filters=chain, scores={"laser": "laser"}, **settings)
    plain = FileTask(name="own_plain", **settings)
    file_tasks.register_files([task, plain], **_SMALL)
    source = seqio.TaskRegistry.get("own_scored").source
    records = list(source.get_dataset("train", shuffle=False).as_numpy_iterator())
    assert set(records[0]) == {"src", "tgt", "src_lang", "tgt_lang"}
    numbers = [int(record["src"].split()[1]) for record in records]
    assert numbers == [n for n in range(30, 60) if n not in (50, 51)]
    assert len(list(seqio.TaskRegistry.get("own_plain").source.get_dataset("train"))) == 60
    laser, long, pair = source.count_dropped("train")
    assert list(laser.dropped.values()) == [31, 0] and laser.records == 60
    assert sum(long.dropped.values()) == 0 and pair.dropped["a side of more than 60 tokens"] == 1
    assert len(_examples("own_scored")) == 3
    assert main.main(["inspect", "own_scored", "--module=tasks.files", "--num_examples=0"]) == 0
    shown = capsys.readouterr().out
    assert "laser of laser < 0.5" in shown and "a side of more than 60 tokens" in shown
    assert main.main(["stats", "own_scored", "own_plain", "--module=tasks.files"]) == 0
    shown = capsys.readouterr().out
    assert "laser of laser < 0.5" in shown and shown.count("own_plain") >= 2


def test_something_else_than_a_task_is_refused():
    with pytest.raises(ConfigError, match="tasks holds 'a'; expected tasks such as"):
        file_tasks.register_files(["a"])


def test_every_objective_of_text_or_pairs_takes_files(files):
    kinds = {"mono": ("en", files["text"]), "pair": (("de", "en"), files["pairs"])}
    tasks = []
    for name, objective in registry.objectives().items():
        kind = next((k for k in kinds if k in objective.records), None)
        if kind and set(objective.required) <= {"language_names"}:
            langs, path = kinds[kind]
            tasks.append(_task(files, name=f"own_{name}", objective=name, langs=langs, files=path))
    assert len(tasks) >= 5
    file_tasks.register_files(tasks, **_SMALL)


def _documented_experiment(folder, write_lines, blocks):
    """Writes the first blocks of gin in the documentation, and the files they name."""
    root = pathlib.Path(__file__).resolve().parents[2]
    text = (root / "docs" / "data_sources.md").read_text(encoding="utf-8")
    examples = [part.split("```")[0] for part in text.split("```gin\n")[1:]]
    assert len(examples) == 2
    own = [line for line in examples[0].splitlines() if line and not line.startswith("include")]
    assert len(own) <= 14
    data = folder / "data"
    rows = [json.dumps({"text": f"Satz {i} des kleinen Korpus, zum Beispiel"}) for i in range(300)]
    write_lines(data / "de-1.jsonl.zst", rows)
    pairs = [f"Satz {i}\tsentence {i}" for i in range(300)]
    for name in ("de-en.tsv.gz", "dev.tsv"):
        write_lines(data / name, ["de\ten", *pairs])
    experiment = folder / "mine.gin"
    experiment.write_text("".join(examples[:blocks]).replace("/data/", f"{data}/"))
    return str(experiment)


def test_the_first_example_of_the_documentation_is_whole(tmp_path, write_lines, cache, clean_gin):
    experiment = _documented_experiment(tmp_path, write_lines, 1)
    config.parse([experiment], [("MODEL_DIR", str(tmp_path / "m")), ("VOCAB_SIZE", "424")])
    source = gin.get_bindings(loop.train, resolve_references=True)["source"]
    assert [task.name for task in source.tasks] == ["german"]
    assert next(source.iterator())["decoder_loss_weights"].sum() > 0


@pytest.mark.slow
def test_the_command_of_the_documentation_trains(tmp_path, write_lines, cache, clean_gin):
    experiment = _documented_experiment(tmp_path, write_lines, 2)
    settings = {
        "MODEL_DIR": tmp_path / "m",
        "TRAIN_STEPS": 2,
        "WARMUP_STEPS": 1,
        "VOCAB_SIZE": 424,
        "BATCH_SIZE": 8,
        "HELDOUT_PERIOD": 0,
    }
    flags = [f"--gin.{name}={value}" for name, value in settings.items()]
    assert main.main(["train", f"--gin_file={experiment}", *flags]) == 0
    assert list((tmp_path / "m").iterdir())
