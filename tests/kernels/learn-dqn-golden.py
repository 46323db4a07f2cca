#!/usr/bin/env python3
# gst-pirl: writes learn-dqn-golden.json: Q before and after learnings, by PyTorch.
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Usage: learn-dqn-golden.py [learn-dqn-golden.json]; needs numpy and PyTorch.
#
# One transition in the replay, so that whatever is drawn is that one. Loss: Keras' mean squared error over all
# actions, whose target is the network's own answer but for the action taken (the authors' code).
import json
import sys

import numpy as np
import torch

FEATURES, ACTIONS, ACTION, REWARD, BATCH, EPOCHS, LEARNINGS = 6, 3, 1, 0.7, 8, 5, 3
WIDTHS = [FEATURES, 64, 32, 32, ACTIONS]


def recipe(shape, scale, phase):
    n = int(np.prod(shape))
    return torch.tensor((scale * np.sin(0.7 * np.arange(n) + phase)).astype(np.float32).reshape(shape))


def main():
    params = []
    for i in range(4):
        params.append(recipe((WIDTHS[i + 1], WIDTHS[i]), 0.25, 2 * i))
        params.append(recipe((WIDTHS[i + 1],), 0.1, 2 * i + 1))
    params = [p.double().requires_grad_() for p in params]
    state = recipe((FEATURES,), 1.0, 20).double()

    def q():
        h = state
        for i in range(4):
            h = params[2 * i] @ h + params[2 * i + 1]
            h = torch.relu(h) if i < 3 else h
        return h

    optimiser = torch.optim.Adam(params, lr=0.002, betas=(0.9, 0.999), eps=1e-7)
    rows = [q().tolist()]
    for _ in range(LEARNINGS):
        for _ in range(EPOCHS):
            answer = torch.stack([q()] * BATCH)
            target = answer.detach().clone()
            target[:, ACTION] = REWARD
            optimiser.zero_grad()
            torch.nn.functional.mse_loss(answer, target).backward()
            optimiser.step()
        rows.append(q().tolist())
    with open(sys.argv[1] if len(sys.argv) > 1 else "learn-dqn-golden.json", "w") as file:
        json.dump({"q": rows}, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
