"""The table of docs/objectives.md has every objective, and says what the registry says."""

import inspect
import pathlib
import re

import pytest

from xlingual.objectives import registry

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "objectives.md").read_text(encoding="utf-8")
ROWS = {
    cells[0].strip("`"): cells[1:]
    for cells in (
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in TEXT.splitlines()
        if line.startswith("| `")
    )
}
OURS = "a format of this project"


def test_the_table_has_every_objective_in_order():
    assert list(ROWS) == list(registry.objectives())
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"[{len(ROWS)}](docs/objectives.md)" in readme


@pytest.mark.parametrize("name", ROWS)
def test_a_row_says_what_the_registry_says(name):
    objective = registry.get_objective(name)
    source, records, models, returns = ROWS[name]
    assert records == ", ".join(objective.records)
    assert models == " and ".join(family.replace("_", "-") for family in objective.families)
    assert returns == objective.summary.removeprefix("Returns ")
    if source != OURS:  # the module cites what the table names, with its year
        cited = inspect.getsource(inspect.getmodule(objective.preprocess))
        words, year = source[:-6], source[-4:]
        author = re.search(r": (\w+) et al", words)
        assert year in cited
        assert (author.group(1) if author else words.partition(",")[0]) in cited


def test_options_without_a_default_are_named():
    paragraph = TEXT.partition("options without a default: ")[2].partition(". ")[0]
    expected = {name for name, one in registry.objectives().items() if one.required}
    assert set(re.findall(r"`(\w+)`", paragraph)) == expected
