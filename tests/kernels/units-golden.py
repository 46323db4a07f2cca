#!/usr/bin/env python3
# gst-pirl: writes units-golden.h: what PyTorch computes, in double, for the reference backend's test.
# SPDX-License-Identifier: LGPL-2.1-or-later
#
#   python3 units-golden.py > units-golden.h       (needs PyTorch; the test does not)
#
# Inputs are sines, so that the C test can make the same ones: element i of the tensor with role r
# is offset[r] + scale[r] sin (0.7 i + r). Of each result: norm, projection on cos (0.3 i), and four
# elements.
import math
import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)

ROLES = ['INPUT', 'RESIDUAL', 'OUTPUT', 'WEIGHT', 'BIAS', 'BN_WEIGHT', 'BN_BIAS', 'BN_MEAN', 'BN_VAR',
         'D_OUTPUT', 'D_INPUT', 'D_RESIDUAL', 'D_WEIGHT', 'D_BIAS', 'D_BN_WEIGHT', 'D_BN_BIAS']
OFFSET = {'BN_WEIGHT': 1.5, 'BN_VAR': 2.0, 'INPUT': 0.3}
SCALE = {'INPUT': 2.0}
MEAN, STD = (torch.tensor(v, dtype=torch.float32).double()[:, None, None]      # as floats, like the C side
             for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
SLOTS = ['WEIGHT', 'BIAS', 'BN_WEIGHT', 'BN_BIAS']


def recipe(role, shape):
    i = torch.arange(math.prod(shape), dtype=torch.float64)
    r = ROLES.index(role)
    return (OFFSET.get(role, 0.0) + SCALE.get(role, 1.0) * torch.sin(0.7 * i + r)).reshape(shape)


def summary(t):
    v = t.detach().reshape(-1)
    i = torch.arange(len(v), dtype=torch.float64)
    samples = [v[k * (len(v) - 1) // 3].item() for k in range(4)]
    return [len(v), v.norm().item(), (v * torch.cos(0.3 * i)).sum().item(), samples]


# name, kind, input dims, output channels, then options
UNITS = [
    ('conv, batch norm, residual, relu', 'CONV', (3, 5, 7, 9), 8,
     dict(kernel=3, stride=2, padding=1, batch_norm=1, residual=1, activation='RELU')),
    ('conv in groups, bias, relu6', 'CONV', (2, 6, 8, 5), 9,
     dict(kernel=3, stride=1, padding=0, groups=3, bias=1, activation='RELU6')),
    ('depthwise conv, bias and batch norm', 'CONV', (4, 7, 6, 6), 7,
     dict(kernel=7, stride=2, padding=3, groups=7, bias=1, batch_norm=1)),
    ('conv 1x1, stride 2', 'CONV', (2, 3, 5, 7), 4, dict(kernel=1, stride=2, padding=0)),
    ('max pool', 'MAXPOOL', (2, 3, 9, 8), 3, dict(kernel=3, stride=2, padding=1)),
    ('max pool with equal values', 'MAXPOOL', (2, 3, 9, 8), 3, dict(kernel=2, stride=1, padding=1)),
    ('average pool', 'AVGPOOL', (3, 4, 5, 3), 4, {}),
    ('linear, bias, relu', 'LINEAR', (5, 11, 1, 1), 7, dict(bias=1, activation='RELU')),
    ('batch norm of vectors, relu6', 'BATCHNORM', (9, 6, 1, 1), 6, dict(batch_norm=1, activation='RELU6')),
    ('unit length', 'L2NORM', (4, 13, 1, 1), 13, {}),
]


def forward(kind, o, x, p, train):
    act = {'RELU': F.relu, 'RELU6': F.relu6, 'NONE': lambda t: t}[o.get('activation', 'NONE')]
    if kind == 'CONV':
        y = F.conv2d(x, p['WEIGHT'], p.get('BIAS'), o['stride'], o['padding'], 1, o.get('groups', 1))
    elif kind == 'MAXPOOL':
        return F.max_pool2d(x, o['kernel'], o['stride'], o['padding'])
    elif kind == 'AVGPOOL':
        return x.mean((2, 3), keepdim=True)
    elif kind == 'LINEAR':
        y = F.linear(x[:, :, 0, 0], p['WEIGHT'], p.get('BIAS'))[:, :, None, None]
    elif kind == 'L2NORM':
        return F.normalize(x, dim=1, eps=1e-12)
    else:
        y = x
    if o.get('batch_norm'):
        y = F.batch_norm(y, p['BN_MEAN'], p['BN_VAR'], p['BN_WEIGHT'], p['BN_BIAS'], train, 0.1, 1e-5)
    if o.get('residual'):
        y = y + p['RESIDUAL']
    return act(y)


def unit_values(name, kind, dims, channels, o):
    """Results in training mode, then the output in inference mode."""
    x = recipe('INPUT', dims)
    if 'equal' in name:
        x = torch.floor(x)
    x.requires_grad_()
    p, k = {}, o.get('kernel', 1)
    if kind == 'CONV':
        p['WEIGHT'] = recipe('WEIGHT', (channels, dims[1] // o.get('groups', 1), k, k))
    if kind == 'LINEAR':
        p['WEIGHT'] = recipe('WEIGHT', (channels, dims[1]))
    if o.get('bias'):
        p['BIAS'] = recipe('BIAS', (channels,))
    if o.get('batch_norm'):
        for s in ('BN_WEIGHT', 'BN_BIAS', 'BN_MEAN', 'BN_VAR'):
            p[s] = recipe(s, (channels,))
    size = [(d + 2 * o.get('padding', 0) - k) // o.get('stride', 1) + 1 for d in dims[2:]]
    if kind == 'AVGPOOL':
        size = [1, 1]
    out_dims = (dims[0], channels, *size)
    if o.get('residual'):
        p['RESIDUAL'] = recipe('RESIDUAL', out_dims)
    infer = forward(kind, o, x, p, False)
    for s in SLOTS + ['RESIDUAL']:
        if s in p:
            p[s].requires_grad_()
    y = forward(kind, o, x, p, True)
    assert y.shape == out_dims
    y.backward(recipe('D_OUTPUT', out_dims))
    values = [('OUTPUT', y)]
    values += [(s, p[s]) for s in ('BN_MEAN', 'BN_VAR') if s in p]
    values += [('D_INPUT', x.grad)]
    values += [('D_' + s, p[s].grad) for s in ['RESIDUAL'] + SLOTS if s in p]
    return out_dims, values, infer


def c_role(role):
    base = 'ROLE_GRAD' if role.startswith('D_') else 'ROLE_PARAM'
    slot = role[2:] if role.startswith('D_') else role
    if slot in SLOTS + ['BN_MEAN', 'BN_VAR']:
        return f'{base} + PIRL_SLOT_{slot}'
    return 'ROLE_' + role


def c_summary(t):
    n, norm, projection, samples = summary(t)
    return f'{{ {n}, {norm:.17g}, {projection:.17g},\n        {{ ' + ', '.join(f'{s:.17g}' for s in samples) + ' } }'


def write_units():
    cases, rows = [], []
    for name, kind, dims, channels, o in UNITS:
        out_dims, values, infer = unit_values(name, kind, dims, channels, o)
        fields = ''.join(f', .{k} = {v}' for k, v in {'groups': 1, **o}.items() if k != 'activation')
        cases.append(f'  {{ "{name}", {{ .kind = PIRL_UNIT_{kind}, .input = {{ {", ".join(map(str, dims))} }},\n'
                     f'        .output = {{ {", ".join(map(str, out_dims))} }},\n'
                     f'        .activation = PIRL_ACT_{o.get("activation", "NONE")}{fields} }} }},\n')
        for mode, role, t in [('TRAIN', r, t) for r, t in values] + [('INFER', 'OUTPUT', infer)]:
            rows.append(f'  {{ {len(cases) - 1}, PIRL_MODE_{mode}, {c_role(role)},\n      {c_summary(t)} }},\n')
    print('static const GoldenUnit golden_units[] = {\n' + ''.join(cases) + '};\n')
    print('static const GoldenValue golden_values[] = {\n' + ''.join(rows) + '};\n')


def write_input():
    """5 x 3 pictures, pixel i = 37 i mod 256."""
    pictures = (torch.arange(2 * 5 * 3 * 3) * 37 % 256).reshape(2, 5, 3, 3).permute(0, 3, 1, 2) / 255
    y = (pictures - MEAN) / STD
    print(f'static const GoldenSummary golden_input = {c_summary(y)};\n')


def unit_rows(n, dim, phase):
    i = torch.arange(n * dim, dtype=torch.float64)
    return F.normalize(torch.sin(0.7 * i + phase).reshape(n, dim), dim=1)


def contrast(loss, z, bank, positive, negative, tau, Z, near, near_weight):
    """InfoNCE by cross entropy; NCE by the modules' formulas of VISSL's nce_loss.py. Negatives with a
    cosine above near count with near_weight; last the mean of exp and the share that is near."""
    rows = torch.cat([positive[:, None], negative], 1)
    logits = torch.einsum('bd,bkd->bk', z, bank[rows]) / tau
    is_near = logits.detach()[:, 1:] * tau > near
    weight = torch.where(is_near, near_weight, 1.0)
    share = is_near.double().mean().item()
    if loss == 'INFONCE':
        logits = torch.cat([logits[:, :1], logits[:, 1:] + weight.log()], 1)
        return F.cross_entropy(logits, torch.zeros(len(z), dtype=torch.long)), logits, share
    p = logits.exp() / Z
    noise, eps = negative.shape[1] / len(bank), 1.19e-7
    ln_positive = (p[:, 0] / (p[:, 0] + noise + eps)).log()
    ln_noise = weight * (noise / (p[:, 1:] + noise + eps)).log()
    return -(ln_positive.sum() + ln_noise.sum()) / len(z), logits, share


def write_contrast():
    batch, dim, n, k, tau, Z, scale = 4, 6, 11, 5, 0.3, 17.0, 0.4
    positive = torch.tensor([3, 0, 10, 3])
    drawn = (torch.arange(batch * k) * 7 % n).reshape(batch, k)
    other = torch.stack([torch.tensor([r for r in range(n) if r != p]) for p in positive.tolist()])
    bank = unit_rows(n, dim, 1.0)
    rows = []
    for loss in ('NCE', 'INFONCE'):
        for all_rows, negative in ((0, drawn), (1, other)):
            for near, weight in ((1, 0), (0.2, 0.4), (0.5, 0)):
                z = unit_rows(batch, dim, 2.0).requires_grad_()
                value, logits, share = contrast(loss, z, bank, positive, negative, tau, Z, near, weight)
                (scale * value).backward()
                rows.append(f'  {{ {{ PIRL_LOSS_{loss}, {batch}, {dim}, {n}, {negative.shape[1]}, {tau}, {Z}, {scale}, '
                            f'.near = {near}, .near_weight = {weight} }},\n'
                            f'      {all_rows}, {value.item():.17g}, {logits.exp().mean().item():.17g}, '
                            f'{(logits[:, 0] * tau).mean().item():.17g}, {share:.17g},\n'
                            f'      {c_summary(z.grad)} }},\n')
    print('static const GoldenContrast golden_contrasts[] = {\n' + ''.join(rows) + '};\n')
    z = unit_rows(batch, dim, 2.0)
    for b, p in enumerate(positive.tolist()):
        bank[p] = F.normalize(0.75 * bank[p] + 0.25 * z[b], dim=0)
    print(f'static const GoldenSummary golden_bank = {c_summary(bank)};\n')


def write_sgd():
    """Three steps of torch.optim.SGD, the gradient that of 0.5 |w - target|^2 at the present w."""
    w = recipe('WEIGHT', (19,)).requires_grad_()
    target = recipe('BN_VAR', (19,))
    sgd = torch.optim.SGD([w], lr=0.1, momentum=0.9, weight_decay=0.05)
    for _ in range(3):
        sgd.zero_grad()
        (0.5 * (w - target).square().sum()).backward()
        sgd.step()
    print(f'static const GoldenSummary golden_sgd = {c_summary(w)};')


def write_nesterov():
    """As write_sgd(), with Nesterov's momentum."""
    w = recipe('WEIGHT', (19,)).requires_grad_()
    target = recipe('BN_VAR', (19,))
    sgd = torch.optim.SGD([w], lr=0.1, momentum=0.9, weight_decay=0.05, nesterov=True)
    for _ in range(3):
        sgd.zero_grad()
        (0.5 * (w - target).square().sum()).backward()
        sgd.step()
    print(f'static const GoldenSummary golden_nesterov = {c_summary(w)};')


def write_lars():
    """Three steps of LARS as You et al. 2017 write it down, on two tensors; PyTorch has none."""
    w, target = recipe('WEIGHT', (19,)), recipe('BN_VAR', (19,))
    v = torch.zeros(19)
    lr, momentum, decay, trust, eps = 2.0, 0.9, 0.05, 0.02, 1e-3
    for _ in range(3):
        g = w - target
        for part in (slice(0, 7), slice(7, 19)):
            norm = w[part].norm()
            local = trust * norm / (g[part].norm() + decay * norm + eps)
            v[part] = momentum * v[part] + local * lr * (g[part] + decay * w[part])
            w[part] = w[part] - v[part]
    print(f'static const GoldenSummary golden_lars = {c_summary(w)};')


def write_adam():
    """Four steps of torch.optim.Adam, the gradient as in write_sgd()."""
    w = recipe('WEIGHT', (19,)).requires_grad_()
    target = recipe('BN_VAR', (19,))
    adam = torch.optim.Adam([w], lr=0.02, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.05)
    for _ in range(4):
        adam.zero_grad()
        (0.5 * (w - target).square().sum()).backward()
        adam.step()
    print(f'static const GoldenSummary golden_adam = {c_summary(w)};')


print('/* gst-pirl: written by units-golden.py with PyTorch ' + torch.__version__.split('+')[0] + '; do not edit.\n'
      ' * SPDX-License-Identifier: LGPL-2.1-or-later */\n#pragma once\n')
write_units()
write_input()
write_contrast()
write_sgd()
write_nesterov()
write_lars()
write_adam()
