"""What sentence vectors tell of languages, layer by layer: no training, cheap enough for a hook.

    cosine_matched     mean cosine of translations
    cosine_random      mean cosine of texts of the two languages that are no translations
    cosine_gap         matched less random
    mexa               translations that are nearer than any other text, from both sides
    cka                similarity of the two languages' spaces (linear CKA)
    anisotropy         mean cosine of different texts of one language
    language_probe     texts whose language a linear classifier tells; it learns on other texts

References:
  Kargaran et al., 2024, "MEXA: Multilingual Evaluation of English-Centric LLMs via Cross-Lingual
  Alignment", arXiv:2410.05873; Kornblith et al., 2019, "Similarity of Neural Network
  Representations Revisited", arXiv:1905.00414; Ethayarajh, 2019, "How Contextual are
  Contextualized Word Representations?", arXiv:1909.00512 (anisotropy).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xlingual.data.base import BatchSource
from xlingual.evaluation.encoding import EncodingOptions, SentenceEncoder, adjust
from xlingual.evaluation.retrieval_scores import retrieve
from xlingual.evaluation.rows import make_row, mean_rows
from xlingual.evaluation.search import unit
from xlingual.evaluation.suite import vocabulary_of
from xlingual.evaluation.text_sets import TextSet, TextSets
from xlingual.losses.base import Loss
from xlingual.models.base import Model
from xlingual.outputs import Evaluation
from xlingual.partitioning.partitioner import Partitioner
from xlingual.types import PyTree


def matched_and_random(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Returns the mean cosine of rows i and i, and that of rows i and j for all i != j.

    Args:
      first: [n, embed] float32, n >= 2.
      second: [n, embed] float32.
    """
    a, b = np.float64(unit(first)), np.float64(unit(second))
    matched = float(np.sum(a * b))
    together = float(a.sum(axis=0) @ b.sum(axis=0))
    return matched / len(a), (together - matched) / (len(a) * (len(a) - 1))


def linear_cka(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the linear centred kernel alignment of two sets of vectors of the same things.

    Args:
      first: [n, embed].
      second: [n, other embed].

    Returns:
      In [0, 1]; 0 where a set has no variance.
    """
    a, b = (np.float64(v) - np.float64(v).mean(axis=0) for v in (first, second))
    below = np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    return float(np.linalg.norm(a.T @ b) ** 2 / below) if below > 0 else 0.0


def anisotropy(vectors: np.ndarray) -> float:
    """Returns the mean cosine of different rows of [n, embed], n >= 2."""
    return matched_and_random(vectors, vectors)[1]


def mexa(first: np.ndarray, second: np.ndarray) -> float:
    """Returns how many rows are each other's nearest, as a share; arguments as above."""
    there, back = retrieve(first, second, ["cosine"])["cosine"]
    places = np.arange(len(first))
    return float(np.mean((there == places) & (back == places)))


def fit_ridge(vectors: np.ndarray, labels: np.ndarray, num_labels: int, alpha: float) -> Any:
    """Returns (weights [embed, labels], intercept [labels]) of a linear classifier, in closed form.

    Least squares to 1 for the label and -1 for others, with a penalty on the squared weights.

    Args:
      vectors: [n, embed].
      labels: [n] int, in [0, num_labels).
      num_labels: number of labels.
      alpha: weight of the penalty, > 0.
    """
    x = np.float64(vectors)
    y = 2.0 * (labels[:, None] == np.arange(num_labels)) - 1
    centre, middle = x.mean(axis=0), y.mean(axis=0)
    gram = (x - centre).T @ (x - centre) + alpha * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, (x - centre).T @ (y - middle))
    return weights, middle - centre @ weights


def language_probe(vectors: Mapping[str, np.ndarray], *, alpha: float = 1.0) -> float:
    """Returns how often a linear classifier names the language of a text.

    It learns on texts 0, 2, 4, ... of each language and is asked about the others, so that no
    translation of a text it has seen is asked for.

    Args:
      vectors: language -> [n, embed] float32, row i of each a translation of the others.
      alpha: penalty of the ridge, for vectors of length 1.
    """
    units = [unit(v) for v in vectors.values()]
    labels = [np.full(len(v), number) for number, v in enumerate(units)]
    halves = [
        [np.concatenate([part[start::2] for part in parts]) for parts in (units, labels)]
        for start in (0, 1)
    ]
    weights, intercept = fit_ridge(halves[0][0], halves[0][1], len(units), alpha)
    asked, truth = halves[1]
    return float(np.mean((np.float64(asked) @ weights + intercept).argmax(axis=1) == truth))


