"""Train the demo model: ``python -m demo_model.train TOKENIZER OUT``.

The loss counts the assistant's tokens only.

First come short conversations, one after the other in rows. In the last part of the steps, long
ones of up to the whole context are mixed in. Fixed seeds determine everything.
"""

import argparse
import itertools
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from tokenizers import Tokenizer
from torch.nn import functional

from demo_model import chat
from demo_model.network import Network, Shape
from demo_model.text import conversations

SEED = 7
RATE = 3e-3
ROW, ROWS = 384, 4  # tokens per row and rows per step, of short conversations
LONG_FROM, LONG_SHARE = 0.7, 0.2  # after this share of the steps, this share has long rows

# Tokens with full weight at each end of an answer. The first ones decide what it says, the last
# ones how long it is.
EDGE = 3


@dataclass
class Row:
    """One row of conversations, one after the other.

    Each token has an id, a weight in the loss, and the number of its conversation (`places`).
    """

    ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    places: list[int] = field(default_factory=list)

    def add(self, tokenizer: Tokenizer, messages: list[conversations.Message], limit: int) -> bool:
        """Append a conversation, cut at `limit` tokens in all; return whether the row is full.

        Tokens that the model does not write have weight 0. In an answer of n tokens, the `EDGE`
        tokens at each end have weight 1, and so have tokens of the message before, which the model
        has to copy. Each other token has weight 1/sqrt(n). Without this, stories and lists would
        outweigh the sums, though most of their tokens are easy to guess.
        """
        pieces = chat.pieces(messages)
        place = self.places[-1] + 1 if self.places else 0
        previous_ids: set[int] = set()
        encoded = tokenizer.encode_batch([text for text, _ in pieces])
        for number, (part, (_, learn)) in enumerate(zip(encoded, pieces, strict=True)):
            count = len(part.ids)
            for at, token in enumerate(part.ids):
                matters = at < EDGE or at >= count - EDGE or token in previous_ids
                self.weights.append((1.0 if matters else count**-0.5) if learn else 0.0)
            if number % 3 == 1:  # the text of a message, without the marks around it
                previous_ids = set(part.ids)
            self.ids += part.ids
            self.places += [place] * count
        for values in (self.ids, self.weights, self.places):
            del values[limit:]
        return len(self.ids) == limit


def short_rows(tokenizer: Tokenizer, seed: int) -> Iterator[Row]:
    """Yield rows of short conversations endlessly. The last conversation of a row is cut."""
    row = Row()
    for messages in conversations.endless(seed):
        if row.add(tokenizer, messages, ROW):
            yield row
            row = Row()


def long_rows(tokenizer: Tokenizer, seed: int, context: int) -> Iterator[Row]:
    """Yield rows endlessly, each one long conversation of 1,024 to `context` tokens."""
    rng = random.Random(seed)
    while True:
        row, tokens = Row(), int(1024 * (context / 1024) ** rng.random())
        row.add(tokenizer, conversations.long(rng, tokens * 5), tokens)
        yield row


def batch_loss(network: Network, rows: list[Row]) -> torch.Tensor:
    """Return the weighted mean of the cross-entropy of the tokens that the model writes.

    All rows have the same length.
    """
    ids = torch.tensor([row.ids for row in rows])
    weights = torch.tensor([row.weights for row in rows])[:, 1:]
    mask = None
    if len(rows) > 1:  # a token attends only to its own conversation
        places = torch.tensor([row.places for row in rows])[:, :-1]
        mask = (places.unsqueeze(1) == places.unsqueeze(2)).tril().unsqueeze(1)
    learned = weights > 0
    logits = network.logits(network.hidden(ids[:, :-1], mask)[learned])
    losses = functional.cross_entropy(logits, ids[:, 1:][learned], reduction="none")
    return (losses * weights[learned]).sum() / weights.sum()


def factor(step: int, steps: int) -> float:
    """Return the learning rate's factor: a warm-up of 60 steps and a cosine decay to 0.01."""
    return min(1.0, (step + 1) / 60) * (0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2)


def main() -> None:
    """Train the network, print the progress, and save the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokenizer")
    parser.add_argument("out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2700)
    options = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(options.threads)
    tokenizer = Tokenizer.from_file(options.tokenizer)
    network = Network(Shape(vocabulary=tokenizer.get_vocab_size()))
    size = sum(parameter.numel() for parameter in network.parameters())
    print(f"train: {size / 1e6:.2f} million parameters, {options.steps} steps", flush=True)
    matrices = [parameter for parameter in network.parameters() if parameter.ndim == 2]
    norms = [parameter for parameter in network.parameters() if parameter.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.02}, {"params": norms, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: factor(step, options.steps)
    )
    short, long = short_rows(tokenizer, SEED), long_rows(tokenizer, SEED + 1, network.shape.context)
    rng, started, tokens, mean = random.Random(SEED), time.monotonic(), 0, math.nan
    for step in range(options.steps):
        is_long = step > LONG_FROM * options.steps and rng.random() < LONG_SHARE
        rows = [next(long)] if is_long else list(itertools.islice(short, ROWS))
        loss = batch_loss(network, rows)
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        tokens += sum(len(row.ids) for row in rows)
        mean = loss.item() if math.isnan(mean) else 0.95 * mean + 0.05 * loss.item()
        if (step + 1) % 25 == 0 or step + 1 == options.steps:
            took = time.monotonic() - started
            remaining_s = took / (step + 1) * (options.steps - step - 1)
            times = f"{took / 60:.1f} min, about {remaining_s / 60:.1f} to go"
            print(
                f"train: step {step + 1:5} loss {mean:.3f}  {tokens / 1e6:.2f} M tokens  {times}",
                flush=True,
            )
        if (step + 1) % 250 == 0 or step + 1 == options.steps:
            torch.save(network.state_dict(), options.out)


if __name__ == "__main__":
    main()
