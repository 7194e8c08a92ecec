"""Small functions in Python and JavaScript with descriptions in nine natural languages.

A `Program` keeps some of a list of numbers, changes each and combines them. It is rendered as
idiomatic code (snake_case and four spaces, camelCase and two spaces) and, by
`tasks.toy_tables.descriptions`, as one imperative sentence per natural language. No comment or
docstring repeats the description inside the code.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from tasks import toy_grammar, toy_meaning, toy_random
from tasks.toy_tables import descriptions
from tasks.toy_tables.descriptions import AGGREGATES, NOUNS

_PROGRAM_STREAM = 2
_NUMBERS = tuple(range(3, 13))
_NUMBERED_FILTERS = ("above", "below", "divisible")
_NUMBERED_TRANSFORMS = ("add", "subtract", "multiply")
_FILTER_CHOICES = ("all",) * 2 + ("even", "odd", "positive", "negative") + _NUMBERED_FILTERS * 2
_TRANSFORM_CHOICES = ("none", "none", "square") + _NUMBERED_TRANSFORMS
_TESTS = {
    "even": "{item} % 2 {equal} 0",
    "odd": "{item} % 2 {unequal} 0",
    "positive": "{item} > 0",
    "negative": "{item} < 0",
    "above": "{item} > {number}",
    "below": "{item} < {number}",
    "divisible": "{item} % {number} {equal} 0",
}
_VALUES = {
    "none": "{item}",
    "square": "{item} ** 2",
    "add": "{item} + {number}",
    "subtract": "{item} - {number}",
    "multiply": "{item} * {number}",
}
# aggregate: words of the function name ("{item}" or "{items}"), variable, and per programming
# language its start and the statement that takes one value in
_NAMES = {
    "sum": ("sum {items}", "total"),
    "product": ("multiply {items}", "product"),
    "count": ("count {items}", "count"),
    "largest": ("find largest {item}", "largest"),
    "smallest": ("find smallest {item}", "smallest"),
    "list": ("list {items}", "result"),
}
_PYTHON = {
    "sum": ("0", "total += {value}"),
    "product": ("1", "product *= {value}"),
    "count": ("0", "count += 1"),
    "largest": ('float("-inf")', "largest = max(largest, {value})"),
    "smallest": ('float("inf")', "smallest = min(smallest, {value})"),
    "list": ("[]", "result.append({value})"),
}
_JAVASCRIPT = {
    "sum": ("0", "total += {value}"),
    "product": ("1", "product *= {value}"),
    "count": ("0", "count += 1"),
    "largest": ("-Infinity", "largest = Math.max(largest, {value})"),
    "smallest": ("Infinity", "smallest = Math.min(smallest, {value})"),
    "list": ("[]", "result.push({value})"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Program:
    """A function of one list of numbers.

    Attributes:
        noun: what the numbers are, one of `descriptions.NOUNS`.
        filter: which are kept, one of `descriptions.FILTERS`.
        filter_number: the number of a comparing filter, 3 to 12, else 0.
        transform: how each is changed, one of `descriptions.TRANSFORMS`; "none" when counting.
        transform_number: the number of an arithmetic transform, 3 to 12, else 0.
        aggregate: what is returned, one of `descriptions.AGGREGATES`.
    """

    noun: str
    filter: str
    filter_number: int
    transform: str
    transform_number: int
    aggregate: str


def program_record(split: str, seed: int, index: int) -> dict[str, Any]:
    """Returns one program of a split as code and as descriptions.

    Args:
        split: one of "train", "validation", "test".
        seed: names an endless sequence of records, >= 0.
        index: place in the sequence, >= 0 of any size.

    Returns:
        `{"id": str, "code": {"python": str, "javascript": str}, "docs": {language: sentence}}`;
        the code has line breaks and indentation and ends without a line break.

    Raises:
        ValueError: if the split is unknown or the index negative.
    """
    program = draw_split_program(split, seed, index)
    return {
        "id": f"program-{split}-{seed}-{index}",
        "code": {language: render(program) for language, render in RENDERERS.items()},
        "docs": {language: describe(program, language) for language in toy_grammar.LANGUAGES},
    }


def draw_split_program(split: str, seed: int, index: int) -> Program:
    """Returns the program behind `program_record` with the same arguments."""
    toy_grammar.check_place(split, index)
    attempt = 0
    while True:
        program = draw_program(seed, index, attempt)
        if toy_meaning.split_of(program_hash(program)) == split:
            return program
        attempt += 1


def draw_program(seed: int, index: int, attempt: int = 0) -> Program:
    """Returns the program at one place of an endless random sequence, of any split."""
    bits = toy_random.random_bits(seed, _PROGRAM_STREAM, index, attempt)
    bits, noun = divmod(bits, len(NOUNS))
    bits, filter_ = divmod(bits, len(_FILTER_CHOICES))
    bits, filter_number = divmod(bits, len(_NUMBERS))
    bits, transform = divmod(bits, len(_TRANSFORM_CHOICES))
    bits, transform_number = divmod(bits, len(_NUMBERS))
    aggregate = AGGREGATES[bits % len(AGGREGATES)]
    filter_kind = _FILTER_CHOICES[filter_]
    transform_kind = "none" if aggregate == "count" else _TRANSFORM_CHOICES[transform]
    return Program(
        noun=NOUNS[noun],
        filter=filter_kind,
        filter_number=_NUMBERS[filter_number] if filter_kind in _NUMBERED_FILTERS else 0,
        transform=transform_kind,
        transform_number=(
            _NUMBERS[transform_number] if transform_kind in _NUMBERED_TRANSFORMS else 0
        ),
        aggregate=aggregate,
    )


def program_hash(program: Program) -> int:
    """Returns the 64-bit hash that decides the split and the slice of a program."""
    return toy_random.text_hash(repr(program))


def describe(program: Program, language: str) -> str:
    """Returns what the program does, as a sentence of a natural language."""
    return descriptions.describe(
        language,
        noun=program.noun,
        filter_=program.filter,
        filter_number=program.filter_number,
        transform=program.transform,
        transform_number=program.transform_number,
        aggregate=program.aggregate,
    )


def render_python(program: Program) -> str:
    """Returns the program as a Python function."""
    words, items, variable, test, value = _parts(program, "==", "!=")
    start, statement = _PYTHON[program.aggregate]
    statement = statement.format(value=value)
    body = [f"    if {test}:", f"        {statement}"] if test else [f"    {statement}"]
    lines = [
        f"def {words.replace(' ', '_')}({items}):",
        f"    {variable} = {start}",
        f"    for {program.noun} in {items}:",
        *(f"    {line}" for line in body),
        f"    return {variable}",
    ]
    return "\n".join(lines)


def render_javascript(program: Program) -> str:
    """Returns the program as a JavaScript function."""
    words, items, variable, test, value = _parts(program, "===", "!==")
    start, statement = _JAVASCRIPT[program.aggregate]
    statement = statement.format(value=value) + ";"
    body = [f"  if ({test}) {{", f"    {statement}", "  }"] if test else [f"  {statement}"]
    first, *others = words.split()
    lines = [
        f"function {first}{''.join(word.capitalize() for word in others)}({items}) {{",
        f"  {'const' if program.aggregate == 'list' else 'let'} {variable} = {start};",
        f"  for (const {program.noun} of {items}) {{",
        *(f"  {line}" for line in body),
        "  }",
        f"  return {variable};",
        "}",
    ]
    return "\n".join(lines)


RENDERERS: Mapping[str, Callable[[Program], str]] = {
    "python": render_python,
    "javascript": render_javascript,
}
PROGRAMMING_LANGUAGES = tuple(RENDERERS)


def _parts(program: Program, equal: str, unequal: str) -> tuple[str, str, str, str, str]:
    """Returns the words of the name, the list, the variable, the test and the value."""
    item, items = program.noun, descriptions.plural_identifier(program.noun)
    words, variable = _NAMES[program.aggregate]
    test = ""
    if program.filter != "all":
        test = _TESTS[program.filter].format(
            item=item, number=program.filter_number, equal=equal, unequal=unequal
        )
    value = _VALUES[program.transform].format(item=item, number=program.transform_number)
    return words.format(item=item, items=items), items, variable, test, value
