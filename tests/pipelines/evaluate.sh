#!/bin/sh
# The evaluation on pictures whose every answer is known: plain ones agree at any quality, busy
# ones from 35. Fixed qualities and the oracle follow from that exactly; the bandit must tell the two
# apart by their sizes.
. "$(dirname "$0")/common.sh"

evaluate="$PIRL_BUILD/pipelines/evaluate-compression"
cd "$scratch" || fail "no scratch folder"
python3 - <<'PY' || fail "the pictures could not be drawn"
import json
import pathlib
import random
import struct
import zlib


def png(path, pixel, side=64):
    rows = b"".join(b"\0" + b"".join(pixel(x, y) for x in range(side)) for y in range(side))
    chunk = lambda kind, data: (struct.pack(">I", len(data)) + kind + data
                                + struct.pack(">I", zlib.crc32(kind + data)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n"
                     + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
                     + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


draw = random.Random(1)
recording = {}
for kind in ("plain", "busy"):
    pathlib.Path("pictures", kind).mkdir(parents=True)
for i in range(120):
    busy = i % 4 == 0
    name = f"{'busy' if busy else 'plain'}/{i:02}.png"
    base = draw.randrange(60, 190)
    noise = 60 if busy else 8
    png(pathlib.Path("pictures", name), lambda x, y: bytes(
        max(0, min(255, base + (x + y) // 4 + draw.randrange(-noise, noise + 1)))
        for _ in range(3)))
    cells = {}
    for quality in range(5, 100, 10):
        good = quality >= 35 or not busy
        if quality == 95:
            good = i % 10 != 0
        cells[str(quality)] = {"size": 1, "labels": [{"keyword": "thing" if good else "other",
                                                      "score": 0.9}]}
    recording[name] = {"made-up": cells}
pathlib.Path("answers.json").write_text(json.dumps(recording))
PY

"$evaluate" pictures --cloud replay:answers.json#made-up --halves 10 --cache c.safetensors \
  --json first.json --plot plot.png >log 2>&1 || fail "evaluation: $(cat log)"
"$evaluate" pictures --cloud replay:answers.json#made-up --halves 10 --cache c.safetensors \
  --json second.json >again 2>&1 || fail "again: $(cat again)"
grep -q asking log || fail "the cloud was not asked"
! grep -q asking again || fail "the cache was not used"
head -c 8 plot.png | od -c | grep -q 'P   N   G' || fail "no plot"

python3 - <<'PY' || fail "$(cat log)"
import json
first, second = (json.load(open(n)) for n in ("first.json", "second.json"))
for result in (first, second):
    result.pop("seconds")
assert first == second, "the cache changes the result"
assert first["pictures"] == 120 and first["reference_quality"] == 75
fixed = {row["quality"]: row for row in first["fixed"]}
assert sorted(fixed) == list(range(5, 80, 10))
for quality, row in fixed.items():
    expected = 1 if quality >= 35 else 0.75
    assert abs(row["agreement"] - expected) < 0.08, (quality, row["agreement"])
    assert row["agreement_low"] <= row["agreement"] <= row["agreement_high"]
    assert row["qualities"] == {str(quality): 1}
sizes = [fixed[q]["size_ratio"] for q in sorted(fixed)]
assert sizes == sorted(sizes) and sizes[-1] <= 1
oracle = first["oracle"]
assert oracle["agreement"] == 1 and set(oracle["qualities"]) == {"5", "35"}
assert abs(oracle["qualities"]["5"] - 0.75) < 0.08
bandit = first["bandit"]
assert bandit["agreement"] >= 0.95 and bandit["size_ratio"] < 1.03 * oracle["size_ratio"], bandit
assert first["noise_floor"] == 0.05 and first["noise_cells"] == 240, first["noise_floor"]
assert "dqn" not in first
PY

"$evaluate" nowhere --cloud replay:answers.json >log 2>&1 && fail "a missing folder is accepted"
grep -q nowhere log || fail "the missing folder is not named: $(cat log)"
"$evaluate" pictures --cloud nonsense:x >log 2>&1 && fail "a nonsense cloud is accepted"
grep -q 'local:' log || fail "the kinds of clouds are not listed: $(cat log)"
"$evaluate" pictures >log 2>&1 && fail "no cloud is accepted"
"$evaluate" pictures --cloud replay:answers.json#made-up --agreement both >log 2>&1 \
  && fail "a nonsense agreement is accepted"
grep -q top5-overlap log || fail "the agreements are not listed: $(cat log)"
"$evaluate" pictures --cloud replay:answers.json#made-up --explain 1 >log 2>&1 \
  && fail "explaining without an extractor is accepted"
exit 0
