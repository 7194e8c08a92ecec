"""Corpus scores by sacrebleu: BLEU and chrF, with the signatures that make them repeatable.

References:
  Papineni et al., 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation"; Popović,
  2015, "chrF: character n-gram F-score for automatic MT evaluation"; Post, 2018, "A Call for
  Clarity in Reporting BLEU Scores", arXiv:1804.08771.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import sacrebleu

BLEU_TOKENIZERS: Mapping[str, str] = {
    "zh": "zh",
    "ja": "char",
    "th": "char",
    "lo": "char",
    "km": "char",
    "my": "char",
    "bo": "char",
}
"""sacrebleu tokenizer of languages written without spaces; all others take `13a`.

Japanese is scored by characters: sacrebleu's `ja-mecab` needs a dictionary that is not installed.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of one direction.

    Attributes:
      bleu: BLEU of the corpus with one reference, in [0, 100].
      chrf: chrF (character 6-grams, no words, beta 2) of the corpus, in [0, 100].
      bleu_signature: sacrebleu's signature; `tok` names the tokenizer.
      chrf_signature: sacrebleu's signature.
    """

    bleu: float
    chrf: float
    bleu_signature: str
    chrf_signature: str


def score_corpus(
    hypotheses: Sequence[str], references: Sequence[str], *, language: str = ""
) -> Scores:
    """Returns BLEU and chrF of hypotheses against one reference each.

    Args:
      hypotheses: system outputs.
      references: as many references.
      language: code of the target language, which picks the tokenizer of BLEU.

    Returns:
      Scores; 0 when nothing matches.

    Raises:
      ValueError: the lists differ in length or are empty.
    """
    if len(hypotheses) != len(references) or not references:
        raise ValueError(
            f"{len(hypotheses)} hypotheses for {len(references)} references; expected as many, > 0"
        )
    bleu = sacrebleu.BLEU(tokenize=BLEU_TOKENIZERS.get(language.split("-")[0], "13a"))
    chrf = sacrebleu.CHRF()
    return Scores(
        bleu=bleu.corpus_score(list(hypotheses), [list(references)]).score,
        chrf=chrf.corpus_score(list(hypotheses), [list(references)]).score,
        bleu_signature=str(bleu.get_signature()),
        chrf_signature=str(chrf.get_signature()),
    )
