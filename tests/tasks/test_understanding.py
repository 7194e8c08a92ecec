"""Published layouts become text-to-text tasks; settings say which languages are trained."""

import gzip
import json

import pytest
import seqio

from tasks import understanding, understanding_layouts
from xlingual.data import evaluation_sets, task_registry
from xlingual.errors import ConfigError
from xlingual.evaluation import gold_examples, language_rows

_XNLI = "language\tgold_label\tsentence1\tsentence2\tpairID\n"
_SQUAD = {
    "data": [
        {
            "paragraphs": [
                {
                    "context": "Ada lived  in\nLondon.",
                    "qas": [
                        {
                            "id": "english-1",
                            "question": "Where did Ada live?",
                            "answers": [{"text": "London"}, {"text": "in London"}],
                        },
                        {"id": "finnish-2", "question": "Missä?", "answers": [{"text": "Lontoo"}]},
                        {"id": "english-3", "question": "Why?", "answers": []},
                    ],
                }
            ]
        }
    ]
}
_CONLLU = """# text = Don't go
1-2\tDon't\t_\t_\t_
1\tDo\tdo\tAUX\t_
2\tn't\tnot\tPART\t_
2.1\tx\tx\tX\t_
3\tgo\tgo\tVERB\t_

1\tYes\tyes\tINTJ\t_
"""
FILES = {
    "labelled_tsv": 'index_id\tcategory\ttext\n7\ttravel\tA "boat" trip.\n8\thealth\tA pill.\n',
    "xnli": _XNLI
    + "de\tneutral\tEr geht.\tEs regnet.\t1\nen\tentailment\tHe goes.\tHe moves.\t1\n",
    "xnli_train": "premise\thypo\tlabel\nHe goes .\tHe stays .\tcontradictory\n",
    "pawsx": "id\tsentence1\tsentence2\tlabel\n1\ta b\tb a\t1\n2\ta b\tc\t0\n",
    "squad": json.dumps(_SQUAD),
    "wikiann": "en:Ada\tB-PER\nen:Byron\tI-PER\nen:: \tO\n\nen:London\tB-LOC\n",
    "tagged_json": json.dumps({"tokens": ["Ada", "came"], "tags": ["B-PER", "O"]}) + "\n",
    "conllu": _CONLLU,
}
EXPECTED = {
    "labelled_tsv": [('sib200 text: A "boat" trip.', "travel"), ("sib200 text: A pill.", "health")],
    "xnli": [("xnli premise: He goes. hypothesis: He moves.", "entailment")],
    "xnli_train": [("xnli premise: He goes . hypothesis: He stays .", "contradiction")],
    "pawsx": [
        ("paws sentence1: a b sentence2: b a", "paraphrase"),
        ("paws sentence1: a b sentence2: c", "different_meaning"),
    ],
    "squad": [("question: Where did Ada live? context: Ada lived in London.", "London")],
    "wikiann": [("tag: Ada Byron : ", "PER: Ada Byron"), ("tag: London", "LOC: London")],
    "tagged_json": [("tag: Ada came", "PER: Ada")],
    "conllu": [("upos: Do n't go", "AUX PART VERB"), ("upos: Yes", "INTJ")],
}


@pytest.mark.parametrize("layout", EXPECTED)
def test_a_file_of_each_layout_becomes_examples(layout, tmp_path):
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(FILES[layout].encode()))
    prefix = {"xnli": "en", "squad": "english-"}.get(layout, "")
    found = understanding_layouts.read(layout, str(path), prompt="sib200", id_prefix=prefix)
    assert [(one["src"], one["tgt"]) for one in found] == EXPECTED[layout]
    first = found[0]["gold"]
    if layout == "squad":
        assert first["answers"] == ["London", "in London"] and first["id"] == "english-1"
    if layout == "labelled_tsv":
        assert first["labels"] == ["health", "travel"] and first["id"] == "7"


@pytest.mark.parametrize(
    "layout, text, message",
    [
        ("squad", "{}", "KeyError: 'data'"),
        ("pawsx", "id\tsentence1\n1\ta\n", "KeyError"),
        ("xnli_train", "premise\thypo\tlabel\na\tb\tmaybe\n", "label 'maybe'; expected one of"),
        ("tagged_json", '{"tokens": ["a"], "tags": []}', "1 tokens and 0 tags"),
        ("csv", "", "layout='csv'; expected one of"),
    ],
)
def test_a_file_in_another_layout_is_refused(layout, text, message, tmp_path):
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        understanding_layouts.read(layout, str(path))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """SIB-200 in three languages, TyDi QA in two; the registry is put back at the end."""
    monkeypatch.setenv("XLINGUAL_CACHE", str(tmp_path / "cache"))
    topics = ("travel", "health", "sports")
    for lang in ("eng_Latn", "deu_Latn", "swh_Latn"):
        path = tmp_path / "data" / "annotated" / lang
        path.mkdir(parents=True)
        for split, count in (("train", 60), ("dev", 6 if lang != "swh_Latn" else 2)):
            rows = [f"{i}\t{topics[i % 3]}\t{lang} text number {i}" for i in range(count)]
            header = "index_id\tcategory\ttext"
            (path / f"{split}.tsv").write_text("\n".join([header, *rows]) + "\n")
        (path / "test.tsv").write_text((path / "dev.tsv").read_text())
    for split in ("train", "dev"):
        (tmp_path / f"tydiqa-goldp-v1.1-{split}.json").write_text(json.dumps(_SQUAD))
    before = {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}
    yield str(tmp_path)
    for name in {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()} - before:
        task_registry.unregister(name)


