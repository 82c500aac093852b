"""The decoder of the tutorials, for comparison: each caption has a copy of its image, and each step projects it."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from src.data.vocabulary import END, START

State = tuple[Float[Tensor, "caption hidden"], Float[Tensor, "caption hidden"]]


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
        state = self.begin(grids)
        embedded = self.embedding(words)
        logits = []
        for step in range(words.shape[1]):
            state = self.next(grids, embedded[:, step], state)
            logits.append(self.vocab(state[0]))
        return torch.stack(logits, dim=1)

    def begin(self, grids: Float[Tensor, "caption region feature"]) -> State:
        mean = grids.mean(dim=1)
        return self.start_hidden(mean), self.start_cell(mean)

    def next(
        self,
        grids: Float[Tensor, "caption region feature"],
        embedded: Float[Tensor, "caption embedding"],
        state: State,
    ) -> State:
        hidden, cell = state
        energy = torch.tanh(self.key(grids) + self.query(hidden).unsqueeze(1))
        weights = self.score(energy).squeeze(-1).softmax(dim=1)
        context = (weights.unsqueeze(-1) * grids).sum(dim=1) * torch.sigmoid(self.openness(hidden))
        inputs = torch.cat([embedded, context], dim=1)
        if self.rnn == "lstm":
            return self.cell(inputs, (hidden, cell))  # type: ignore[no-any-return]
        return self.cell(inputs, hidden), cell


@torch.no_grad()
def search(decoder: TextbookDecoder, grid: Float[Tensor, "1 region feature"], beams: int, words: int) -> list[int]:
    """The tutorials' beam search in one image: as many copies of it as there are open hypotheses; a hypothesis that
    comes to its end takes its beam with it.

    Args:
        words: most that a caption may have, its end included.
    """
    grids = grid.expand(beams, -1, -1)
    hidden, cell = decoder.begin(grids)
    said = torch.full((beams, 1), START, device=grid.device)
    scores = torch.zeros(beams, 1, device=grid.device)
    finished: list[tuple[float, list[int]]] = []
    for length in range(words):
        hidden, cell = decoder.next(grids, decoder.embedding(said[:, -1]), (hidden, cell))
        likely = scores + decoder.vocab(hidden).log_softmax(dim=1)
        best, index = (likely if length else likely[:1]).flatten().topk(len(said))
        parent, word = index // likely.shape[1], index % likely.shape[1]
        said = torch.cat([said[parent], word.unsqueeze(1)], dim=1)
        over = (word == END) if length + 1 < words else torch.ones_like(word, dtype=torch.bool)
        finished += [(float(score), caption.tolist()) for score, caption in zip(best[over], said[over], strict=True)]
        if bool(over.all()):
            break
        going = ~over
        said, scores, grids = said[going], best[going].unsqueeze(1), grids[going]
        hidden, cell = hidden[parent[going]], cell[parent[going]]
    return max(finished)[1]
