"""How much noise a text gets and where: span counts, lengths and masks from explicit seeds.

The arithmetic is that of T5 (Raffel et al., 2020, JMLR 21(140)), with one difference: the public
code counts noise in float64 for lengths and in float32 for masks, which disagree by one token when
`length * noise_density` is an exact half. Here `noise_counts` serves both.
"""

import dataclasses

import numpy as np

from xlingual.errors import ConfigError
from xlingual.objectives.backend import tf


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpanLengths:
    """Lengths that fill `inputs` exactly.

    Attributes:
      tokens: raw tokens of one segment.
      targets: room that the targets of such a segment need, EOS included.
      num_noise: noise tokens in it.
      num_spans: noise spans in it.
    """

    tokens: int
    targets: int
    num_noise: int
    num_spans: int


def noise_counts(
    lengths: tf.Tensor | np.ndarray | int,
    noise_density: float | tf.Tensor,
    mean_noise_span_length: float | tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the numbers of noise tokens and of noise spans in texts of these lengths.

    `N = clip(round(n * density), 1, n - 1)` and `S = clip(round(N / mean), 1, min(N, n - N))` in
    float64, rounding half to even; a length below 2 counts as 2.

    Args:
      lengths: integers of any shape.
      noise_density: share of noise, in (0, 1); one number, or float64 of the shape of `lengths`.
      mean_noise_span_length: tokens, at least 1; likewise.

    Returns:
      (num_noise, num_spans), both int32 of the shape of `lengths`.
    """
    total = tf.cast(tf.maximum(lengths, 2), tf.float64)
    density = tf.convert_to_tensor(noise_density, tf.float64)
    num_noise = tf.clip_by_value(tf.round(total * density), 1.0, total - 1.0)
    mean = tf.convert_to_tensor(mean_noise_span_length, tf.float64)
    num_spans = tf.round(num_noise / mean)
    most = tf.minimum(num_noise, total - num_noise)
    num_spans = tf.minimum(tf.maximum(num_spans, 1.0), most)
    return tf.cast(num_noise, tf.int32), tf.cast(num_spans, tf.int32)


def span_lengths(
    inputs_length: int, noise_density: float, mean_noise_span_length: float
) -> SpanLengths:
    """Returns the longest segment whose corrupted form still fits `inputs_length`.

    >>> span_lengths(512, 0.15, 3.0)
    SpanLengths(tokens=568, targets=114, num_noise=85, num_spans=28)

    Args:
      inputs_length: tokens, EOS included.
      noise_density: share of noise, in (0, 1).
      mean_noise_span_length: tokens, at least 1.

    Raises:
      ConfigError: a setting is out of range, or `inputs_length` leaves no room for noise.
    """
    check_noise(noise_density, mean_noise_span_length)
    if inputs_length < 3:
        raise ConfigError(
            f"inputs length {inputs_length} is too short for span corruption; expected at least 3"
        )
    lengths = np.arange(inputs_length - 1, int(inputs_length / (1.0 - noise_density)) + 3)
    num_noise, num_spans = noise_counts_now(lengths, noise_density, mean_noise_span_length)
    too_long = lengths - num_noise + num_spans + 1 > inputs_length
    best = max(int(np.argmax(too_long)) - 1, 0)
    tokens = int(lengths[best])
    targets = int(num_noise[best] + num_spans[best]) + 1
    if noise_density == 0.5 and targets > inputs_length:
        # T5's rule: at density one half the targets may not be longer than the inputs.
        tokens, targets = tokens - 1, targets - 1
    counts = noise_counts_now(np.asarray(tokens), noise_density, mean_noise_span_length)
    return SpanLengths(
        tokens=tokens, targets=targets, num_noise=int(counts[0]), num_spans=int(counts[1])
    )


def noise_counts_now(
    lengths: np.ndarray, noise_density: float, mean_noise_span_length: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns `noise_counts` as numbers, also while a graph is being built.

    Args:
      lengths: integers of any shape.
      noise_density: share of noise, in (0, 1).
      mean_noise_span_length: tokens, at least 1.
    """
    with tf.init_scope():
        counts = noise_counts(tf.constant(lengths), noise_density, mean_noise_span_length)
        return np.asarray(counts[0]), np.asarray(counts[1])


def check_noise(noise_density: float, mean_noise_span_length: float) -> None:
    """Raises ConfigError unless 0 < `noise_density` < 1 and `mean_noise_span_length` >= 1."""
    if not 0.0 < noise_density < 1.0:
        raise ConfigError(f"noise_density is {noise_density}; expected a number in (0, 1)")
    if not mean_noise_span_length >= 1.0:
        raise ConfigError(
            f"mean_noise_span_length is {mean_noise_span_length}; expected at least 1 token"
        )


def random_spans_noise_mask(
    lengths: tf.Tensor,
    noise_density: float | tf.Tensor,
    mean_noise_span_length: float | tf.Tensor,
    *,
    seeds: tf.Tensor,
    random_roll: bool = False,
    num_kept_after: int = 0,
) -> tf.Tensor:
    """Returns noise masks of a batch of texts, laid end to end.

    In each text the noise is cut into spans by a uniformly random composition, and so are the kept
    tokens, independently; the two alternate, beginning with kept tokens and ending with noise. All
    such masks are equally likely. A text of one token has no noise.

    Args:
      lengths: [batch] int32.
      noise_density: share of noise, in (0, 1); one number, or [batch] float64.
      mean_noise_span_length: tokens, at least 1; one number, or [batch] float64.
      seeds: [2, 2] int32: one for the compositions, one for the roll.
      random_roll: rotate each mask by a uniform offset, so that it may begin with noise.
      num_kept_after: further places after each text that are never noise (1 for its EOS).

    Returns:
      [sum(lengths + num_kept_after)] bool, True = noise.
    """
    num_noise, num_spans = noise_counts(lengths, noise_density, mean_noise_span_length)
    return counted_spans_noise_mask(
        lengths,
        num_noise,
        num_spans,
        seeds=seeds,
        random_roll=random_roll,
        num_kept_after=num_kept_after,
    )


def counted_spans_noise_mask(
    lengths: tf.Tensor,
    num_noise: tf.Tensor,
    num_spans: tf.Tensor,
    *,
    seeds: tf.Tensor,
    random_roll: bool = False,
    num_kept_after: int = 0,
) -> tf.Tensor:
    """Returns noise masks as `random_spans_noise_mask`, from counts of each text.

    Args:
      lengths: [batch] int32; one below 2 counts as 2.
      num_noise: [batch] int32, noise tokens, in [1, lengths - 1].
      num_spans: [batch] int32, in [1, min(num_noise, lengths - num_noise)].
      seeds: as `random_spans_noise_mask`.
      random_roll: as `random_spans_noise_mask`.
      num_kept_after: as `random_spans_noise_mask`.
    """
    num_kept = tf.maximum(lengths, 2) - num_noise
    bounds = _random_bounds(
        tf.concat([num_noise, num_kept], axis=0), tf.concat([num_spans, num_spans], 0), seeds[0]
    )
    noise_bounds, kept_bounds = tf.split(bounds, 2)
    kept_ends = kept_bounds[:, 1:]
    edges = tf.concat([kept_ends + noise_bounds[:, :-1], kept_ends + noise_bounds[:, 1:]], axis=1)
    edges = tf.minimum(edges, lengths[:, tf.newaxis])
    if random_roll:
        edges = _roll(edges, lengths, seeds[1])
    ends = tf.cumsum(lengths + num_kept_after)
    edges = tf.reshape(edges + (ends - lengths - num_kept_after)[:, tf.newaxis], [-1])
    total = tf.reduce_sum(lengths + num_kept_after)
    # Every text has an even number of edges, so the parity of their running count is the mask.
    counts = tf.math.unsorted_segment_sum(tf.ones_like(edges), edges, total + 1)
    return tf.cumsum(counts)[:-1] % 2 == 1


def shortest_prefix(
    lengths: tf.Tensor | np.ndarray | int, noise_density: float | tf.Tensor
) -> tf.Tensor:
    """Returns the smallest prefix that a prefix language model reads of texts of these lengths.

    `min(n - 1, max(1, round((1 - 2 * density) * (n - 1))))` in float64, rounding half to even.

    Args:
      lengths: integers of any shape, at least 1.
      noise_density: mean share of the continuation, in (0, 0.5]; one number, or float64 of the
        shape of `lengths`.
    """
    most = tf.cast(lengths, tf.float64) - 1.0
    least = tf.maximum(tf.round((1.0 - 2.0 * noise_density) * most), 1.0)
    return tf.cast(tf.minimum(most, least), tf.int32)


def random_prefix_lengths(
    lengths: tf.Tensor, noise_density: float | tf.Tensor, *, seed: tf.Tensor
) -> tf.Tensor:
    """Returns where to split each text: uniform from `shortest_prefix` to `lengths - 1`.

    Args:
      lengths: [batch] int32, at least 1.
      noise_density: mean share of the continuation, in (0, 0.5]; one number, or [batch] float64.
      seed: [2] int32.

    Returns:
      [batch] int32; 0 for a text of one token.
    """
    least = shortest_prefix(lengths, noise_density)
    draws = tf.random.stateless_uniform(tf.shape(lengths), seed, dtype=tf.float64)
    return least + tf.cast(draws * tf.cast(lengths - least, tf.float64), tf.int32)


def _random_bounds(totals: tf.Tensor, parts: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns bounds of uniformly random compositions of `totals` into `parts` positive parts.

    Args:
      totals: [batch] int32, at least 1.
      parts: [batch] int32, in [1, totals].
      seed: [2] int32.

    Returns:
      [batch, max(parts) + 1] int32, ascending from 0 to the total, which fills the rest of a row.
    """
    num_places = tf.maximum(tf.reduce_max(totals), 1) - 1
    most_cuts = tf.maximum(tf.reduce_max(parts), 1) - 1
    shape = tf.stack([tf.size(totals), num_places])
    keys = tf.random.stateless_uniform(shape, seed, minval=None, maxval=None, dtype=tf.int32)
    possible = tf.range(num_places) < totals[:, tf.newaxis] - 1
    keys = tf.where(possible, keys, np.iinfo(np.int32).min)
    places = tf.math.top_k(keys, most_cuts, sorted=True).indices
    drawn = tf.range(most_cuts) < parts[:, tf.newaxis] - 1
    cuts = tf.sort(tf.where(drawn, places + 1, totals[:, tf.newaxis]), axis=1)
    return tf.concat([tf.zeros_like(totals)[:, tf.newaxis], cuts, totals[:, tf.newaxis]], axis=1)


def _roll(edges: tf.Tensor, lengths: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Rotates masks given by their edges, [batch, edges], by a uniform offset below the length.

    A span over the end of a text becomes two: one edge moves round and two are added, at 0 and at
    the end, so that the number of edges of a text stays even.
    """
    draws = tf.random.stateless_uniform(tf.shape(lengths), seed, dtype=tf.float64)
    shifts = tf.cast(draws * tf.cast(lengths, tf.float64), tf.int32)
    moved = edges + shifts[:, tf.newaxis]
    ends = lengths[:, tf.newaxis]
    beyond = moved > ends
    wrapped = tf.where(beyond, moved - ends, moved)
    odd = tf.reduce_sum(tf.cast(beyond, tf.int32), axis=1, keepdims=True) % 2 == 1
    extra = tf.concat([tf.zeros_like(ends), tf.where(odd, ends, 0)], axis=1)
    return tf.concat([wrapped, extra], axis=1)
