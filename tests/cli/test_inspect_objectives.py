"""The report of a toy task of every objective, kind of records and family."""

import io

import pytest
import seqio
from rich.console import Console

from tasks import toy_recipes
from tests.objectives import cases
from xlingual.cli import inspect
from xlingual.data import task_registry
from xlingual.data.datasets import SeqioSource
from xlingual.objectives import registry

pytestmark = pytest.mark.slow

LENGTHS = {"inputs": 128, "targets": 128}
MEASURED = ("span_corruption", "translation", "deobfuscation", "lem", "pivot_chain")
"""One objective a kind of records: what lengths cost takes half of the time to measure."""


def _cases():
    """Returns id -> (task, family): one for each objective and variant, in its first family."""
    toy_recipes.register_mixtures()
    found = {}
    for name in sorted(seqio.TaskRegistry.names()):
        objective = task_registry.task_metadata(name).objective
        if name.startswith("toy_") and objective:
            variant = "-pnat" if "_pnat_" in name else ""
            families = registry.get_objective(objective).families
            for family in families if objective in MEASURED else families[:1]:
                found.setdefault(f"{objective}{variant}-{family}", (name, family))
    return found


CASES = _cases()


def test_every_objective_is_shown():
    shown = {case.partition("-")[0] for case in CASES}
    assert shown == set(registry.objectives())


@pytest.mark.parametrize("case", cases.some_slow(CASES))
def test_the_report_of(case, monkeypatch):
    name, family = CASES[case]
    if case.partition("-")[0] not in MEASURED:
        monkeypatch.setattr(inspect, "_losses", lambda source: {name: None})
    source = SeqioSource(
        mixture_or_task_name=name,
        task_feature_lengths=LENGTHS,
        batch_size=32,
        feature_converter=inspect.CONVERTERS[family](pack=True),
        split="validation",
        num_measured_records=32,
    )
    console = Console(file=io.StringIO(), width=200)
    for part in inspect.report(source, 2):
        console.print(part)
    printed = console.file.getvalue()
    assert f"{name}, split validation" in printed and "fill over 128 rows" in printed
    assert printed.count("  targets ") == 2
    assert printed.count("  inputs ") in (0, 2)
