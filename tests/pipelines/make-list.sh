#!/bin/sh
# Small sets that lie as the published ones do become lists, and one of several labels is probed.
. "$(dirname "$0")/common.sh"

list="$PIRL_SOURCE/pipelines/make-list.py"
cd "$scratch" || fail "no scratch folder"
small_model model.safetensors

# VOC07: classes a, b and c; of each picture one line in the file of each class.
mkdir -p voc/JPEGImages voc/ImageSets/Main
gst-launch-1.0 -q pirldatasetsrc location='synthetic:shapes?count=60&classes=3&size=48' shuffle=false \
  ! videoconvert ! jpegenc ! multifilesink location=voc/JPEGImages/%06d.jpg || fail "drawing pictures"
for i in $(seq 0 59); do
  part='trainval'; [ "$i" -lt 40 ] || part='test'
  for class in 0 1 2; do
    says=-1
    [ $((i % 3)) -ne $class ] || says=' 1'
    [ "$i" -ne 7 ] || [ $class -ne 0 ] || says=' 0'
    printf '%06d %s\n' "$i" "$says" >>"voc/ImageSets/Main/kind$class""_$part.txt"
  done
done
"$list" voc07 voc >voc.txt || fail "no list of VOC07"
[ "$(wc -l <voc.txt)" -eq 60 ] || fail "not 60 pictures: $(cat voc.txt)"
grep -q "^$(realpath voc)/JPEGImages/000007.jpg	?kind0,kind1	train\$" voc.txt || fail "$(sed -n 8p voc.txt)"
gst-launch-1.0 -m pirldatasetsrc location=voc.txt ! pirlembed model-file=model.safetensors layer=res4,res5 \
  ! pirlprobesink probe=svm,knn k=5 labels-file=voc.txt bootstrap=20 report-file=voc.json >log 2>&1 \
  || fail "VOC07 is not probed: $(tail log)"
python3 - <<'PY' || fail "$(cat voc.json)"
import json

report = json.load(open("voc.json"))
assert report["class_names"] == ["kind0", "kind1", "kind2"]
for probe in report["probes"]:
    assert (probe["n_train"], probe["n_test"]) == (40, 20) and 0 < probe["map"]["value"] <= 1, probe
PY

mkdir -p places/trainvalsplit_places205 places/images256/a/abbey inat
printf 'a/abbey/x y.jpg 0\n' >places/trainvalsplit_places205/train_places205.csv
printf 'a/abbey/z.jpg 204\n' >places/trainvalsplit_places205/val_places205.csv
touch 'places/images256/a/abbey/x y.jpg'
"$list" places205 places >got || fail "no list of Places205"
printf '%s\t0\ttrain\n%s\t204\ttest\n' "$PWD/places/images256/a/abbey/x y.jpg" \
  "$PWD/places/images256/a/abbey/z.jpg" >wanted
cmp got wanted || fail "Places205: $(cat got)"

for split in train val; do
  printf '{"images": [{"id": 5, "file_name": "train_val2018/%s.jpg"}], "annotations": [{"image_id": 5, "category_id": 9}]}' \
    $split >inat/${split}2018.json
done
"$list" inat18 inat >got || fail "no list of iNaturalist"
printf '%s\t9\ttrain\n%s\t9\ttest\n' "$PWD/inat/train_val2018/train.jpg" "$PWD/inat/train_val2018/val.jpg" >wanted
cmp got wanted || fail "iNaturalist: $(cat got)"

# What is not there is named.
"$list" inat18 voc >got 2>log && fail "a folder without the set"
grep -q 'no table of labels; looked for train2018.json' log || fail "$(cat log)"
"$list" voc07 inat >got 2>log && fail "a folder without the set"
grep -q 'there is no CLASS_trainval.txt' log || fail "$(cat log)"
printf '{}' >inat/train2018.json
"$list" inat18 inat >got 2>log && fail "a table of something else"
grep -q 'as it was published' log || fail "$(cat log)"
exit 0
