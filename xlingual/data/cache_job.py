"""A packed cache of a task or mixture, from its plan to its manifest.

The plan is a list of shards, each made on its own (`cache_shards.make_shard`) by whatever
distributes them: this process, or Beam (`cache_pipeline.py`). The job then writes the manifest. It
can be killed at any time and started again: finished shards are kept, and the bytes in the end are
the same.
"""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import importlib.metadata
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import seqio

import xlingual
from xlingual.cache import packing
from xlingual.cache import shards as shards_lib
from xlingual.cache.manifest import (
    MANIFEST_FILE,
    MODES,
    CachedTask,
    Manifest,
    Mode,
    dump_manifest,
    load_manifest,
    summed,
)
from xlingual.data import cache_shards, task_checks, task_registry, vocabularies
from xlingual.data.byte_vocabulary import ByteVocabulary
from xlingual.data.cache_shards import PROGRESS_FOLDER, ShardWork
from xlingual.data.recipes import recipe_of
from xlingual.data.tokenizer_vocabulary import TokenizerVocabulary
from xlingual.errors import ConfigError

ALL = "*"
"""Key of a row shape that serves every objective without one of its own."""
_PLAN_FILE = "plan.json"

Distribute = Callable[[Sequence[ShardWork]], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CacheJob:
    """A cache before it is made.

    Attributes:
      name: registered task or mixture.
      output: folder of the cache: new, empty, or that of the same job.
      mode: `tokenised`: before the objective; `packed`: rows of examples.
      family: `encoder_decoder` or `decoder_only`; decides how rows are packed.
      splits: which every task must have.
      num_shards: files a task and split.
      row_shapes: objective, task or `*` -> lengths of `inputs` and `targets` of its rows; goes
        before what the mixture declares.
      packing: algorithm, see `xlingual.cache.packing`.
      packing_options: of the algorithm.
      seed: of the objectives' noise.
    """

    name: str
    output: str
    mode: Mode = "packed"
    family: str = "encoder_decoder"
    splits: tuple[str, ...] = ("train",)
    num_shards: int = 8
    row_shapes: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)
    packing: str = "best_fit"
    packing_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seed: int = 0


def make_cache(job: CacheJob, distribute: Distribute | None = None) -> Manifest:
    """Makes a cache, or what is missing of it; returns its manifest.

    A cache that is finished is verified and returned as it is.

    Args:
      job: what to make; the tasks are registered.
      distribute: makes shards by `cache_shards.make_shard`; None makes one after the other here.

    Raises:
      ConfigError: a setting, task, split or row shape is wrong; the folder holds something else, or
        a cache with other settings, code or vocabulary; another job writes to it; a shard that was
        done is damaged; a task has no records; or a shard could not be made.
    """
    plan = _make_plan(job)
    root = _folder(job.output)
    with _locked(root):
        if (root / MANIFEST_FILE).exists():
            _check_same(root / MANIFEST_FILE, plan, dict(load_manifest(root).settings))
            manifest = shards_lib.verify(root).manifest
        else:
            _begin(root, plan)
            _make_missing(root, plan, distribute or _make_here)
            manifest = _collect(plan)
            shards_lib.write_text(root / MANIFEST_FILE, dump_manifest(manifest))
        _tidy(root)
    return manifest


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Plan:
    """Attributes: works are sorted by split, task and index."""

    job: CacheJob
    works: tuple[ShardWork, ...]
    shares: Mapping[str, float]
    share_unit: str
    vocabulary: seqio.Vocabulary
    settings: Mapping[str, Any]


