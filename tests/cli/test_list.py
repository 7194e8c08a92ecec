"""What there is, one line each, readable on a pipe and in a narrow terminal."""

import pytest
from rich.console import Console

from xlingual.cli import list as list_verb
from xlingual.cli import main
from xlingual.objectives import registry


@pytest.fixture
def lines(capsys):
    def apply(*arguments):
        assert main.main(["list", *arguments]) == 0
        return [line.split("\t") for line in capsys.readouterr().out.splitlines()]

    return apply


def test_a_pipe_gets_one_whole_line_each(lines):
    found = lines()
    assert all(len(line) == 3 and line[2] for line in found)
    by_kind = {kind: {n: t for k, n, t in found if k == kind} for kind in list_verb.KINDS}
    assert set(by_kind["objectives"]) == set(registry.objectives())
    assert "pair; encoder-decoder and decoder-only" in by_kind["objectives"]["translation"]
    assert by_kind["tasks"]["toy_translation_de_en"] == (
        "Toy corpus: translation, German to English. [translation; de-en; train, validation, test]"
    )
    assert by_kind["tasks"]["toy_ptlm_de_python"].endswith("; evaluation only]")
    assert "translation 55%" in by_kind["mixtures"]["toy_pretrain"]
    assert by_kind["experiments"]["gin/experiments/toy.gin"].startswith("The embedded corpus")


def test_the_filter_and_the_kind_narrow_the_list(lines, capsys):
    found = lines("ZERO_shot", "--kind=mixtures")
    assert [name for _, name, _ in found] == ["toy_code_zero_shot", "toy_translation_zero_shot"]
    assert {kind for kind, _, _ in lines("translation")} == {
        "objectives",
        "tasks",
        "mixtures",
        "experiments",
    }
    assert main.main(["list", "no such thing"]) == 2
    assert "nothing contains 'no such thing'" in capsys.readouterr().err
    assert main.main(["list", "--module=no_such_module"]) == 2
    assert "no_such_module" in capsys.readouterr().err


@pytest.mark.parametrize("width", [30, 200])
def test_a_terminal_of_any_width_shows_every_word(monkeypatch, capsys, width):
    monkeypatch.setattr(
        list_verb,
        "Console",
        lambda: Console(force_terminal=True, color_system=None, width=width),
    )
    assert main.main(["list", "restore", "--kind=objectives"]) == 0
    printed = capsys.readouterr().out
    assert "objectives (1 of " in printed
    assert all(len(line) <= width for line in printed.splitlines())
    columns = [line.split("│")[1:3] for line in printed.splitlines() if "│" in line]
    name, text = ("".join(cells[i].strip() for cells in columns) for i in (0, 1))
    assert name == "cs_restore"
    expected = list_verb.describe_objectives()["cs_restore"]
    assert text.replace(" ", "") == expected.replace(" ", "")
