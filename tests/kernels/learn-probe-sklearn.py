#!/usr/bin/env python3
"""Holds the probes against scikit-learn on the same features: its figures within 0.5 points of theirs.

    learn-probe-sklearn.py DRIVER [FILE ...]

DRIVER is learn-probe-driver. Without files the sets are drawn: Gaussian classes of different sizes, and
pictures' worth of several labels each. FILEs are sets as DRIVER reads them (a network's features, say;
pirlprobesink's cache-file is one). Prints a table. Needs a Python with numpy, scikit-learn and
safetensors: without, it says so and ends with 77.
SPDX-License-Identifier: LGPL-2.1-or-later"""
import json
import os
import subprocess
import sys
import tempfile
import warnings

try:
    import numpy as np
    from safetensors.numpy import load_file, save_file
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import (average_precision_score, balanced_accuracy_score,
                                 top_k_accuracy_score)
    from sklearn.model_selection import cross_val_score
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC
except ImportError as missing:
    print(f"skipped: {missing} (PIRL_TORCH_PYTHON names a Python that has scikit-learn)")
    sys.exit(77)

COSTS = (.01, .1, 1, 2, 5, 10, 15, 20, 50, 100, 1000)
TOLERANCE = .005
failures = 0


def gaussians(seed, sizes, dim, spread, test=4):
    """One cloud a class; the features' scales differ, and one feature is constant."""
    rng = np.random.default_rng(seed)
    scale = np.exp(rng.normal(size=dim))
    centres = rng.normal(size=(len(sizes), dim)) * spread
    sets = {}
    for split, factor in (("train", 1), ("test", test)):
        labels = np.concatenate([np.full(n * factor, c) for c, n in enumerate(sizes)])
        rng.shuffle(labels)
        x = (centres[labels] + rng.normal(size=(len(labels), dim))) * scale + 3
        x[:, 0] = 1
        sets[split + ".features"] = x.astype(np.float32)[:, None, :]
        sets[split + ".labels"] = labels.astype(np.int32)
    return sets


