"""The demo model's recipe: text generator, tokenizer, training and export.

The container uses its weights and its chat template: `model.engines.trial_child` tries grammars
with them.
"""

from __future__ import annotations

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights" / "sluice-demo.gguf"
SHA256 = "879e0ea193e43c82acd05bec36341ef2bdb4c9429f08c3e8ab95e759a2356b0e"
