"""A folder of files becomes tasks whose texts, tags and splits are those of the files."""

import collections
import gzip
import itertools
import json
import logging

import pytest
import seqio

from tasks import files, row_cache, sources
from xlingual.data import evaluation_sets, feature_converters, task_registry
from xlingual.data.datasets import SeqioSource
from xlingual.data.languages import language_name
from xlingual.errors import ConfigError

pytestmark = pytest.mark.slow

_LENGTHS = {"inputs": 64, "targets": 64}
_VOCAB_SIZE = 520
_NUM_ROWS = {"train": 80, "valid": 9}


def _sentence(column, split, row):
    """A distinct sentence whose words name its column, split and row."""
    return f"{column[:3]} {split} sentence {row} of {column[:3]}"


def _write_table(path, columns, split, bad_lines=0):
    rows = [
        "\t".join(_sentence(column, split, row) for column in columns)
        for row in range(_NUM_ROWS[split])
    ]
    lines = ["\t".join(columns), *rows, *["one cell"] * bad_lines]
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))


def _write_code(path, split):
    rows = [
        {
            "id": str(row),
            "nl": f"return the number {row} {split}",
            "lang": files.COLUMNS["en"],
            "code": f"def f{row}():\n    return {row}  # {split}",
            "pl": pl,
        }
        for row in range(_NUM_ROWS[split])
        for pl in (*files.CODE, "other")
    ]
    text = "\n".join(json.dumps(row) for row in rows)
    path.write_bytes(gzip.compress(text.encode()))


def _write_folder(root):
    for kind in ("parallel", "mono", "code"):
        (root / kind).mkdir(parents=True)
    foreign_of = collections.defaultdict(list)
    for language, names in files.PAIRS.items():
        for name in names:
            foreign_of[name].append(language)
    for split in ("train", "valid"):
        for name, languages in foreign_of.items():
            columns = [files.COLUMNS[code] for code in [files.PIVOT, *languages]]
            bad_lines = 2 if (split, name) == ("train", files.MULTIWAY) else 0
            _write_table(root / "parallel" / f"{name}.{split}.tsv.gz", columns, split, bad_lines)
        for column in files.COLUMNS.values():
            suffix = "" if split == "train" else ".valid"
            text = "\n".join(_sentence(column, split, i) for i in range(_NUM_ROWS[split]))
            (root / "mono" / f"{column}{suffix}.txt.gz").write_bytes(gzip.compress(text.encode()))
        for name in set(itertools.chain(*files.CODE.values())):
            _write_code(root / "code" / f"{name}.{split}.jsonl.gz", split)
    return root


