"""Counter-based random integers for the toy corpus: cheap, stateless, equal on every platform.

The mixer is the finaliser of SplitMix64 (Steele, Lea and Flood, 2014, "Fast splittable
pseudorandom number generators"). A value depends on its counters only, so the record with a given
index is the same in any worker layout.
"""

import hashlib

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def random_bits(*counters: int) -> int:
    """Returns 128 random bits that depend on the counters and on nothing else.

    Args:
        *counters: non-negative integers of any size, such as seed, stream and index.

    Returns:
        An integer in [0, 2**128).

    Raises:
        ValueError: if a counter is negative.
    """
    state = _GOLDEN
    for counter in counters:
        if counter < 0:
            raise ValueError(f"counter must be >= 0, found {counter}")
        state = _mix(state ^ (counter & _MASK))
        while counter > _MASK:
            counter >>= 64
            state = _mix(state ^ (counter & _MASK))
    return (_mix(state) << 64) | _mix(state ^ _GOLDEN)


def text_hash(text: str) -> int:
    """Returns a 64-bit hash of a text, equal in every process.

    Args:
        text: any string.

    Returns:
        An integer in [0, 2**64).
    """
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _mix(value: int) -> int:
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
