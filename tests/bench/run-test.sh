#!/bin/sh
# tests/bench/run, in its short form: a row that works has all fields, one that cannot says why and
# does not keep the others from running, a name that is none is refused.
. "$PIRL_SOURCE/tests/pipelines/common.sh"
run="$PIRL_SOURCE/tests/bench/run"
photos=${PIRL_TEST_DATA:-$PIRL_SOURCE/../shared/data}/photos
[ -d "$photos" ] || skip "no $photos"

"$run" --build "$PIRL_BUILD" --quick --only input-decode --json "$scratch/rows.json" \
  >"$scratch/table" 2>"$scratch/log" || fail "$(cat "$scratch/table" "$scratch/log")"
grep -q '^name .*ours .*peer .*ratio .*goal' "$scratch/table" || fail "no head: $(cat "$scratch/table")"
grep -q '^input-decode-2 ' "$scratch/table" || fail "no row: $(cat "$scratch/table")"
python3 - "$scratch/rows.json" <<'PY' || fail "$(cat "$scratch/rows.json")"
import json
import sys
rows = json.load(open(sys.argv[1]))
assert [row["name"] for row in rows] == ["input-decode-1", "input-decode-2"]
for row in rows:
    assert row["ours"] > 0 and row["peer"] > 0 and row["goal"] == 0.95 and row["turns"] >= 1, row
    # A bare loop within a factor of ten either way: both did the work.
    assert 0.1 < row["ratio"] < 10 and 0.1 < row["cpu_ratio"] < 10, row
    assert row["unit"] == "pictures/s" and "libjpeg" in row["peer_name"], row
PY

"$run" --build "$scratch/nowhere" --quick --only input-decode-1 --only input-one-size \
  --json "$scratch/failed.json" >"$scratch/table" 2>"$scratch/log" && fail "no programs, and no complaint"
python3 - "$scratch/failed.json" <<'PY' || fail "$(cat "$scratch/failed.json")"
import json
import sys
rows = json.load(open(sys.argv[1]))
assert [row["name"] for row in rows] == ["input-decode-1", "input-one-size"]
assert all("input-bench" in row["failed"] and row["ratio"] is None for row in rows), rows
PY

PIRL_TORCH_PYTHON=false "$run" --build "$PIRL_BUILD" --quick --only jigsaw >"$scratch/table" 2>&1 \
  || fail "a row without its peer is no failure: $(cat "$scratch/table")"
grep -q 'skipped: no PyTorch' "$scratch/table" || fail "not skipped: $(cat "$scratch/table")"

"$run" --only nonsense >"$scratch/log" 2>&1 && fail "a nonsense row is accepted"
grep -q input-decode-1 "$scratch/log" || fail "the rows are not listed: $(cat "$scratch/log")"
exit 0
