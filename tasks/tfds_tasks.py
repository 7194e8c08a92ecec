"""Tasks over data sets that TensorFlow Datasets has prepared in a folder; nothing is downloaded."""

import dataclasses
import functools
import json
import re
from collections.abc import Mapping

import seqio
import tensorflow as tf

from tasks import sources
from tasks.record_tasks import RecordTask
from xlingual.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class TfdsTask(RecordTask):
    """A task over a prepared data set of TFDS; a column `a.b` is feature `b` of feature `a`.

    Attributes:
      tfds_name: data set and configuration, e.g. `c4/multilingual` or `wmt19_translate/de-en`; the
        newest version in the folder is read, unless one is given after a colon.
      data_dir: the folder, local or `gs://`.
      splits: split -> split or slice of the data set, e.g. `{'train': 'train[1%:]'}`.
    """

    tfds_name: str
    data_dir: str
    splits: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: {"train": "train", "validation": "validation"}
    )

    def make_source(self) -> seqio.DataSource:
        """Returns the records; see `RecordTask`."""
        folder = prepared_folder(self.tfds_name, self.data_dir)
        present = _split_names(folder)
        splits = {s: name for s, name in self.splits.items() if self.trained or s != "train"}
        missing = sorted({re.split(r"[\[+]", n)[0] for n in splits.values()} - set(present))
        if missing:
            raise ConfigError(
                f"task {self.name!r}: {folder} has no split {missing}, only {sorted(present)}"
            )
        rows = seqio.TfdsDataSource(tfds_data_dir=folder, splits=splits, read_only=True)
        convert = functools.partial(sources.select_elements, selection=self.selection())
        return sources.MappedSource(rows, convert)


def prepared_folder(tfds_name: str, data_dir: str) -> str:
    """Returns the folder of the newest prepared version of a data set.

    Args:
      tfds_name: data set, configuration and perhaps `:VERSION`.
      data_dir: where TFDS prepares data sets.

    Raises:
      ConfigError: there is none.
    """
    name, _, version = tfds_name.partition(":")
    pattern = f"{str(data_dir).rstrip('/')}/{name}/{version or '*'}/dataset_info.json"
    found = [path.rsplit("/", 1)[0] for path in tf.io.gfile.glob(pattern)]
    if not found:
        raise ConfigError(
            f"TFDS has not prepared {tfds_name!r} in data_dir={data_dir!r}: there is no {pattern}; "
            f"run `tfds build {name} --data_dir={data_dir}`"
        )
    return max(found, key=_version)


def _split_names(folder: str) -> list[str]:
    with tf.io.gfile.GFile(f"{folder}/dataset_info.json") as stream:
        return [split["name"] for split in json.load(stream)["splits"]]


def _version(folder: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", folder.rsplit("/", 1)[1])]
