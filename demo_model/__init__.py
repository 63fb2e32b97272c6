"""The demo model's recipe: text generator, tokenizer, training and export.

The product uses its weights and its template: grammars are tried with them
(`model.engines.trial_child`).
"""

from __future__ import annotations

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights" / "sluice-demo.gguf"
SHA256 = "879e0ea193e43c82acd05bec36341ef2bdb4c9429f08c3e8ab95e759a2356b0e"
