"""Our parameters and another program's tensors: names, axes and offsets, in both directions.

A `Rule` says how one kind of parameter is called and stored elsewhere; a table of rules is all
that a foreign layout needs. Reading and writing go tensor by tensor, so that beyond the arrays
themselves no more is held than one of them.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from xlingual.errors import ConfigError
from xlingual.types import PyTree

FLOATS = ("float32", "bfloat16", "float16")
"""Dtypes of tensors that can be read."""

BLOCK_BYTES = 64 * 2**20
"""A tensor is read in blocks of rows of about so many bytes."""

Index = tuple[slice, ...]


class TensorSource(Protocol):
    """Tensors on disk, by name."""

    @property
    def description(self) -> str:
        """Where they are, for people."""

    @property
    def tensors(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """Name -> shape and dtype."""

    def read(self, name: str, index: Index) -> np.ndarray:
        """Returns a part of a tensor; `index` has a slice of step 1 for every dimension."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """How one kind of parameter is stored elsewhere: ours = scale * theirs + offset.

    Attributes:
      ours: path of the parameter; `layers` in it stands for a layer, stacked or not.
      theirs: name of the tensor; `{layer}` is the number of the layer. Without it in a layered
        rule, the layers are stacked there too.
      transpose: whether their axes are ours in reverse order.
      offset: added to theirs.
      scale: multiplies theirs.
      layer_axis: axis of the layers in a tensor that is stacked there.
      reshape: whether neighbouring axes of theirs are joined in ours.
      aliases: other names that the same tensor goes by.
    """

    ours: str
    theirs: str
    transpose: bool = False
    offset: float = 0.0
    scale: float = 1.0
    layer_axis: int | None = None
    reshape: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def is_exact(self) -> bool:
        """Whether numbers stay what they are."""
        return self.offset == 0.0 and self.scale == 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Piece:
    """One foreign tensor, or one layer of it, and where it lies in a parameter of ours.

    Attributes:
      path: of the parameter.
      position: index on axis 0 of a stacked parameter; None for all of the parameter.
      layer: number of the layer; None outside the layers.
      name: of the tensor.
      rule: how they differ.
      shape: of the piece, in our axes.
    """

    path: str
    position: int | None
    layer: int | None
    name: str
    rule: Rule
    shape: tuple[int, ...]

    @property
    def their_shape(self) -> tuple[int, ...]:
        """Shape of the tensor, without its axis of layers; unknown where axes are joined."""
        return self.shape[::-1] if self.rule.transpose else self.shape


def flatten(tree: PyTree) -> dict[str, Any]:
    """Returns path -> leaf of a tree of dicts, names joined by `/`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(str(key.key) for key in path): leaf for path, leaf in leaves}


def unflatten(flat: Mapping[str, Any]) -> PyTree:
    """Returns the tree of dicts that `flatten` takes apart."""
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *parents, name = path.split("/")
        functools.reduce(lambda node, key: node.setdefault(key, {}), parents, tree)[name] = leaf
    return tree


def make_pieces(shapes: PyTree, rules: Sequence[Rule]) -> dict[str, list[Piece]]:
    """Returns path -> the pieces of each parameter, in the order of its layers.

    Args:
      shapes: parameter tree of anything with a shape.
      rules: the foreign layout.

    Raises:
      ConfigError: no rule names a parameter.
    """
    by_path = {rule.ours: rule for rule in rules}
    flat = flatten(shapes)
    unknown = [path for path in flat if _pattern(path)[0] not in by_path]
    if unknown:
        raise ConfigError(f"parameters that the layout has no name for: {', '.join(unknown)}")
    return {
        path: list(_pieces(path, tuple(leaf.shape), by_path[_pattern(path)[0]]))
        for path, leaf in flat.items()
    }


def _pieces(path: str, shape: tuple[int, ...], rule: Rule) -> Iterator[Piece]:
    _, layer = _pattern(path)
    make = functools.partial(Piece, path=path, rule=rule)
    if "layers" not in path.split("/"):
        name = rule.theirs.format(layer=layer)
        yield make(position=None, layer=layer, name=name, shape=shape)
        return
    for number in range(shape[0]):
        name = rule.theirs.format(layer=number)
        yield make(position=number, layer=number, name=name, shape=shape[1:])


