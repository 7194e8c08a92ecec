"""A model as an encoder that MTEB takes; MTEB itself is not needed here.

    encoder = MtebEncoder(encoder=sentence_encoder, name="xlingual/toy")
    mteb.evaluate(encoder, tasks)                      # mteb 2; mteb 1: MTEB(tasks).run(encoder)

References:
  Muennighoff et al., 2023, "MTEB: Massive Text Embedding Benchmark", arXiv:2210.07316; Enevoldsen
  et al., 2025, "MMTEB: Massive Multilingual Text Embedding Benchmark", arXiv:2502.13595.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from xlingual.errors import ConfigError
from xlingual.evaluation.encoding import SentenceEncoder
from xlingual.evaluation.search import unit


@dataclasses.dataclass(frozen=True, kw_only=True)
class MtebEncoder:
    """What MTEB asks of a model: `encode`, two similarities and a description.

    Attributes:
      encoder: with its parameters.
      name: `organisation/model`, under which MTEB keeps results.
      revision: of the model, e.g. its step.
    """

    encoder: SentenceEncoder
    name: str = "xlingual/model"
    revision: str = "0"

    def __post_init__(self) -> None:
        if self.name.count("/") != 1:
            raise ConfigError(f"name={self.name!r}; expected `organisation/model`")

    def encode(self, inputs: Iterable[Any], **settings: Any) -> np.ndarray:
        """Returns the vectors of texts, [texts, embed] float32, in order.

        Args:
          inputs: texts, or batches of them, `{"text": [...]}`, as MTEB 2 loads them.
          **settings: what MTEB says of the task; without effect: the same vectors for all.
        """
        del settings
        texts = list(_texts(inputs))
        if not texts:
            raise ValueError("no texts; expected at least one")
        return self.encoder.encode(texts)

    def similarity(self, first: Any, second: Any) -> np.ndarray:
        """Returns the cosines of all pairs, [first, second] float32."""
        return unit(np.atleast_2d(first)) @ unit(np.atleast_2d(second)).T

    def similarity_pairwise(self, first: Any, second: Any) -> np.ndarray:
        """Returns the cosines of rows i and i, [rows] float32."""
        return np.sum(unit(np.atleast_2d(first)) * unit(np.atleast_2d(second)), axis=1)

    @property
    def mteb_model_meta(self) -> Any:
        """The description that MTEB keeps beside results.

        Raises:
          ConfigError: MTEB 2 is not installed.
        """
        try:
            from mteb.models import ModelMeta
        except ImportError as error:
            raise ConfigError(
                f"mteb_model_meta needs mteb 2 ({error}); pip install mteb"
            ) from error
        return ModelMeta.create_empty({"name": self.name, "revision": self.revision})


def _texts(inputs: Iterable[Any]) -> Iterable[str]:
    for item in inputs:
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            texts: Sequence[str] | str = item["text"]
            yield from [texts] if isinstance(texts, str) else texts
        else:
            yield from item
