"""A manifest survives its file, adds up, and refuses what is not one."""

import dataclasses
import json

import pytest

from xlingual.cache import manifest as manifest_lib
from xlingual.cache.codec import Feature
from xlingual.cache.manifest import CachedTask, Counts, Manifest, Shard
from xlingual.errors import ConfigError


def _task(name, objective, src, tgt, **counts):
    path = manifest_lib.shard_path("train", name, 0, 1)
    return CachedTask(
        name=name,
        objective=objective,
        src_lang=src,
        tgt_lang=tgt,
        share=0.5,
        row_shape={"inputs": 8, "targets": 4},
        schema=(Feature(name="inputs"), Feature(name="lang", dtype="text")),
        counts=Counts(**counts),
        shards=(Shard(path=path, num_records=3, num_bytes=9, sha256="0" * 64),),
    )


MANIFEST = Manifest(
    mixture="mix",
    mode="packed",
    family="encoder_decoder",
    splits={
        "train": (
            _task("sc:de", "span_corruption", "", "de", examples=3, input_tokens=20, room=36),
            _task("mt_de_en", "translation", "de", "en", examples=4, target_tokens=9, room=36),
            _task("mt_de_fr", "translation", "de", "fr", examples=1, weighted_targets=1.5, room=1),
        )
    },
    vocabulary="sha256:1",
    vocab_size=100,
    code_version="xlingual 0",
    settings={"seed": 3},
)


def _write(folder, text):
    (folder / "manifest.json").write_text(text)
    return folder


def test_a_manifest_survives_its_file(tmp_path):
    text = manifest_lib.dump_manifest(MANIFEST)
    assert manifest_lib.load_manifest(_write(tmp_path, text)) == MANIFEST
    assert manifest_lib.dump_manifest(manifest_lib.load_manifest(tmp_path)) == text
    totals = json.loads(text)["totals"]["train"]
    assert totals["objective"]["translation"]["examples"] == 5
    assert totals["language"]["de-en"]["target_tokens"] == 9


def test_counts_add_up_by_objective_and_language():
    by_objective = MANIFEST.counts_by("objective", "train")
    assert by_objective["translation"] == Counts(
        examples=5, target_tokens=9, weighted_targets=1.5, room=37
    )
    assert list(MANIFEST.counts_by("language", "train")) == ["de", "de-en", "de-fr"]
    assert by_objective["span_corruption"].fill == pytest.approx(20 / 36)
    assert Counts().fill == 1.0
    assert MANIFEST.tasks("train")[0].num_records == 3
    assert manifest_lib.shard_path("train", "sc:de", 1, 2) == (
        "train/sc%3Ade/shard-00001-of-00002.array_record"
    )


def test_what_is_no_manifest_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"manifest.json cannot be read .*finished cache"):
        manifest_lib.load_manifest(tmp_path)
    for text in ("{", "[]", "{}", '{"format_version": 1, "splits": {}}'):
        with pytest.raises(ConfigError, match=r"manifest.json is no manifest of a cache"):
            manifest_lib.load_manifest(_write(tmp_path, text))
    newer = dataclasses.replace(MANIFEST, format_version=2)
    with pytest.raises(ConfigError, match="format_version is 2; this code reads 1"):
        manifest_lib.load_manifest(_write(tmp_path, manifest_lib.dump_manifest(newer)))
    twice = dataclasses.replace(MANIFEST, splits={"train": MANIFEST.splits["train"][:1] * 2})
    with pytest.raises(ConfigError, match="'sc:de' is listed twice"):
        manifest_lib.load_manifest(_write(tmp_path, manifest_lib.dump_manifest(twice)))
    with pytest.raises(ConfigError, match=r"no split 'test', only \['train'\]"):
        MANIFEST.tasks("test")
