"""Every objective can be found by its name, with what it takes."""

import pytest

from xlingual.errors import ConfigError
from xlingual.objectives import registry
from xlingual.objectives.span_corruption import span_corruption


def test_objectives_are_found_in_their_modules():
    found = registry.objectives()
    assert found["span_corruption"].preprocess is span_corruption
    assert list(found) == sorted(found)
    for name, objective in found.items():
        assert objective.name == name
        assert objective.summary
        assert set(objective.records) <= {"mono", "pair", "code", "multi", "entity"}
        assert set(objective.families) <= set(registry.BOTH_FAMILIES)


def test_an_unknown_objective_raises_and_names_the_nearest():
    with pytest.raises(ConfigError, match="'span_coruption'; nearest: span_corruption"):
        registry.get_objective("span_coruption")
