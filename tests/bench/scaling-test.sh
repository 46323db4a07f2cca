#!/bin/sh
# tests/bench/scaling, in its short form: every part gives rows of positive figures, and a plot.
. "$PIRL_SOURCE/tests/pipelines/common.sh"

"$PIRL_SOURCE/tests/bench/scaling" --build "$PIRL_BUILD" --quick --json "$scratch/scaling.json" \
  --plot "$scratch/scaling.png" --threads 1 >"$scratch/tables" 2>"$scratch/log" \
  || fail "$(cat "$scratch/tables" "$scratch/log")"
is_png "$scratch/scaling.png" || fail "no plot"
python3 - "$scratch/scaling.json" <<'PY' || fail "$(cat "$scratch/scaling.json")"
import json
import sys
found = json.load(open(sys.argv[1]))
least = {"dataset": 4, "source": 4, "negatives": 4, "checkpoints": 2, "memory": 1}
for name, rows in least.items():
    assert len(found[name]) == rows, name
    for row in found[name]:
        for key, value in row.items():
            # With all rows nothing is drawn.
            nothing = key == "draw_ms" and row["kind"] == "all"
            assert isinstance(value, str) or value > 0 or nothing, (name, row)
for row in found["dataset"]:
    parts = sum(row[key] for key in ("draw_us", "contrast_us", "bank_us", "optimiser_us"))
    assert parts < row["step_us"], row
# Four times the bank is four times the file, less the network, and 516 bytes a row.
small, large = found["checkpoints"]
assert abs(large["checkpoint_mb"] - small["checkpoint_mb"] - 3000 * 516e-6) < 0.01, (small, large)
PY

"$PIRL_SOURCE/tests/bench/scaling" --build "$scratch" --quick --only dataset >"$scratch/log" 2>&1 \
  && fail "no programs, and no complaint"
grep -q 'scaling-bench.*is it built' "$scratch/log" || fail "no reason: $(cat "$scratch/log")"
printf 'curve\tbefore any panel\n' \
  | "$PIRL_BUILD/pipelines/pirl-plot" "$scratch/none.png" 2>/dev/null \
  && fail "a curve without a panel is accepted"
exit 0