@dataclasses.dataclass(kw_only=True)
class RepresentationProbes:
    """Measures the vectors of aligned texts in every layer.

    Attributes:
      sets: aligned texts.
      encoding: pooling and lengths; its layer is that of the scalars.
      layers: whose states; empty for all.
      probe_alpha: penalty of the language probe.
      seed: nothing is drawn here but by `sets`; kept for the rows.
      name: short name of the evaluator.
    """

    sets: TextSets
    encoding: EncodingOptions = dataclasses.field(default_factory=EncodingOptions)
    layers: Sequence[int] = ()
    probe_alpha: float = 1.0
    seed: int = 0
    name: str = "probes"
    _sets: list[TextSet] = dataclasses.field(default_factory=list, init=False, repr=False)
    _encoder: SentenceEncoder | None = dataclasses.field(default=None, init=False, repr=False)

    def prepare(
        self,
        model: Model,
        partitioner: Partitioner,
        losses: Mapping[str, Loss],
        source: BatchSource,
    ) -> None:
        """Loads the texts.

        Raises:
          ConfigError: texts are missing, or there is no vocabulary.
        """
        del losses
        self._sets = self.sets.load()
        self._encoder = SentenceEncoder(model, partitioner, vocabulary_of(source), self.encoding)

    def __call__(self, params: PyTree) -> Evaluation:
        """Returns the numbers of every layer; those of the chosen one are scalars too."""
        assert self._encoder is not None
        count = self._encoder.num_layers(params)
        layers = [layer % count for layer in self.layers] or list(range(count))
        rows: list[dict[str, Any]] = []
        for one in self._sets:
            encoded = {
                lang: self._encoder.encode_layers(texts, lang=lang, params=params, layers=layers)
                for lang, texts in one.texts.items()
            }
            for place, layer in enumerate(layers):
                vectors = adjust(
                    {lang: found[place] for lang, found in encoded.items()},
                    centre=self.encoding.centre,
                    whiten=self.encoding.whiten,
                )
                rows += self._measure(one, vectors, layer)
        shown = self.encoding.layer % count
        scalars = {
            f"{self.name}/{row['dataset'].removesuffix('.mean')}/{row['metric']}": row["value"]
            for row in rows
            if row["dataset"].endswith(".mean")
            and row["layer"] == (shown if shown in layers else layers[-1])
        }
        return Evaluation(scalars=scalars, rows=rows)

    def _measure(
        self, one: TextSet, vectors: Mapping[str, np.ndarray], layer: int
    ) -> list[dict[str, Any]]:
        """Returns the rows of one layer, and their means over languages."""
        tags = {"layer": layer, "num_examples": one.size, "data_hash": one.data_hash}
        rows = []
        for src, tgt in one.pairs(self.sets.pivot_lang):
            matched, random = matched_and_random(vectors[src], vectors[tgt])
            found = {
                "cosine_matched": matched,
                "cosine_random": random,
                "cosine_gap": matched - random,
                "mexa": mexa(vectors[src], vectors[tgt]),
                "cka": linear_cka(vectors[src], vectors[tgt]),
            }
            langs = {"src_lang": src, "tgt_lang": tgt}
            rows += [
                make_row(metric=metric, value=value, dataset=one.name, **langs, **tags)
                for metric, value in found.items()
            ]
        for lang, of_lang in vectors.items():
            value = anisotropy(of_lang)
            rows.append(
                make_row(metric="anisotropy", value=value, dataset=one.name, lang=lang, **tags)
            )
        probe = language_probe(vectors, alpha=self.probe_alpha)
        rows.append(make_row(metric="language_probe", value=probe, dataset=one.name, **tags))
        return [*rows, *mean_rows(rows, dataset=f"{one.name}.mean", **tags)]
