import os
import pathlib
import signal
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from xlingual.checkpointing import files
from xlingual.checkpointing.manager import Checkpoint, CheckpointConfig, CheckpointManager
from xlingual.errors import ConfigError

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _sharding(num_devices, *spec):
    mesh = Mesh(np.array(jax.devices()[:num_devices]), ("x",))
    return NamedSharding(mesh, PartitionSpec(*spec))


def _state(seed=0):
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2**32, (16, 6), np.uint32)
    return {
        "params": {
            # Any bits at all, NaN payloads and denormals among them.
            "kernel": jax.device_put(bits.view(np.float32), _sharding(8, "x")),
            "half": jax.device_put(
                jnp.asarray(rng.normal(size=(8, 3)), jnp.bfloat16), _sharding(4, "x")
            ),
        },
        "step": jax.device_put(jnp.int32(7), _sharding(8)),
        "moments": (jax.device_put(jnp.ones((3,)), _sharding(8)), ()),
        "extra": {},
    }


def _shapes(state, sharding=None):
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding or x.sharding), state
    )


def _checkpoint(state, position=b"position", **metadata):
    return Checkpoint(state=state, position=position, metadata=metadata, config_text="a.b = 1\n")


def _assert_same_bits(one, two):
    assert jax.tree.structure(one) == jax.tree.structure(two)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        assert a.dtype == b.dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def _open(folder, **config):
    return CheckpointManager(folder, CheckpointConfig(**{"period_steps": 1} | config))


def test_everything_comes_back_bit_for_bit(tmp_path):
    state = _state()
    with _open(tmp_path) as manager:
        assert manager.latest_step() is None
        manager.save(7, _checkpoint(state, b"\x00\xff\n", seconds=0.1 + 0.2, names=["é"]))
    with _open(tmp_path) as manager:
        assert manager.latest_step() == 7
        restored = manager.load_state(7, _shapes(state))
        _assert_same_bits(state, restored)
        assert jax.tree.map(lambda x: x.sharding, restored) == jax.tree.map(
            lambda x: x.sharding, state
        )
        assert manager.load_positions(7) == [b"\x00\xff\n"]
        assert manager.load_metadata(7) == {"seconds": 0.1 + 0.2, "names": ["é"]}
    text = tmp_path / "checkpoints" / "7" / "config" / "operative_config.gin"
    assert text.read_text() == "a.b = 1\n"


@pytest.mark.parametrize("sharding", [(1,), (2, "x"), (4, None)])
def test_arrays_come_back_on_another_mesh(sharding, tmp_path):
    state = {"kernel": _state()["params"]["kernel"]}
    target = _sharding(*sharding)
    with _open(tmp_path) as manager:
        manager.save(1, _checkpoint(state))
        manager.wait()
        restored = manager.load_state(1, _shapes(state, target))
    assert restored["kernel"].sharding == target
    _assert_same_bits(state, restored)


def test_arrays_may_be_donated_while_they_are_written(tmp_path):
    update = jax.jit(lambda x: x * 1.5 + 1.0, donate_argnums=0)
    x = jax.device_put(np.arange(2**20, dtype=np.float32).reshape(8, -1), _sharding(8, "x"))
    expected = []
    with _open(tmp_path, keep=10) as manager:
        for step in range(1, 6):
            expected.append(np.array(x))
            manager.save(step, _checkpoint({"x": x}))
            for _ in range(5):
                x = update(x)
    with _open(tmp_path, keep=10) as manager:
        for step, saved in enumerate(expected, start=1):
            restored = manager.load_state(step, _shapes({"x": x}))
            np.testing.assert_array_equal(restored["x"], saved)


def test_a_save_returns_before_the_files_are_written(tmp_path, monkeypatch):
    """The writes wait for an event that is set only after `save` has returned."""
    returned, in_time, write = threading.Event(), [], files.write_file

    def write_later(path, content):
        in_time.append(returned.wait(timeout=30))
        write(path, content)

    monkeypatch.setattr(files, "write_file", write_later)
    with _open(tmp_path) as manager:
        manager.save(3, _checkpoint(_state()))
        assert not (tmp_path / "checkpoints" / "3").exists()
        returned.set()
        manager.wait()
        assert manager.latest_step() == 3
    assert in_time == [True] * 3


