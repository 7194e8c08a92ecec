"""Readers of published layouts of understanding data: one file in, text-to-text examples out.

    layout        a file                                        inputs
    labelled_tsv  a header; label and texts in columns          NAME FIELD: x FIELD: y
    xnli          XNLI-1.0: all languages in one file           xnli premise: x hypothesis: y
    xnli_train    XNLI-MT-1.0/multinli: premise, hypo, label    xnli premise: x hypothesis: y
    pawsx         sentence1, sentence2, label 0 or 1            paws sentence1: x sentence2: y
    squad         JSON of SQuAD 1.1                             question: x context: y
    wikiann       LANG:word TAB tag; blank lines between        tag: x
    tagged_json   JSON lines with tokens and tags               tag: x
    conllu        CoNLL-U; the tags are UPOS                    upos: x

The wording is that of T5 for sentence pairs, of mT5 for answers and entities. An example is
`{src, tgt, gold}`: both texts, and what a metric must know of it (`xlingual.evaluation`).
"""

import csv
import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from xlingual.errors import ConfigError
from xlingual.evaluation import tagging_scores

Example = dict[str, Any]
_NLI_LABELS = ("contradiction", "entailment", "neutral")
_PAWS_LABELS = ("different_meaning", "paraphrase")


def read(layout: str, path: str, *, prompt: str = "", id_prefix: str = "") -> list[Example]:
    """Returns the examples of a file.

    Args:
      layout: one of `LAYOUTS`.
      path: local or `gs://`; names that end in `.gz` are unpacked.
      prompt: `labelled_tsv`: the first word of the inputs.
      id_prefix: examples whose id begins otherwise are left out (`squad`: TyDi QA has
        `finnish-...`), or whose language is another (`xnli`: `de`).

    Raises:
      ConfigError: the file is not in this layout.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"layout={layout!r}; expected one of {sorted(LAYOUTS)}")
    with tf.io.gfile.GFile(path, "rb") as raw:
        data = raw.read()
    text = (gzip.decompress(data) if path.endswith(".gz") else data).decode("utf-8-sig")
    try:
        return list(LAYOUTS[layout](text, prompt, id_prefix))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ConfigError(
            f"data file {path} is not in the layout {layout!r}: {type(error).__name__}: {error}"
        ) from error


def labelled(src: str, label: str, labels: Sequence[str], identity: str = "") -> Example:
    """Returns an example of classification."""
    if labels and label not in labels:
        raise ValueError(f"label {label!r}; expected one of {list(labels)}")
    gold = {"kind": "label", "id": identity, "label": label, "labels": list(labels)}
    return {"src": src, "tgt": label, "gold": gold}


def _tsv(text: str) -> Iterator[dict[str, str]]:
    lines = [line for line in text.split("\n") if line.strip()]
    rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    return (dict(row) for row in rows)


def _labelled_tsv(text: str, prompt: str, id_prefix: str) -> Iterator[Example]:
    del id_prefix
    rows = list(_tsv(text))
    names = {"category": "label", "index_id": "id"}
    columns = [names.get(column, column) for column in rows[0]] if rows else []
    rows = [dict(zip(columns, row.values(), strict=True)) for row in rows]
    labels = sorted({row["label"] for row in rows})
    fields = [column for column in columns if column not in ("id", "label")]
    for row in rows:
        parts = [f"{field}: {row[field].strip()}" for field in fields]
        yield labelled(" ".join([prompt, *parts]).strip(), row["label"], labels, row["id"])


def _xnli(text: str, prompt: str, lang: str) -> Iterator[Example]:
    del prompt
    for row in _tsv(text):
        if row["language"] == lang:
            src = f"xnli premise: {row['sentence1']} hypothesis: {row['sentence2']}"
            yield labelled(src, row["gold_label"], _NLI_LABELS, row["pairID"])


def _xnli_train(text: str, prompt: str, id_prefix: str) -> Iterator[Example]:
    del prompt, id_prefix
    for number, row in enumerate(_tsv(text)):
        label = row["label"].replace("contradictory", "contradiction")
        src = f"xnli premise: {row['premise']} hypothesis: {row['hypo']}"
        yield labelled(src, label, _NLI_LABELS, str(number))


def _pawsx(text: str, prompt: str, id_prefix: str) -> Iterator[Example]:
    del prompt, id_prefix
    for row in _tsv(text):
        src = f"paws sentence1: {row['sentence1']} sentence2: {row['sentence2']}"
        yield labelled(src, _PAWS_LABELS[int(row["label"])], _PAWS_LABELS, row["id"])


def _squad(text: str, prompt: str, id_prefix: str) -> Iterator[Example]:
    del prompt
    for article in json.loads(text)["data"]:
        for paragraph in article["paragraphs"]:
            context = " ".join(paragraph["context"].split())
            for question in paragraph["qas"]:
                answers = [answer["text"] for answer in question["answers"]]
                if not answers or not question["id"].startswith(id_prefix):
                    continue
                asked = " ".join(question["question"].split())
                gold = {"kind": "answers", "id": question["id"], "answers": answers}
                src = f"question: {asked} context: {context}"
                yield {"src": src, "tgt": answers[0], "gold": gold}


def _sentences(text: str) -> Iterator[list[list[str]]]:
    """Yields the lines of each sentence, cut at tabs; comments are left out."""
    for block in text.replace("\r\n", "\n").split("\n\n"):
        lines = [line.split("\t") for line in block.split("\n") if line.strip()]
        lines = [cells for cells in lines if len(cells) > 1]
        if lines:
            yield lines


def entities(tokens: Sequence[str], tags: Sequence[str], identity: str = "") -> Example:
    """Returns an example of named entity recognition in mT5's wording."""
    if len(tokens) != len(tags):
        raise ValueError(f"{len(tokens)} tokens and {len(tags)} tags; expected as many")
    gold = {"kind": "spans", "id": identity, "tokens": list(tokens), "tags": list(tags)}
    written = tagging_scores.write_spans(tokens, tags)
    return {"src": "tag: " + " ".join(tokens), "tgt": written, "gold": gold}


