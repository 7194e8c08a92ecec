"""UL2: infilling and continuation in one model, told apart by a mode token.

A mixture of seven denoisers (UL2: Tay et al., 2023, ICLR, arXiv:2205.05131; UL2R: Tay et al., 2022,
arXiv:2210.11399): regular `[NLU]` and extreme `[NLG]` span corruption, and sequential `[S2S]`
prefix language modelling. Example, mean span 3, density 0.5, sentinels `S0 S1`, EOS `$`:

    tokens:  21 22 23 24 25 26 27 28
    inputs:  [NLG] 21 22 S0 26 S1 $
    targets: S0 23 24 25 S1 27 28 $

Documents form one stream, which a random sequence of denoisers cuts, each into segments of its own
length. So the rates are those of examples, whatever the lengths are.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from xlingual.errors import ConfigError
from xlingual.objectives import language_model, noise, rows, span_corruption
from xlingual.objectives.backend import seqio, tf
from xlingual.objectives.registry import Objective
from xlingual.objectives.special_tokens import SpecialTokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class Denoiser:
    """One task of the mixture.

    Attributes:
      mode: control token that begins the inputs.
      noise_density: share of noise; of a sequential denoiser, mean share of the continuation.
      mean_noise_span_length: tokens, at least 1; None for a sequential denoiser (prefix LM).
      rate: share of examples, above 0; rates need not sum to one.

    Raises:
      ConfigError: a setting is out of range.
    """

    mode: str
    noise_density: float
    mean_noise_span_length: float | None
    rate: float

    def __post_init__(self) -> None:
        if not self.rate > 0.0:
            raise ConfigError(f"rate of the denoiser {self} is {self.rate}; expected above 0")
        if self.mean_noise_span_length is None:
            language_model.check_density(self.noise_density)
        else:
            noise.check_noise(self.noise_density, self.mean_noise_span_length)


_SETTINGS = (
    ("[NLU]", 0.15, 3.0),
    ("[NLU]", 0.15, 8.0),
    ("[NLG]", 0.5, 3.0),
    ("[NLG]", 0.5, 8.0),
    ("[NLG]", 0.15, 64.0),
    ("[NLG]", 0.5, 64.0),
    ("[S2S]", 0.25, None),
)


def _preset(regular: float, extreme: float, sequential: float) -> tuple[Denoiser, ...]:
    """Returns the seven denoisers, given the rate of a denoiser of each mode."""
    rates = {"[NLU]": regular, "[NLG]": extreme, "[S2S]": sequential}
    return tuple(
        Denoiser(mode=mode, noise_density=density, mean_noise_span_length=mean, rate=rates[mode])
        for mode, density, mean in _SETTINGS
    )


PRESETS: Mapping[str, tuple[Denoiser, ...]] = {
    "ul2": _preset(0.2, 0.1, 0.2),
    "uniform": _preset(1 / 7, 1 / 7, 1 / 7),
    "ul2r": _preset(0.25 / 2, 0.25 / 4, 0.5),
}
"""`ul2r` continues the training of a causal model: half of the examples are sequential."""


def ul2(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    denoisers: str | Sequence[Denoiser] = "ul2",
    drop_unaffordable: bool = False,
) -> tf.data.Dataset:
    """Returns examples of a mixture of denoisers; a mode token begins the inputs.

    128 documents are concatenated without separator and cut; a document of more than 65,536 tokens
    gives one of its aligned blocks. Run it on one language at a time. Only the last segment of
    each 128 documents is shorter than its denoiser asks.

    Args:
      dataset: examples with `targets` [length] int32, no EOS; other features are dropped.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens; `targets` must
        hold those of the longest denoiser, about as many as `inputs`.
      output_features: unused; SeqIO passes it.
      special_tokens: ids of EOS, modes and sentinels; 256 sentinels serve inputs up to 1,024.
      denoisers: `ul2` (rates .2, .2; .1 each; .2), `uniform`, `ul2r`, or denoisers.
      drop_unaffordable: leave out denoisers with more spans than there are sentinels, at 512
        tokens that of (3, .5), instead of refusing; the rates of the others grow in proportion.

    Raises:
      ConfigError: unknown preset, no denoiser, lengths too short, modes missing, or more spans
        than sentinels.
    """
    del output_features
    if isinstance(denoisers, str):
        if denoisers not in PRESETS:
            raise ConfigError(
                f"denoisers is {denoisers!r}; expected one of {', '.join(PRESETS)}, or denoisers"
            )
        denoisers = PRESETS[denoisers]
    inputs_length = rows.feature_length(sequence_length, "inputs")
    targets_length = rows.feature_length(sequence_length, "targets")
    if inputs_length < 4:
        raise ConfigError(
            f"task_feature_lengths['inputs']={inputs_length} is too short for ul2; expected at "
            "least 4"
        )
    lengths = {denoiser: _lengths(denoiser, inputs_length) for denoiser in denoisers}
    if drop_unaffordable:
        most = special_tokens.num_sentinels
        lengths = {d: found for d, found in lengths.items() if found.num_spans <= most}
    if not lengths:
        raise ConfigError("denoisers holds none that the vocabulary has sentinels for")
    for denoiser, found in lengths.items():
        span_corruption.check_spans(found.num_spans, special_tokens, f"ul2, {denoiser},")
    needed = max(found.targets for found in lengths.values())
    if targets_length < needed:
        raise ConfigError(
            f"task_feature_lengths['targets']={targets_length} is too short for ul2 with "
            f"task_feature_lengths['inputs']={inputs_length}; expected at least {needed}"
        )
    corrupt = _corruptor(
        tuple((denoiser, found.tokens) for denoiser, found in lengths.items()), special_tokens
    )
    return rows.map_batches(
        dataset,
        lambda batch, seeds: corrupt(
            rows.without_sentinels(batch["targets"], special_tokens), seeds
        ),
        batch_size=rows.DOCUMENTS_PER_BATCH,
        num_seeds=5,
    )


def _lengths(denoiser: Denoiser, inputs_length: int) -> noise.SpanLengths:
    """Returns the lengths of a denoiser, one place of `inputs` kept for its mode."""
    if denoiser.mean_noise_span_length is not None:
        return noise.span_lengths(
            inputs_length - 1, denoiser.noise_density, denoiser.mean_noise_span_length
        )
    tokens = inputs_length - 2
    targets = language_model.longest_continuation(tokens, denoiser.noise_density)
    return noise.SpanLengths(tokens=tokens, targets=targets, num_noise=targets - 1, num_spans=0)


@functools.cache
def _corruptor(
    segment_lengths: tuple[tuple[Denoiser, int], ...], special_tokens: SpecialTokens
) -> Callable[..., rows.Features]:
    """Returns the graph of one setting, which all tasks with that setting share."""
    denoisers = [denoiser for denoiser, _ in segment_lengths]
    lengths = np.array([length for _, length in segment_lengths], np.int64)
    bounds = np.cumsum([d.rate for d in denoisers]) / sum(d.rate for d in denoisers)
    modes = np.array([special_tokens.control_id(d.mode) for d in denoisers], np.int32)
    densities = np.array([d.noise_density for d in denoisers], np.float64)
    means = np.array([d.mean_noise_span_length or 0.0 for d in denoisers], np.float64)

    def corrupt(documents: tf.RaggedTensor, seeds: tf.Tensor) -> rows.Features:
        tokens = span_corruption.take_random_blocks(documents, seeds[0])
        segments, kinds = _cut_in_turn(tokens, lengths, bounds, seeds[1])
        mean = tf.gather(means, kinds)
        density = tf.gather(densities, kinds)
        spans, suffixes = tf.where(mean > 0.0)[:, 0], tf.where(mean == 0.0)[:, 0]
        infilled = span_corruption.corrupt_rows(
            tf.gather(segments, spans),
            tf.gather(density, spans),
            tf.gather(mean, spans),
            special_tokens=special_tokens,
            seeds=seeds[2:4],
        )
        continued = language_model.split_rows(
            tf.gather(segments, suffixes),
            tf.gather(density, suffixes),
            special_tokens=special_tokens,
            seed=seeds[4],
        )
        order = tf.argsort(tf.concat([spans, suffixes], axis=0))
        found = {
            name: tf.gather(tf.concat([infilled[name], continued[name]], axis=0), order)
            for name in infilled
        }
        mode = rows.single_ids(tf.gather(modes, kinds))
        return {"inputs": rows.join_rows(mode, found["inputs"]), "targets": found["targets"]}

    return tf.function(corrupt, autograph=False)


def _cut_in_turn(
    tokens: tf.Tensor, lengths: np.ndarray, bounds: np.ndarray, seed: tf.Tensor
) -> tuple[tf.RaggedTensor, tf.Tensor]:
    """Returns segments of the lengths of randomly drawn kinds, and their kinds.

    The number of segments is a stopping time of the draws, so that by Wald's identity every kind
    keeps its expected share, the shorter last segment included.

    Args:
      tokens: [total] int32.
      lengths: [kinds] int64, tokens of a segment of each kind.
      bounds: [kinds] float64, cumulative probabilities of the kinds.
      seed: [2] int32.

    Returns:
      [segments, (length)] int32 and [segments] int64.
    """
    total = tf.size(tokens, tf.int64)
    most = total // int(lengths.min()) + 1
    draws = tf.random.stateless_uniform(most[tf.newaxis], seed, dtype=tf.float64)
    kinds = tf.searchsorted(bounds[:-1], draws, side="right", out_type=tf.int64)
    drawn = tf.gather(lengths, kinds)
    starts = tf.cumsum(drawn, exclusive=True)
    kinds = tf.gather(kinds, tf.where(starts < total)[:, 0])
    splits = tf.concat([tf.gather(starts, tf.where(starts < total)[:, 0]), [total]], axis=0)
    return tf.RaggedTensor.from_row_splits(tokens, splits, validate=False), kinds


OBJECTIVES = (Objective(name="ul2", preprocess=ul2, records=("mono",)),)
