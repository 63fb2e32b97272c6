"""Take the pages of the repository's root into the site, below project/, with their links."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PAGES = ("ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages of the root below project/, with links that lead to docs/ from there."""
    for name in PAGES:
        text = re.sub(r"\]\(docs/", "](../", (ROOT / name).read_text(encoding="utf-8"))
        files.append(File.generated(config, f"project/{name}", content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Rewrite links to the pages of the root: on the site they are below project/."""
    return re.sub(rf"\]\(\.\./((?:\.\./)*)({'|'.join(PAGES)})", r"](\1project/\2", markdown)