CODES = {"en": "eng_Latn", "de": "deu_Latn", "sw": "swh_Latn"}
SMALL = {"vocab_size": 320, "num_sentinels": 4}


def register(folder, **changes):
    settings = {"name": "sib200", "languages": ["en", "de", "sw"], "codes": CODES, **SMALL}
    return understanding.register_understanding(data_dir=folder, **{**settings, **changes})


def test_zero_shot_trains_the_source_language_alone(folder):
    names = register(folder)
    assert names == ("sib200_en", "sib200_de", "sib200_sw", "sib200_train", "sib200_evaluation")
    assert task_registry.leaf_shares("sib200_train")[0] == {"sib200_en": 1.0}
    assert len(task_registry.leaf_shares("sib200_evaluation")[0]) == 3
    assert [task_registry.task_metadata(name).trained for name in names[:3]] == [True, False, False]
    lengths = {"inputs": 16, "targets": 8}
    arguments = {"split": "validation", "num_examples": 4, "task_feature_lengths": lengths}
    found = gold_examples.load_gold_examples(names[:3], **arguments)
    assert {task: len(mine) for task, mine in found.items()} == dict(
        sib200_en=4, sib200_de=4, sib200_sw=2
    )
    show = evaluation_sets.text_decoder("sib200_en").text
    for one in (one for mine in found.values() for one in mine):
        assert one.gold["labels"] == ["health", "sports", "travel"]  # also in Swahili, which has 2
        assert one.gold["label"] == one.example.target_text == show(one.example.targets)
        assert len(one.example.inputs) <= 16 and one.example.inputs[-1] == 1
        assert one.src.startswith(one.example.source_text)  # cut at its end
    # The same records in languages of equal size.
    ids = [[one.gold["id"] for one in found[task]] for task in ("sib200_en", "sib200_de")]
    assert ids[0] == ids[1]
    again = gold_examples.load_gold_examples(["sib200_en"], **arguments)["sib200_en"]
    assert [one.gold["id"] for one in again] == ids[0]


def test_all_languages_train_and_share_a_vocabulary(folder):
    names = register(folder, setting="all_languages")
    assert names[0] == "sib200_all_languages_en"
    mixture = "sib200_all_languages_train"
    assert len(task_registry.leaf_shares(mixture)[0]) == 3
    understanding.register_understanding(
        "tydiqa", folder, ["en", "fi"], setting="all_languages", vocabulary_of=mixture
    )
    tasks = [seqio.TaskRegistry.get(name) for name in (names[0], "tydiqa_all_languages_fi")]
    first, second = (task.output_features["targets"].vocabulary for task in tasks)
    assert first is second
    (record,) = tasks[1].source.get_dataset("train").as_numpy_iterator()
    assert json.loads(record["gold"])["id"] == "finnish-2"


def test_settings_of_a_data_set_stand_side_by_side_and_are_evaluated_alike(folder):
    first = register(folder)
    trained = {"zero_shot": 1, "translate_train": 3, "all_languages": 3}
    assert tuple(trained) == understanding.SETTINGS
    for setting in understanding.SETTINGS[1:]:
        register(folder, setting=setting, vocabulary_of=first[0])
    infixes = {
        "zero_shot": "",
        "translate_train": "translate_train_",
        "all_languages": "all_languages_",
    }
    arguments = {
        "split": "validation",
        "num_examples": 2,
        "task_feature_lengths": {"inputs": 16, "targets": 8},
    }
    found = {}
    for setting, infix in infixes.items():
        leaves = task_registry.leaf_shares(f"sib200_{infix}train")[0]
        assert len(leaves) == trained[setting]
        tasks = [f"sib200_{infix}de"]
        (mine,) = gold_examples.load_gold_examples(tasks, **arguments).values()
        assert language_rows.dataset_of(mine) == "sib200_de"
        found[setting] = [(one.src, one.gold) for one in mine]
    assert found["zero_shot"] == found["translate_train"] == found["all_languages"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"name": "sib"}, "no understanding data set is named 'sib'; nearest: sib200"),
        ({"setting": "few_shot"}, "setting='few_shot'"),
        (
            {"name": "wikiann", "languages": ["de", "en"], "setting": "translate_train"},
            "no train data of setting='translate_train' in 'de'",
        ),
        ({"source_lang": "fr"}, "source_lang='fr'"),
        ({"languages": ["en", "xx"]}, "language 'xx': .*/xx/dev.tsv does not exist"),
        ({"name": "xquad", "languages": ["de", "en"], "setting": "all_languages"}, "no train data"),
    ],
)
def test_what_is_not_there_is_refused(folder, changes, message):
    with pytest.raises(ConfigError, match=message):
        register(folder, **changes)