def several(seed, n, classes, dim):
    """Each class is a direction; a sample shows one to three, some of which are hard to say."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, dim))
    sets = {}
    for split, count in (("train", n), ("test", 3 * n)):
        targets = np.zeros((count, classes), dtype=np.int8)
        for row in targets:
            row[rng.choice(classes, rng.integers(1, 4), replace=False)] = 1
        x = (targets > 0) @ centres + 2 * rng.normal(size=(count, dim))
        hard = (rng.random(targets.shape) < .02) & (targets == 0)
        targets[hard] = -1
        sets[split + ".features"] = x.astype(np.float32)[:, None, :]
        sets[split + ".targets"] = targets
    return sets


def drive(driver, path, probe, **options):
    command = [driver, path, probe] + [f"{k.replace('_', '-')}={v}" for k, v in options.items()]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def voc(target, score):
    """Area under the interpolated curve, as VOC from 2010 on; -1 does not count."""
    score, target = score[target >= 0], target[target >= 0]
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(target[order])
    precision = hits / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float((precision * target[order]).sum() / hits[-1])


def compare(name, what, ours, theirs, interval=None, tolerance=TOLERANCE):
    global failures
    ok = abs(ours - theirs) <= tolerance
    if interval:
        ok = ok and interval[0] <= ours <= interval[1]
    failures += not ok
    print(f"{name:24} {what:28} {100 * ours:8.2f} {100 * theirs:8.2f} {100 * (ours - theirs):+7.2f}"
          f"{'' if ok else '  FAILED'}", flush=True)


def figures(score, labels, classes):
    every = list(range(classes))
    if score.ndim == 1:         # of two classes the second's
        score = np.stack([-score, score], 1)
    top1 = (top_k_accuracy_score(labels, score, k=1, labels=every) if classes > 2
            else float((score.argmax(1) == labels).mean()))
    return {"top1": top1,
            "top5": top_k_accuracy_score(labels, score, k=5, labels=every) if classes > 5 else 1.,
            "balanced": balanced_accuracy_score(labels, score.argmax(1))}


def compare_figures(name, probe, ours, theirs):
    for key, value in theirs.items():
        compare(name, f"{probe} {key}", ours[key], value,
                (ours[key + "_low"], ours[key + "_high"]))


def compare_linear(name, driver, path, x, y, xt, yt, classes, solvers):
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000)).fit(x, y)
    theirs = figures(model.decision_function(xt), yt, classes)
    for solver, options in solvers.items():
        compare_figures(name, "linear " + solver, drive(driver, path, "linear", **options), theirs)


def compare_knn(name, driver, path, x, y, xt, yt, classes, k=200, sigma=.1):
    model = KNeighborsClassifier(min(k, len(x)), metric="cosine", algorithm="brute",
                                 weights=lambda d: np.exp((1 - d) / sigma)).fit(x, y)
    compare_figures(name, "knn", drive(driver, path, "knn", k=k, sigma=sigma),
                    figures(model.predict_proba(xt), yt, classes))


def best_svm(x, target):
    def machine(cost):
        return LinearSVC(C=cost, class_weight={1: 2, -1: 1}, dual=False, tol=1e-4, max_iter=2000)

    y = np.where(target > 0, 1, -1)
    means = [cross_val_score(machine(c), x, y, cv=3, scoring="average_precision").mean()
             for c in COSTS]
    return machine(COSTS[int(np.argmax(means))]).fit(x, y), COSTS[int(np.argmax(means))]


def compare_svm(name, driver, path, x, targets, xt, test_targets):
    ours = drive(driver, path, "svm")
    length = [np.linalg.norm(a, axis=1, keepdims=True) + 1e-5 for a in (x, xt)]
    x, xt = x / length[0], xt / length[1]
    found = [best_svm(x, t) for t in targets.T]
    theirs = [voc(t, m.decision_function(xt)) for (m, _), t in zip(found, test_targets.T)]
    compare(name, "svm mAP", ours["map"], float(np.mean(theirs)), (ours["map_low"], ours["map_high"]))
    compare(name, "svm, worst class", *max(zip(ours["precision"], theirs),
                                           key=lambda pair: abs(pair[0] - pair[1])))
    print(f"{name:24} {'svm, C that differ':28} "
          f"{sum(a != b for a, b in zip(ours['cost'], (c for _, c in found))):8} of {len(found)}")


def compare_labels(name, driver, path, sets, solvers, svm):
    x, xt = (sets[s + ".features"].reshape(len(sets[s + ".features"]), -1) for s in ("train", "test"))
    y, yt = sets["train.labels"], sets["test.labels"]
    classes = int(max(y.max(), yt.max())) + 1
    compare_linear(name, driver, path, x, y, xt, yt, classes, solvers)
    compare_knn(name, driver, path, x, y, xt, yt, classes)
    if svm:
        compare_svm(name, driver, path, x, np.eye(classes, dtype=np.int8)[y], xt,
                    np.eye(classes, dtype=np.int8)[yt])


def compare_targets(name, driver, path, sets):
    x, xt = (sets[s + ".features"].reshape(len(sets[s + ".features"]), -1) for s in ("train", "test"))
    y, yt = sets["train.targets"], sets["test.targets"]
    compare_svm(name, driver, path, x, y, xt, yt)
    model = make_pipeline(StandardScaler(), OneVsRestClassifier(LogisticRegression(max_iter=5000)))
    score = model.fit(x, y > 0).decision_function(xt)
    ours = drive(driver, path, "linear", solver="exact")
    compare(name, "linear exact mAP", ours["map"],
            float(np.mean([voc(t, s) for t, s in zip(yt.T, score.T)])))
    nearest = KNeighborsClassifier(50, metric="cosine", algorithm="brute",
                                   weights=lambda d: np.exp((1 - d) / .1)).fit(x, y > 0)
    score = np.stack([p[:, 1] for p in nearest.predict_proba(xt)], 1)
    compare(name, "knn mAP", drive(driver, path, "knn", k=50)["map"],
            float(np.mean([voc(t, s) for t, s in zip(yt.T, score.T)])))


def main():
    warnings.simplefilter("ignore", ConvergenceWarning)
    driver, files = sys.argv[1], sys.argv[2:]
    both = {"exact": {"solver": "exact"}, "sgd": {}}
    print(f"{'set':24} {'figure':28} {'ours':>8} {'theirs':>8} {'points':>7}")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "set.safetensors")
        if not files:
            for name, sets, solvers in (
                    ("many samples", gaussians(1, [400] * 10, 24, .9), both),
                    ("classes of other sizes", gaussians(2, [600, 300, 150, 60, 30, 15, 9], 16, .6),
                     {"exact": both["exact"]}),
                    ("two classes", gaussians(14, [60, 25], 30, .25, 20),
                     {"exact": both["exact"]})):
                save_file(sets, path)
                compare_labels(name, driver, path, sets, solvers, True)
            sets = several(3, 400, 6, 12)
            save_file(sets, path)
            compare_targets("several labels", driver, path, sets)
        for file in files:
            sets = load_file(file)
            compare_labels(os.path.basename(file), driver, file, sets, {"exact": both["exact"]}, True)
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
