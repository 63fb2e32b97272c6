"""The demo model's recipe: text generator, tokenizer, training, export. No part of the product imports it."""