def _pattern(path: str) -> tuple[str, int | None]:
    """`decoder/layers_3/x` -> (`decoder/layers/x`, 3); other paths as they are, and None."""
    found = re.search(r"/layers_(\d+)/", path)
    if found is None:
        return path, None
    return path.replace(found.group(0), "/layers/"), int(found.group(1))


def read_params(
    shapes: PyTree,
    rules: Sequence[Rule],
    source: TensorSource,
    ignored: Sequence[str] = (),
    show: Callable[[int, int], None] = lambda done, total: None,
) -> PyTree:
    """Returns the parameters made from foreign tensors, every array where it will live.

    Each device's part is read by itself: only the slices that it needs.

    Args:
      shapes: parameter tree of `jax.ShapeDtypeStruct` with shardings.
      rules: the foreign layout.
      source: the tensors.
      ignored: regular expressions; tensors whose whole name matches one are not needed.
      show: called with the bytes of the parameters that are there, and of all.

    Raises:
      ConfigError: with all tensors that are missing, superfluous, or of another shape or dtype.
    """
    pieces = resolve_names(make_pieces(shapes, rules), source)
    check_tensors(pieces, source, ignored)
    flat: dict[str, jax.Array] = {}
    total = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    show(0, total)
    for path, leaf in flatten(shapes).items():
        callback = functools.partial(_read_part, pieces[path], leaf, source)
        flat[path] = jax.make_array_from_callback(leaf.shape, leaf.sharding, _read_once(callback))
        flat[path].block_until_ready()
        show(sum(array.nbytes for array in flat.values()), total)
    return unflatten(flat)


def _read_once(callback: Callable[[Index], np.ndarray]) -> Callable[[Index | None], np.ndarray]:
    """Wraps a callback of an index, so that devices with the same part share one reading."""

    @functools.cache
    def read(*bounds: tuple[int | None, int | None]) -> np.ndarray:
        return callback(tuple(slice(*bound) for bound in bounds))

    return lambda index: read(*((part.start, part.stop) for part in index or ()))


def resolve_names(
    pieces: Mapping[str, Sequence[Piece]], source: TensorSource
) -> dict[str, list[Piece]]:
    """Returns the pieces under the names that the source has, where a tensor has several."""
    resolved = {}
    for path, parts in pieces.items():
        names = (parts[0].name, *parts[0].rule.aliases) if parts else ()
        found = [name for name in names if name in source.tensors]
        renamed = found and len(parts) == 1
        resolved[path] = [dataclasses.replace(parts[0], name=found[0])] if renamed else list(parts)
    return resolved


def check_tensors(
    pieces: Mapping[str, Sequence[Piece]], source: TensorSource, ignored: Sequence[str] = ()
) -> None:
    """Checks that a source has the tensors that parameters are made of, and no others.

    Args:
      pieces: from `make_pieces`.
      source: the tensors.
      ignored: regular expressions; tensors whose whole name matches one are not needed.

    Raises:
      ConfigError: with all tensors that are missing, superfluous, or of another shape or dtype.
    """
    tensors, used, lines = source.tensors, set(), []
    for piece in (piece for parts in pieces.values() for piece in parts):
        used.add(piece.name)
        tensor = tensors.get(piece.name)
        if tensor is None:
            lines.append(f"missing: {piece.name}, {list(piece.their_shape)}, for {piece.path}")
            continue
        if tensor.dtype.name not in FLOATS:
            lines.append(
                f"different: {piece.name} is {tensor.dtype.name}; expected one of "
                f"{', '.join(FLOATS)}"
            )
        if not _fits(piece, tensor.shape):
            lines.append(
                f"different: {piece.name} is {list(tensor.shape)}; expected "
                f"{list(piece.their_shape)} for {piece.path}"
            )
    patterns = [re.compile(pattern) for pattern in ignored]
    for name in sorted(tensors.keys() - used):
        if not any(pattern.fullmatch(name) for pattern in patterns):
            lines.append(f"unknown: {name}, {list(tensors[name].shape)}")
    lines = list(dict.fromkeys(lines))
    if lines:
        raise ConfigError(
            f"the tensors in {source.description} are not those of the model that its "
            f"configuration describes ({len(lines)} differ):\n"
            + "\n".join(f"  {line}" for line in lines)
        )


