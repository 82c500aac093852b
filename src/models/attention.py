"""Additive attention over the regions of an image (Bahdanau et al. 2015, eq. 6; Xu et al. 2015, eq. 4 to 6)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class BahdanauAttention(nn.Module):
    """score(region) = v . tanh(key(region) + query), normalised over the regions of the image.

    Keys depend on the image alone: `keys()` is called once per image, `forward` once per word.
    """

    def __init__(self, region_size: int, attention_size: int) -> None:
        super().__init__()
        self.key = nn.Linear(region_size, attention_size)
        self.score = nn.Linear(attention_size, 1, bias=False)

    def keys(self, regions: Float[Tensor, "image region hidden"]) -> Float[Tensor, "image region attention"]:
        keys: Tensor = self.key(regions)
        return keys

    def forward(
        self, keys: Float[Tensor, "image region attention"], queries: Float[Tensor, "image caption attention"]
    ) -> Float[Tensor, "image caption region"]:
        """Weights of each caption's next word over the regions of its image; each row sums to 1."""
        energy = (keys.unsqueeze(1) + queries.unsqueeze(2)).tanh()  # image caption region attention
        scores: Tensor = self.score(energy).squeeze(-1)
        return scores.float().softmax(dim=-1)
