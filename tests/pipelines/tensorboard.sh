#!/bin/sh
# Event files of pirltrainsink log-dir=...: on a full disk, and as TensorBoard reads them. The second
# needs a Python with tensorboard: PIRL_TORCH_PYTHON (default: python3); left out without.
. "$(dirname "$0")/common.sh"

python=${PIRL_TORCH_PYTHON:-python3}
cd "$scratch" || fail "no scratch folder"

# $1: properties of the sink, $2: samples (-1 = all)
# shellcheck disable=SC2086
train() {
  gst-launch-1.0 pirldatasetsrc location='synthetic:shapes?count=16&classes=2&size=32' epochs=2 num-buffers="$2" \
    ! pirljigsaw image-size=32 ! pirltrainsink arch=resnet18 base-width=8 batch-size=4 device=cpu \
    interval=0 $1 2>&1
}

# A disk that is full after some records: one warning, and the training ends as it would have.
train "log-dir=first" -1 >log || fail "no training: $(cat log)"
( trap '' XFSZ; ulimit -f 1; train "log-dir=full" -1 ) | cat >out.log
[ "$(grep -c 'log-dir: cannot write events' out.log)" -eq 1 ] || fail "not one warning: $(cat out.log)"
grep -q 'Got EOS' out.log || fail "the training did not end well: $(cat out.log)"
size=$(cat full/* | wc -c)
[ "$size" -gt 0 ] && [ "$size" -le 1024 ] || fail "$size bytes of events under a limit of 1024"

# A run to step 6, the checkpoint of step 4 and a run that goes on from there, as after a kill.
train "log-dir=events checkpoint-file=c.safetensors" 16 >log || fail "$(cat log)"
cp c.safetensors four.safetensors
train "log-dir=events checkpoint-file=c.safetensors resume=true" 8 >log || fail "$(cat log)"
sleep 1   # the files' order is that of the seconds in their names
train "log-dir=events checkpoint-file=four.safetensors resume=true" -1 >log || fail "$(cat log)"
[ "$(ls events | wc -l)" -eq 3 ] || fail "not three files: $(ls events)"

"$python" -c 'import tensorboard' 2>/dev/null \
  || skip "$python has no tensorboard (PIRL_TORCH_PYTHON names one that has); the rest passed"
"$python" - <<'PY' || fail "TensorBoard reads something else"
import math

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

WANTED = {"loss", "loss/images", "loss/patches", "learning-rate", "spread", "positive/images", "positive/patches",
          "images-per-second", "knn-accuracy"}


def read(folder):
    events = EventAccumulator(folder)
    events.Reload()
    tags = set(events.Tags()["scalars"])
    print(folder, sorted(tags))
    assert WANTED <= tags, WANTED - tags
    return events


for folder in ("first", "events"):
    events = read(folder)
    loss = events.Scalars("loss")
    print([(e.step, round(e.value, 3)) for e in loss])
    # Steps 5 and 6 were done twice; those of the run that was left are forgotten.
    assert [e.step for e in loss] == list(range(1, 9))
    assert all(math.isfinite(e.value) and e.value > 0 for e in loss)
full = EventAccumulator("full")
full.Reload()
assert full.Scalars("loss")
PY
