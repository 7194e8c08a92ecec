"""A train step that was compiled beforehand runs like one compiled here, or is refused by name."""

import json

import jax
import numpy as np
import pytest

from tests.training.fakes import FakeModel, FakeSource, make_arguments, make_partitioner
from xlingual.errors import ConfigError
from xlingual.training import loop
from xlingual.training.executables import IDENTITY, PROGRAM, save_executable
from xlingual.training.programs import TrainProgram
from xlingual.training.state import plan_state


def program_of(arguments):
    """The train step that `loop.train` would make of its arguments."""
    source = arguments["source"]
    given = {name: arguments[name] for name in ("model", "losses", "optimizer", "partitioner")}
    layout = plan_state(given["model"], given["optimizer"], given["partitioner"], source.spec)
    return TrainProgram(
        **given,
        layout=layout,
        spec=source.spec,
        num_tasks=len(source.tasks),
        num_microbatches=arguments.get("num_microbatches", 1),
        seed=arguments.get("seed", 0),
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with the train step of the tiny run on eight devices, fully sharded."""
    folder = tmp_path_factory.mktemp("executable")
    program = program_of(make_arguments(folder, partitioner=make_partitioner(fsdp=4, data=2)))
    save_executable(folder, program.compile(), program.identity)
    return folder


def run(folder, executable, **changes):
    arguments = make_arguments(folder, partitioner=make_partitioner(fsdp=4, data=2))
    return loop.train(**arguments | {"executable": executable} | changes)


def test_a_loaded_step_gives_the_run_of_a_compiled_one(saved, tmp_path, capsys):
    compiled = run(tmp_path / "compiled", None)
    loaded = run(tmp_path / "loaded", str(saved))
    assert f"loaded from {saved}" in capsys.readouterr().out
    for a, b in zip(jax.tree.leaves(compiled), jax.tree.leaves(loaded), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 3}, "seed: compiled with 0, this job has 3"),
        (
            {"source": FakeSource(family=FakeModel().family, batch_size=16)},
            "batch.decoder_input_tokens: compiled with [8, 10, 'int32'], this job has [16, 10,",
        ),
        (
            {"partitioner": make_partitioner(fsdp=2, data=4)},
            "mesh.fsdp: compiled with 4, this job has 2",
        ),
        (
            {"partitioner": make_partitioner(4, fsdp=4, data=1)},
            "topology.devices: compiled with 8, this job has 4",
        ),
    ],
)
def test_the_step_of_another_job_is_refused_by_name(saved, tmp_path, changes, message):
    with pytest.raises(ConfigError, match="was compiled for another job") as error:
        run(tmp_path, str(saved), **changes)
    assert message in str(error.value)
    assert "program: compiled with" in str(error.value)


@pytest.mark.parametrize("entry", ["jax", "compiler", "topology.device_kind", "model.class"])
def test_another_version_or_device_is_refused_by_name(saved, tmp_path, entry):
    for name in (PROGRAM, IDENTITY):
        (tmp_path / name).write_bytes((saved / name).read_bytes())
    record = json.loads((tmp_path / IDENTITY).read_text())
    record["identity"][entry] = "another"
    (tmp_path / IDENTITY).write_text(json.dumps(record))
    with pytest.raises(ConfigError, match=f"{entry}: compiled with 'another', this job has"):
        run(tmp_path / "run", str(tmp_path))


def test_a_missing_or_damaged_file_is_refused(saved, tmp_path):
    with pytest.raises(ConfigError, match="holds no compiled train step"):
        run(tmp_path / "run", str(tmp_path / "nothing"))
    (tmp_path / IDENTITY).write_bytes((saved / IDENTITY).read_bytes())
    (tmp_path / PROGRAM).write_bytes((saved / PROGRAM).read_bytes()[:-1])
    with pytest.raises(ConfigError, match="is damaged"):
        run(tmp_path / "run", str(tmp_path))
