#!/bin/sh
# The C application and its Python twin read the same embeddings.
. "$(dirname "$0")/common.sh"

small_model "$scratch/model.safetensors"
"$PIRL_BUILD/pipelines/app-embed" "$scratch/model.safetensors" >"$scratch/c" || fail "app-embed"
grep -q '^30 frames embedded$' "$scratch/c" || fail "app-embed saw $(tail -n 1 "$scratch/c")"
grep -q 'cosine with the frame before [01]\.' "$scratch/c" || fail "no cosine in $(head -n 2 "$scratch/c")"
"$PIRL_BUILD/pipelines/app-embed" "$scratch/missing.safetensors" >"$scratch/log" 2>&1 \
  && fail "a missing model was accepted"
grep -q missing.safetensors "$scratch/log" || fail "the error does not name the file: $(cat "$scratch/log")"

# Debian's own interpreter: another python3 that comes first on PATH lacks python3-gi.
python=/usr/bin/python3
"$python" -c 'import gi; gi.require_version("Gst", "1.0"); from gi.repository import Gst' \
  || fail "python3-gi or python3-gst-1.0 is missing"
"$python" "$PIRL_SOURCE/pipelines/app-embed.py" "$scratch/model.safetensors" >"$scratch/py" \
  || fail "app-embed.py"
[ "$(grep -c '128 values' "$scratch/py")" = 30 ] || fail "app-embed.py printed $(wc -l <"$scratch/py") lines"
[ "$(grep -o 'before .*' "$scratch/py")" = "$(grep -o 'before .*' "$scratch/c")" ] \
  || fail "app-embed.py and app-embed compare frames differently: $(tail -n 1 "$scratch/py")"