def _wikiann(text: str, prompt: str, id_prefix: str) -> Iterator[Example]:
    del prompt, id_prefix
    for number, lines in enumerate(_sentences(text)):
        tokens = [cells[0].partition(":")[2] or cells[0] for cells in lines]
        yield entities(tokens, [cells[-1] for cells in lines], str(number))


def _tagged_json(text: str, prompt: str, id_prefix: str) -> Iterator[Example]:
    del prompt, id_prefix
    for number, line in enumerate(filter(str.strip, text.split("\n"))):
        row = json.loads(line)
        yield entities(row["tokens"], row["tags"], str(number))


def _conllu(text: str, prompt: str, id_prefix: str) -> Iterator[Example]:
    del prompt, id_prefix
    for number, lines in enumerate(_sentences(text)):
        # Ranges (2-3) and empty words (2.1) have no tag of their own.
        words = [cells for cells in lines if cells[0].isdecimal()]
        if not words:
            continue
        tags = [cells[3] for cells in words]
        gold = {"kind": "tags", "id": str(number), "tags": tags}
        src = "upos: " + " ".join(cells[1].replace(" ", "_") for cells in words)
        yield {"src": src, "tgt": " ".join(tags), "gold": gold}


LAYOUTS: Mapping[str, Callable[[str, str, str], Iterator[Example]]] = {
    "labelled_tsv": _labelled_tsv,
    "xnli": _xnli,
    "xnli_train": _xnli_train,
    "pawsx": _pawsx,
    "squad": _squad,
    "wikiann": _wikiann,
    "tagged_json": _tagged_json,
    "conllu": _conllu,
}
"""Layout -> its reader: (text, prompt, beginning of ids) -> examples."""
