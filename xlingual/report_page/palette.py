"""Colours by name, light and dark: variables of CSS in a page, plain colours in a PNG.

Runs are told apart by hues that differ in lightness too (after Okabe and Ito, 2008, "Color
Universal Design"), at a contrast of 3 or more to either ground; text has 4.5 or more.
"""

import functools
from collections.abc import Callable

Ink = Callable[[str], str]
"""Name of a colour -> what matplotlib is given."""

NUM_SERIES, NUM_STEPS, NUM_SIGNED = 8, 10, 9
"""Colours of runs, of a scale from low to high, and of one from worse over 0 to better."""

_PLAIN = {
    "ground": ("#fbfbf9", "#14161a"),
    "card": ("#ffffff", "#1b1e24"),
    "ink": ("#1c2024", "#e8eaed"),
    "soft": ("#565e68", "#a4adb8"),
    "rule": ("#e3e5e3", "#30353d"),
    "accent": ("#1f5fae", "#83b9f5"),
    "warn": ("#8a4b00", "#f2b66b"),
}
_SERIES = (
    ("#1f5fae", "#74b0f4"),
    ("#b8500a", "#f0995a"),
    ("#0e7a5f", "#4cc9a0"),
    ("#7d4698", "#c79be8"),
    ("#a8324a", "#f1859b"),
    ("#5c6b10", "#c3cf5e"),
    ("#0b7285", "#5cc8dc"),
    ("#5b6470", "#aab3be"),
)
_SCALE = (("#f1f5fa", "#0c3c78"), ("#1d232c", "#a9d0ff"))
_SIGNED = (("#a63b12", "#f4f4f1", "#0f6b6b"), ("#e08a5e", "#22262c", "#58c4c0"))


def css() -> str:
    """Returns the variables: light, and dark where the reader's system is."""
    names = colours()
    rules = []
    for mode in (0, 1):
        body = "".join(f"--{name}:{pair[mode]};" for name, pair in names.items())
        rules.append(f":root{{color-scheme:{('light', 'dark')[mode]};{body}}}")
    return f"{rules[0]}\n@media screen and (prefers-color-scheme: dark){{{rules[1]}}}\n"


def light(name: str) -> str:
    """Returns a colour for paper."""
    return colours()[name][0]


def mark(name: str) -> str:
    """Returns a colour that stands for a variable until `with_variables` puts it in."""
    return f"#fe{list(colours()).index(name):04x}"


def with_variables(svg: str) -> str:
    """Returns a picture with variables in place of the colours of `mark`."""
    for name in colours():
        svg = svg.replace(mark(name), f"var(--{name})")
    return svg


def scale_name(share: float) -> str:
    """Returns the colour of a value on the scale from low (0) to high (1)."""
    return f"scale{min(NUM_STEPS - 1, max(0, int(share * NUM_STEPS)))}"


def signed_name(share: float) -> str:
    """Returns the colour of a difference, from -1 (worse) to 1 (better)."""
    half = NUM_SIGNED // 2
    return f"signed{half + min(half, max(-half, round(share * half)))}"


@functools.cache
def colours() -> dict[str, tuple[str, str]]:
    """Returns name -> (light, dark); `on-NAME` is for text on the colour NAME."""
    found = dict(_PLAIN)
    found |= {f"run{i}": pair for i, pair in enumerate(_SERIES)}
    for i in range(NUM_STEPS):
        share = i / (NUM_STEPS - 1)
        found[f"scale{i}"] = tuple(_blend(a, b, share) for a, b in _SCALE)  # type: ignore[assignment]
    for i in range(NUM_SIGNED):
        share = 2 * i / (NUM_SIGNED - 1)
        found[f"signed{i}"] = tuple(  # type: ignore[assignment]
            _blend(a, b, share) if share <= 1 else _blend(b, c, share - 1) for a, b, c in _SIGNED
        )
    grounds = [name for name in found if name.startswith(("scale", "signed"))]
    return found | {
        f"on-{name}": (_readable(found[name][0]), _readable(found[name][1])) for name in grounds
    }


def _blend(first: str, second: str, share: float) -> str:
    pairs = zip(_channels(first), _channels(second), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def _channels(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def luminance(colour: str) -> float:
    """Returns the relative luminance of WCAG 2, in [0, 1].

    Args:
      colour: `#rrggbb`.
    """
    linear = [
        x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4
        for x in (channel / 255 for channel in _channels(colour))
    ]
    return sum(w * x for w, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(first: str, second: str) -> float:
    """Returns the contrast ratio of WCAG 2, from 1 to 21."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def _readable(ground: str) -> str:
    return max(("#000000", "#ffffff"), key=lambda ink: contrast(ink, ground))