PROGRAM = """
import os, signal, sys
import jax.numpy as jnp
from xlingual.checkpointing import files
from xlingual.checkpointing.manager import Checkpoint, CheckpointConfig, CheckpointManager

write = files.write_file

def write_or_die(path, content):
    if content == b"die":
        print(sorted(os.listdir(sys.argv[1] + "/checkpoints")), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, content)

files.write_file = write_or_die
state = {"w": jnp.arange(4.0)}
with CheckpointManager(sys.argv[1], CheckpointConfig(period_steps=1)) as manager:
    manager.save(1, Checkpoint(state=state, position=b"live", metadata={}))
    manager.wait()
    manager.save(2, Checkpoint(state=state, position=b"die", metadata={}))
"""


def test_a_checkpoint_that_a_crash_left_half_written_is_ignored_and_removed(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert "tmp" in result.stdout  # the crash came in the middle of the second checkpoint
    assert any("tmp" in name for name in os.listdir(tmp_path / "checkpoints"))
    state = {"w": jax.device_put(jnp.arange(4.0), _sharding(1))}
    with _open(tmp_path) as manager:
        assert manager.latest_step() == 1
        _assert_same_bits(state, manager.load_state(1, _shapes(state)))
        manager.save(2, _checkpoint(state))
        manager.wait()
        assert manager.latest_step() == 2
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["1", "2"]


def test_the_latest_checkpoints_and_those_of_the_period_stay(tmp_path):
    state = {"w": jax.device_put(jnp.zeros(2), _sharding(1))}
    with _open(tmp_path, keep=2, keep_period_steps=4) as manager:
        for step in range(1, 8):
            manager.save(step, _checkpoint(state))
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["4", "6", "7"]


def test_saving_the_same_step_again_changes_nothing(tmp_path):
    state = {"w": jax.device_put(jnp.zeros(2), _sharding(1))}
    with _open(tmp_path) as manager:
        manager.save(1, _checkpoint(state, b"first"))
        manager.wait()
        manager.save(1, _checkpoint(state, b"second"))
        manager.wait()
        assert manager.load_positions(1) == [b"first"]


def test_the_period_says_when_a_checkpoint_is_due(tmp_path):
    with _open(tmp_path, period_steps=3) as manager:
        assert [step for step in range(1, 8) if manager.is_due(step)] == [3, 6]


@pytest.mark.parametrize("field", ["period_steps", "keep", "keep_period_steps"])
def test_periods_must_be_positive(field):
    with pytest.raises(ConfigError, match=f"{field}=0"):
        CheckpointConfig(**{field: 0})


def test_other_arrays_are_refused(tmp_path):
    state = _state()
    with _open(tmp_path) as manager:
        manager.save(1, _checkpoint(state))
        manager.wait()
        wrong = _shapes(state)
        wrong["moments"] = (jax.ShapeDtypeStruct((4,), jnp.float32, sharding=_sharding(8)), ())
        with pytest.raises(ConfigError, match=r"float32\[3\] there, float32\[4\] here"):
            manager.load_state(1, wrong)
        more = _shapes(state) | {"more": wrong["moments"][0]}
        with pytest.raises(ConfigError, match=r"\['more'\] is absent there"):
            manager.load_state(1, more)


def test_another_number_of_processes_gets_the_positions_of_all(tmp_path):
    with _open(tmp_path) as manager:
        manager.save(1, _checkpoint(_state()))
        manager.wait()
        folder = tmp_path / "checkpoints" / "1" / "position"
        own = (folder / "process_00000_of_00001").rename(folder / "process_00000_of_00002")
        with pytest.raises(ConfigError, match=r"process_00001_of_00002'\]: a file is missing"):
            manager.load_positions(1)
        (folder / "process_00001_of_00002").write_bytes(b"second")
        assert manager.load_positions(1) == [own.read_bytes(), b"second"]
