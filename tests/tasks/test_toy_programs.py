"""The programs of the toy corpus: they parse, they do what is described, and none leaks."""

import ast
import math
import re
import shutil
import subprocess
import unicodedata

import pytest

from tasks import toy_grammar, toy_meaning, toy_programs
from tasks.toy_programs import Program

_VALUES = [4, -3, 0, 7, 12, 9, -6, 5]
_EXAMPLE = Program("price", "above", 4, "multiply", 3, "largest")


def _expected(program: Program) -> float | list[int]:
    """What the program should return, from its meaning alone."""
    number = program.filter_number
    keep = {
        "all": lambda v: True,
        "even": lambda v: v % 2 == 0,
        "odd": lambda v: v % 2 != 0,
        "positive": lambda v: v > 0,
        "negative": lambda v: v < 0,
        "above": lambda v: v > number,
        "below": lambda v: v < number,
        "divisible": lambda v: v % number == 0,
    }[program.filter]
    change = {
        "none": lambda v: v,
        "square": lambda v: v * v,
        "add": lambda v: v + program.transform_number,
        "subtract": lambda v: v - program.transform_number,
        "multiply": lambda v: v * program.transform_number,
    }[program.transform]
    values = [change(value) for value in _VALUES if keep(value)]
    return {
        "sum": sum,
        "product": math.prod,
        "count": len,
        "largest": lambda v: max(v, default=-math.inf),
        "smallest": lambda v: min(v, default=math.inf),
        "list": list,
    }[program.aggregate](values)


def _programs(count: int) -> list[Program]:
    return [toy_programs.draw_program(0, index) for index in range(count)]


def test_golden_code():
    assert toy_programs.render_python(_EXAMPLE) == (
        "def find_largest_price(prices):\n"
        '    largest = float("-inf")\n'
        "    for price in prices:\n"
        "        if price > 4:\n"
        "            largest = max(largest, price * 3)\n"
        "    return largest"
    )
    assert toy_programs.render_javascript(_EXAMPLE) == (
        "function findLargestPrice(prices) {\n"
        "  let largest = -Infinity;\n"
        "  for (const price of prices) {\n"
        "    if (price > 4) {\n"
        "      largest = Math.max(largest, price * 3);\n"
        "    }\n"
        "  }\n"
        "  return largest;\n"
        "}"
    )


def test_golden_descriptions():
    described = {
        language: toy_programs.describe(_EXAMPLE, language) for language in toy_grammar.LANGUAGES
    }
    assert described == {
        "en": "Take the prices above 4, multiply each one by 3 and return the largest value.",
        "de": "Nimm die Preise über 4, multipliziere sie mit 3 und gib den größten Wert zurück.",
        "fr": "Prends les prix supérieurs à 4, multiplie-les par 3 et renvoie la plus grande "
        "valeur.",
        "ru": "Возьми цены больше 4, умножь их на 3 и верни наибольшее значение.",
        "tr": "4'ten büyük fiyatları al, her birini 3 ile çarp ve en büyük değeri döndür.",
        "hi": "4 से बड़ी कीमतें लो, हर एक को 3 से गुणा करो और सबसे बड़ा मान लौटाओ।",
        "ja": "4より大きい価格を取り、それぞれに3を掛け、最大値を返す。",
        "ar": "خذ الأسعار الأكبر من 4 واضرب كلا منها في 3 ثم أعد أكبر قيمة.",
        "zh": "取大于4的价格、都乘以3并返回最大值。",
    }


def test_python_does_what_is_described():
    for program in _programs(400):
        source = toy_programs.render_python(program)
        (function,) = ast.parse(source).body
        assert isinstance(function, ast.FunctionDef)
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", function.name)
        namespace: dict = {}
        exec(compile(source, "toy", "exec"), namespace)
        assert namespace[function.name](_VALUES) == _expected(program), source


