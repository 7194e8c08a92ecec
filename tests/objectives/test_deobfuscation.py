import builtins
import collections
import functools
import heapq
import inspect
import io
import keyword
import math
import re
import textwrap
import tokenize

import pytest
import tensorflow as tf

from xlingual.errors import ConfigError
from xlingual.objectives import code_whitespace, deobfuscation
from xlingual.objectives.reserved_words import RESERVED_WORDS

EOS = 1
LENGTHS = {"inputs": 512, "targets": 128}
PYTHON = '''import numpy as np
from os import (path)

LIMIT = 0x1F  # LIMIT of naïve items


class Graph(Base):
    """Graph of nodes."""

    def __init__(self, nodes, größe=1e5):
        self.nodes = list(nodes)
        self.größe = größe

    def visit(self, start):
        seen = [start]
        for node in self.neighbours(start):
            if node not in seen and len(seen) < LIMIT:
                seen.append(rb"node \\" seen" + f'{node}')
        return np.array(seen).node
'''
JAVASCRIPT = """// count words
import { read } from 'fs';
const table = {};
function count(words, ...rest) {
  for (const word of words) {
    table[word] = (table[word] || 0) + `${word} word`.length; /* word
    table */
  }
  return new Result(table, rest);
}
const $ = 3, _ = 4;
console.log(count(read("words")));
"""
JAVA = """import java.util.ArrayList;
public class Pile<Item> {
    private List<Item> items = new ArrayList<>();
    // push items
    public void push(Item item) { this.items.add(item); char c = '"'; }
    public static void main(String[] args) { new Pile<Integer>().push(1); }
}
"""
GO = "package main\nfunc add(a int, b int) int { s := `a b`; return a + b + len(s) }\n"


def obfuscate(code, lang, rate=1.0, seed=0):
    found = deobfuscation.obfuscate(
        tf.constant([code]), tf.constant([lang]), rate, seed=tf.constant([seed, 0])
    )
    return tuple(found[name].numpy()[0].decode() for name in ("inputs", "targets"))


def entries_of(targets):
    return dict(entry.split(" ") for entry in targets.split(" | ")) if targets else {}


def test_worked_example():
    assert obfuscate("def add(a, b):  return a + b", "python") == (
        "def FUNC_0(VAR_0, VAR_1):  return VAR_0 + VAR_1",
        "FUNC_0 add | VAR_0 a | VAR_1 b",
    )


def test_python():
    code, targets = obfuscate(PYTHON, "python")
    # Imported names, built-ins, names with underscores around and foreign members stay.
    assert entries_of(targets) == {
        "VAR_0": "LIMIT",
        "CLASS_0": "Graph",
        "VAR_1": "Base",
        "VAR_2": "nodes",
        "VAR_3": "größe",
        "FUNC_0": "visit",
        "VAR_4": "start",
        "VAR_5": "seen",
        "VAR_6": "node",
        "FUNC_1": "neighbours",
    }
    assert code.splitlines() == (
        '''import numpy as np
from os import (path)

VAR_0 = 0x1F  # LIMIT of naïve items


class CLASS_0(VAR_1):
    """Graph of nodes."""

    def __init__(self, VAR_2, VAR_3=1e5):
        self.VAR_2 = list(VAR_2)
        self.VAR_3 = VAR_3

    def FUNC_0(self, VAR_4):
        VAR_5 = [VAR_4]
        for VAR_6 in self.FUNC_1(VAR_4):
            if VAR_6 not in VAR_5 and len(VAR_5) < VAR_0:
                VAR_5.append(rb"node \\" seen" + f'{node}')
        return np.array(VAR_5).VAR_6'''.splitlines()
    )


def test_javascript():
    code, targets = obfuscate(JAVASCRIPT, "javascript")
    assert entries_of(targets) == {
        "VAR_0": "table",
        "FUNC_0": "count",
        "VAR_1": "words",
        "VAR_2": "rest",
        "VAR_3": "word",
        "CLASS_0": "Result",
    }
    assert "`${word} word`.length; /* word\n    table */" in code
    assert 'const $ = 3, _ = 4;\nconsole.log(FUNC_0(read("words")));' in code
    assert "function FUNC_0(VAR_1, ...VAR_2)" in code


