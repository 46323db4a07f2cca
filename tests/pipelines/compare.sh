#!/bin/sh
# pipelines/compare, in its short form, on pictures that are drawn: it is interrupted and goes on, does
# nothing twice but what other settings ask for, and leaves table, JSON, plots and a page.
. "$(dirname "$0")/common.sh"

compare="$PIRL_SOURCE/pipelines/compare"
cd "$scratch" || fail "no scratch folder"
gst-launch-1.0 -q pirldatasetsrc location='synthetic:shapes?count=112&classes=4&size=40' shuffle=false \
  ! videoconvert ! jpegenc ! multifilesink location=%03d.jpg || fail "drawing pictures"
i=0
for picture in *.jpg; do
  split='train'; [ $i -lt 80 ] || split='val'
  mkdir -p "set/$split/class-$((i % 4))" "classes/class-$((i % 4))" flat
  cp "$picture" "classes/class-$((i % 4))"
  cp "$picture" flat
  mv "$picture" "set/$split/class-$((i % 4))"
  i=$((i + 1))
done

# The figures, of numbers worked by hand.
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$PIRL_SOURCE/pipelines/comparing" python3 - <<'PY' || fail "figures by hand"
import array
import math
import pathlib
import types

from data import Data
from orderings import difference, orderings
from plan import logits_result


def figure(mean, side=.0):
    return {"mean": mean, "low": mean - side, "high": mean + side}


def near(found, *wanted):
    got = found["mean"], found["low"], found["high"]
    assert all(math.isclose(a, b, abs_tol=1e-9) for a, b in zip(got, wanted, strict=True)), got


# Sides of .1 below and .2 above against .04 below and .03 above.
wide, narrow = {"mean": .6, "low": .5, "high": .8}, {"mean": .4, "low": .36, "high": .43}
near(difference([wide], [narrow]), .2, .2 - math.hypot(.1, .03), .2 + math.hypot(.2, .04))
# Three seeds that differ by .1, .2 and .3: their deviation is .1.
seeds = 4.303 * .1 / 3 ** .5
near(difference([figure(.3), figure(.5), figure(.7)], [figure(.2), figure(.3), figure(.4)]),
     .2, .2 - seeds, .2 + seeds)
near(difference([wide] * 3, [narrow] * 3), .2, .2 - math.hypot(.1, .03), .2 + math.hypot(.2, .04))

def layers(*means):
    return {f"res{i + 1}": figure(mean, .01) for i, mean in enumerate(means)}


found = orderings({
    "pirl": {0: layers(.1, .2, .3, .4, .60), 1: layers(.1, .2, .3, .4, .60)},
    "npid": {0: layers(.1, .2, .3, .4, .595)},
    "jigsaw": {0: layers(.1, .2, .3, .5, .3)},
    "random": {0: layers(.1, .6, .3, .2, .1)}, "moco": {}}, {
        "lambda": [{"value": value, **figure(mean, .01)} for value, mean in ((0, .3), (.5, .5), (1, .1))],
        "near-threshold": [{"value": value, **figure(.3, .01)} for value in (.5, 1)],
        "negatives": [{"value": value, **figure(mean, .01)} for value, mean in ((9, .3), (1, .5), (20, .3))]})
assert [(row["claim"], row["where"], row["verdict"], row["seeds"]) for row in found] == [
    ("pirl > npid", "res5", "undecided", 1),
    ("npid > jigsaw", "best layers: res5, res4", "holds", 1), ("npid > jigsaw", "res5", "holds", 1),
    ("jigsaw > random", "best layers: res4, res2", "does not hold", 1), ("jigsaw > random", "res5", "holds", 1),
    ("pirl: res5 > res4", "last, best other", "holds", 2), ("jigsaw: res4 > res5", "last, best other", "holds", 1),
    ("lambda: 0.5 >= 0", "res5", "holds", 1), ("lambda: 0.5 >= 1", "res5", "holds", 1),
    ("negatives: 9 >= 1", "res5", "does not hold", 1), ("negatives: 20 >= 1", "res5", "does not hold", 1),
    ("negatives: 20 >= 9", "res5", "undecided", 1)], found
# Scores that are all the same, or are none, are not right.
rows = [[1, 0], [0, 0], [math.nan, math.nan], [0, 1]]
pathlib.Path("logits").write_bytes(array.array("f", sum(rows, [])).tobytes())
data = types.SimpleNamespace(classes=["a", "b"], test_classes=["a"] * 4)
assert logits_result(pathlib.Path("logits"), data)(None)["top1"]["mean"] == .25


