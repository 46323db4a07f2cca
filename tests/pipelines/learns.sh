#!/bin/sh
# It learns: fixed seed, ten classes of drawn pictures, accuracy on pictures never trained on.
# Untrained at most 30 %, trained at least 80 %.
. "$(dirname "$0")/common.sh"

"$PIRL_BUILD/pipelines/pirl-quickstart" --steps "${PIRL_LEARNS_STEPS:-1400}" --seed 1 --out "$scratch/out" \
  || fail "quickstart"
cat "$scratch/out/summary.json"
python3 - "$scratch/out/summary.json" <<'PY' || fail "it did not learn"
import json, sys
s = json.load(open(sys.argv[1]))
sys.exit(not (s["knn_untrained"] <= .30 and s["knn_trained"] >= .80))
PY
