"""A byte-level BPE tokenizer of 2,048 tokens, trained on the generated text.

Usage: ``python -m demo_model.tokenizer OUT``. Because it is byte-level, any text can be encoded and
decoded again. Characters that are not in the generated text become bytes.
"""

import itertools
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from demo_model import chat
from demo_model.text import conversations, words

SIZE = 2048
_CONVERSATIONS = 6000
_SEED = 1
# Numbers and names are frequent as groups, but each one is rare. They are repeated here, so that
# most of them become one token.
_OFTEN = [
    " ".join(map(str, range(101))),
    *(" ".join(group) for group in (words.NAMES, words.NOUNS)),
]


def train() -> Tokenizer:
    """Return the tokenizer. Each call returns the same one."""
    tokenizer = Tokenizer(models.BPE())
    # The pattern that llama.cpp calls "gpt-2".
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE,
        special_tokens=[chat.PAD, chat.START, chat.END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(itertools.chain(_text(), _OFTEN * 60), trainer)
    return tokenizer


def _text():
    for messages in itertools.islice(conversations.endless(_SEED), _CONVERSATIONS):
        for role, text in messages:
            yield f"{role}\n"
            yield text


def main(out: Path) -> None:
    """Write the tokenizer to `out` as JSON, and print how many letters a token has."""
    tokenizer = train()
    tokenizer.save(str(out))
    sample = list(itertools.islice(_text(), 200))
    ratio = sum(map(len, sample)) / sum(len(part.ids) for part in tokenizer.encode_batch(sample))
    print(f"tokenizer: {tokenizer.get_vocab_size()} tokens, {ratio:.1f} letters a token")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