def pictures(folder, *names):
    for name in names:
        path = pathlib.Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def labels_of(words):
    lines = pathlib.Path(words[1].removeprefix("location=")).read_text().splitlines()
    return sorted(line.split("\t", 1)[1] for line in lines)


# Classes called by numbers keep their names; one picture is not for the test.
pictures("numbers", "2/a.jpg", "2/b.jpg", "10/a.jpg", "10/b.jpg", "7/a.jpg")
data = Data("numbers", "numbers-out")
assert data.classes == ["10", "2", "7"] and sorted(data.test_classes) == ["10", "2"]
assert labels_of(data.all) == ["class 10\ttest", "class 10\ttrain", "class 2\ttest", "class 2\ttrain",
                               "class 7\ttrain"]
# What is beside the two splits has no part in it.
pictures("splits", "train/a/1.jpg", "train/b/1.jpg", "val/a/2.jpg", "val/b/2.jpg")
assert Data("splits", "splits-out").all[-1] == "labels=folder"
pictures("splits", "valid/a/3.jpg", "papers/4.jpg")
assert labels_of(Data("splits", "splits-out").all) == ["a\ttest", "a\ttrain", "b\ttest", "b\ttrain"]
PY

short='--quick --size 32 --batch-size 8'
# shellcheck disable=SC2086
run() { "$compare" "$@" $short; }

# Interrupted in the middle of a training: tried again where the training was faster than the signal.
cat >state.py <<'PY'
import json
import sys

out, name = sys.argv[1:]
with open(f"{out}/models/{name}.safetensors", "rb") as file:
    metadata = json.loads(file.read(int.from_bytes(file.read(8), "little")))["__metadata__"]
saved = json.load(open(f"{out}/results/{name}.json"))
print(metadata["state.step"], metadata["total_steps"], saved["done"])
PY
for _ in 1 2 3; do
  rm -rf first
  # shellcheck disable=SC2086
  "$compare" set --out first --epochs 24 --only pirl --parts linear $short >log 2>&1 &
  driver=$!
  until grep -q 'pirl-training,' first/logs/pirl.log 2>/dev/null; do
    kill -0 $driver 2>/dev/null || fail "it ended by itself: $(tail -n 12 log)"
    sleep 0.05
  done
  kill -INT $driver
  wait $driver
  status=$?
  state=$(python3 state.py first pirl)
  [ "${state##* }" = True ] || break
done
[ $status -eq 130 ] || fail "interrupted, it ended with $status: $(tail -n 12 log)"
grep -q '^interrupted' log || fail "no word of the interruption: $(tail -n 12 log)"
step=${state%% *}
[ "$state" = "$step 240 False" ] && [ "$step" -gt 0 ] && [ "$step" -lt 240 ] \
  || fail "interrupted at $state"
run set --out first --epochs 24 --only pirl --parts linear >log 2>&1 || fail "not continued: $(tail -n 12 log)"
[ "$(python3 state.py first pirl)" = '240 240 True' ] || fail "continued to $(python3 state.py first pirl)"
[ "$(grep -c '^# cpu' first/logs/pirl.log)" -eq 2 ] || fail "not two runs: $(cat first/logs/pirl.log)"

# Nothing is done twice; other settings are another training.
run set --out first --epochs 24 --only pirl --parts linear >log 2>&1 || fail "again: $(tail -n 12 log)"
! grep -q gst-launch log || fail "done twice: $(tail -n 12 log)"
run set --out first --epochs 1 --only pirl --parts linear >log 2>&1 || fail "shorter: $(tail -n 12 log)"
[ "$(python3 state.py first pirl)" = '10 10 True' ] || fail "not trained anew: $(python3 state.py first pirl)"

# Every analysis.
gst-launch-1.0 -q videotestsrc pattern=ball num-buffers=90 ! video/x-raw,width=48,height=48 ! jpegenc \
  ! avimux ! filesink location=clip.avi || fail "drawing a video"
run set --out all --epochs 1 --parts all --transfer classes --video clip.avi >log 2>&1 \
  || fail "all parts: $(tail -n 12 log)"
for plot in layers ablations distances curves semi speed; do
  is_png "all/$plot.png" || fail "no plot $plot"