def _without_layers(piece: Piece, shape: tuple[int, ...]) -> tuple[int, ...]:
    axis = piece.rule.layer_axis
    return tuple(shape) if axis is None else tuple(shape[:axis]) + tuple(shape[axis + 1 :])


def _fits(piece: Piece, shape: tuple[int, ...]) -> bool:
    """Whether a tensor of `shape` holds a piece."""
    axis, layer = piece.rule.layer_axis, piece.layer
    if axis is not None and layer is not None and (len(shape) <= axis or shape[axis] <= layer):
        return False
    found = _without_layers(piece, shape)
    return _joins(found, piece.shape) if piece.rule.reshape else found == piece.their_shape


def _joins(theirs: tuple[int, ...], ours: tuple[int, ...]) -> bool:
    """Whether joining neighbouring axes makes `ours` of `theirs`."""
    if not ours:
        return math.prod(theirs) == 1
    return any(
        math.prod(theirs[:n]) == ours[0] and _joins(theirs[n:], ours[1:])
        for n in range(1, len(theirs) + 1)
    )


def _read_part(
    pieces: Sequence[Piece], leaf: jax.ShapeDtypeStruct, source: TensorSource, index: Index
) -> np.ndarray:
    """The part of a parameter that one device holds, in the parameter's dtype."""
    bounds = tuple(
        slice(*part.indices(size)[:2]) for part, size in zip(index, leaf.shape, strict=True)
    )
    part = np.empty([bound.stop - bound.start for bound in bounds], leaf.dtype)
    if pieces and pieces[0].position is None:
        _read_piece(pieces[0], source, bounds, part)
        return part
    for row, number in enumerate(range(bounds[0].start, bounds[0].stop)):
        _read_piece(pieces[number], source, bounds[1:], part[row])
    return part


def _read_piece(piece: Piece, source: TensorSource, bounds: Index, out: np.ndarray) -> None:
    """Fills `out` with the slice `bounds` of a piece, in blocks of rows of the tensor."""
    rule = piece.rule
    if rule.reshape:
        shape = _without_layers(piece, source.tensors[piece.name].shape)
        whole = _read_layer(piece, source, tuple(slice(0, size) for size in shape))
        out[...] = _apply(rule, whole.reshape(piece.shape)[bounds])
        return
    theirs, out = (bounds[::-1], out.T) if rule.transpose else (bounds, out)
    rows, *rest = theirs
    row_bytes = max(1, math.prod(bound.stop - bound.start for bound in rest) * out.itemsize)
    step = max(1, BLOCK_BYTES // row_bytes)
    for start in range(rows.start, rows.stop, step):
        stop = min(start + step, rows.stop)
        block = _read_layer(piece, source, (slice(start, stop), *rest))
        out[start - rows.start : stop - rows.start] = _apply(rule, block)


def _read_layer(piece: Piece, source: TensorSource, bounds: Index) -> np.ndarray:
    """Reads a part of a piece, out of its layer where the layers are stacked there."""
    axis, layer = piece.rule.layer_axis, piece.layer
    if axis is None or layer is None:
        return source.read(piece.name, bounds)
    index = (*bounds[:axis], slice(layer, layer + 1), *bounds[axis:])
    return np.squeeze(source.read(piece.name, index), axis)


def _apply(rule: Rule, theirs: np.ndarray) -> np.ndarray:
    if rule.is_exact:
        return theirs
    return theirs.astype(np.float32) * np.float32(rule.scale) + np.float32(rule.offset)


def to_theirs(piece: Piece, ours: np.ndarray, dtype: Any) -> np.ndarray:
    """Returns the tensor that holds a piece elsewhere.

    Args:
      piece: of a rule that neither stacks layers nor joins axes.
      ours: the piece, in our axes, any float dtype.
      dtype: of the tensor.
    """
    rule = piece.rule
    if not rule.is_exact:
        ours = (ours.astype(np.float32) - np.float32(rule.offset)) / np.float32(rule.scale)
    theirs = ours.T if rule.transpose else ours
    return np.ascontiguousarray(theirs, dtype=jnp.dtype(dtype))
