#!/bin/sh
# tests/bench/reference, in its short form, and its peer: the peer's first losses are those that
# theory says, a stopped training goes on as if it had not been, the losses of both sides agree, a
# step of ours is PyTorch's, and views can be looked at (so few that none are told apart).
# Needs a Python with torch, torchvision, Pillow and safetensors: PIRL_TORCH_PYTHON.
. "$PIRL_SOURCE/tests/pipelines/common.sh"
data=${PIRL_TEST_DATA:-$PIRL_SOURCE/../shared/data}/imagenette
python=${PIRL_TORCH_PYTHON:-python3}
peer="$PIRL_SOURCE/tests/bench/peers/pirl_reference.py"
[ -d "$data/train" ] || skip "no $data"
"$python" -c 'import torch, torchvision, PIL, safetensors' 2>/dev/null \
  || skip "$python has no torch, torchvision, PIL and safetensors (see PIRL_TORCH_PYTHON)"
export PYTHONDONTWRITEBYTECODE=1

"$python" "$peer" --oracles >"$scratch/oracles" || fail "$(cat "$scratch/oracles")"

# Few pictures, of all classes.
for split in train val; do
  for class in "$data/$split"/*; do
    mkdir -p "$scratch/data/$split/${class##*/}"
    for file in $(ls "$class" | head -n 7); do
      ln -s "$(cd "$class" && pwd)/$file" "$scratch/data/$split/${class##*/}/$file"
    done
  done
done

find -L "$scratch/data/train" -name '*.jpg' | sort >"$scratch/list"
few() {
  "$python" "$peer" "$scratch/list" --image-size 32 --batch-size 8 --max-steps 4 --warmup 1 \
    --threads 1 --workers 0 "$@" >>"$scratch/few" 2>&1
}
few --log "$scratch/whole" || fail "$(cat "$scratch/few")"
few --log "$scratch/halves" --checkpoint-file "$scratch/state" --stop-at 2
[ $? = 3 ] || fail "a stopped training does not say so: $(cat "$scratch/few")"
few --log "$scratch/halves" --checkpoint-file "$scratch/state" || fail "$(cat "$scratch/few")"
few --checkpoint-file "$scratch/state" --temperature 0.3 && fail "it goes on with other settings"

PIRL_TORCH_PYTHON=$python "$PIRL_SOURCE/tests/bench/reference" --build "$PIRL_BUILD" --quick \
  --data "$scratch/data" --work "$scratch/work" --json "$scratch/result.json" \
  --settings defaults,published >"$scratch/table" 2>&1 || fail "$(cat "$scratch/table")"

PIRL_TORCH_PYTHON=$python "$PIRL_SOURCE/tests/bench/reference" --build "$PIRL_BUILD" --step \
  --data "$scratch/data" --work "$scratch/work" >"$scratch/step" 2>&1 || fail "$(cat "$scratch/step")"

PIRL_TORCH_PYTHON=$python "$PIRL_SOURCE/tests/bench/reference" --build "$PIRL_BUILD" --views \
  --size 32 --workers 0 --threads 1 --data "$scratch/data" --work "$scratch/work" \
  >"$scratch/views" 2>&1 || fail "$(cat "$scratch/views")"
grep -q "of 14 views" "$scratch/views" || fail "$(cat "$scratch/views")"

python3 - "$scratch" <<'PY' || fail "$(cat "$scratch/table" "$scratch/whole" "$scratch/halves")"
import json
import pathlib
import sys
scratch = pathlib.Path(sys.argv[1])
whole, halves = (
    [json.loads(line) for line in open(scratch / name)] for name in ("whole", "halves"))
assert [record["step"] for record in halves] == [1, 2, 3, 4], halves
for a, b in zip(whole, halves):
    assert abs(a["loss"] - b["loss"]) < 1e-4 * a["loss"], (a, b)

result = json.load(open(scratch / "result.json"))
assert result["steps"] == 8 and result["pictures"] == 64, result
assert [row["setting"] for row in result["rows"]] == ["defaults", "published"]
# The draws differ and steps of 16 samples are noisy, the more the further the weights part (NCE with
# its first Z leaps at the third step): the first steps and the mean of all are compared. Another
# temperature, loss or number of negatives is further off.
def near(a, b):
    return abs(a / b - 1) < 0.1

for row in result["rows"]:
    ours, peer = row["ours"]["loss"][0], row["peer"]["loss"][0]
    assert len(ours) == len(peer) == 8, row
    assert near(ours[0], peer[0]) and near(ours[1], peer[1]), (ours, peer)
    assert near(sum(ours), sum(peer)), (ours, peer)
    for side in ("ours", "peer"):
        of = row[side]
        assert of["cpu_seconds"][0] > 0, of
        assert 0.05 < of["untrained"][0] < 1 and 0.05 < of["knn"][0] < 1, of
PY
exit 0
