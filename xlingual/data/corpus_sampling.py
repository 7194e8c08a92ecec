"""Lines of many languages at temperature rates, for training one vocabulary on all of them.

Rates follow sizes, `p_i ~ n_i ** alpha` (OBJECTIVES, temperature table), with sizes and quotas in
characters. A language with more text than its quota gives lines evenly spread over its files; one
with less gives every line as often as the quota asks, at most `max_repeats` times.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from xlingual.data.corpora import Corpus, iterate_texts
from xlingual.data.mixing_rates import Sizes, Temperature
from xlingual.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class LanguageQuota:
    """How much of one language is taken.

    Attributes:
      language: its name.
      lines: lines of text that there are; code, whose line breaks are tokens, is one a text.
      characters: characters that there are.
      rate: share of the sample, before `max_repeats`.
      copies: how often each line is taken on average.
    """

    language: str
    lines: int
    characters: int
    rate: float
    copies: float

    @property
    def sampled_characters(self) -> float:
        """Characters that are taken, on average."""
        return self.copies * self.characters


def measure_languages(corpora: Sequence[Corpus]) -> dict[str, tuple[int, int]]:
    """Returns language -> (lines, characters), sorted; reads everything once.

    Raises:
      ConfigError: there is no text.
    """
    found: dict[str, tuple[int, int]] = {}
    for corpus, language, text in iterate_texts(corpora):
        lines, characters = found.get(language, (0, 0))
        more = 1 if corpus.is_code(language) else text.count("\n") + 1
        found[language] = (lines + more, characters + len(text))
    if not found:
        raise ConfigError("the corpora hold no text")
    return dict(sorted(found.items()))


def temperature_quotas(
    sizes: dict[str, tuple[int, int]],
    *,
    alpha: float,
    max_characters: int,
    max_repeats: float = 1.0,
) -> list[LanguageQuota]:
    """Returns what is taken of each language.

    Args:
      sizes: as `measure_languages` returns them.
      alpha: exponent of the rates, in [0, 1].
      max_characters: size of the sample; all text if there is less and nothing is repeated.
      max_repeats: most copies of a line.

    Raises:
      ConfigError: a setting out of range.
    """
    if max_characters < 1 or max_repeats <= 0:
        raise ConfigError(
            f"max_characters={max_characters} and max_repeats={max_repeats}; expected positive ones"
        )
    counts = {language: float(size[1]) for language, size in sizes.items() if size[1]}
    rates = Temperature(alpha=alpha, unit="characters").rates(
        Sizes(counts=counts, unit="characters")
    )
    return [
        LanguageQuota(
            language=language,
            lines=sizes[language][0],
            characters=sizes[language][1],
            rate=rate,
            copies=min(rate * max_characters / counts[language], max_repeats),
        )
        for language, rate in rates.items()
    ]


def with_copies(quotas: Sequence[LanguageQuota], copies: float) -> list[LanguageQuota]:
    """Returns quotas that take every line this often, whatever its language."""
    return [dataclasses.replace(quota, copies=copies) for quota in quotas]


def sample_lines(
    corpora: Sequence[Corpus], quotas: Sequence[LanguageQuota], seed: int = 0
) -> Iterator[str]:
    """Yields lines as a tokenizer reads them, each as often as its language's quota says.

    Sampling is systematic, with a random start u in [0, 1): line k of a language with c copies a
    line is taken floor(c (k + 1) + u) - floor(c k + u) times. So the sample is spread evenly, a
    line has floor(c) or ceil(c) copies, the size is right within one line, and no memory is needed.

    Args:
      corpora: the text.
      quotas: languages without one are left out.
      seed: of the choice.
    """
    copies = {quota.language: quota.copies for quota in quotas}
    starts = {
        language: float(np.random.default_rng([seed, index]).random())
        for index, language in enumerate(sorted(copies))
    }
    lines_before = dict.fromkeys(copies, 0)
    for corpus, language, text in iterate_texts(corpora):
        if language not in copies:
            continue
        # The whole text is encoded first: line breaks of code are tokens.
        for line in corpus.tokenizer_text(language, text).split("\n"):
            place = copies[language] * lines_before[language] + starts[language]
            lines_before[language] += 1
            end = copies[language] * lines_before[language] + starts[language]
            for _ in range(math.floor(end) - math.floor(place)):
                yield line
