"""The decoder of the tutorials, for comparison: each caption has a copy of its image, and each step projects it."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class TextbookDecoder(nn.Module):
    """Show, attend and tell (Xu et al. 2015) written down word for word with `nn.LSTMCell` or `nn.GRUCell`."""

    def __init__(self, rnn: str, vocab: int, features: int, hidden: int, embedding: int, attention: int) -> None:
        super().__init__()
        self.rnn = rnn
        self.embedding = nn.Embedding(vocab, embedding)
        self.key, self.query = nn.Linear(features, attention), nn.Linear(hidden, attention)
        self.score = nn.Linear(attention, 1)
        self.start_hidden, self.start_cell = nn.Linear(features, hidden), nn.Linear(features, hidden)
        self.openness = nn.Linear(hidden, features)
        self.cell = (nn.LSTMCell if rnn == "lstm" else nn.GRUCell)(embedding + features, hidden)
        self.vocab = nn.Linear(hidden, vocab)

    def forward(
        self, grids: Float[Tensor, "caption region feature"], words: Int[Tensor, "caption word"]
    ) -> Float[Tensor, "caption word vocab"]:
        """Logits of the word after each of `words`."""
        mean = grids.mean(dim=1)
        hidden, cell = self.start_hidden(mean), self.start_cell(mean)
        embedded = self.embedding(words)
        logits = []
        for step in range(words.shape[1]):
            energy = torch.tanh(self.key(grids) + self.query(hidden).unsqueeze(1))
            weights = self.score(energy).squeeze(-1).softmax(dim=1)
            context = (weights.unsqueeze(-1) * grids).sum(dim=1) * torch.sigmoid(self.openness(hidden))
            inputs = torch.cat([embedded[:, step], context], dim=1)
            if self.rnn == "lstm":
                hidden, cell = self.cell(inputs, (hidden, cell))
            else:
                hidden = self.cell(inputs, hidden)
            logits.append(self.vocab(hidden))
        return torch.stack(logits, dim=1)