def test_javascript_is_well_formed():
    for program in _programs(400):
        source = toy_programs.render_javascript(program)
        depth = 0
        for line in source.split("\n"):
            depth -= line.strip() == "}"
            assert len(line) - len(line.lstrip(" ")) == 2 * depth, source
            depth += line.endswith("{")
            assert line[-1] in "{};", source
        assert depth == 0
        assert all(source.count(a) == source.count(b) for a, b in ("()", "[]"))
        assert re.match(r"function [a-z]+([A-Z][a-z]+)+\([a-z]+\) \{\n", source)


def test_javascript_says_what_python_says():
    for program in _programs(200):
        assert _as_python(toy_programs.render_javascript(program)) == (
            toy_programs.render_python(program)
        )


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node to run JavaScript")
def test_javascript_does_what_is_described():
    programs = _programs(300)
    lines = []
    for program in programs:
        source = toy_programs.render_javascript(program)
        name = source.split("(")[0].split()[1]
        lines.append(f"{{\n{source}\nconsole.log(String({name}({_VALUES})))\n}}")
    found = subprocess.run(["node", "-e", "\n".join(lines)], capture_output=True, check=True)
    expected = [
        str(_expected(program)).strip("[]").replace(" ", "").replace("inf", "Infinity")
        for program in programs
    ]
    assert found.stdout.decode().splitlines() == expected


def _as_python(source: str) -> str:
    """Translates the JavaScript of the toy corpus, rule by rule."""
    source = re.sub(r"[ ]*\}(\n|$)", "", source).rstrip("\n")
    source = re.sub(r"^( *)", lambda m: m.group() * 2, source, flags=re.M)
    source = re.sub(r"function (\w+)\((\w+)\) \{", r"def \1(\2):", source)
    source = re.sub(r"for \(const (\w+) of (\w+)\) \{", r"for \1 in \2:", source)
    source = re.sub(r"if \((.*)\) \{", r"if \1:", source)
    source = re.sub(r"\b(let|const) ", "", source).replace(";", "")
    source = source.replace("===", "==").replace("!==", "!=").replace(".push(", ".append(")
    source = source.replace("-Infinity", 'float("-inf")').replace("Infinity", 'float("inf")')
    source = source.replace("Math.", "")
    return re.sub(
        r"def (\w+)",
        lambda m: re.sub("[A-Z]", lambda c: "_" + c.group().lower(), m.group()),
        source,
    )


def test_distinct_programs_have_distinct_texts():
    programs = set(_programs(3000))
    for render in toy_programs.RENDERERS.values():
        assert len({render(program) for program in programs}) == len(programs)
    for language in toy_grammar.LANGUAGES:
        texts = [toy_programs.describe(program, language) for program in programs]
        assert len(set(texts)) == len(programs)
        assert all(unicodedata.normalize("NFKC", text) == text for text in texts)


def test_records_are_repeatable_and_splits_disjoint():
    record = toy_programs.program_record("train", 3, 7)
    assert record == toy_programs.program_record("train", 3, 7)
    assert set(record["code"]) == {"python", "javascript"}
    assert set(record["docs"]) == set(toy_grammar.LANGUAGES)
    seen = {
        split: {toy_programs.draw_split_program(split, 0, index) for index in range(count)}
        for split, count in (("train", 2000), ("validation", 200), ("test", 200))
    }
    assert not seen["train"] & seen["validation"] and not seen["train"] & seen["test"]
    assert not seen["validation"] & seen["test"]
    for split, programs in seen.items():
        for program in programs:
            assert toy_meaning.split_of(toy_programs.program_hash(program)) == split


def test_no_description_is_inside_the_code():
    for index in range(50):
        record = toy_programs.program_record("train", 0, index)
        for code in record["code"].values():
            assert "#" not in code and "//" not in code and '"""' not in code
            assert not any(doc in code for doc in record["docs"].values())


def test_bad_split_is_named():
    with pytest.raises(ValueError, match=r"split must be one of .* found 'all'"):
        toy_programs.program_record("all", 0, 0)
