"""Do the orderings that the PIRL paper reports appear? Each as the difference of two figures, its
interval of 95 %, and what that says.

A figure is a share of the test pictures, {"mean", "low", "high"}; the ends are those of its
interval over draws of the test pictures.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import itertools
import math
import statistics

BEST_FIRST = ("pirl", "npid", "jigsaw", "random")       # by linear probes
LAST = "res5"
# Student's t of 95 %, by the number of seeds; of more seeds the last.
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}


def mean_of(figures):
    return statistics.fmean(figure["mean"] for figure in figures)


def difference(first, second):
    """Of figures of the same seeds in the same order. The sides of the two intervals add up as
    lengths at right angles do (Newcombe 1998), as if each had test pictures of its own: as they are
    the same, the interval is rather too wide. All seeds are tested on them, so more seeds make the
    sides no shorter. What the seeds make of the difference, pair by pair, comes on top."""
    def side(figures, end):
        return statistics.fmean(abs(figure[end] - figure["mean"]) for figure in figures)

    each = [a["mean"] - b["mean"] for a, b in zip(first, second, strict=True)]
    mean, seeds = statistics.fmean(each), 0.0
    if len(each) > 1:
        t = T_95[min(len(each), max(T_95))]
        seeds = t * statistics.stdev(each) / math.sqrt(len(each))
    return {"mean": mean, "low": mean - math.hypot(side(first, "low"), side(second, "high"), seeds),
            "high": mean + math.hypot(side(first, "high"), side(second, "low"), seeds)}


def check(claim, where, first, second):
    """Whether @first is the larger one."""
    of = difference(first, second)
    return {"claim": claim, "where": where, "first": mean_of(first), "second": mean_of(second),
            "difference": of, "seeds": len(first),
            "verdict": "holds" if of["low"] > 0 else "does not hold" if of["high"] < 0
                       else "undecided"}


class Probed:
    """The linear probes of an objective's networks; @by_seed: seed -> layer -> figure."""

    def __init__(self, by_seed):
        self.by_seed = by_seed
        self.layers = list(next(iter(by_seed.values())))

    def figures(self, layer, seeds=None):
        return [self.by_seed[seed][layer] for seed in seeds or self.by_seed]

    def best(self, but=None):
        return max((layer for layer in self.layers if layer != but),
                   key=lambda layer: mean_of(self.figures(layer)))


def of_objectives(probed):
    """Each against the next one that there is, at the best layer of each and at the last."""
    found = []
    for better, worse in itertools.pairwise(name for name in BEST_FIRST if name in probed):
        first, second = probed[better], probed[worse]
        seeds = [seed for seed in first.by_seed if seed in second.by_seed]
        for a, b in dict.fromkeys([(first.best(), second.best()), (LAST, LAST)]) if seeds else ():
            where = LAST if a == b == LAST else f"best layers: {a}, {b}"
            found.append(check(f"{better} > {worse}", where, first.figures(a, seeds),
                               second.figures(b, seeds)))
    return found


def of_layers(probed):
    """PIRL is best at its end, the covariant jigsaw before: against the best of the others."""
    found = []
    for name, better in (("pirl", 0), ("jigsaw", 1)):
        if name in probed:
            layers = (LAST, probed[name].best(but=LAST))
            pair = layers[better], layers[1 - better]
            found.append(check(f"{name}: {pair[0]} > {pair[1]}", "last, best other", *(
                probed[name].figures(layer) for layer in pair)))
    return found


def pairs_of(name, points):
    """Which point should be no worse than which."""
    if name == "lambda":
        inner = [point for point in points if 0 < point["value"] < 1]
        return [(a, b) for a in inner for b in points if b not in inner]
    if name not in ("permutations", "negatives"):
        return []
    points = sorted(points, key=lambda point: point["value"])
    return [(more, fewer) for fewer, more in itertools.combinations(points, 2)]


def of_ablations(ablations):
    """More permutations and more negatives do not hurt; both terms are better than one alone."""
    return [check(f"{name}: {a['value']:g} >= {b['value']:g}", LAST, [a], [b])
            for name, points in ablations.items() for a, b in pairs_of(name, points)]


def orderings(linear, ablations):
    """@linear: objective -> seed -> layer -> figure. @ablations: what is varied -> points: figures
    of PIRL's last layer with the value of each."""
    probed = {name: Probed(by_seed) for name, by_seed in linear.items() if by_seed}
    return of_objectives(probed) + of_layers(probed) + of_ablations(ablations)
