import csv

import pytest

from xlingual.data import languages
from xlingual.errors import ConfigError


def test_every_language_of_mt5_has_a_name():
    assert len(set(languages.MT5_LANGUAGES)) == 101
    assert all(languages.language_name(code) for code in languages.MT5_LANGUAGES)


def test_names_that_prompts_depend_on():
    names = languages.language_names(["de", "zh", "zh-Hant", "sw", "python", "cpp", "ja-Latn"])
    assert list(names.values()) == [
        "German",
        "Chinese",
        "Traditional Chinese",
        "Swahili",
        "Python",
        "C++",
        "Japanese (Latin script)",
    ]


def test_natural_and_programming_codes_do_not_overlap():
    assert not set(languages.NATURAL_LANGUAGES) & set(languages.PROGRAMMING_LANGUAGES)
    assert languages.is_programming_language("python")
    assert not languages.is_programming_language("de")


def test_an_unknown_code_raises_and_names_the_nearest():
    with pytest.raises(ConfigError, match=r"'pyton' is unknown.*python"):
        languages.language_name("pyton")
    with pytest.raises(ConfigError, match="'DE' is unknown"):
        languages.language_name("DE")


def test_every_language_of_the_real_data_has_a_name(data_dir):
    with (data_dir / "languages.tsv").open(encoding="utf-8") as file:
        codes = [row["bcp47"] for row in csv.DictReader(file, delimiter="\t")]
    assert len(codes) > 200
    assert all(languages.language_name(code) for code in codes)
