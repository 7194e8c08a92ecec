"""Makes the shards of a cache by Apache Beam, on one machine or a cluster.

Beam only hands out the work: what a shard holds is decided by `cache_shards.py` alone, so runner
and number of workers change nothing. Needs the extra `beam`, and a folder that all workers see.
"""

from collections.abc import Callable, Sequence

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions

from xlingual.data import cache_shards
from xlingual.data.cache_shards import ShardWork
from xlingual.data.pivot_pipeline import DEFAULT_RUNNER


def distribute(
    works: Sequence[ShardWork], register_tasks: Callable[[], None], beam_options: Sequence[str] = ()
) -> None:
    """Makes shards; see `cache_job.make_cache`.

    Args:
      works: shards that are missing.
      register_tasks: called once in every worker before its first shard; it can be pickled.
      beam_options: flags of Beam, e.g. `["--runner=DataflowRunner"]`.

    Raises:
      Exception: of the runner's, if a shard cannot be made.
    """
    flags = list(beam_options)
    if not any(flag.startswith("--runner") for flag in flags):
        flags.append(f"--runner={DEFAULT_RUNNER}")
    pipeline = beam.Pipeline(options=PipelineOptions(flags))
    _ = (
        pipeline
        | "Shards" >> beam.Create(list(works))
        | "Spread" >> beam.Reshuffle()
        | "Make" >> beam.ParDo(_MakeShard(register_tasks))
    )
    pipeline.run().wait_until_finish()


class _MakeShard(beam.DoFn):  # type: ignore[misc]
    def __init__(self, register_tasks: Callable[[], None]):
        self._register_tasks = register_tasks
        self._records = Metrics.counter("cache", "records")

    def setup(self) -> None:
        self._register_tasks()

    def process(self, work: ShardWork) -> None:
        self._records.inc(cache_shards.make_shard(work).shard.num_records)
