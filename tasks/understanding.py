r"""Understanding as text to text: public data sets by layout, to fine-tune on and to evaluate.

Nothing is registered by importing this module and nothing is downloaded: `register_understanding`,
called from gin, registers a task for each language over a folder that holds the data.

    name       files below `data_dir`                                          metrics     checked
    sib200     data/annotated/LANG/{train,dev,test}.tsv                        labels      code
    table      classification/CONFIG.LANG.{train,valid}.tsv.gz                 labels      data
    xnli       XNLI-1.0/xnli.{dev,test}.tsv; XNLI-MT-1.0/multinli/             labels      recalled
               multinli.train.LANG.tsv
    pawsx      LANG/{dev_2k,test_2k}.tsv, en/train.tsv,                        labels      recalled
               LANG/translated_train.tsv
    xquad      xquad.LANG.json; train-v1.1.json, dev-v1.1.json;                answers     recalled
               squad.translate.train.en-LANG.json
    mlqa       {dev,test}/{dev,test}-context-LANG-question-LANG.json;          answers     recalled
               train-v1.1.json; mlqa-translate-train/
               LANG_squad-translate-train-train-v1.1.json
    tydiqa     tydiqa-goldp-v1.1-{train,dev}.json                              answers     recalled
    wikiann    LANG/{train,dev,test}                                           entities    recalled
    ner_json   ner/CONFIG.LANG.{train,valid}.jsonl.gz                          entities    data
    ud         UD_*/LANG_*-ud-{train,dev,test}.conllu                          tags        recalled

The last column says against what the layout was checked: public code that reads it, real data, or
memory alone. Three settings say what is trained (XTREME: Hu et al., 2020, arXiv:2003.11080):
`zero_shot`, the source language alone; `translate_train`, also translations of its train data; and
`all_languages`, each language's own. The train data of SIB-200 and tables like it are translations,
so that the last two are the same there.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import seqio
import tensorflow as tf

from tasks import record_tasks, understanding_layouts
from tasks.trained_vocabulary import TrainedVocabulary
from xlingual.data import task_registry, vocabularies
from xlingual.data.languages import language_name
from xlingual.errors import ConfigError, nearest
from xlingual.objectives.text_to_text import text_to_text
from xlingual.objectives.tokenize import tokenize

SETTINGS = ("zero_shot", "translate_train", "all_languages")
"""The first is in no name; the others are, so that a process can have several."""
OBJECTIVE = "text_to_text"


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnderstandingCorpus:
    """A data set by the layout of its files.

    In patterns, `{lang}` is the code of the language in the names of files and `{config}` an
    argument; `*` matches any name.

    Attributes:
      layout: of the files; see `understanding_layouts`.
      evaluated: split -> pattern.
      source: pattern of the train data of the source language; empty where `own` has them.
      own: pattern of train data in every language; empty where there are none.
      translated: pattern of train data translated from the source language.
      train_layout: of the train files, where it is another.
      by_language: whether a file holds several languages, to be told apart by language or id.
      normalization: of answers, `squad` or `mlqa`.
    """

    layout: str
    evaluated: Mapping[str, str]
    source: str = ""
    own: str = ""
    translated: str = ""
    train_layout: str = ""
    by_language: bool = False
    normalization: str = "squad"

    def train_pattern(self, setting: str, is_source: bool) -> str:
        """Returns the pattern of the train data of a language; empty if it is not trained."""
        if is_source:
            return self.source or self.own
        return {"translate_train": self.translated, "all_languages": self.own}.get(setting, "")


_SQUAD = "train-v1.1.json"
CORPORA: Mapping[str, UnderstandingCorpus] = {
    "sib200": UnderstandingCorpus(
        layout="labelled_tsv",
        evaluated={
            "validation": "data/annotated/{lang}/dev.tsv",
            "test": "data/annotated/{lang}/test.tsv",
        },
        own="data/annotated/{lang}/train.tsv",
        translated="data/annotated/{lang}/train.tsv",
    ),
    "table": UnderstandingCorpus(
        layout="labelled_tsv",
        evaluated={"validation": "classification/{config}.{lang}.valid.tsv.gz"},
        own="classification/{config}.{lang}.train.tsv.gz",
        translated="classification/{config}.{lang}.train.tsv.gz",
    ),
    "xnli": UnderstandingCorpus(
        layout="xnli",
        evaluated={"validation": "XNLI-1.0/xnli.dev.tsv", "test": "XNLI-1.0/xnli.test.tsv"},
        source="XNLI-MT-1.0/multinli/multinli.train.{lang}.tsv",
        translated="XNLI-MT-1.0/multinli/multinli.train.{lang}.tsv",
        train_layout="xnli_train",
        by_language=True,
    ),
    "pawsx": UnderstandingCorpus(
        layout="pawsx",
        evaluated={"validation": "{lang}/dev_2k.tsv", "test": "{lang}/test_2k.tsv"},
        source="{lang}/train.tsv",
        translated="{lang}/translated_train.tsv",
    ),
    "xquad": UnderstandingCorpus(
        layout="squad",
        evaluated={"test": "xquad.{lang}.json"},
        source=_SQUAD,
        translated="squad.translate.train.en-{lang}.json",
    ),
    "mlqa": UnderstandingCorpus(
        layout="squad",
        evaluated={
            "validation": "dev/dev-context-{lang}-question-{lang}.json",
            "test": "test/test-context-{lang}-question-{lang}.json",
        },
        source=_SQUAD,
        translated="mlqa-translate-train/{lang}_squad-translate-train-train-v1.1.json",
        normalization="mlqa",
    ),
    "tydiqa": UnderstandingCorpus(
        layout="squad",
        evaluated={"validation": "tydiqa-goldp-v1.1-dev.json"},
        own="tydiqa-goldp-v1.1-train.json",
        by_language=True,
    ),
    "wikiann": UnderstandingCorpus(
        layout="wikiann",
        evaluated={"validation": "{lang}/dev", "test": "{lang}/test"},
        own="{lang}/train",
    ),
    "ner_json": UnderstandingCorpus(
        layout="tagged_json",
        evaluated={"validation": "ner/{config}.{lang}.valid.jsonl.gz"},
        own="ner/{config}.{lang}.train.jsonl.gz",
    ),
    "ud": UnderstandingCorpus(
        layout="conllu",
        evaluated={
            "validation": "UD_*/{lang}_*-ud-dev.conllu",
            "test": "UD_*/{lang}_*-ud-test.conllu",
        },
        own="UD_*/{lang}_*-ud-train.conllu",
    ),
}
"""Name -> data set."""


class UnderstandingSource(seqio.DataSource):
    """Records `{src, tgt, src_lang, tgt_lang, gold}` of one language; `gold` is JSON."""

    def __init__(
        self,
        files: Mapping[str, tuple[str, Sequence[str]]],
        *,
        lang: str,
        dataset: str,
        prompt: str = "",
        id_prefix: str = "",
        normalization: str = "squad",
    ) -> None:
        """Reads nothing yet.

        Args:
          files: split -> its layout and paths.
          lang: language of all examples.
          dataset: name of the data set, under which languages are compared.
          prompt: see `understanding_layouts.read`.
          id_prefix: see `understanding_layouts.read`.
          normalization: of answers.
        """
        super().__init__(splits=tuple(files))
        self._files = {split: (layout, tuple(paths)) for split, (layout, paths) in files.items()}
        self._lang, self._settings = lang, (prompt, id_prefix)
        self._gold = {"dataset": dataset, "lang": lang, "normalization": normalization}

    @property
    def supports_arbitrary_sharding(self) -> bool:
        """False: examples are in memory, and shards take turns."""
        return False

    def list_shards(self, split: str) -> Sequence[str]:
        """Returns the files of a split."""
        return self._files[split][1]

    def num_input_examples(self, split: str) -> int:
        """Returns the number of examples; reads the files."""
        return len(self.examples(split))

    def examples(self, split: str) -> list[understanding_layouts.Example]:
        """Returns the examples of a split.

        Raises:
          ConfigError: a file is not in its layout, or there is no example.
        """
        layout, paths = self._files[split]
        found = [one for path in paths for one in _read(layout, path, *self._settings)]
        if not found:
            raise ConfigError(f"{', '.join(paths)}: no example of {self._lang!r}")
        return found

    def get_dataset(self, split: str = "train", *args: Any, **kwargs: Any) -> tf.data.Dataset:
        """Returns the records of a split, in the order of its files."""
        del args, kwargs
        found = self.examples(split)
        gold = [json.dumps({**self._gold, **one["gold"]}, ensure_ascii=False) for one in found]
        columns = {
            "src": [one["src"] for one in found],
            "tgt": [one["tgt"] for one in found],
            "src_lang": [self._lang] * len(found),
            "tgt_lang": [self._lang] * len(found),
            "gold": gold,
        }
        return tf.data.Dataset.from_tensor_slices(columns)


@functools.lru_cache(maxsize=256)
def _read(
    layout: str, path: str, prompt: str, id_prefix: str
) -> tuple[understanding_layouts.Example, ...]:
    return tuple(understanding_layouts.read(layout, path, prompt=prompt, id_prefix=id_prefix))


def register_understanding(
    name: str,
    data_dir: str,
    languages: Sequence[str],
    *,
    setting: str = "zero_shot",
    source_lang: str = "en",
    config: str = "",
    codes: Mapping[str, str] | None = None,
    vocabulary_of: str | None = None,
    **vocabulary: Any,
) -> tuple[str, ...]:
    """Registers a task for each language, and the mixtures of a setting; returns their names.

    Tasks are called `NAME_LANG`, after `config` where there is one; with another setting than
    `zero_shot`, `NAME_SETTING_LANG`. `NAME_train`, or `NAME_SETTING_train`, mixes those that are
    trained, every language alike; `..._evaluation` is for evaluation and has all of them. What is
    evaluated is the same in all settings, and so is the name under which results are written,
    `NAME_LANG`.

    Args:
      name: of the data set; one of `CORPORA`.
      data_dir: folder that holds it.
      languages: codes, `source_lang` among them.
      setting: one of `SETTINGS`.
      source_lang: the language of fine-tuning.
      config: part of the names of files (`table`, `ner_json`).
      codes: code -> code of the data set, where they differ.
      vocabulary_of: a registered task or mixture whose vocabulary to take: that of the pre-trained
        model.
      **vocabulary: else `vocabulary_file` and `extra_ids`; or `vocab_size` and `num_sentinels`, to
        train one from the train data.

    Raises:
      ConfigError: a name, language or setting is unknown, files are missing, or the data set has no
        train data of the kind that the setting needs.
    """
    if name not in CORPORA:
        raise ConfigError(f"no understanding data set is named {name!r}; {nearest(name, CORPORA)}")
    if setting not in SETTINGS:
        raise ConfigError(f"setting={setting!r}; expected one of {SETTINGS}")
    if source_lang not in languages:
        raise ConfigError(f"source_lang={source_lang!r}; expected one of {list(languages)}")
    dataset = config or name
    sources = {
        lang: _source(name, str(data_dir), lang, setting, source_lang, config, dict(codes or {}))
        for lang in languages
    }
    found = _vocabulary(dataset, sources, vocabulary_of, vocabulary)
    prefix = dataset if setting == SETTINGS[0] else f"{dataset}_{setting}"
    names = {lang: f"{prefix}_{lang}".replace("-", "_") for lang in languages}
    for lang, source in sources.items():
        _register(names[lang], lang, source, found)
    trained = [names[lang] for lang, source in sources.items() if "train" in source.splits]
    mixtures = {f"{prefix}_train": trained, f"{prefix}_evaluation": list(names.values())}
    for mixture, leaves in mixtures.items():
        task_registry.register_mixture(
            mixture,
            dict.fromkeys(leaves, 1.0),
            share_unit="examples",
            description=f"{dataset}, {setting.replace('_', ' ')}.",
        )
    return (*names.values(), *mixtures)


def _source(
    name: str,
    data_dir: str,
    lang: str,
    setting: str,
    source_lang: str,
    config: str,
    codes: Mapping[str, str],
) -> UnderstandingSource:
    corpus = CORPORA[name]
    train = corpus.train_pattern(setting, lang == source_lang)
    if not train and setting != "zero_shot":
        raise ConfigError(
            f"{name!r} has no train data of setting={setting!r} in {lang!r}; expected another of "
            f"{SETTINGS}"
        )
    patterns = {"train": train} if train else {}
    code = codes.get(lang, lang)
    files = {}
    for split, pattern in {**patterns, **corpus.evaluated}.items():
        path = f"{data_dir.rstrip('/')}/{pattern.format(lang=code, config=config)}"
        paths = sorted(tf.io.gfile.glob(path))
        if not paths:
            raise ConfigError(f"data set {name!r}, language {lang!r}: {path} does not exist")
        layout = corpus.train_layout if split == "train" else ""
        files[split] = (layout or corpus.layout, paths)
    prefix = ""
    if corpus.by_language:
        prefix = code if corpus.layout == "xnli" else language_name(code).lower() + "-"
    return UnderstandingSource(
        files,
        lang=lang,
        dataset=config or name,
        prompt=(config or name) if corpus.layout == "labelled_tsv" else "",
        id_prefix=prefix,
        normalization=corpus.normalization,
    )


def _register(
    name: str, lang: str, source: UnderstandingSource, vocabulary: seqio.Vocabulary
) -> None:
    task_registry.register_task(
        name,
        objective=OBJECTIVE,
        source=source,
        preprocessors=[tokenize, record_tasks.with_tokens(text_to_text, vocabulary, {})],
        output_features={
            feature: seqio.Feature(vocabulary=vocabulary, add_eos=False, dtype=tf.int32)
            for feature in ("inputs", "targets")
        },
        src_lang=lang,
        tgt_lang=lang,
        trained="train" in source.splits,
        description=f"{name}: text to text.",
    )


def _vocabulary(
    dataset: str,
    sources: Mapping[str, UnderstandingSource],
    vocabulary_of: str | None,
    settings: Mapping[str, Any],
) -> seqio.Vocabulary:
    if vocabulary_of is not None:
        shares, _ = task_registry.leaf_shares(vocabulary_of)
        return seqio.TaskRegistry.get(next(iter(shares))).output_features["targets"].vocabulary
    file = settings.get("vocabulary_file")
    if file is not None:
        return vocabularies.load_vocabulary(file, extra_ids=settings.get("extra_ids", 0))
    sizes = {"vocab_size": 8192, "num_sentinels": 100, **settings}
    files = {lang: source.list_shards("train") for lang, source in _trained(sources).items()}
    digest = hashlib.sha256(repr((sorted(files.items()), sizes)).encode()).hexdigest()[:12]
    return TrainedVocabulary(
        f"{dataset}_{digest}",
        functools.partial(_train_texts, sources),
        {**sizes, "control_tokens": vocabularies.control_tokens(list(sources))},
    )


def _trained(sources: Mapping[str, UnderstandingSource]) -> dict[str, UnderstandingSource]:
    return {lang: source for lang, source in sources.items() if "train" in source.splits}


def _train_texts(sources: Mapping[str, UnderstandingSource]) -> Iterator[str]:
    for source in _trained(sources).values():
        for example in source.examples("train"):
            yield from (example["src"], example["tgt"])