def _make_plan(job: CacheJob) -> _Plan:
    if job.mode not in MODES:
        raise ConfigError(f"mode is {job.mode!r}; expected one of {', '.join(MODES)}")
    if job.num_shards < 1:
        raise ConfigError(f"num_shards is {job.num_shards}; expected at least 1")
    if not job.splits or len(set(job.splits)) < len(job.splits):
        raise ConfigError(f"splits are {list(job.splits)}; expected distinct names of splits")
    shares, share_unit = task_registry.leaf_shares(job.name)
    tasks = [seqio.TaskRegistry.get(name) for name in shares]
    for split in job.splits:
        vocabulary = task_checks.check_tasks(tasks, job.name, split)
    shapes = row_shapes_of(job, list(shares))
    packed = job.mode == "packed"
    if packed:
        packing.make_packer(job.packing, **job.packing_options)
        for shape in shapes.values():
            packing.Room(family=job.family, row_shape=shape)
    settings = {
        "name": job.name,
        "mode": job.mode,
        "splits": list(job.splits),
        "num_shards": job.num_shards,
        "shares": {name: round(share, 12) for name, share in shares.items()},
        "share_unit": share_unit,
        "row_shapes": shapes,
        "vocabulary": task_checks.describe_vocabulary(vocabulary),
        "code_version": code_version(),
    }
    if packed:
        settings["family"], settings["seed"] = job.family, job.seed
        settings["packing"] = {"name": job.packing, **job.packing_options}
    works = tuple(
        ShardWork(
            root=job.output,
            split=split,
            task=name,
            index=index,
            num_shards=job.num_shards,
            mode=job.mode,
            family=job.family if packed else "",
            row_shape=shapes.get(name, {}),
            packing=(job.packing, dict(job.packing_options)),
            seed=job.seed,
        )
        for split in job.splits
        for name in shares
        for index in range(job.num_shards)
    )
    return _Plan(
        job=job,
        works=works,
        shares=shares,
        share_unit=share_unit,
        vocabulary=vocabulary,
        settings=settings,
    )


def row_shapes_of(job: CacheJob, tasks: Sequence[str]) -> dict[str, dict[str, int]]:
    """Returns task -> its row shape: by its name, by its objective, or by `*`, the first found.

    Each is looked up in the job first, then in what the mixture declares.

    Raises:
      ConfigError: a key names no objective or task of the mixture; or the job packs, and a task has
        no shape.
    """
    declared = task_registry.declared_row_shapes(job.name)
    objectives = {name: task_registry.task_metadata(name).objective for name in tasks}
    known = {*objectives, *objectives.values(), ALL}
    for key in (*job.row_shapes, *declared):
        if key not in known:
            raise ConfigError(
                f"a row shape is declared for {key!r}; {job.name!r} has the objectives "
                f"{sorted(set(objectives.values()))}: expected one of them, a task, or {ALL!r}"
            )
    found = {}
    for name, objective in objectives.items():
        shapes = [
            s[key] for s in (job.row_shapes, declared) for key in (name, objective) if key in s
        ]
        shapes += [s[ALL] for s in (job.row_shapes, declared) if ALL in s]
        if shapes:
            found[name] = dict(shapes[0])
        elif job.mode == "packed":
            raise ConfigError(
                f"task {name!r} ({objective}) has no row shape; expected the mixture to declare "
                f"one (row_shapes), or --row_shape {objective or name}=INPUTS,TARGETS"
            )
    return found


@functools.cache
def code_version() -> str:
    """Returns the version of this package with a hash of its source files, as they were first."""
    digest = hashlib.sha256()
    root = pathlib.Path(next(iter(xlingual.__path__)))
    for path in sorted(root.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return f"xlingual {importlib.metadata.version('xlingual')} sources {digest.hexdigest()[:16]}"


def _folder(output: str) -> pathlib.Path:
    if "://" in output:
        raise ConfigError(
            f"output is {output!r}; expected a folder, e.g. of a mounted bucket: shards are "
            "written, flushed and renamed as files"
        )
    root = pathlib.Path(output)
    try:
        root.mkdir(parents=True, exist_ok=True)
        entries = {path.name for path in root.iterdir()}
    except OSError as error:
        raise ConfigError(f"output folder {root} cannot be used: {error.strerror}") from error
    if entries and not entries & {MANIFEST_FILE, PROGRESS_FOLDER}:
        raise ConfigError(
            f"output folder {root} holds {sorted(entries)[:3]}; expected an empty or new one, or "
            "that of the same job"
        )
    return root


@contextlib.contextmanager
def _locked(root: pathlib.Path) -> Iterator[None]:
    """Keeps a second job out; the lock of a killed one is gone with it."""
    descriptor = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"another job is writing to {root}; wait for it or stop it"
            ) from error
        yield
    finally:
        os.close(descriptor)


