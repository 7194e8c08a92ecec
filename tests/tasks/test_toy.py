"""The registered tasks and mixtures of the toy corpus."""

import collections
import importlib

import numpy as np
import pytest
import seqio

from tasks import toy, toy_corpus, toy_vocabulary, trained_vocabulary
from xlingual.data import task_registry
from xlingual.objectives.code_whitespace import decode_whitespace
from xlingual.objectives.span_corruption import merge_spans

_LENGTHS = {"inputs": 128, "targets": 128}
_PAIR_OBJECTIVES = ("translation", "ptlm")
_OBJECTIVES = ("span_corruption", "prefix_lm", "causal_lm", "dot_denoise", *_PAIR_OBJECTIVES)
_NAMES = sorted(
    name
    for name in seqio.TaskRegistry.names()
    if name.startswith("toy_") and task_registry.task_metadata(name).objective in _OBJECTIVES
)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(trained_vocabulary.CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


def _examples(name: str, split: str, count: int) -> list[dict]:
    task = seqio.TaskRegistry.get(name)
    dataset = task.get_dataset(sequence_length=_LENGTHS, split=split, shuffle=False, seed=0)
    return list(dataset.take(count).as_numpy_iterator())


def _text(ids: np.ndarray) -> str:
    assert ids[-1] == 1 and not np.any(ids[:-1] == 1)
    return decode_whitespace(toy.toy_vocabulary().decode(ids[:-1].tolist()))


def test_importing_again_changes_nothing():
    before = seqio.TaskRegistry.names()
    importlib.reload(toy)
    assert seqio.TaskRegistry.names() == before


def test_every_direction_is_registered_and_only_those_with_english_are_trained():
    metadata = [task_registry.task_metadata(name) for name in _NAMES]
    directions = {(m.objective, m.src_lang, m.tgt_lang) for m in metadata}
    assert len(directions) == len(_NAMES)
    natural = toy_corpus.NATURAL_LANGUAGES
    for source in natural:
        for target in natural:
            assert (("translation", source, target) in directions) == (source != target)
        for code in toy_corpus.PROGRAMMING_LANGUAGES:
            assert ("ptlm", source, code) in directions
    for task in metadata:
        splits = set(seqio.TaskRegistry.get(task.name).splits)
        mono = task.objective not in _PAIR_OBJECTIVES
        assert task.trained == (mono or "en" in (task.src_lang, task.tgt_lang))
        assert ("train" in splits) == task.trained
        assert {"validation", "test"} <= splits


@pytest.mark.parametrize("name", _NAMES)
def test_every_task_has_the_declared_records(name):
    task = seqio.TaskRegistry.get(name)
    assert all(task.num_input_examples(split) > 0 for split in task.splits)
    dataset = task.source.get_dataset(split="validation", shuffle=False)
    assert int(dataset.cardinality()) == task.num_input_examples("validation")
    record = next(dataset.as_numpy_iterator())
    assert all(isinstance(value, bytes) and value for value in record.values())
    assert set(record) in ({"text", "lang"}, {"src", "tgt", "src_lang", "tgt_lang", "id"})


@pytest.mark.parametrize("name", ["toy_translation_en_ja", "toy_causal_lm_python"])
def test_train_records_are_the_corpus(name):
    task = seqio.TaskRegistry.get(name)
    dataset = task.source.get_dataset(split="train", shuffle=True, seed=3)
    records = list(dataset.as_numpy_iterator())
    assert len(records) == task.num_input_examples("train")
    if "text" in records[0]:
        assert [r["text"].decode() for r in records] == toy_corpus.texts("python", "train")
    else:
        sources, targets = toy_corpus.pairs("en", "ja", "train")
        assert [(r["src"].decode(), r["tgt"].decode()) for r in records] == list(
            zip(sources, targets, strict=True)
        )


@pytest.mark.parametrize("name", toy.task_names("translation", [("de", "en"), ("tr", "ja")]))
def test_translation_examples(name):
    _, _, source, target = name.split("_")
    sources, targets = toy_corpus.pairs(source, target, "test")
    for example, src, tgt in zip(_examples(name, "test", 30), sources, targets, strict=False):
        assert _text(example["inputs"]) == f"<2{target}> {src}"
        assert _text(example["targets"]) == tgt


@pytest.mark.parametrize(
    "source, target, start",
    [
        ("en", "python", "translate English to Python: \n "),
        ("zh", "python", "translate Chinese to Python: \n "),
        ("python", "javascript", "translate Python to JavaScript: \n "),
    ],
)
def test_ptlm_examples(source, target, start):
    sources, targets = toy_corpus.pairs(source, target, "test")
    examples = _examples(toy.task_name("ptlm", source, target), "test", 30)
    for example, src, tgt in zip(examples, sources, targets, strict=False):
        assert _text(example["inputs"]) == f"{start}{src}"
        assert _text(example["targets"]) == tgt


def test_pairs_are_not_dropped():
    for name in ("toy_ptlm_zh_javascript", "toy_translation_fr_zh"):
        count = seqio.TaskRegistry.get(name).num_input_examples("validation")
        assert len(_examples(name, "validation", 10_000)) == count


@pytest.mark.parametrize("language", ["ar", "python"])
def test_span_corruption_examples_merge_to_the_text(language):
    special = toy.toy_special_tokens()
    stream = "".join(
        decode_whitespace(
            toy.toy_vocabulary().decode(
                merge_spans(example["inputs"], example["targets"], special).tolist()
            )
        )
        for example in _examples(f"toy_span_corruption_{language}", "test", 4)
    )
    first = toy_corpus.texts(language, "test")[:8]
    squeezed = stream.replace(" ", "")
    assert all(text.replace(" ", "") in squeezed for text in first)


def test_language_model_examples_are_the_text():
    texts = toy_corpus.texts("ru", "validation")
    for example, text in zip(_examples("toy_causal_lm_ru", "validation", 20), texts, strict=False):
        assert len(example["inputs"]) == 0
        assert _text(example["targets"]) == text
    for example, text in zip(_examples("toy_prefix_lm_ru", "validation", 20), texts, strict=False):
        ids = np.concatenate([example["inputs"][:-1], example["targets"]])
        assert _text(ids) == text


def test_denoising_examples_hide_half_of_the_text_and_ask_for_its_own_language():
    vocabulary, special = toy.toy_vocabulary(), toy.toy_special_tokens()
    texts = toy_corpus.texts("hi", "validation")
    hidden = total = 0
    examples = _examples("toy_dot_denoise_hi", "validation", 50)
    for example, text in zip(examples, texts, strict=False):
        assert example["inputs"][0] == special.control_id("<2hi>")
        assert _text(example["targets"]) == text
        tokens = vocabulary.encode(text)
        kept = [i for i in example["inputs"][1:-1] if i != special.control_id("<mask>")]
        assert not collections.Counter(kept) - collections.Counter(tokens)
        hidden, total = hidden + len(tokens) - len(kept), total + len(tokens)
    # Dropped, or kept and masked: 0.15 + 0.85 * 0.35.
    assert hidden / total == pytest.approx(0.4475, abs=0.06)


@pytest.mark.parametrize(
    "mixture",
    [
        "toy_pretrain",
        "toy_decoder_pretrain",
        "toy_translation_trained",
        "toy_code_trained",
        "toy_span_corruption",
        "toy_causal_lm",
    ],
)
def test_training_mixtures_hold_trained_tasks_only(mixture):
    leaves, unit = task_registry.leaf_shares(mixture)
    assert unit == "tokens"
    assert sum(leaves.values()) == pytest.approx(1.0)
    for name in leaves:
        assert task_registry.task_metadata(name).trained, name
        assert "train" in seqio.TaskRegistry.get(name).splits


def test_pretraining_covers_every_language_and_direction_with_english():
    leaves = task_registry.leaf_shares("toy_pretrain")[0]
    found = [task_registry.task_metadata(name) for name in leaves]
    spans = {task.src_lang for task in found if task.objective == "span_corruption"}
    assert spans == set(toy.LANGUAGES)
    others = set(toy.LANGUAGES) - {"en"}
    pairs = [
        (task.src_lang, task.tgt_lang)
        for task in found
        if task.objective in ("translation", "ptlm")
    ]
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == {(a, "en") for a in others} | {("en", a) for a in others}


def test_evaluation_mixtures():
    zero_shot = task_registry.leaf_shares("toy_translation_zero_shot")[0]
    assert len(zero_shot) == 56
    code = task_registry.leaf_shares("toy_code_zero_shot")[0]
    assert len(code) == 18
    for name in (*zero_shot, *code):
        assert not task_registry.task_metadata(name).trained
    sample = task_registry.leaf_shares("toy_evaluation")[0]
    flags = [task_registry.task_metadata(name).trained for name in sample]
    assert sum(flags) == 16 + 4 and len(flags) - sum(flags) == 8 + 8
    for direction in (toy.TRANSLATION_ZERO_SHOT_SAMPLE, toy.CODE_ZERO_SHOT_SAMPLE):
        assert sorted(source for source, _ in direction) == sorted(toy.FOREIGN)


def test_a_mixture_yields_examples():
    mixture = seqio.MixtureRegistry.get("toy_code_trained")
    dataset = mixture.get_dataset(_LENGTHS, split="validation", shuffle=True, seed=0)
    for example in dataset.take(8).as_numpy_iterator():
        for feature in ("inputs", "targets"):
            assert example[feature].dtype == np.int32
            assert 0 < len(example[feature]) <= _LENGTHS[feature]
            assert example[feature].max() < toy_vocabulary.VOCAB_SIZE
