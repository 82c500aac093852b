"""Additive attention over the regions of an image (Bahdanau et al. 2015, eq. 6; Xu et al. 2015, eq. 4 to 6).

score(region) = v . tanh(key(region) + query), normalised over the regions of the image. A hyperbolic tangent for every
image, caption, region and attention unit would be most of the work of a decoder. With exp(2a) exp(2b) = exp(2(a + b)),

    tanh(a + b) = 1 - 2 / (1 + exp(2a) exp(2b)),

so the exponentials are taken of keys (once per image) and queries (once per word), and what is left per quadruple is a
product, a sum and a reciprocal. On a processor they are done in C (`onepass.py`); without a compiler for it, for a few
images at a time, while they fit the processor's cache. They are never stored: the backward pass computes them again.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

LIMIT = 20.0
"""Keys and queries are cut off here, where tanh is 1 in any precision, so that products of exponentials stay finite."""
IN_CACHE = 2**19
"""Numbers that a CPU core's cache holds beside the rest."""


def exponentials(values: Float[Tensor, "*any attention"]) -> Float[Tensor, "*any attention"]:
    """exp(2 x) of keys or queries, in single precision at least."""
    wide = torch.promote_types(values.dtype, torch.float32)
    return values.to(wide).clamp(-LIMIT, LIMIT).mul_(2).exp_()


def scores(
    keys: Float[Tensor, "image region attention"],
    queries: Float[Tensor, "image caption attention"],
    v: Float[Tensor, " attention"],
) -> Float[Tensor, "image caption region"]:
    """How well each region answers each query, up to a constant that the softmax does not see.

    Args:
        keys, queries: their `exponentials`.
    """
    if torch.compiler.is_compiling():
        return (_halves(keys, queries) * v).sum(dim=-1) * -2
    found = keys.new_empty(*queries.shape[:2], keys.shape[1])
    for images, halves in _chunks(keys, queries):
        torch.matmul(halves, v, out=found[images])
    return found.mul_(-2)


def add_gradients(
    keys: Float[Tensor, "image region attention"],
    queries: Float[Tensor, "image caption attention"],
    v: Float[Tensor, " attention"],
    gradient: Float[Tensor, "image caption region"],
    key_gradient: Float[Tensor, "image region attention"],
    v_gradient: Float[Tensor, "image attention"],
) -> Float[Tensor, "image caption attention"]:
    """The backward pass of `scores`: adds to the gradients of keys and v, returns that of the queries.

    That of v is still to be summed over the images.

    Gradients of keys and queries are those before the exponential, still to be multiplied by 4 v.

    Args:
        gradient: of the scores; each row sums to 0, as behind a softmax.
    """
    if torch.compiler.is_compiling():
        halves, own = _halves(keys, queries), gradient.unsqueeze(-1)
        slope = (halves - halves * halves) * own
        # Both over the regions first: one loop, in which the compiler divides once for the two of them.
        by_v, by_query = (halves * own).sum(dim=2), slope.sum(dim=2)
        v_gradient -= 2 * by_v.sum(dim=1)
        key_gradient += slope.sum(dim=1)
        return by_query
    query_gradient = torch.empty_like(queries)
    for images, halves in _chunks(keys, queries):
        own = gradient[images]
        by_v = torch.bmm(own.flatten(1).unsqueeze(1), halves.flatten(1, 2))
        v_gradient[images].sub_(by_v[:, 0], alpha=2)
        slope = torch.addcmul(halves, halves, halves, value=-1, out=halves)  # a quarter of tanh's derivative
        torch.matmul(own.unsqueeze(2), slope, out=query_gradient[images].unsqueeze(2))
        key_gradient[images] += slope.mul_(own.unsqueeze(-1)).sum(dim=1)
    return query_gradient


def _halves(
    keys: Float[Tensor, "image region attention"], queries: Float[Tensor, "image caption attention"]
) -> Float[Tensor, "image caption region attention"]:
    """What `_chunks` gives, for all images at once: a compiler never writes it down."""
    return 1 / (1 + keys.unsqueeze(1) * queries.unsqueeze(2))


def _chunks(
    keys: Float[Tensor, "image region attention"], queries: Float[Tensor, "image caption attention"]
) -> Iterator[tuple[slice, Float[Tensor, "chunk caption region attention"]]]:
    """1 / (1 + exp(2 (key + query))) for a few images at a time; the buffer is used again for the next ones."""
    images, captions, attention = queries.shape
    regions = keys.shape[1]
    at_once = max(1, images if keys.is_cuda else IN_CACHE // (captions * regions * attention))
    buffer = keys.new_empty(min(at_once, images), captions, regions, attention)
    for start in range(0, images, at_once):
        chunk = slice(start, min(start + at_once, images))
        product = torch.mul(keys[chunk].unsqueeze(1), queries[chunk].unsqueeze(2), out=buffer[: chunk.stop - start])
        yield chunk, product.add_(1).reciprocal_()
