"""Reads the parameters of servers from their sources, into `tests/lambda_fn/schema/servers.json`.

    python -m tests.support.server_fields vllm 0.33.0 FOLDER
    python -m tests.support.server_fields sglang 0.5.23 FOLDER
    python -m tests.support.server_fields llama.cpp b11549 FOLDER

FOLDER is the root of the server's source. A test then fails until each new name is decided.
"""

import ast
import json
import re
import sys
from pathlib import Path

FILE = Path(__file__).parents[1] / "lambda_fn" / "schema" / "servers.json"
PYDANTIC = {
    "vllm": (
        "https://github.com/vllm-project/vllm/tree/v{}/vllm/entrypoints/openai",
        "vllm/entrypoints/openai",
    ),
    "sglang": (
        "https://github.com/sgl-project/sglang/tree/v{}/python/sglang/srt",
        "python/sglang/srt",
    ),
}
"""For each server whose requests are pydantic models: where they are on the web, and in FOLDER."""
MODELS = {"chat": "ChatCompletionRequest", "completions": "CompletionRequest"}
LLAMA_CPP = "https://github.com/ggml-org/llama.cpp/tree/{}/tools/server"
_NO_CODE = re.compile(r"^#if 0$.*?^#endif$", re.MULTILINE | re.DOTALL)
_SCHEMA = re.compile(r'(?:add\(\(new field_\w+|add_alias)\("([^"]+)"')
_BODY = re.compile(r'(?:json_value\(body, *|body\.(?:at|contains)\()"([^"]+)"')


def main(server: str, version: str, folder: Path) -> None:
    """Write one version's lists."""
    lists = json.loads(FILE.read_text())
    if server == "llama.cpp":
        source, found = LLAMA_CPP.format(version), _of_llama_cpp(folder / "tools" / "server")
    else:
        address, place = PYDANTIC[server]
        source, found = address.format(version), _of_models(folder / place)
    lists[f"{server} {version}"] = {"source": source, **found}
    FILE.write_text(json.dumps(lists, indent=1) + "\n")


def _of_models(folder: Path) -> dict[str, list[str]]:
    classes: dict[str, ast.ClassDef] = {}
    for path in sorted(folder.rglob("protocol.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                classes.setdefault(node.name, node)
    return {kind: sorted(_fields(classes, name)) for kind, name in MODELS.items()}


def _fields(classes: dict[str, ast.ClassDef], name: str) -> set[str]:
    if name not in classes:
        return set()
    node = classes[name]
    own = {
        line.target.id
        for line in node.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }
    bases = [_fields(classes, base.id) for base in node.bases if isinstance(base, ast.Name)]
    return {field for field in own.union(*bases) if not field.startswith("_")} - {"field_names"}


def _of_llama_cpp(folder: Path) -> dict[str, list[str]]:
    schema = _NO_CODE.sub("", (folder / "server-schema.cpp").read_text())
    both = set(_SCHEMA.findall(schema))
    common = (folder / "server-common.cpp").read_text()
    chat = common.partition("json oaicompat_chat_params_parse(")[2].partition("\n}\n")[0]
    return {
        "chat": sorted(both | set(_BODY.findall(chat))),
        "completions": sorted(both | {"prompt"}),
    }


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
