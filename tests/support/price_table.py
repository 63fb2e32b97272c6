"""The tables of docs/reference/prices.md: `python -m tests.support.price_table`.

`make docs` writes them, and a test fails if the page is out of date.
"""

import re
from pathlib import Path

from cli.commands.cost import prices

DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "prices.md"
_PLACE = re.compile(r"(<!-- prices: `make docs` -->\n).*?(\n<!-- end -->)", re.DOTALL)


def tables() -> str:
    """Return the tables."""
    file = prices.read()
    sources = list(dict.fromkeys(entry["source"] for entry in file["instances"].values()))
    lines = [
        f"Instances, in {file['instances_region']}:",
        "",
        "| instance | USD an hour | USD a month of 730 hours | looked up | source |",
        "|---|---:|---:|---|---|",
        *(
            f"| `{name}` | {entry['value']:g} | {entry['value'] * 730:,.2f} | "
            f"{entry['date']} | {sources.index(entry['source']) + 1} |"
            for name, entry in file["instances"].items()
        ),
        "",
        "| | source |",
        "|---:|---|",
        *(f"| {number} | {source} |" for number, source in enumerate(sources, 1)),
        "",
        f"All else, in {file['region']}:",
        "",
        "| price | USD | for a | looked up | seen at AWS | source |",
        "|---|---:|---|---|---|---|",
        *(
            f"| `{name}` | {entry['value']:.10f}".rstrip("0").rstrip(".")
            + f" | {entry['unit']} | {entry['date']} | {'yes' if entry['confirmed'] else 'no'} | "
            + f"{entry['source']} |"
            for name, entry in file["prices"].items()
        ),
    ]
    return "\n".join(lines)


def page(text: str) -> str:
    """Return the page with the tables."""
    return _PLACE.sub(lambda found: f"{found[1]}\n{tables()}\n{found[2]}", text)


if __name__ == "__main__":
    DOCUMENT.write_text(page(DOCUMENT.read_text()))
