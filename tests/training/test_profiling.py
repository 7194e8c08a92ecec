import gzip
import json
import types

import jax
import pytest

from tests.training.fakes import make_arguments
from xlingual.errors import ConfigError
from xlingual.training import loop, start_clock
from xlingual.training.profiling import ProfileSteps, parse_profile_steps

FIRST_OF_ALL = (
    "imports and configuration",
    "data and checks",
    "parameters",
    "compiling",
    "first batch",
    "first step",
)


def _traced(folder):
    """Steps that a trace has, by the file that XProf reads and by the one that Perfetto reads."""
    (trace,) = folder.rglob("*.xplane.pb")
    planes = jax.profiler.ProfileData.from_file(str(trace)).planes
    events = [event for plane in planes for line in plane.lines for event in line.events]
    xprof = {dict(event.stats)["step_num"] for event in events if event.name == "train"}
    (perfetto,) = folder.rglob("perfetto_trace.json.gz")
    with gzip.open(perfetto) as file:
        rows = json.load(file)["traceEvents"]
    named = {int(row["args"]["step_num"]) for row in rows if row.get("name") == "train"}
    return xprof, named


def test_the_chosen_steps_are_traced_and_the_run_is_the_same(tmp_path, capsys):
    plain = loop.train(**make_arguments(tmp_path / "plain"))
    traced = loop.train(**make_arguments(tmp_path / "traced", profile_steps="2:3"))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), plain, traced))
    assert _traced(tmp_path / "traced" / "profile") == ({2, 3}, {2, 3})
    assert not (tmp_path / "plain" / "profile").exists()
    assert "trace of the steps until 3" in capsys.readouterr().out


def test_a_trace_that_the_end_of_the_run_cuts_off_is_written(tmp_path):
    loop.train(**make_arguments(tmp_path, train_steps=2, profile_steps="2:9"))
    assert _traced(tmp_path / "profile") == ({2}, {2})


@pytest.mark.parametrize("text", ["", "3", "a:b", "4:2", "0:2", "1:-2", "1:2:3"])
def test_other_forms_are_refused_at_the_start(text, tmp_path):
    with pytest.raises(ConfigError, match=r"profile_steps=.*expected FIRST:LAST"):
        loop.train(**make_arguments(tmp_path / "run", profile_steps=text))
    assert not (tmp_path / "run").exists()


def test_both_ends_are_included():
    assert parse_profile_steps("10:13") == ProfileSteps(first=10, last=13)


def test_a_start_says_where_its_time_went(tmp_path, capsys, monkeypatch):
    now = types.SimpleNamespace(time=iter((1000.0, 1001.0, 1002.0)).__next__)
    monkeypatch.setattr(start_clock, "time", now)
    clock = start_clock.StartClock(990.0)
    clock.mark("imports")
    clock.mark("compiling")
    clock.mark("compiling")
    assert clock.seconds == {"imports": 10.0, "compiling": 2.0}
    monkeypatch.undo()
    loop.train(**make_arguments(tmp_path))
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("first step done")]
    places = [line.index(f" {part} ") for part in FIRST_OF_ALL]
    assert places == sorted(places)
