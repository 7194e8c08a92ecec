"""TensorFlow failures become one sentence."""

import pytest
import tensorflow as tf

from xlingual.data.tf_errors import as_config_error
from xlingual.errors import ConfigError


def _consume(function):
    with as_config_error("task 'x'"):
        list(tf.data.Dataset.range(2).map(function))


def _assert_small(value):
    with tf.control_dependencies([tf.debugging.Assert(value < 1, ["text holds sentinel", value])]):
        return tf.identity(value)


def _assert_named(value):
    tf.debugging.assert_less(value, tf.constant(1, tf.int64), message="value is too large")
    return value


def _raise(value):
    raise ConfigError(f"nothing to do with {value.dtype.name}")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_assert_small, "task 'x': text holds sentinel"),
        (_assert_named, "task 'x': value is too large"),
        (_raise, "task 'x': nothing to do with int64"),
    ],
)
def test_message_is_one_sentence(function, message):
    with pytest.raises(ConfigError) as caught:
        _consume(function)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert "[[" not in str(caught.value)
    assert "user code" not in str(caught.value)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"task 'x': .*absent\.txt; No such file") as caught:
        with as_config_error("task 'x'"):
            list(tf.data.TextLineDataset(str(tmp_path / "absent.txt")))
    assert "{{" not in str(caught.value)


def test_other_exceptions_pass():
    with pytest.raises(KeyError), as_config_error("task 'x'"):
        raise KeyError("a")
