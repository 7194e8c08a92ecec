"""Scores of code that a model writes: BLEU of tokens, exact match, parse rate, CodeBLEU.

CodeBLEU is the mean of four matches with the reference: n-grams, n-grams in which keywords weigh
more, subtrees of the syntax tree, and edges of the flow of data (Ren et al., 2020,
arXiv:2009.10297, section 3). As in the evaluator that its authors published, a subtree of the
reference counts if the candidate has it, however often. The flow of data is that of Python alone;
elsewhere CodeBLEU is the mean of the other three.
"""

from collections.abc import Callable, Sequence

import numpy as np

from xlingual.evaluation import code_flow, code_trees, example_scores, ngram_scores
from xlingual.evaluation.example_scores import ExampleScores


def score_code(
    hypotheses: Sequence[str],
    references: Sequence[str],
    language: str,
    *,
    tree_sitter: bool = False,
) -> list[ExampleScores]:
    """Returns the scores of code in one programming language, in [0, 100].

    `bleu`, `exact_match` (of tokens), `ngram_match` and `weighted_ngram_match` for any language;
    `parse_rate` and `syntax_match` where there is a parser; `dataflow_match` for Python; and
    `codebleu`.

    Args:
      hypotheses: what was written.
      references: as many.
      language: code of the programming language, e.g. `python`.
      tree_sitter: whether Python's syntax trees and flow of data are those of tree-sitter; else
        those of `ast`.
    """
    found, gold = (
        [code_trees.tokenize_code(text) for text in side] for side in (hypotheses, references)
    )
    keywords = code_trees.KEYWORDS.get(language, frozenset())
    matches = [
        ngram_scores.ngram_match("ngram_match", found, gold),
        ngram_scores.weighted_ngram_match("weighted_ngram_match", found, gold, keywords),
    ]
    scores = [
        ngram_scores.bleu("bleu", found, gold),
        example_scores.percent(
            "exact_match", [float(a == b) for a, b in zip(found, gold, strict=True)]
        ),
    ]
    if code_trees.has_parser(language):
        parsed = [float(code_trees.parses(text, language)) for text in hypotheses]
        scores.append(example_scores.percent("parse_rate", parsed))
        matches.append(_syntax_match(hypotheses, references, language, tree_sitter))
    if language == "python":
        flow = code_flow.data_flow if tree_sitter else code_trees.data_flow
        matches.append(_dataflow_match(hypotheses, references, flow))
    return [*scores, *matches, _mean_of(matches)]


def _syntax_match(
    hypotheses: Sequence[str], references: Sequence[str], language: str, tree_sitter: bool
) -> ExampleScores:
    hits, totals = [], []
    for found, gold in zip(hypotheses, references, strict=True):
        mine = set(code_trees.subtrees(found, language, tree_sitter=tree_sitter))
        right = code_trees.subtrees(gold, language, tree_sitter=tree_sitter)
        hits.append(sum(tree in mine for tree in right))
        totals.append(len(right))
    return example_scores.share("syntax_match", hits, totals)


def _dataflow_match(
    hypotheses: Sequence[str],
    references: Sequence[str],
    flow: Callable[[str], list[code_trees.Edge] | None],
) -> ExampleScores:
    hits, totals = [], []
    for found, gold in zip(hypotheses, references, strict=True):
        right = flow(gold) or []
        hits.append(code_trees.overlap(flow(found) or [], right))
        totals.append(len(right))
    return example_scores.share("dataflow_match", hits, totals)


def _mean_of(matches: Sequence[ExampleScores]) -> ExampleScores:
    """The mean of several scores of the same examples, as one."""
    widths = np.cumsum([0, *(one.sums.shape[1] for one in matches)])

    def statistic(sums: np.ndarray) -> np.ndarray:
        parts = zip(matches, widths[:-1], widths[1:], strict=True)
        scores = [one.statistic(sums[:, start:end]) for one, start, end in parts]
        return np.mean(scores, axis=0)

    return ExampleScores("codebleu", np.concatenate([one.sums for one in matches], 1), statistic)
