import dataclasses
import os

import jax
import pytest

from tests.training.fakes import FakeModel, FakeSource, make_arguments, make_partitioner
from xlingual.errors import ConfigError
from xlingual.training import loop, startup


@dataclasses.dataclass(frozen=True, kw_only=True)
class _WithoutTaskIds(FakeSource):
    @property
    def spec(self):
        return {k: v for k, v in super().spec.items() if k != "decoder_task_ids"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _NeedsMore:
    weight: float = 1.0
    requires_features: tuple = ()
    requires_outputs: tuple = ()


BAD = {
    "train_steps": ({"train_steps": 0}, r"train_steps=0; expected a positive integer"),
    "microbatches": ({"num_microbatches": 0}, r"num_microbatches=0"),
    "log": ({"log_period_steps": -1}, r"log_period_steps=-1"),
    "no tasks": ({"source": FakeSource(tasks=())}, r"no task"),
    "feature": ({"source": _WithoutTaskIds()}, r"lacks the batch features \['decoder_task_ids'\]"),
    "vocabulary": (
        {"source": FakeSource(vocab_size=65)},
        r"vocab_size=64 of the model is smaller than the vocabulary of the data, 65",
    ),
    "batch": ({"source": FakeSource(batch_size=12)}, r"batch_size=12 .*expected .* multiple of 8"),
    "parts": ({"num_microbatches": 2}, r"batch_size=8 .*2 microbatches.*multiple of 16"),
    "no loss": ({"losses": {}}, r"losses is empty"),
    "loss feature": (
        {"losses": {"contrast": _NeedsMore(requires_features=("pair_tokens",))}},
        r"loss 'contrast' requires the batch features \['pair_tokens'\]",
    ),
    "loss output": (
        {"losses": {"contrast": _NeedsMore(requires_outputs=("heads/pooled",))}},
        r"loss 'contrast' requires the model outputs \['heads/pooled'\]",
    ),
    "mesh": (
        {
            "model": FakeModel(width=3072),
            "partitioner": make_partitioner(7, data=1, fsdp=7),
            "source": FakeSource(batch_size=7),
        },
        r"axis 'embed' of size 3072 does not divide",
    ),
    "allow": ({"allow_changes": ("model",)}, r"allow_changes"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_found_before_anything_is_written(name, tmp_path):
    changes, message = BAD[name]
    folder = tmp_path / "run"
    with pytest.raises(ConfigError, match=message):
        loop.train(**make_arguments(folder, **changes))
    assert not folder.exists()


def test_a_hook_that_objects_stops_the_run_before_anything_is_written(tmp_path):
    class Hook:
        period_steps = 1

        def prepare(self, context):
            raise ConfigError(f"no {context.model.family}")

    with pytest.raises(ConfigError, match="no fake"):
        loop.train(**make_arguments(tmp_path / "run", hooks=[Hook()]))
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("precious")
    for folder in (file, file / "run", "gs://bucket/run"):
        with pytest.raises(ConfigError, match=r"model_dir='.*(file|bucket).*"):
            loop.train(**make_arguments(folder))
    assert file.read_text() == "precious"
    assert not os.path.exists("gs:")


def test_all_features_of_the_fake_source_are_int32_or_weights():
    spec = FakeSource().spec
    floats = {name for name, leaf in spec.items() if leaf.dtype == jax.numpy.float32}
    assert floats == {"decoder_loss_weights"}


@pytest.mark.parametrize(
    ("num_shards", "num_processes", "warned"),
    [(1, 1, False), (1, 2, True), (4, 2, False), (6, 4, True)],
)
def test_reading_all_the_data_on_every_host_is_said(num_shards, num_processes, warned):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Sharded(FakeSource):
        def fingerprint(self):
            return super().fingerprint() | {"num_shards": num_shards}

    text = startup.describe_reading(Sharded(), num_processes)
    assert (text is not None and f"num_shards={num_shards}" in text) == warned
    assert startup.describe_reading(FakeSource(), num_processes) is None
