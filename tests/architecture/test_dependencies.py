"""Imports go down the ranks, and the trainer never meets TensorFlow."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
RANKS = {
    "types": 0,
    "outputs": 0,
    "errors": 0,
    "arrays": 0,
    "partitioning": 1,
    "cache": 1,
    "objectives": 1,
    "losses": 1,
    "optimizers": 1,
    "reporting": 1,
    "layers": 2,
    "data": 2,
    "models": 3,
    "decoding": 4,
    "checkpointing": 4,
    "training": 5,
    "evaluation": 5,
    "compilation": 6,
    "report_page": 6,
    "config": 7,
    "cli": 7,
}
"""Package or module of `xlingual` -> rank; one may import only from lower ranks or itself."""

EXCEPTIONS = {
    ("cli", "config"),
    ("outputs", "types"),
    ("arrays", "errors"),
    ("losses", "partitioning"),
}
"""Modules of the same rank that may be imported: (importer, imported)."""

THIRD_PARTY = {
    "partitioning": {"jax", "flax"},
    "cache": {"array_record"},
    "arrays": set(),
    "objectives": {"tensorflow", "tensorflow_text", "seqio"},
    "losses": {"jax", "optax", "flax"},
    "optimizers": {"jax", "optax"},
    "reporting": {"jax", "rich", "tensorboardX", "psutil"},
    "layers": {"jax", "flax"},
    "models": {"jax", "flax"},
    "decoding": {"jax", "flax"},
    "checkpointing": {"jax", "orbax", "etils", "flax", "safetensors", "tensorstore"},
    "training": {"jax", "optax", "flax", "rich"},
    "compilation": {"jax", "libtpu", "rich"},
    "report_page": {"matplotlib"},
}
"""What a package may import directly, beyond the standard library and numpy."""

WITHOUT_TENSORFLOW = [
    "types",
    "outputs",
    "errors",
    "config",
    "partitioning",
    "cache",
    "losses",
    "optimizers",
    "reporting",
    "layers",
    "models",
    "decoding",
    "checkpointing",
    "training",
    "arrays",
    "objectives",
    "compilation",
    "data.base",
    "data.cached",
    "data.cached_iterator",
    "data.cached_sets",
    "data.iterator",
    "data.plain_vocabularies",
    "data.recipe_options",
    "data.recipes",
    "data.row_counts",
    "data.tokenised_stream",
    "evaluation.cached_heldout",
    "cli.main",
    "cli.train",
    "cli.doctor",
    "cli.export",
    "cli.import_",
]


def _modules():
    return [p for p in sorted((ROOT / "xlingual").rglob("*.py")) if p.stat().st_size]


def _imports(path):
    """Returns the absolute module names that a file imports, wherever the statement stands."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the full name"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def _package(path):
    parts = path.relative_to(ROOT / "xlingual").with_suffix("").parts
    return parts[0]


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_the_ranks(path):
    own = _package(path)
    assert own in RANKS, f"{own} has no rank: give it one here"
    allowed = THIRD_PARTY.get(own)
    for name in _imports(path):
        top, *rest = name.split(".")
        assert top != "tasks", f"{path}: nothing in xlingual imports tasks"
        if top == "xlingual" and rest and rest[0] in RANKS:
            other = rest[0]
            assert other == own or (own, other) in EXCEPTIONS or RANKS[other] < RANKS[own], (
                f"{own} (rank {RANKS[own]}) imports {name} (rank {RANKS[other]})"
            )
        elif allowed is not None and top not in sys.stdlib_module_names | {"numpy", "xlingual"}:
            assert top in allowed, f"{own} imports {top}; allowed: {sorted(allowed)}"


def test_gin_is_imported_only_at_the_edge():
    users = {_package(p) for p in _modules() if any(n.split(".")[0] == "gin" for n in _imports(p))}
    assert users == {"config", "cli"}


def test_orbax_is_imported_only_by_checkpointing():
    users = {_package(p) for p in _modules() if any(n.startswith("orbax") for n in _imports(p))}
    assert users == {"checkpointing"}


def test_the_trainer_imports_without_tensorflow():
    names = []
    for entry in WITHOUT_TENSORFLOW:
        path = ROOT / "xlingual" / entry.replace(".", "/")
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        names += [
            ".".join(f.relative_to(ROOT).with_suffix("").parts)
            for f in files
            if f.name != "__init__.py"
        ]
    assert len(names) > 30
    code = (
        "import sys, importlib\n"
        "class Block:\n"
        "  def find_spec(self, name, path=None, target=None):\n"
        "    if name.split('.')[0] in ('tensorflow', 'seqio', 't5', 'tensorflow_datasets'):\n"
        "      raise ImportError('blocked: ' + name)\n"
        "sys.meta_path.insert(0, Block())\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "assert 'tensorflow' not in sys.modules\n"
        "print('imported', len(sys.modules))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert "imported" in result.stdout
