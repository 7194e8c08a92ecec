import dataclasses
import functools
import json

import pytest

from tests.training.fakes import FakeSource, make_model
from xlingual.errors import ConfigError
from xlingual.losses.cross_entropy import CrossEntropy
from xlingual.optimizers.adafactor import Adafactor
from xlingual.optimizers.adamw import AdamW
from xlingual.optimizers.schedules import inverse_square_root
from xlingual.training import fingerprint
from xlingual.training.fingerprint import check_allow_changes, check_fingerprint


def _make(source=None, model=None, losses=None, optimizer=None, seed=0):
    return fingerprint.make_fingerprint(
        data=(source or FakeSource()).fingerprint(),
        model=model or make_model(),
        losses=losses or {"cross_entropy": CrossEntropy()},
        optimizer=optimizer or Adafactor(),
        seed=seed,
    )


def test_it_survives_json_and_is_the_same_for_the_same_configuration():
    saved = json.loads(json.dumps(_make()))
    assert check_fingerprint(saved, _make()) == {}
    assert saved["data.vocabulary"] == "aaaaaaaa"
    assert saved["model.config.d_model"] == 16
    assert saved["optimizer.learning_rate.flat_steps"] == 10_000


CHANGES = {
    "data.vocabulary": {"source": FakeSource(vocabulary="b" * 8)},
    "data.mixture": {"source": FakeSource(mixture="other")},
    "data.batch_size": {"source": FakeSource(batch_size=16)},
    "data.task_feature_lengths.targets": {"source": FakeSource(targets_length=20)},
    "model.config.d_model": {"model": make_model(d_model=32)},
    "model.config.dropout_rate": {"model": make_model(dropout_rate=0.5)},
    "losses.cross_entropy.z_loss": {"losses": {"cross_entropy": CrossEntropy(z_loss=0.0)}},
    "optimizer.learning_rate.flat_steps": {
        "optimizer": Adafactor(learning_rate=inverse_square_root(flat_steps=5))
    },
    "seed": {"seed": 1},
}
NEVER = {"data.vocabulary", "model.config.d_model"}


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_a_change_is_refused_by_name_with_old_and_new_value(name):
    present = _make(**CHANGES[name])
    with pytest.raises(ConfigError) as error:
        check_fingerprint(_make(), present)
    message = str(error.value)
    assert (
        f"{name}: the checkpoint has {_make()[name]!r}, this run has {present[name]!r}" in message
    )
    assert ("allow_changes" in message) == (name not in NEVER)


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_only_a_harmless_change_can_be_allowed(name):
    saved, present = _make(), _make(**CHANGES[name])
    entry = name.removeprefix("data.")
    if name in NEVER:
        with pytest.raises(ConfigError, match=name):
            check_fingerprint(saved, present, [entry])
        with pytest.raises(ConfigError, match=r"may never change"):
            check_allow_changes([entry], present)
    else:
        check_allow_changes([entry], present)
        assert list(check_fingerprint(saved, present, [entry])) == [name]
        with pytest.raises(ConfigError, match=name):
            check_fingerprint(saved, present, [entry[:-1]])  # no name, only part of one


def test_another_optimizer_is_refused_even_if_all_of_it_is_allowed():
    with pytest.raises(ConfigError, match=r"optimizer\.class: the checkpoint has '.*Adafactor'"):
        check_fingerprint(
            _make(), _make(optimizer=AdamW(learning_rate=inverse_square_root())), ["optimizer"]
        )


def test_a_group_of_entries_can_be_allowed_by_its_beginning():
    present = _make(source=FakeSource(inputs_length=20, targets_length=20))
    assert len(check_fingerprint(_make(), present, ["task_feature_lengths"])) == 2


def test_many_differences_are_cut_short_and_the_advice_covers_them_all():
    saved = _make() | {f"data.mixture.shares.task_{n}": 0.05 for n in range(20)}
    with pytest.raises(ConfigError) as error:
        check_fingerprint(saved, _make(seed=1))
    message = str(error.value)
    assert message.count("the checkpoint has") == 10 and "and 11 more entries" in message
    assert "allow_changes=['mixture', 'seed']" in message
    assert len(check_fingerprint(saved, _make(seed=1), ["mixture", "seed"])) == 21
    with pytest.raises(ConfigError, match=r"configuration:\n  data\.vocabulary: the checkpoint"):
        check_fingerprint(saved, _make(source=FakeSource(vocabulary="b")))  # the gravest first


def test_a_name_that_is_no_entry_is_refused():
    with pytest.raises(ConfigError, match=r"'mixtures', which is no entry.*data\.mixture"):
        check_allow_changes(["mixtures"], _make())


def test_only_data_entries_restart_the_stream():
    assert fingerprint.is_of_data("data.mixture")
    assert not any(map(fingerprint.is_of_data, ("seed", "model.class", "losses.a", "optimizer.b")))


@dataclasses.dataclass(frozen=True)
class _Nested:
    inner: object = None


def _named(x, y=1):
    return x + y


def test_descriptions_hold_values_and_never_addresses():
    described = fingerprint.describe(
        {
            "dataclass": _Nested((1, None, _Nested("x"))),
            "function": _named,
            "partial": functools.partial(_named, y=2),
            "set": {3, 1, 2},
        }
    )
    assert "0x" not in json.dumps(described)
    assert described["set"] == [1, 2, 3]
    assert described["partial"]["y"] == 2
    assert described["dataclass"]["inner"][2]["inner"] == "x"
    with pytest.raises(TypeError, match="cannot fingerprint"):
        fingerprint.describe(object())