def test_java_and_go():
    code, targets = obfuscate(JAVA, "java")
    assert entries_of(targets) == {
        "CLASS_0": "Pile",
        "VAR_0": "Item",
        "VAR_1": "items",
        "FUNC_0": "push",
        "VAR_2": "item",
        "VAR_3": "c",
    }
    assert "// push items" in code and "VAR_3 = '\"'; }" in code
    assert "this.VAR_1.add(VAR_2)" in code
    code, targets = obfuscate(GO, "go")
    assert code == (
        "package main\nfunc FUNC_0(VAR_0 int, VAR_1 int) int "
        "{ VAR_2 := `a b`; return VAR_0 + VAR_1 + len(VAR_2) }\n"
    )


SAMPLES = [
    (PYTHON, "python"),
    (inspect.getsource(heapq), "python"),
    (inspect.getsource(textwrap), "python"),
    (JAVASCRIPT, "javascript"),
    (JAVA, "java"),
    (GO, "go"),
    ("int main() { int *head = list->next; std::vector<int> v; }", "cpp"),
]


@pytest.mark.parametrize("rate", [0.3, 1.0])
@pytest.mark.parametrize(("code", "lang"), SAMPLES)
def test_substituting_the_names_gives_the_code(code, lang, rate):
    for seed in range(3):
        hidden, targets = obfuscate(code, lang, rate, seed)
        assert deobfuscation.restore_names(hidden, targets) == code
        assert hidden != code
        listed = entries_of(targets)
        assert len(set(listed.values())) == len(listed), "one placeholder a name"
        in_code = re.findall(r"\b(?:CLASS|FUNC|VAR)_\d+\b", hidden)
        assert list(dict.fromkeys(in_code)) == list(listed), "in the order of the code"
        numbers = collections.defaultdict(list)
        for placeholder in listed:
            kind, number = placeholder.split("_")
            numbers[kind].append(int(number))
        assert all(found == list(range(len(found))) for found in numbers.values())


@pytest.mark.parametrize("module", [heapq, textwrap, tokenize])
def test_the_tokenizer_of_python_sees_only_names_change(module):
    """Strings, comments, numbers, keywords and built-ins stay; a name changes everywhere."""
    code = inspect.getsource(module)
    hidden, targets = obfuscate(code, "python")
    listed = {name: placeholder for placeholder, name in entries_of(targets).items()}
    old, new = (
        list(tokenize.generate_tokens(io.StringIO(text).readline)) for text in (code, hidden)
    )
    assert len(old) == len(new)
    for before, after in zip(old, new, strict=True):
        assert before.type == after.type
        if before.type == tokenize.NAME:
            assert after.string == listed.get(before.string, before.string)
        else:
            assert after.string == before.string
    assert not set(listed) & (set(keyword.kwlist) | set(dir(builtins)))
    assert len(listed) > 30


def test_rates(run):
    code = "\n".join(f"name{i} = {i}" for i in range(50))
    found = deobfuscation.obfuscate(
        tf.constant([code] * 200), tf.constant(["python"] * 200), 0.3, seed=tf.constant([0, 0])
    )
    counts = [len(entries_of(t.decode())) for t in found["targets"].numpy()]
    assert abs(sum(counts) - 3000) < 4 * math.sqrt(10_000 * 0.3 * 0.7)
    found = deobfuscation.obfuscate(
        tf.constant([code] * 200), tf.constant(["python"] * 200), 1e-9, seed=tf.constant([1, 0])
    )
    single = [entries_of(t.decode()) for t in found["targets"].numpy()]
    assert {len(entry) for entry in single} == {1}
    assert len({entry["VAR_0"] for entry in single}) > 35, "one at random"


def test_code_without_names_or_with_placeholders_has_no_targets():
    for code in ("", "# only a comment", "print(len('a'))", "import a\na.b()", "VAR_1 = x"):
        assert obfuscate(code, "python") == (code, "")


