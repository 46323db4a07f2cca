#!/bin/sh
# quickstart compress in short: the drawn film, then a folder; the second run starts with the first's
# agent.
. "$(dirname "$0")/common.sh"
compress=$PIRL_BUILD/pipelines/pirl-compress

"$compress" film --seconds 6 --judge 6 --out "$scratch/out" >"$scratch/log" 2>&1 \
  || fail "compress: $(cat "$scratch/log")"
is_png "$scratch/out/compress.png" || fail "no plot"
[ -s "$scratch/out/agent.safetensors" ] || fail "no agent was kept"
for row in adacompressenc 'best fixed quality, [0-9]*' 'fixed quality 75' 'oracle of each frame'; do
  grep -qE "^  $row  *[0-9.]+ %" "$scratch/log" || fail "no row \"$row\": $(cat "$scratch/log")"
done
# The oracle is cheaper than what always sends the reference, which agrees with itself.
awk '/fixed quality 75/ { whole = $(NF - 2) } /oracle of each frame/ { oracle = $(NF - 2) }
  END { exit !(oracle > 0 && oracle < whole) }' "$scratch/log" || fail "the oracle: $(cat "$scratch/log")"

mkdir "$scratch/pictures"
gst-launch-1.0 -q pirldatasetsrc location='synthetic:shapes?count=24&classes=4&size=128' \
  ! videoconvert ! jpegenc ! multifilesink location="$scratch/pictures/%03d.jpg" || fail "making pictures"
"$compress" "$scratch/pictures" --as-fast-as-possible --judge 4 --out "$scratch/out" \
  >"$scratch/log" 2>&1 || fail "compress FOLDER: $(cat "$scratch/log")"

"$compress" "$scratch/nothing-here" --out "$scratch/none" >"$scratch/log" 2>&1 \
  && fail "a missing input was accepted"
grep -q nothing-here "$scratch/log" || fail "the error does not name the input: $(cat "$scratch/log")"
"$compress" film --seconds 2 --cloud local:nothing.safetensors --out "$scratch/none" \
  >"$scratch/log" 2>&1 && fail "a missing model was accepted"
grep -q nothing.safetensors "$scratch/log" || fail "the error does not name the model: $(cat "$scratch/log")"
