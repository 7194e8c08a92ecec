"""Which implementation computes an attention, and how it runs on a mesh.

The plain implementation serves everything and is the reference of all others. Kernels are chosen by
platform and shape, or by name; where one cannot serve what it is asked for, that is an error if it
was asked for by name and a logged line if not.
"""

import dataclasses
import functools
import logging

import flax.struct
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from xlingual.errors import ConfigError
from xlingual.layers.fused_attention.attend import KERNELS, fused_attention, most_keys
from xlingual.layers.maintained_attention import cudnn_attention, splash_attention
from xlingual.layers.pattern import AttentionPattern, RelativeBias
from xlingual.partitioning.constraints import shard_spec, target_platform
from xlingual.types import Array

MIN_LENGTH = 512
"""Queries or keys from which on `auto` takes a kernel."""

MAX_HEAD_SIZE = 256
"""Size of a head that the fused kernels hold."""

NEVER_TIMED = {("fused", "gpu")}
"""(implementation, platform) that `auto` leaves alone, as its speed there was never measured."""

_MAX_CUDNN_HEAD_SIZE = 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What an attention needs, as far as implementations differ in it.

    Attributes:
      name: which attention it is, for messages.
      num_queries: queries of a row.
      num_keys: keys of a row.
      d_kv: size of a head.
      dtype: of queries, keys and values.
      biased: whether scores get a bias by distance.
      causal: whether queries see no later key.
      prefix: whether some see each other both ways.
      groups: whether there are group ids.
    """

    name: str
    num_queries: int
    num_keys: int
    d_kv: int
    dtype: jnp.dtype
    biased: bool
    causal: bool
    prefix: bool
    groups: bool


@flax.struct.dataclass
class KernelPattern:
    """Who may attend to whom, and the kernel that reads it in place of a mask.

    Attributes:
      pattern: the description.
      implementation: `fused`, `splash` or `cudnn`. Static.
      platform: what it runs on. Static.
    """

    pattern: AttentionPattern
    implementation: str = flax.struct.field(pytree_node=False)
    platform: str = flax.struct.field(pytree_node=False)

    @property
    def batch_size(self) -> int:
        """Rows of queries."""
        return self.pattern.query_segments.shape[0]


def choose(asked: str, request: Request, platform: str) -> str:
    """Returns the implementation of an attention, and logs it once for all that are alike.

    Nothing is logged where nothing was asked for and there is nothing to choose: on a CPU.

    Args:
      asked: `auto`, or the name of one. `splash` and `cudnn` are for causal attention alone; what
        else a model has is chosen as with `auto`.
      request: what it is needed for.
      platform: `cpu`, `gpu` or `tpu`.

    Returns:
      `xla`, `fused`, `splash` or `cudnn`.

    Raises:
      ConfigError: the one that was asked for cannot serve this; group masks excepted, which go to
        the plain implementation.
    """
    if asked in ("splash", "cudnn") and not request.causal:
        asked = "auto"
    if asked == "xla":
        return _logged(request, "xla", "as asked")
    if asked != "auto":
        refusal = _refusal(asked, request, platform)
        if refusal is None:
            return _logged(request, asked, f"as asked, on {platform}")
        if request.groups:
            return _logged(request, "xla", refusal)
        raise ConfigError(f"attention={asked!r} cannot serve {_described(request)}: {refusal}")
    if platform not in KERNELS:
        return "xla"
    if max(request.num_queries, request.num_keys) < MIN_LENGTH:
        return _logged(request, "xla", f"shorter than {MIN_LENGTH}")
    refusals = []
    for name in ("splash", "cudnn", "fused"):
        refusal = _refusal(name, request, platform)
        if refusal is None and (name, platform) in NEVER_TIMED:
            refusal = f"{name} was never timed on a {platform}: ask for it by name"
        if refusal is None:
            return _logged(request, name, f"on {platform}")
        refusals.append(refusal)
    return _logged(request, "xla", refusals[-1])


def masked_or_described(
    pattern: AttentionPattern, asked: str, *, name: str, d_kv: int, dtype: jnp.dtype, biased: bool
) -> Array | KernelPattern:
    """Returns the mask for the plain implementation, or the description for the kernel chosen.

    Args:
      pattern: who may attend to whom.
      asked: as in `choose`.
      name: which attention it is, for messages.
      d_kv: size of a head.
      dtype: of queries, keys and values.
      biased: whether scores get a bias by distance.

    Returns:
      [batch, 1, q, k] bool, or the description.

    Raises:
      ConfigError: as in `choose`.
    """
    request = Request(
        name=name,
        num_queries=pattern.query_segments.shape[1],
        num_keys=pattern.key_segments.shape[1],
        d_kv=d_kv,
        dtype=dtype,
        biased=biased,
        causal=pattern.causal,
        prefix=pattern.in_prefix is not None,
        groups=pattern.group_ids is not None,
    )
    platform = target_platform()
    implementation = choose(asked, request, platform)
    if implementation == "xla":
        return pattern.mask()
    return KernelPattern(pattern, implementation, platform)


def kernel_attention(
    query: Array,
    key: Array,
    value: Array,
    chosen: KernelPattern,
    bias: RelativeBias | None = None,
    dropout_mask: Array | None = None,
) -> Array:
    """Returns attention-weighted values from the kernel chosen, on every device its own part.

    Rows and heads are cut over the mesh as `constrain` cuts them; positions stay whole. Dropout of
    the weights is the same for all queries, so it is one of the values.

    Args:
      query: [batch, q, heads, d_kv] float32 or bfloat16.
      key: [batch, k, kv_heads, d_kv], same dtype; kv_heads divides heads.
      value: [batch, k, kv_heads, d_kv], same dtype.
      chosen: from `masked_or_described`.
      bias: added to the scores, or None.
      dropout_mask: [batch, heads, 1, k] float32 multiplier of the weights, or None.

    Returns:
      [batch, q, heads, d_kv], same dtype as `query`; nothing in particular for padding.
    """
    rows = shard_spec(query.shape, ("batch", None, "heads", None))
    shared = shard_spec(key.shape, ("batch", None, "kv_heads", None))
    if dropout_mask is not None or (rows is not None and shared != rows):
        # Every head of queries gets keys of its own where it drops others, or where the heads of
        # keys are too few to be cut.
        times = query.shape[2] // key.shape[2]
        key, value = (jnp.repeat(x, times, axis=2) for x in (key, value))
        shared = rows
    if dropout_mask is not None:
        value = value * dropout_mask.transpose(0, 3, 1, 2).astype(value.dtype)
    attend = functools.partial(_attend, implementation=chosen.implementation)
    attend = functools.partial(attend, platform=chosen.platform)
    if rows is None or shared is None:
        return attend(query, key, value, chosen.pattern, bias)
    of_pattern = jax.tree.map(lambda _: PartitionSpec(rows[0]), chosen.pattern)
    of_bias = jax.tree.map(lambda _: PartitionSpec(rows[2]), bias)
    sharded = jax.shard_map(
        attend,
        in_specs=(rows, shared, shared, of_pattern, of_bias),
        out_specs=rows,
        check_vma=False,
    )
    return sharded(query, key, value, chosen.pattern, bias)


def _attend(
    query: Array,
    key: Array,
    value: Array,
    pattern: AttentionPattern,
    bias: RelativeBias | None,
    *,
    implementation: str,
    platform: str,
) -> Array:
    interpret = platform not in KERNELS
    if implementation == "splash":
        return splash_attention(query, key, value, pattern, interpret=interpret)
    if implementation == "cudnn":
        return cudnn_attention(query, key, value, pattern)
    kernels = "tpu" if interpret else platform
    return fused_attention(query, key, value, pattern, bias, platform=kernels, interpret=interpret)


def _refusal(name: str, request: Request, platform: str) -> str | None:
    """Why an implementation cannot serve a request, or None."""
    homes = {"splash": "tpu", "cudnn": "gpu"}
    if name in homes:
        if platform != homes[name] and not (name == "splash" and platform == "cpu"):
            return f"it runs on {homes[name]}, not on {platform}"
        if request.biased or not request.causal:
            return "it serves causal attention without bias"
    if request.groups and name != "cudnn":
        return "it knows no groups"
    if name == "splash" and request.prefix:
        return "it knows no prefixes"
    if name == "cudnn":
        return _cudnn_refusal(request)
    if request.d_kv > MAX_HEAD_SIZE:
        return f"d_kv={request.d_kv}; expected at most {MAX_HEAD_SIZE}"
    length, most = max(request.num_queries, request.num_keys), most_keys(request.d_kv, platform)
    if name == "fused" and length > most:
        return f"length {length}; expected at most {most} at d_kv={request.d_kv}"
    return None


def _cudnn_refusal(request: Request) -> str | None:
    if request.dtype != jnp.bfloat16:
        return f"dtype={request.dtype}; expected bfloat16"
    if request.d_kv > _MAX_CUDNN_HEAD_SIZE or request.d_kv % 8:
        return f"d_kv={request.d_kv}; expected a multiple of 8 up to {_MAX_CUDNN_HEAD_SIZE}"
    return None


def _described(request: Request) -> str:
    kinds = {"bias": request.biased, "prefixes": request.prefix, "groups": request.groups}
    has = [kind for kind, there in kinds.items() if there]
    return (
        f"{request.name}, {request.num_queries} queries x {request.num_keys} keys"
        f"{' with ' + ' and '.join(has) if has else ''}"
    )


def _logged(request: Request, implementation: str, reason: str) -> str:
    _log_once(f"attention: {_described(request)}: {implementation} ({reason})")
    return implementation


@functools.lru_cache(maxsize=256)
def _log_once(message: str) -> None:
    if jax.process_index() == 0:
        logging.getLogger("xlingual").info(message)