done
grep -q 'Linear probes by layer' log || fail "no table: $(tail -n 12 log)"
grep -q 'jigsaw > random' log || fail "no orderings: $(tail -n 12 log)"
python3 - <<'PY' || fail "the results are not what they should be"
import json

found = json.load(open("all/compare.json"))
objectives = {"pirl", "npid", "jigsaw", "random"}
layers = {f"res{i}" for i in range(1, 6)}


def is_figure(figure):
    return 0 <= figure["low"] <= figure["mean"] <= figure["high"] <= 1


assert set(found["linear"]) == objectives
for linear in found["linear"].values():
    assert set(linear["by_layer"]) == layers and all(map(is_figure, linear["by_layer"].values()))
    best = max(figure["mean"] for figure in linear["by_layer"].values())
    assert linear["mean"] == best == linear["by_layer"][linear["layer"]]["mean"]
    assert linear["spread"] > 0 and linear["spread_of"] == "bootstrap"
assert all(is_figure(figure) for by in found["knn"].values() for figure in by.values())
assert set(found["speed"]) == objectives - {"random"}
assert all(speed["pictures_per_second"] > 0 and speed["cpu_ms_per_picture"] > 0
           for speed in found["speed"].values())
assert {name: [p["value"] for p in points] for name, points in found["ablations"].items()} == {
    "lambda": [0, .5, 1], "permutations": [10, 500, 362880], "negatives": [1, 4, 27],
    "near-threshold": [.5, .8, 1]}
assert all(is_figure(p) for points in found["ablations"].values() for p in points)
assert set(found["distances"]) == objectives
for distances in found["distances"].values():
    for kind in ("same", "other"):
        assert 0 < distances[kind]["q5"] <= distances[kind]["mean"] < 2 ** .5
        assert abs(sum(distances[kind]["histogram"]) - 1) < 1e-9
    assert 0 <= distances["nearer"] <= 1
ordered = found["orderings"]
assert {row["claim"] for row in ordered if row["where"] == "res5"} == {
    "pirl > npid", "npid > jigsaw", "jigsaw > random", "lambda: 0.5 >= 0", "lambda: 0.5 >= 1",
    "permutations: 500 >= 10", "permutations: 362880 >= 10", "permutations: 362880 >= 500",
    "negatives: 4 >= 1", "negatives: 27 >= 1", "negatives: 27 >= 4"}
for row in ordered:
    of = row["difference"]
    assert of["low"] <= of["mean"] <= of["high"] and row["verdict"] == (
        "holds" if of["low"] > 0 else "does not hold" if of["high"] < 0 else "undecided")
assert set(found["bn_statistics"]) == {"pirl", "jigsaw"}
assert set(found["semi"]) == objectives
assert all(is_figure(by[part]["top1"]) and by[part]["top5"]["mean"] == 1
           for by in found["semi"].values() for part in ("1%", "10%"))
assert all(set(by) == {"classes"} for by in found["transfer"].values())
assert set(found["video"]["by_layer"]) == layers and "failed" not in found
page = open("all/compare.html").read()
assert "Orderings of the paper" in page and page.count("data:image/png;base64,") == 6 and "gst-launch-1.0 -m pirldatasetsrc" in page
PY

# One folder of classes is split; without classes there is what needs none.
run classes --out split --epochs 1 --only random --parts linear >log 2>&1 || fail "split: $(tail -n 12 log)"
grep -q '"n_test": 20' split/results/random-probe.json || fail "$(cat split/results/random-probe.json)"
run flat --out flat-out --epochs 1 --only pirl >log 2>&1 || fail "no classes: $(tail -n 12 log)"
grep -q 'There are no classes' log || fail "not said: $(tail -n 12 log)"
python3 -c 'import json; assert set(json.load(open("flat-out/compare.json"))) >= {"speed", "distances"}' \
  || fail "no results without classes"
# What fails is said, and others have their turn.
run set --out failing --epochs 1 --only pirl,random --parts linear,video,distances --video flat/000.jpg >log 2>&1 \
  && fail "a video that is none is no failure"
python3 -c 'import json
found = json.load(open("failing/compare.json"))
assert set(found["failed"]) == {"pirl-video", "pirl-video-probe"}, found["failed"]
assert set(found["distances"]) == set(found["linear"]) == {"pirl", "random"}' || fail "$(tail -n 12 log)"
mkdir empty
run empty --out none >log 2>&1 && fail "an empty folder is compared on"
grep -q 'no pictures' log || fail "no reason: $(tail -n 12 log)"
exit 0
