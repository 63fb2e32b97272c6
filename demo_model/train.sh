#!/bin/sh
# Train the demo model again: text, tokenizer, training, export. About a quarter of an hour on two cores.
# Its packages and its intermediate files go into .venv-demo/.
set -eu
cd "$(dirname "$0")/.."
venv=.venv-demo
work=$venv/work
out=${1:-demo_model/weights/sluice-demo.gguf}
mkdir -p "$work"

if ! cmp -s locks/demo.txt "$venv/installed.txt"; then
    echo "demo model: packages (PyTorch is about 200 MB, much more where pip finds only a build with CUDA)"
    "${PYTHON:-python3}" -m venv "$venv"
    grep -v '^torch==' locks/demo.txt > "$work/hashed.txt"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$work/hashed.txt"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$(grep '^torch==' locks/demo.txt)"
    cp locks/demo.txt "$venv/installed.txt"
fi
"$venv/bin/python" -m demo_model.tokenizer "$work/tokenizer.json"
"$venv/bin/python" -m demo_model.train "$work/tokenizer.json" "$work/weights.pt"
"$venv/bin/python" -m demo_model.export "$work/tokenizer.json" "$work/weights.pt" "$out"
