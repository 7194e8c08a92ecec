"""TensorFlow's stateless random numbers in numpy, bit for bit.

`tf.random.stateless_*` on a CPU runs the counter-based generator Philox 4x32-10 whose key and
counter are one scrambling round of the seed. So draws made here equal those of an objective that
runs in `tf.data`, for the same seed and shape.

References:
  Salmon et al., 2011, Parallel random numbers: as easy as 1, 2, 3, SC11, section 3.3 (Philox).
"""

import math
from collections.abc import Sequence

import numpy as np

_FACTORS = (0xD2511F53, 0xCD9E8D57)
_MULTIPLIERS = tuple(map(np.uint64, _FACTORS))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_SCRAMBLE_KEY = (0x3EC8F720, 0x02461E29)
_ROUNDS = 10
_BLOCKS_PER_POISSON = 256
"""Blocks of the stream that TensorFlow sets aside for each Poisson draw."""
_MOST_POISSON_MEAN = 10.0
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def random_words(seed: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    """Returns [count] uint32, the first words of the stream of a seed.

    Args:
      seed: [2] integers.
      count: how many words.
    """
    return _words_of_blocks(seed, np.arange(-(-count // 4), dtype=np.uint64)).reshape(-1)[:count]


def split_seed(seed: Sequence[int] | np.ndarray, num: int) -> np.ndarray:
    """Returns [num, 2] new seeds: int64 if `seed` is an int64 array, as SeqIO's are; else int32."""
    wide = getattr(seed, "dtype", None) == np.int64
    words = random_words(seed, (4 if wide else 2) * num)
    return words.view(np.int64 if wide else np.int32).reshape(num, 2)


def uniform_doubles(seed: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    """Returns [count] float64 in [0, 1), as `stateless_uniform` draws them."""
    return _doubles(random_words(seed, 2 * count).reshape(-1, 2))


def uniform_floats(seed: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    """Returns [count] float32 in [0, 1), as `stateless_uniform` draws them."""
    mantissa = random_words(seed, count) & np.uint32(0x7FFFFF)
    return (np.uint32(127 << 23) | mantissa).view(np.float32) - np.float32(1)


def poisson(seed: Sequence[int] | np.ndarray, count: int, mean: float) -> np.ndarray:
    """Returns [count] int64, as `stateless_poisson` draws them (in float64) for a mean below 10.

    Each draw has blocks of the stream for itself and multiplies uniform numbers, the second of a
    block before the first, until the product is no more than exp(-mean).

    Raises:
      NotImplementedError: the mean is 10 or more, for which TensorFlow has another algorithm.

    References:
      Knuth, 1969, The Art of Computer Programming 2, section 3.4.1 (Poisson distribution).
    """
    if not 0.0 < mean < _MOST_POISSON_MEAN:
        raise NotImplementedError(f"Poisson draws of mean {mean}; expected one below 10")
    found = np.zeros(count, np.int64)
    product = np.ones(count)
    todo, block = np.arange(count), 0
    while todo.size:
        blocks = todo.astype(np.uint64) * np.uint64(_BLOCKS_PER_POISSON) + np.uint64(block)
        uniform = _doubles(_words_of_blocks(seed, blocks).reshape(-1, 2, 2))
        for place in (1, 0):
            product[todo] *= uniform[:, place]
            going = product[todo] > math.exp(-mean)
            found[todo] += going
            todo, uniform = todo[going], uniform[going]
        block += 1
    return found


def _words_of_blocks(seed: Sequence[int] | np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Returns [blocks, 4] uint32, some blocks of the stream of a seed; `blocks` is uint64."""
    first, second = (int(word) & 0xFFFFFFFFFFFFFFFF for word in np.asarray(seed).tolist())
    counter = [first & 0xFFFFFFFF, first >> 32, second & 0xFFFFFFFF, second >> 32]
    mix = _block(counter, _SCRAMBLE_KEY)
    return _philox(
        blocks & _LOW,
        blocks >> _SHIFT,
        np.full_like(blocks, mix[2]),
        np.full_like(blocks, mix[3]),
        (mix[0], mix[1]),
    )


def _doubles(words: np.ndarray) -> np.ndarray:
    """Returns [...] float64 in [0, 1) of pairs of words, [..., 2] uint32."""
    wide = words.astype(np.uint64)
    mantissa = ((wide[..., 0] & np.uint64(0xFFFFF)) << _SHIFT) | wide[..., 1]
    return ((np.uint64(1023) << np.uint64(52)) | mantissa).view(np.float64) - 1.0


def _block(counter: Sequence[int], key: Sequence[int]) -> tuple[int, int, int, int]:
    """Returns what `_philox` gives for one counter; plain integers take a tenth as long."""
    c0, c1, c2, c3 = counter
    key0, key1 = key
    for _ in range(_ROUNDS):
        left, right = c0 * _FACTORS[0], c2 * _FACTORS[1]
        c0, c1, c2, c3 = (
            (right >> 32) ^ c1 ^ key0,
            right & 0xFFFFFFFF,
            (left >> 32) ^ c3 ^ key1,
            left & 0xFFFFFFFF,
        )
        key0, key1 = (key0 + _WEYL[0]) & 0xFFFFFFFF, (key1 + _WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def _philox(
    c0: np.ndarray, c1: np.ndarray, c2: np.ndarray, c3: np.ndarray, key: Sequence[int]
) -> np.ndarray:
    """Returns [blocks, 4] uint32 from counters [blocks] uint64, each below 2**32."""
    key0, key1 = key
    for _ in range(_ROUNDS):
        left, right = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (right >> _SHIFT) ^ c1 ^ np.uint64(key0),
            right & _LOW,
            (left >> _SHIFT) ^ c3 ^ np.uint64(key1),
            left & _LOW,
        )
        key0, key1 = (key0 + _WEYL[0]) & 0xFFFFFFFF, (key1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)
