"""What models, losses and evaluators return: frozen structs that cross package borders."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.struct

from xlingual.types import Array


@flax.struct.dataclass
class Readout:
    """The two factors of the logits: `states @ table`, or `states @ table.T` where `by_row`.

    A loss that reads these and not the logits keeps them from ever being computed.

    Attributes:
      states: [batch, length, embed] in the dtype of the product, scaled where logits are.
      table: [embed, vocab], or [vocab, embed] where `by_row`; the float32 parameter, which the
        product rounds to the dtype of `states`.
      by_row: whether a row of `table` is one entry of the vocabulary, as in an embedding.
    """

    states: Array
    table: Array
    by_row: bool = flax.struct.field(pytree_node=False, default=False)


@flax.struct.dataclass
class ModelOutputs:
    """Everything one forward pass computes.

    Attributes:
      logits: [batch, length, vocab] float32, unnormalised; not computed in a program that does not
        use them.
      hidden: final states by stack, e.g. `{"encoder": [batch, length, embed]}`.
      heads: outputs of extra heads by name; empty for plain models.
      readout: what the logits are the product of; None where they are no such product.
    """

    logits: Array
    hidden: Mapping[str, Array] = flax.struct.field(default_factory=dict)
    heads: Mapping[str, Array] = flax.struct.field(default_factory=dict)
    readout: Readout | None = None


@flax.struct.dataclass
class Metric:
    """A weighted sum; `total / weight` is the mean, and metrics merge by addition.

    Attributes:
      total: [] or [num_tasks] float32, sum of value * weight.
      weight: like `total`, float32, sum of weights.
    """

    total: Array
    weight: Array

    def __add__(self, other: "Metric") -> "Metric":
        return Metric(total=self.total + other.total, weight=self.weight + other.weight)


@flax.struct.dataclass
class LossTerm:
    """One loss before its normalizer and weight are applied.

    Attributes:
      total: [] float32, sum over the units of the loss (tokens, pairs, ...).
      metrics: name -> scalar `Metric`.
      token_metrics: name -> `Metric` whose fields are [batch, length] float32, one value a target
        token (value * weight, weight); the train step sums them per task.
    """

    total: Array
    metrics: Mapping[str, Metric] = flax.struct.field(default_factory=dict)
    token_metrics: Mapping[str, Metric] = flax.struct.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One decoded example, for people to read."""

    task: str
    source: str
    target: str
    prediction: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What an evaluator found at one step.

    Attributes:
      scalars: name -> number, written with the step's other metrics.
      results: merged into `MODEL_DIR/results.json` (JSON types only).
      samples: decoded examples to show.
      rows: one line of `MODEL_DIR/evaluations.jsonl` each (`evaluation.rows.make_row`).
      details: dataset -> a record for each example, to read and to compare runs with (JSON types).
    """

    scalars: Mapping[str, float]
    results: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    samples: Sequence[Sample] = ()
    rows: Sequence[Mapping[str, Any]] = ()
    details: Mapping[str, Sequence[Mapping[str, Any]]] = dataclasses.field(default_factory=dict)
