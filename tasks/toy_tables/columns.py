"""Word tables written as columns of text."""

from collections.abc import Collection


def read_columns(table: str, concepts: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Returns the rows of a word table, keyed by concept.

    Args:
        table: one row per line: the concept and its forms, separated by spaces. Inside a form an
            underscore stands for a space, and a lone hyphen for the empty string.
        concepts: the concepts that must be there, each once, and no others.

    Returns:
        Concept to forms; every row has the same number of forms.

    Raises:
        ValueError: if the concepts differ from `concepts`, or the rows differ in width.
    """
    rows: dict[str, tuple[str, ...]] = {}
    for line in table.strip().splitlines():
        concept, *cells = line.split()
        if concept in rows:
            raise ValueError(f"table has two rows for {concept!r}, expected one")
        rows[concept] = tuple("" if cell == "-" else cell.replace("_", " ") for cell in cells)
    if set(rows) != set(concepts):
        difference = sorted(set(rows) ^ set(concepts))
        raise ValueError(f"table and concepts differ in {difference}")
    widths = {len(forms) for forms in rows.values()}
    if len(widths) != 1:
        raise ValueError(f"table has rows of {sorted(widths)} forms, expected one width")
    return rows


def join_words(*words: str) -> str:
    """Returns the non-empty words, separated by single spaces."""
    return " ".join(word for word in words if word)


def capitalise(sentence: str) -> str:
    """Returns the sentence with its first letter in upper case and the rest as it is."""
    return sentence[:1].upper() + sentence[1:]


def read_numerals(words: str, start: int = 2) -> dict[int, str]:
    """Returns the numerals from `start` to 10, given as words separated by spaces.

    Raises:
        ValueError: if the number of words is not 11 - start.
    """
    return dict(zip(range(start, 11), words.split(), strict=True))
