#!/usr/bin/env python3
# gst-pirl: writes net-mlp-golden.json: a small network of vectors and five steps of Adam in PyTorch.
# SPDX-License-Identifier: LGPL-2.1-or-later
#
#   python3 net-mlp-golden.py > net-mlp-golden.json       (needs PyTorch; the test does not)
#
# Inputs, weights and targets are sines that the C test makes too: element i of array r is
# scale[r] sin (0.7 i + r), arrays in the order of NAMES. Double precision.
import json
import torch

torch.set_default_dtype(torch.float64)

NAMES = ['input', 'target', 'q.0.weight', 'q.0.bias', 'q.1.weight', 'q.1.bias', 'q.2.weight', 'q.2.bias']
SCALES = [1.0, 2.0, 0.4, 0.1, 0.5, 0.1, 0.6, 0.1]
WIDTHS, BATCH = [13, 8, 6, 3], 5
LR, BETAS, EPSILON, DECAY = 0.02, (0.9, 0.999), 1e-7, 0.01


def recipe(r, *shape):
    n = torch.Size(shape).numel()
    return (SCALES[r] * torch.sin(0.7 * torch.arange(n) + r)).reshape(shape)


layers = [torch.nn.Linear(a, b) for a, b in zip(WIDTHS, WIDTHS[1:])]
net = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU6(), layers[2])
with torch.no_grad():
    for i, layer in enumerate(layers):
        layer.weight.copy_(recipe(2 + 2 * i, *layer.weight.shape))
        layer.bias.copy_(recipe(3 + 2 * i, *layer.bias.shape))
x, target = recipe(0, BATCH, WIDTHS[0]), recipe(1, BATCH, WIDTHS[-1])
adam = torch.optim.Adam([{'params': [l.weight for l in layers], 'weight_decay': DECAY},
                         {'params': [l.bias for l in layers], 'weight_decay': 0}],
                        lr=LR, betas=BETAS, eps=EPSILON)
losses, first = [], {}
for step in range(5):
    adam.zero_grad()
    loss = 0.5 * (net(x) - target).square().sum()
    if step == 0:
        first['output'] = net(x).flatten().tolist()
    loss.backward()
    if step == 0:
        first['gradients'] = {f'q.{i}.{p}': getattr(l, p).grad.flatten().tolist()
                              for i, l in enumerate(layers) for p in ('weight', 'bias')}
    adam.step()
    losses.append(loss.item())
print(json.dumps({'torch': torch.__version__.split('+')[0], **first, 'losses': losses,
                  'weights': {f'q.{i}.{p}': getattr(l, p).flatten().tolist()
                              for i, l in enumerate(layers) for p in ('weight', 'bias')}}))
