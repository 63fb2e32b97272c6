"""Train the demo model: ``python -m model.demo.train TOKENIZER OUT``. Loss on the assistant's tokens only.

First short conversations; in the last part of the steps long ones, up to the whole context, are mixed in. Each batch
holds conversations of about the same length and a fixed number of tokens. Everything is drawn from fixed seeds.
"""

import argparse
import itertools
import math
import random
import time
from collections.abc import Iterator

import torch
from tokenizers import Tokenizer
from torch.nn import functional

from model.demo import chat
from model.demo.muon import Muon
from model.demo.network import Network, Shape
from model.demo.text import conversations

SEED = 7
ROW, ROWS = 384, 4  # tokens a row, and rows a step, of short conversations
COPY_STEPS = 250  # in the first steps, one row is for copying
LONG_FROM, LONG_SHARE = 0.7, 0.2  # from this part of the steps on, this share of them is long

Example = tuple[list[int], list[bool]]  # token ids, and which of them the model is to learn to write


def encode(tokenizer: Tokenizer, messages: list[conversations.Message], limit: int) -> Example:
    """A conversation as ids, cut at `limit` tokens."""
    pieces = chat.pieces(messages)
    encoded = tokenizer.encode_batch([text for text, _ in pieces])
    ids = [token for part in encoded for token in part.ids]
    learn = [flag for part, (_, flag) in zip(encoded, pieces, strict=True) for _ in part.ids]
    return ids[:limit], learn[:limit]


def short_rows(tokenizer: Tokenizer, seed: int) -> Iterator[Example]:
    """Rows of short conversations, one after the other, the last one cut; for ever."""
    row: Example = ([], [])
    for messages in conversations.endless(seed):
        ids, learn = encode(tokenizer, messages, ROW)
        row = row[0] + ids, row[1] + learn
        if len(row[0]) >= ROW:
            yield row[0][:ROW], row[1][:ROW]
            row = ([], [])


def copy_rows(vocabulary: int, seed: int) -> Iterator[Example]:
    """Rows of random tokens, each stretch of them twice, of which the second time is learned: how to copy."""
    rng = random.Random(seed)
    while True:
        ids: list[int] = []
        learn: list[bool] = []
        while len(ids) < ROW:
            stretch = rng.choices(range(vocabulary), k=rng.randint(4, 48))
            ids += stretch + stretch
            learn += [False] * len(stretch) + [True] * len(stretch)
        yield ids[:ROW], learn[:ROW]


def long_batches(tokenizer: Tokenizer, seed: int, context: int) -> Iterator[list[Example]]:
    """Batches of one long conversation, of 1,024 tokens up to the context, for ever."""
    rng = random.Random(seed)
    while True:
        tokens = int(1024 * (context / 1024) ** rng.random()) if rng.random() < 0.6 else context
        yield [encode(tokenizer, conversations.long(rng, tokens * 4), tokens)]


def batch_loss(network: Network, batch: list[Example]) -> torch.Tensor:
    """Mean cross-entropy over the tokens that the model is to write."""
    width = max(len(ids) for ids, _ in batch)
    ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in batch])
    learn = torch.tensor([learn + [False] * (width - len(learn)) for _, learn in batch])
    # Padding is on the right, where a causal network cannot look.
    hidden = network.hidden(ids[:, :-1])
    wanted = learn[:, 1:]
    return functional.cross_entropy(network.logits(hidden[wanted]), ids[:, 1:][wanted])


def rate(step: int, steps: int) -> float:
    """The learning rate's factor: 50 steps up, then constant, the last half of the steps down to almost nothing."""
    return min(1.0, (step + 1) / 50) * min(1.0, 0.02 + 0.98 * 2 * (steps - step) / steps)


def main() -> None:
    """Train, showing progress, and save the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokenizer")
    parser.add_argument("out")
    parser.add_argument("--steps", type=int, default=2400)
    options = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(2)
    tokenizer = Tokenizer.from_file(options.tokenizer)
    network = Network(Shape(vocabulary=tokenizer.get_vocab_size()))
    size = sum(parameter.numel() for parameter in network.parameters())
    print(f"train: {size / 1e6:.2f} million parameters, {options.steps} steps", flush=True)
    inner = [parameter for parameter in network.layers.parameters() if parameter.ndim == 2]
    outer = [network.token_embd.weight, *(parameter for parameter in network.parameters() if parameter.ndim == 1)]
    optimizers = [Muon(inner, lr=0.02), torch.optim.AdamW(outer, lr=4e-3, betas=(0.9, 0.98), weight_decay=0.0)]
    base = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    short, copies = short_rows(tokenizer, SEED), copy_rows(tokenizer.get_vocab_size(), SEED)
    long = long_batches(tokenizer, SEED + 1, network.shape.context)
    rng, started, seen, mean = random.Random(SEED), time.monotonic(), 0, math.nan
    for step in range(options.steps):
        is_long = step > LONG_FROM * options.steps and rng.random() < LONG_SHARE
        batch = next(long) if is_long else list(itertools.islice(short, ROWS))
        if step < COPY_STEPS:
            batch[0] = next(copies)
            if (step+1)%25==0: print("copy", batch_loss(network, [batch[0]]).item(), "text", batch_loss(network, batch[1:]).item())
        loss = batch_loss(network, batch)
        loss.backward()
        for optimizer, lr in zip(optimizers, base, strict=True):
            optimizer.param_groups[0]["lr"] = lr * rate(step, options.steps)
            optimizer.step()
            optimizer.zero_grad()
        seen += sum(len(ids) for ids, _ in batch)
        mean = loss.item() if math.isnan(mean) else 0.95 * mean + 0.05 * loss.item()
        if (step + 1) % 25 == 0 or step + 1 == options.steps:
            took = time.monotonic() - started
            left = took / (step + 1) * (options.steps - step - 1)
            times = f"{took / 60:.1f} min, about {left / 60:.1f} to go"
            print(f"train: step {step + 1:5} loss {mean:.3f}  {seen / 1e6:.2f} M tokens  {times}", flush=True)
    torch.save(network.state_dict(), options.out)


if __name__ == "__main__":
    main()
