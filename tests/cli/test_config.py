"""Gin parsing: what T5X users know works, and what is wrong gets one clear message."""

import pathlib
import textwrap

import gin
import pytest

from xlingual import config
from xlingual.errors import ConfigError

pytestmark = pytest.mark.usefixtures("clean_gin")


@pytest.fixture
def gin_file(tmp_path):
    def write(text, name="run.gin"):
        path = tmp_path / name
        path.write_text(
            "from __gin__ import dynamic_registration\nimport fractions\n" + textwrap.dedent(text)
        )
        return str(path)

    return write


RUN = """
    SIZE = %gin.REQUIRED
    BASE = 3
    fractions.Fraction:
      numerator = %SIZE
      denominator = %BASE
"""


def build():
    return gin.get_configurable("Fraction")()


def test_overrides_set_macros_and_parameters(gin_file):
    config.parse([gin_file(RUN)], [("SIZE", "4")])
    assert str(build()) == "4/3"
    config.parse([gin_file(RUN)], [("SIZE", "4"), ("fractions.Fraction.denominator", "5")])
    assert str(build()) == "4/5"
    assert "SIZE = 4" in config.full_config()
    assert "denominator = 5" in config.operative_config()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("runs/toy", "runs/toy"),
        ("'runs/toy'", "runs/toy"),
        ("gs://bucket/a-b", "gs://bucket/a-b"),
        ("../shared/data", "../shared/data"),
        ("None", None),
        ("12", 12),
        ("{'inputs': 3}", {"inputs": 3}),
    ],
)
def test_a_bare_word_is_a_string(gin_file, value, expected):
    path = gin_file("NAME = %gin.REQUIRED\nfractions.Fraction.numerator = %NAME\n")
    config.parse([path], [("NAME", value)])
    assert gin.query_parameter("NAME/gin.macro.value") == expected


def test_missing_required_macros_are_all_named(gin_file):
    path = gin_file(RUN + "\n    fractions.Fraction._normalize = %NOWHERE\n")
    with pytest.raises(ConfigError, match=r"NOWHERE|parameter"):
        config.parse([path], [])
    with pytest.raises(ConfigError, match=r"SIZE.*add --gin.SIZE=\.\.\."):
        config.parse([gin_file(RUN)], [])


def test_an_unknown_macro_names_its_neighbours(gin_file):
    with pytest.raises(ConfigError, match=r"--gin.SIZES.*did you mean SIZE"):
        config.parse([gin_file(RUN)], [("SIZE", "4"), ("SIZES", "4")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fractions.Fraction.size = 3", "size"),
        ("fractions.Nothing.size = 3", "Nothing"),
        ("fractions.Fraction.numerator = = 3", "run.gin"),
        ("include 'gin/none.gin'", "none.gin"),
        ("import no_such_module", "no_such_module"),
    ],
)
def test_bad_files_are_told_by_name(gin_file, text, message):
    with pytest.raises(ConfigError, match=message):
        config.parse([gin_file(text)], [])


def test_a_missing_file_is_told_by_name():
    with pytest.raises(ConfigError, match=r"gin file not found.*nowhere\.gin"):
        config.parse(["nowhere.gin"], [])


def test_gin_files_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = [p for p in config.search_paths() if (pathlib.Path(p) / "runs/pretrain.gin").is_file()]
    assert found
