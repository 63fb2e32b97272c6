"""Take the pages of the repository's root into the site, below project/, with their links."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PAGES = ("ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")


def on_files(files: Files, *, config: Any) -> Files:
    """Add the root's pages: in the repository docs/ is below them, on the site beside them."""
    for name in PAGES:
        text = re.sub(r"\]\(docs/", "](../", (ROOT / name).read_text(encoding="utf-8"))
        files.append(File.generated(config, f"project/{name}", content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links to the root's pages to where the site has them."""
    return re.sub(rf"\]\(\.\./((?:\.\./)*)({'|'.join(PAGES)})", r"](\1project/\2", markdown)
