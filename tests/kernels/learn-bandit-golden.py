#!/usr/bin/env python3
# gst-pirl: writes learn-bandit-golden.json, what scikit-learn makes of procedural answers.
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Usage: learn-bandit-golden.py [learn-bandit-golden.json]; needs numpy and scikit-learn.
#
# The bandit's model is a ridge logistic regression with weighted rows: an observed outcome counts 1, one that
# follows by monotony CREDIT; inputs standardised, the constant's precision a hundredth of the others' (here a
# constant of 10 under the same penalty). Its predictions are moderated with the Laplace posterior, then made
# monotone (IsotonicRegression).
import json
import sys

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

LEVELS, INPUTS, PICTURES, PROBES = 7, 5, 80, 12
CREDIT, PRECISION = 0.3, 2.0


def pictures(rng, n):
    """phi (n, L, D) in wild units, and the level from which on the service agrees."""
    hard = rng.normal(size=n)
    level = np.arange(LEVELS, dtype=float)
    phi = np.empty((n, LEVELS, INPUTS))
    phi[..., 0] = 1
    phi[..., 1] = 100 * level
    phi[..., 2] = 1e-3 * np.exp(0.5 * (hard[:, None] + 0.7 * rng.normal(size=(n, 1))) - 0.2 * level)
    phi[..., 3] = rng.normal(size=(n, LEVELS)) + 40
    phi[..., 4] = 0.25  # says nothing
    threshold = 2.5 + 1.2 * hard + 0.8 * rng.logistic(size=n) * 0.5
    return phi.astype(np.float32).astype(float), threshold


def answers(rng, threshold):
    """Two to four levels asked about a picture; -1 elsewhere. Some pictures contradict themselves."""
    outcome = -np.ones((len(threshold), LEVELS))
    for i, t in enumerate(threshold):
        for l in rng.choice(LEVELS - 1, size=rng.integers(2, 5), replace=False):
            outcome[i, l] = float(l >= t)
            if i % 20 == 7:
                outcome[i, l] = float(rng.integers(2))
            if i % 20 == 3:
                outcome[i, l] = round(0.25 * rng.integers(5), 2)
    return outcome


def weights(outcome):
    """(yes, no) of every row below the reference."""
    yes, no = np.zeros((2, len(outcome), LEVELS - 1))
    for i, row in enumerate(outcome):
        for l in range(LEVELS - 1):
            if row[l] >= 0:
                yes[i, l], no[i, l] = row[l], 1 - row[l]
                continue
            cheaper = [v for v in row[:l] if v >= 0]
            dearer = [v for v in row[l + 1:LEVELS - 1] if v >= 0]
            yes[i, l] = CREDIT * max(cheaper, default=0)
            no[i, l] = CREDIT * (1 - min(dearer, default=1))
    return yes.ravel(), no.ravel()


def main():
    rng = np.random.default_rng(20190808)
    phi, threshold = pictures(rng, PICTURES)
    outcome = answers(rng, threshold)
    yes, no = weights(outcome)

    rows = phi[:, :-1].reshape(-1, INPUTS)
    mean, scale = rows.mean(0), rows.std(0)
    mean[0], scale[0] = 0, 1
    scale[scale < 1e-9] = 1
    z = (rows - mean) / scale
    x = z * np.r_[10, np.ones(INPUTS - 1)]

    model = LogisticRegression(C=1 / PRECISION, fit_intercept=False, solver="newton-cholesky",
                               tol=1e-13, max_iter=1000)
    model.fit(np.r_[x, x], np.r_[np.ones(len(x)), np.zeros(len(x))], sample_weight=np.r_[yes, no])
    w = model.coef_[0] * np.r_[10, np.ones(INPUTS - 1)]

    p = model.predict_proba(x)[:, 1]
    hessian = (z * ((yes + no) * p * (1 - p))[:, None]).T @ z
    hessian += PRECISION * np.diag(np.r_[0.01, np.ones(INPUTS - 1)])
    covariance = np.linalg.inv(hessian)

    probes, _ = pictures(rng, PROBES)
    probability, deviation = [], []
    for probe in probes:
        zp = (probe[:-1] - mean) / scale
        variance = np.einsum("ld,de,le->l", zp, covariance, zp)
        q = 1 / (1 + np.exp(-(zp @ w) / np.sqrt(1 + np.pi / 8 * variance)))
        q = IsotonicRegression().fit_transform(np.arange(LEVELS - 1), q)
        probability.append(np.r_[q, 1].tolist())
        deviation.append(np.r_[np.sqrt(variance), 0].tolist())

    golden = {
        "levels": LEVELS, "inputs": INPUTS, "credit": CREDIT, "precision": PRECISION,
        "phi": phi.reshape(PICTURES, -1).tolist(), "outcome": outcome.tolist(),
        "weights": w.tolist(), "hessian": hessian.ravel().tolist(),
        "probes": probes.reshape(PROBES, -1).tolist(),
        "probability": probability, "deviation": deviation,
    }
    with open(sys.argv[1] if len(sys.argv) > 1 else "learn-bandit-golden.json", "w") as file:
        json.dump(golden, file)
        file.write("\n")


if __name__ == "__main__":
    main()
