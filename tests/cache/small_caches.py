"""Small caches in the format of `xlingual cache`, made of numbers that say where they come from."""

import pathlib

import numpy as np

from xlingual.cache import codec, manifest, rows, shards

SHAPES = {"span": {"inputs": 24, "targets": 10}, "pairs": {"inputs": 12, "targets": 12}}
RECORDS = {"span": 23, "pairs_de": 17, "pairs_fr": 9}
"""Task -> rows in its train split."""


def packed_row(task_index, number):
    """Returns a row whose first token of inputs is `1000 * (task + 1) + number`."""
    rng = np.random.default_rng([task_index, number])
    examples = []
    for size in (3, 4)[: 1 + number % 2]:
        inputs = rng.integers(3, 60, size).astype(np.int32)
        targets = rng.integers(3, 60, size - 1).astype(np.int32)
        weights = np.ones_like(targets)
        examples.append({"inputs": inputs, "targets": targets, "targets_weights": weights})
    examples[0]["inputs"][0] = 1000 * (task_index + 1) + number
    return rows.make_row(examples, rows.row_schema())


def write_packed(
    folder, *, records=None, shares=None, shapes=None, family="encoder_decoder", shards_per_task=2
):
    """Writes a packed cache of three tasks with a train and a validation split; returns it."""
    folder = pathlib.Path(folder)
    records = records or RECORDS
    splits = {}
    for split in ("train", "validation"):
        tasks = []
        for index, (name, count) in enumerate(sorted(records.items())):
            count = count if split == "train" else 5
            made = [packed_row(index, number) for number in range(count)]
            tasks.append(_task(folder, split, name, made, shards_per_task, shares, shapes))
        splits[split] = tuple(tasks)
    return _finish(folder, "packed", family, splits)


def _task(folder, split, name, made, num_shards, shares, shapes):
    schema = rows.row_schema()
    written = []
    for shard in range(num_shards):
        path = manifest.shard_path(split, name, shard, num_shards)
        part = np.array_split(np.arange(len(made)), num_shards)[shard]
        encoded = (codec.encode(made[i], schema) for i in part)
        written.append(shards.write_shard(folder, path, encoded))
    kind = name.split("_")[0]
    shape = (shapes or SHAPES)[kind]
    counts = manifest.Counts(
        examples=sum(len(row["targets_lengths"]) for row in made),
        input_tokens=sum(len(row["inputs"]) for row in made),
        target_tokens=sum(len(row["targets"]) for row in made),
        weighted_targets=float(sum(len(row["targets"]) for row in made)),
        room=len(made) * sum(shape.values()),
    )
    return manifest.CachedTask(
        name=name,
        objective="span_corruption" if kind == "span" else "translation",
        share=(shares or {"span": 0.5, "pairs_de": 0.25, "pairs_fr": 0.25})[name],
        row_shape=shape,
        schema=schema,
        counts=counts,
        shards=tuple(written),
    )


def _finish(folder, mode, family, splits):
    found = manifest.Manifest(
        mixture="small",
        mode=mode,
        family=family,
        splits=splits,
        vocabulary="sha256:0",
        vocab_size=4096,
        code_version="test",
    )
    shards.write_text(folder / manifest.MANIFEST_FILE, manifest.dump_manifest(found))
    return found


def write_tokenised(folder, *, num_records=300):
    """Writes a tokenised cache: span corruption of documents, and translation of pairs."""
    folder = pathlib.Path(folder)
    rng = np.random.default_rng(0)
    tokens = dict(vocab_size=300, sentinel_start=299, num_sentinels=100, control={"<2en>": 5})
    documents = [
        {"lang": "de", "targets": rng.integers(10, 190, rng.integers(5, 40)).astype(np.int32)}
        for _ in range(num_records)
    ]
    pairs = [
        {
            "src": rng.integers(10, 190, rng.integers(5, 20)).astype(np.int32),
            "src_lang": "de",
            "tgt": rng.integers(10, 190, rng.integers(5, 20)).astype(np.int32),
            "tgt_lang": "en",
        }
        for _ in range(num_records)
    ]
    tasks = []
    for name, made, options in (
        ("span_corruption", documents, {}),
        ("translation", pairs, {"direction": "fwd"}),
    ):
        schema = tuple(
            codec.Feature(name=key, dtype="text" if isinstance(value, str) else "int32")
            for key, value in sorted(made[0].items())
        )
        path = manifest.shard_path("train", name, 0, 1)
        shard = shards.write_shard(folder, path, (codec.encode(one, schema) for one in made))
        sides = {"input_tokens": "src", "target_tokens": "tgt" if "tgt" in made[0] else "targets"}
        counts = {
            key: sum(len(one[side]) for one in made if side in one) for key, side in sides.items()
        }
        tasks.append(
            manifest.CachedTask(
                name=name,
                objective=name,
                src_lang="de",
                tgt_lang="en",
                share=0.5,
                row_shape={"inputs": 48, "targets": 24 if name == "span_corruption" else 48},
                recipe={
                    "objective": name,
                    "options": options,
                    "special_tokens": tokens,
                    "texts": {},
                },
                schema=schema,
                counts=manifest.Counts(examples=len(made), **counts),
                shards=(shard,),
            )
        )
    return _finish(folder, "tokenised", "", {"train": tuple(tasks)})
