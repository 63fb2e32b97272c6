#!/usr/bin/env bash
# Stream an answer with curl: first as server-sent events, then as bare text, a line at a time.
set -euo pipefail

model=${SLUICE_MODEL:-sluice-demo}
question='{"role": "user", "content": "Tell me a story about a lighthouse."}'

ask() {
  local body=$1
  shift
  curl --silent --show-error --no-buffer --fail-with-body "$OPENAI_BASE_URL/chat/completions" \
    --header "Authorization: Bearer $OPENAI_API_KEY" --header "Content-Type: application/json" "$@" --data "$body"
}

ask "{\"model\": \"$model\", \"messages\": [$question], \"max_tokens\": 10, \"stream\": true}"
ask "{\"model\": \"$model\", \"messages\": [$question], \"max_tokens\": 40}" \
  --header "Accept: text/plain" --header "x-sluice-buffer: line"
echo