def test_texts_of_a_batch_do_not_mix():
    codes = ["def f(x): return x", "", "y = x", "print()", "class x: pass"]
    found = deobfuscation.obfuscate(
        tf.constant(codes), tf.constant(["python"] * 5), 1.0, seed=tf.constant([0, 0])
    )
    expected = [obfuscate(code, "python") for code in codes]
    got = zip(found["inputs"].numpy(), found["targets"].numpy(), strict=True)
    assert [(a.decode(), b.decode()) for a, b in got] == expected
    assert expected[2:] == [
        ("VAR_0 = VAR_1", "VAR_0 y | VAR_1 x"),
        ("print()", ""),
        ("class CLASS_0: pass", "CLASS_0 x"),
    ]


def test_reserved_words_cover_those_of_python():
    words = set(RESERVED_WORDS["python"].split())
    assert set(keyword.kwlist) <= words
    functions = {name for name in dir(builtins) if name.islower() and not name.startswith("_")}
    assert functions - {"copyright", "credits", "license"} <= words
    for table in RESERVED_WORDS.values():
        assert all(re.fullmatch(r"\w+", word) for word in table.split())


@pytest.fixture(scope="module")
def deobfuscate(run, output_features, special):
    def apply(records, *, lengths=LENGTHS, seed=0, fields=("code", "pl"), **options):
        columns = zip(*records, strict=True)
        dataset = tf.data.Dataset.from_tensor_slices(
            {name: list(column) for name, column in zip(fields, columns, strict=True)}
        )
        objective = functools.partial(
            deobfuscation.deobfuscation,
            sequence_length=lengths,
            output_features=output_features,
            special_tokens=special,
            **options,
        )
        return run(objective, dataset, seed=seed)

    return apply


@pytest.mark.parametrize("fields", [("code", "pl"), ("text", "lang")])
def test_examples_decode_to_code_and_names(deobfuscate, vocabulary, fields):
    code = "def f(a):\n    return  a + 1"
    (found,) = deobfuscate([(code, "python")], obfuscation_rate=1.0, fields=fields)
    texts = {}
    for name, ids in found.items():
        assert ids[-1] == EOS and ids.count(EOS) == 1
        texts[name] = code_whitespace.decode_whitespace(vocabulary.tokenizer.DecodeIds(ids[:-1]))
    assert texts == {
        "inputs": "def FUNC_0(VAR_0):\n    return  VAR_0 + 1",
        "targets": "FUNC_0 f | VAR_0 a",
    }


def test_one_seed_one_result_and_what_does_not_fit_is_left_out(deobfuscate):
    records = [(f"def f{i}(a, b):\n    c = a\n    return c + b", "python") for i in range(8)]
    first, again, other = (deobfuscate(records, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    longest = max(len(e["inputs"]) for e in first)
    fewer = deobfuscate(records, lengths={"inputs": longest - 1, "targets": 128})
    assert fewer == [e for e in first if len(e["inputs"]) < longest]
    longest = max(len(e["targets"]) for e in first)
    fewer = deobfuscate(records, lengths={"inputs": 512, "targets": longest - 1})
    assert fewer == [e for e in first if len(e["targets"]) < longest]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"obfuscation_rate": 0.0}, r"obfuscation_rate is 0\.0"),
        ({"lengths": {"inputs": 1, "targets": 9}}, r"\['inputs'\]=1 is too short"),
        ({"fields": ("code", "lang")}, r"fields \['code', 'lang'\]; deobfuscation expects"),
    ],
)
def test_mistakes_are_refused_at_once(deobfuscate, options, message):
    with pytest.raises(ConfigError, match=message):
        deobfuscate([("a = 1", "python")], **options)


def test_unknown_languages_and_sentinels_are_refused(deobfuscate):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"reserved words.*found cobol"):
        deobfuscate([("a = 1", "cobol")])
    with pytest.raises(tf.errors.InvalidArgumentError, match="sentinel ids"):
        deobfuscate([("a = '<extra_id_0>'", "python")])