def _begin(root: pathlib.Path, plan: _Plan) -> None:
    path = root / PROGRESS_FOLDER / _PLAN_FILE
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"{path} is no plan of a cache job: {error}") from error
        _check_same(path, plan, found)
    else:
        shards_lib.write_text(path, json.dumps(plan.settings, indent=1, sort_keys=True) + "\n")
    shards_lib.remove_partial_files(root)
    cache_shards.clear_errors(root)


def _check_same(path: pathlib.Path, plan: _Plan, found: Mapping[str, Any]) -> None:
    wanted = json.loads(json.dumps(plan.settings))
    for name in dict.fromkeys((*wanted, *found)):
        if found.get(name) != wanted.get(name):
            raise ConfigError(
                f"{path} is of a cache with {name}={_short(found.get(name))}; this job has "
                f"{_short(wanted.get(name))}: choose another output folder, or delete this one"
            )


def _make_missing(root: pathlib.Path, plan: _Plan, distribute: Distribute) -> None:
    missing = [work for work in plan.works if cache_shards.load_done(work) is None]
    if not missing:
        return
    try:
        distribute(missing)
    except ConfigError:
        raise
    except Exception as error:
        message = cache_shards.first_error(root)
        if message is None:
            raise
        raise ConfigError(message) from error


def _make_here(works: Sequence[ShardWork]) -> None:
    for work in works:
        cache_shards.make_shard(work)


def _collect(plan: _Plan) -> Manifest:
    splits: dict[str, tuple[CachedTask, ...]] = {}
    for split in plan.job.splits:
        splits[split] = tuple(_collect_task(plan, split, name) for name in plan.shares)
    vocabulary = plan.vocabulary
    has_tokens = isinstance(
        vocabulary, seqio.SentencePieceVocabulary | ByteVocabulary | TokenizerVocabulary
    )
    tokens = dataclasses.asdict(vocabularies.special_tokens(vocabulary)) if has_tokens else {}
    return Manifest(
        mixture=plan.job.name,
        mode=plan.job.mode,
        family=plan.settings.get("family", ""),
        share_unit=plan.share_unit,
        splits=splits,
        vocabulary=plan.settings["vocabulary"],
        vocab_size=vocabulary.vocab_size,
        special_tokens=tokens,
        code_version=plan.settings["code_version"],
        settings=plan.settings,
    )


def _collect_task(plan: _Plan, split: str, name: str) -> CachedTask:
    done = []
    for work in plan.works:
        if (work.split, work.task) == (split, name):
            one = cache_shards.load_done(work)
            if one is None:
                raise ConfigError(f"shard {work.path} was not made, and no worker told why")
            done.append(one)
    if not any(one.shard.num_records for one in done):
        raise ConfigError(f"task {name!r} has no records in split {split!r}")
    metadata = task_registry.task_metadata(name)
    schema, row_shape = done[0].schema, plan.settings["row_shapes"].get(name, {})
    cached = CachedTask(
        name=name,
        objective=metadata.objective,
        src_lang=metadata.src_lang,
        tgt_lang=metadata.tgt_lang,
        share=plan.shares[name],
        row_shape=row_shape,
        schema=schema,
        counts=summed([one.counts for one in done]),
        shards=tuple(one.shard for one in done),
    )
    if plan.job.mode == "packed":
        return cached
    task = seqio.TaskRegistry.get(name)
    recipe = recipe_of(task.preprocessors, task.output_features, cached, plan.job.output)
    return dataclasses.replace(cached, recipe=recipe)


def _tidy(root: pathlib.Path) -> None:
    shards_lib.remove_partial_files(root)
    shutil.rmtree(root / PROGRESS_FOLDER, ignore_errors=True)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