def _unregister_all():
    names = [*seqio.MixtureRegistry.names(), *seqio.TaskRegistry.names()]
    for name in names:
        if name.startswith("files_"):
            task_registry.unregister(name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A registered folder, small enough to train a vocabulary on in a second."""
    root = _write_folder(tmp_path_factory.mktemp("corpus"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLINGUAL_CACHE", str(tmp_path_factory.mktemp("cache")))
        _unregister_all()  # another module of this process may have registered its own folder
        files.register_folder(str(root), vocab_size=_VOCAB_SIZE)
        yield root
        _unregister_all()


def _examples(name, num_examples=5):
    return evaluation_sets.load_examples(
        name, split="validation", num_examples=num_examples, task_feature_lengths=_LENGTHS
    )


def _vocabulary():
    task = seqio.TaskRegistry.get("files_translation_de_en")
    return task.output_features["targets"].vocabulary


def _task_names(prefix):
    return [name for name in seqio.TaskRegistry.names() if name.startswith(prefix)]


def test_every_direction_with_english_is_trained_and_no_other(folder):
    for name in [*_task_names("files_translation_"), *_task_names("files_ptlm_")]:
        metadata = task_registry.task_metadata(name)
        languages = {metadata.src_lang, metadata.tgt_lang}
        assert metadata.trained == (files.PIVOT in languages)
        splits = set(seqio.TaskRegistry.get(name).splits)
        assert splits == ({"train", "validation"} if metadata.trained else {"validation"})
    trained = {
        name
        for mixture in ("files_pretrain", "files_decoder_pretrain")
        for name in task_registry.leaf_shares(mixture)[0]
    }
    assert all(task_registry.task_metadata(name).trained for name in trained)
    for language in files.PAIRS:
        for source, target in ((language, "en"), ("en", language)):
            assert files.task_name("translation", source, target) in trained
            assert files.task_name("ptlm", source, target) in trained


def test_texts_and_tags_are_those_of_the_direction(folder):
    control = _vocabulary().special_tokens
    names = _task_names("files_translation_")
    assert len(names) == 2 * len(files.PAIRS) + 6
    for name, examples in evaluation_sets.load_examples_of(
        names, split="validation", num_examples=3, task_feature_lengths=_LENGTHS
    ).items():
        source, target = name.split("_")[2:]
        for example in examples:
            assert example.inputs[0] == control.control_id(f"<2{target}>")
            row = example.source_text.split()[3]
            assert example.source_text == _sentence(files.COLUMNS[source], "valid", row)
            assert example.target_text == _sentence(files.COLUMNS[target], "valid", row)


def test_ptlm_prompts_name_both_languages_and_code_keeps_its_lines(folder):
    vocabulary = _vocabulary()
    (example,) = _examples("files_ptlm_en_python", 1)
    prompt = f"translate {language_name('en')} to {language_name('python')}: <nl>"
    assert vocabulary.decode(example.inputs.tolist()).startswith(prompt)
    assert example.source_text.startswith("return the number")
    assert example.target_text.startswith("def f")
    assert "\n    return" in example.target_text
    (back,) = _examples("files_ptlm_python_en", 1)
    assert (back.source_text, back.target_text) == (example.target_text, example.source_text)


def test_training_never_reads_validation_files(folder):
    tasks = [seqio.TaskRegistry.get(name) for name in _task_names("files_")]
    sources_of_training = {id(t.source): t.source for t in tasks if "train" in t.splits}
    assert len(sources_of_training) > 12
    for source in sources_of_training.values():
        dataset = source.get_dataset(split="train", shuffle=False)
        (records,) = dataset.batch(10_000).as_numpy_iterator()
        texts = [text for field in ("text", "src", "tgt") for text in records.get(field, [])]
        assert len(texts) >= _NUM_ROWS["train"]
        assert not [text for text in texts if b"valid" in text]


@pytest.mark.parametrize(
    ("mixture", "converter"),
    [
        ("files_pretrain", feature_converters.EncDecFeatureConverter()),
        pytest.param(
            "files_decoder_pretrain",
            feature_converters.DecoderFeatureConverter(),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_mixtures_make_batches_of_their_shares(folder, mixture, converter):
    source = SeqioSource(
        mixture_or_task_name=mixture,
        task_feature_lengths=_LENGTHS,
        batch_size=64,
        feature_converter=converter,
    )
    assert sum(task.share for task in source.tasks) == pytest.approx(1)
    iterator = source.iterator()
    totals = collections.Counter()
    for _ in range(8):
        batch = next(iterator)
        for task_id, weight in zip(
            batch["decoder_task_ids"].ravel(), batch["decoder_loss_weights"].ravel(), strict=True
        ):
            if task_id:
                totals[source.tasks[task_id - 1].objective] += weight
    translated = totals["translation"] / totals.total()
    declared = sum(task.share for task in source.tasks if task.objective == "translation")
    assert translated == pytest.approx(declared, rel=0.1)


def test_registering_twice_changes_nothing_and_another_folder_is_refused(folder, tmp_path):
    assert files.register_folder(str(folder), vocab_size=_VOCAB_SIZE) == str(folder)
    other = _write_folder(tmp_path / "other")
    with pytest.raises(ConfigError, match="already registered with other content"):
        files.register_folder(str(other), vocab_size=_VOCAB_SIZE)


def test_bad_lines_are_counted(folder, caplog):
    row_cache._warn_once.cache_clear()
    source = seqio.TaskRegistry.get("files_translation_de_en").source
    with caplog.at_level(logging.WARNING):
        assert sources.count_records(source, "train") == _NUM_ROWS["train"]
    assert "dropped 2 bad lines of 82" in caplog.text


def test_missing_folders_and_files_are_named(folder, tmp_path):
    with pytest.raises(ConfigError, match="DATA_DIR='/no/such/folder'"):
        files.register_folder("/no/such/folder")
    root = _write_folder(tmp_path / "partial")
    missing = root / "mono" / f"{files.COLUMNS['cs']}.txt.gz"
    missing.unlink()
    _unregister_all()
    try:
        with pytest.raises(ConfigError, match=rf"lacks the files .*{missing.name}"):
            files.register_folder(str(root), vocab_size=_VOCAB_SIZE)
    finally:
        _unregister_all()
        files.register_folder(str(folder), vocab_size=_VOCAB_SIZE)


def test_the_real_folder_has_every_file(data_dir, folder):
    _unregister_all()
    try:
        files.register_folder(str(data_dir))
        for name in _task_names("files_translation_"):
            source = seqio.TaskRegistry.get(name).source
            assert sources.count_records(source, "validation") > 100
        pairs = seqio.TaskRegistry.get("files_translation_de_en").source
        assert sources.count_records(pairs, "train") == 28991
    finally:
        _unregister_all()
        files.register_folder(str(folder), vocab_size=_VOCAB_SIZE)
