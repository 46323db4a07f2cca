#!/bin/sh
# quickstart in short: on the drawn set, and on a folder of pictures without labels.
. "$(dirname "$0")/common.sh"
quickstart=$PIRL_BUILD/pipelines/pirl-quickstart

"$quickstart" --steps 8 --base-width 8 --out "$scratch/drawn" >"$scratch/log" \
  || fail "quickstart: $(cat "$scratch/log")"
for picture in loss.png neighbours.png; do
  is_png "$scratch/drawn/$picture" || fail "$picture is no PNG"
done
[ -s "$scratch/drawn/model.safetensors" ] || fail "no model"
grep -q 'untrained network  *[0-9.]* %' "$scratch/log" || fail "no accuracy: $(cat "$scratch/log")"

# A folder without labels: frames of a test video.
mkdir "$scratch/pictures"
gst-launch-1.0 -q videotestsrc pattern=snow num-buffers=40 ! video/x-raw,width=64,height=48 \
  ! jpegenc ! multifilesink location="$scratch/pictures/%03d.jpg" || fail "making pictures"
"$quickstart" "$scratch/pictures" --steps 4 --batch 16 --base-width 8 --out "$scratch/own" \
  >"$scratch/log" || fail "quickstart FOLDER: $(cat "$scratch/log")"
grep -q 'No labels' "$scratch/log" || fail "labels out of nowhere: $(cat "$scratch/log")"
is_png "$scratch/own/neighbours.png" || fail "no mosaic"

"$quickstart" "$scratch/nothing-here" --steps 4 --out "$scratch/none" >"$scratch/log" 2>&1 \
  && fail "a missing folder was accepted"
grep -q nothing-here "$scratch/log" || fail "the error does not name the folder: $(cat "$scratch/log")"

# Two folders number their classes apart (blue, green, red; green, red): the names count.
for class in blue green red; do
  mkdir -p "$scratch/references/$class"
  gst-launch-1.0 -q videotestsrc pattern=$class num-buffers=1 ! video/x-raw,width=64,height=48 \
    ! pngenc ! filesink location="$scratch/references/$class/1.png" || fail "making classes"
done
mkdir "$scratch/queries"
cp -r "$scratch/references/green" "$scratch/references/red" "$scratch/queries"
knn() { "$PIRL_BUILD/pipelines/pirl-knn" -k 1 "$scratch/drawn/model.safetensors" "$@" 2>"$scratch/log"; }
accuracy=$(knn "$scratch/references" "$scratch/queries") || fail "pirl-knn: $(cat "$scratch/log")"
[ "$accuracy" = 1.0000 ] || fail "the same pictures have another class: $accuracy"
knn "$scratch/pictures" >"$scratch/accuracy" && fail "an accuracy without labels"
[ ! -s "$scratch/accuracy" ] || fail "standard output: $(cat "$scratch/accuracy")"
