#!/bin/sh
# A network's features are probed from the pictures on, layer by layer, a second time from the file;
# and where there is scikit-learn (PIRL_TORCH_PYTHON), it finds the same in that file.
. "$(dirname "$0")/common.sh"

python=${PIRL_TORCH_PYTHON:-python3}
export PIRL_TEST_DATA="${PIRL_TEST_DATA:-$PIRL_SOURCE/../shared/data}"
pictures=$(realpath "$PIRL_TEST_DATA")/imagenette
[ -d "$pictures/train" ] || skip "no pictures at $pictures (PIRL_TEST_DATA)"
cd "$scratch" || fail "no scratch folder"
small_model model.safetensors

# The first pictures of four classes.
for split in train val; do
  for class in $(ls "$pictures/train" | head -4); do
    for picture in $(ls "$pictures/$split/$class" | head -"$([ $split = train ] && echo 40 || echo 25)"); do
      printf '%s/%s/%s/%s\t%s\t%s\n' "$pictures" "$split" "$class" "$picture" "$class" "$split"
    done
  done
done >list.txt

probe() {
  layer=$1
  shift
  gst-launch-1.0 -m pirldatasetsrc location=list.txt seed=1 n-threads=2 \
    ! pirlembed model-file=model.safetensors layer="$layer" batch-size=8 batch-timeout=0 precision=f32 \
    ! pirlprobesink device=cpu "$@" >log 2>&1 || { cat log >&2; fail "probes of $layer ended"; }
}

probe res2-9k,res5 probe=linear,knn k=20 epochs=5 report-file=report.json
[ "$(grep -c 'pirl-probe,' log)" -eq 4 ] || fail "not four results"
grep -q 'pirl-probe, layer=(string)res2-9k, probe=(string)knn, n-train=(guint64)160, n-test=(guint64)100' \
  log || fail "no result of kNN on res2-9k"
python3 - <<'PY' || fail "the report is not what the messages say"
import json
report = json.load(open("report.json"))
assert report["classes"] == 4 and len(report["class_names"]) == 4, report
assert [(p["layer"], p["probe"]) for p in report["probes"]] == [
    ("res2-9k", "linear"), ("res2-9k", "knn"), ("res5", "linear"), ("res5", "knn")]
for p in report["probes"]:
    top1 = p["top1"]
    assert 0 <= top1["low"] <= top1["value"] <= top1["high"] <= 1, p
    # Better than one in four, by the picture's colours alone.
    assert top1["high"] > .25 and p["n_test"] == 100 and len(p["class_accuracy"]) == 4, p
PY

# As video with the meta, and then from the file.
probe res4 probe=knn k=20 cache-file=features.safetensors
grep 'pirl-probe,' log | sed 's/.*pirl-probe/pirl-probe/; s/ seconds=[^,]*,//' >first
probe res4 probe=knn k=20 cache-file=features.safetensors
grep 'pirl-probe,' log | sed 's/.*pirl-probe/pirl-probe/; s/ seconds=[^,]*,//' >second
[ -s first ] && cmp -s first second || fail "another result from the file than from the pictures"

if "$python" -c 'import sklearn, safetensors' 2>/dev/null; then
  "$python" "$PIRL_SOURCE/tests/kernels/learn-probe-sklearn.py" \
    "$PIRL_BUILD/tests/kernels/learn-probe-driver" features.safetensors \
    || fail "scikit-learn finds other figures"
else
  echo "not compared: $python has no scikit-learn (PIRL_TORCH_PYTHON names one that has)"
fi
