"""Which steps a comparison has.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import array
import json
import random
import statistics

import steps
from steps import Step, fields

LAYERS = ("res1", "res2", "res3", "res4", "res5")
MAPS = ",".join(f"{layer}-9k" for layer in LAYERS) + ",features"
LATE_MAPS = "res4-9k,res5-9k,features"
SHARED = 100                    # permutations of the covariant jigsaw
THIRD = "0.333333"              # of the data, for ablations
CALIBRATION = 100               # steps in which batch norm counts image views
BOOTSTRAP = 1000
# Of the papers' fine-tuning: torchvision's random crop, a flip, colours as they are.
PLAIN_VIEWS = ("crop-scale-min=0.08", "brightness=0", "contrast=0", "saturation=0", "hue=0",
               "grayscale=0")
ALL_NEGATIVES = 32000           # negatives=0 of pirltrainsink: so many, or all others


class Objective:
    """@views and @sink: properties of pirljigsaw and pirltrainsink. @cost: of a step, as images
    that are trained on. @counted: batch norm counts something else than the image view."""

    def __init__(self, text, views=(), sink=(), cost=1.0, counted=False):
        self.text, self.views, self.sink = text, views, sink
        self.cost, self.counted = cost, counted


# Each with the defaults of pirltrainsink or the recipe of its paper.
OBJECTIVES = {
    "pirl": Objective("PIRL, jigsaw", (), ("objective=pirl",), 1.75),
    "npid": Objective("NPID: the image's term of PIRL alone", (), ("objective=npid",)),
    "jigsaw": Objective("which permutation shuffled the patches", (f"permutations={SHARED}",),
                        ("objective=jigsaw",), 0.8, True),
    "random": Objective("not trained; batch norm has counted the pictures"),
    "rotation": Objective("by how much the picture is turned", ("transform=rotation",),
                          ("objective=rotation",), 1.0, True),
    "pirl-rotation": Objective("PIRL, rotation", ("transform=rotation",), ("objective=pirl",), 2.0),
    "pirl-both": Objective("PIRL, jigsaw of the turned picture", ("transform=both",),
                           ("objective=pirl",), 1.75),
    "npid++": Objective("NPID++ as published, for a million pictures", (), ("preset=npid++",)),
    "moco": Objective("MoCo with the defaults of pirltrainsink", ("transform=crop",),
                      ("objective=moco",), 1.4),
    "moco-v2": Objective("MoCo v2 as published, for a million pictures", ("transform=crop",),
                         ("preset=moco",), 1.4),
    "supervised": Objective("labels: what all others do without", (), ("objective=supervised",)),
}
DEFAULT = ("pirl", "npid", "jigsaw", "random")
DEFAULT_PARTS = ("linear", "distances", "bn", "ablations", "semi", "transfer", "video")
PARTS = (*DEFAULT_PARTS, "near")
NEAR = (.5, .8)                 # cosines from which on a negative is left out


def quantile(values, part):
    """Of sorted @values."""
    return values[min(len(values) - 1, int(part * len(values)))]


# ---- results: what is read after a step's lines ------------------------------------------------

def training_result(name, objective):
    """From the log, which all runs of a training have written to."""
    def read(place):
        metadata = steps.checkpoint_metadata(place.model(name))
        total = int(metadata.get("total_steps", 0))
        done = int(metadata.get("state.step", 0))
        if done == 0 or done < total:
            raise steps.Failed(f"the training ended at step {done} of {total}")
        speeds, cpu, epochs, batch = [], 0.0, {}, int(metadata["batch_size"])
        for line in place.log(name).read_text().splitlines():
            said = fields(line)
            if line.startswith("# cpu"):
                cpu += float(line.split()[2])
            elif "pirl-training," in line:
                speeds.append(float(said["images-per-second"]))
            elif "pirl-epoch," in line and "loss" in said:
                epochs[int(said["epoch"])] = {
                    "epoch": int(said["epoch"]) + 1, "loss": float(said["loss"]),
                    **{key: float(said[f]) for key, f in (("knn", "knn-accuracy"),
                                                          ("accuracy", "accuracy")) if f in said}}
        speed = statistics.median([value for value in speeds if value > 0] or [0.0])
        return {"objective": objective, "steps": done, "batch": batch, "pictures_per_second": speed,
                "steps_per_second": speed / batch, "cpu_ms_per_picture": 1e3 * cpu / done / batch,
                "epochs": [epochs[key] for key in sorted(epochs)],
                "warnings": steps.warnings_in(place.log(name))}
    return read


def nothing(_place):
    return {}


def probe_result(path):
    """probe -> layer -> figures."""
    def read(_place):
        report = json.loads(path.read_text())
        found = {"n_train": report["probes"][0]["n_train"], "n_test": report["probes"][0]["n_test"]}
        for probe in report["probes"]:
            layer = probe["layer"].removesuffix("-9k")
            found.setdefault(probe["probe"], {})[layer] = {
                key: dict(zip(("mean", "low", "high"), (probe[key][end] for end in
                                                        ("value", "low", "high"))))
                for key in ("top1", "top5")}
            found[probe["probe"]][layer]["seconds"] = probe["seconds"]
        return found
    return read


def share(hits, draw):
    """The share of @hits that are true, and where it lies in 95 % of draws of as many."""
    n = len(hits)
    shares = sorted(sum(draw.choices(hits, k=n)) / n for _ in range(BOOTSTRAP))
    return {"mean": sum(hits) / n, "low": quantile(shares, .025), "high": quantile(shares, .975)}


def logits_result(path, data):
    """Top-1 and top-5 of a classifier's logits of all test pictures in the listing's order."""
    def read(_place):
        values = array.array("f", path.read_bytes())
        truth = [data.classes.index(name) for name in data.test_classes]
        width = len(data.classes)
        if len(values) != width * len(truth):
            raise steps.Failed(f"{path}: {len(values)} logits of {len(truth)} pictures, {width} "
                               "classes; were there pictures that cannot be read? Take them away")
        ranks = []
        for i, label in enumerate(truth):
            row = values[i * width:(i + 1) * width]
            # Of equals the own class is last; so it is where a score is no number.
            ranks.append(sum(not value < row[label] for value in row) - 1)
        path.unlink()
        draw = random.Random(0)
        return {"top1": share([rank < 1 for rank in ranks], draw),
                "top5": share([rank < 5 for rank in ranks], draw)}
    return read


def distances_result(path):
    """Of the distances "same" and "other": mean, quantiles and a histogram; and how often a
    picture's own transformed self is nearer than another's."""
    def read(_place):
        found, result = json.loads(path.read_text()), {}
        top = 2 ** .5           # features are not negative: no angle is beyond 90 degrees
        for kind, values in found.items():
            values.sort()
            bins = [0] * 40
            for value in values:
                bins[min(len(bins) - 1, int(value / top * len(bins)))] += 1
            result[kind] = {"mean": statistics.fmean(values),
                            **{f"q{p}": quantile(values, p / 100) for p in (5, 25, 50, 75, 95)},
                            "histogram": [count / len(values) for count in bins]}
        pairs, below = 0, 0
        for value in found["other"]:
            while below < len(found["same"]) and found["same"][below] < value:
                below += 1
            pairs += below
        result["nearer"] = pairs / len(found["same"]) / len(found["other"])
        result["bin"] = top / 40
        path.unlink()
        return result
    return read


# ---- the plan ----------------------------------------------------------------------------------

class Plan:
    """All steps in their order; those that a report asks for by name."""

    def __init__(self, options, data, transfer, place):
        self.options, self.data, self.transfer, self.place = options, data, transfer, place
        self.steps = []
        self.networks = {}      # (objective, seed) -> step that leaves the checkpoint to look at
        self.raw = {}           # the same as it was trained
        self._make()

    # ---- lines ----

    def device(self):
        return [f"device={self.options.device}"] if self.options.device else []

    def precision(self):
        return [f"precision={self.options.precision}"] if self.options.precision else []

    def training_line(self, source, views, sink, seed, model):
        options = self.options
        width = [f"base-width={options.base_width}"] if options.base_width else []
        return ["gst-launch-1.0", "-m", *source, f"seed={seed}", "!", "pirljigsaw",
                f"image-size={options.size}", f"seed={seed}", *views, "!", "pirltrainsink", *sink,
                f"arch={options.arch}", *width, f"seed={seed}", *self.device(), *self.precision(),
                f"checkpoint-file={self.place.model(model)}", "resume=true"]

    def embed_line(self, source, model, layer, *rest):
        return ["gst-launch-1.0", "-m", *source, "!", "pirlembed",
                f"model-file={self.place.model(model)}", f"layer={layer}", "batch-size=32",
                "batch-timeout=0", *self.device(), *(self.precision() or ["precision=f32"]), "!",
                *rest]

    def add(self, *args, **settings):
        self.steps.append(Step(*args, **settings))
        return self.steps[-1]

    # ---- parts ----

    def train(self, name, objective, seed, source, views=(), sink=(), passes=None):
        """A training of @objective on @source, with other properties @views and @sink."""
        of = OBJECTIVES[objective]
        passes = self.options.epochs * self.data.count if passes is None else passes
        line = self.training_line(source, [*of.views, *views],
                                  [*of.sink, *sink, f"batch-size={self.options.batch_size}"], seed,
                                  name)
        return self.add(name, f"train {name}: {of.text}", [line], training_result(name, objective),
                        cost=of.cost * passes, model=name, facts={"data": self.data.digest})

    def calibrate(self, name, start, seed, views=(), sink=("objective=npid",
                                                           "bn-statistics=images")):
        """Runs the network for some steps that change nothing but what batch norm has counted."""
        count = 2 if self.options.quick else CALIBRATION
        model = [f"model-file={self.place.model(start.model)}"] if start else []
        line = self.training_line([*self.data.train, "epochs=0"], views,
                                  [*sink, f"batch-size={self.options.batch_size}", *model,
                                   "learning-rate=0", "warmup=0", f"max-steps={count}"], seed, name)
        return self.add(name, f"count batch norm's statistics: {name}", [line], nothing,
                        cost=count * self.options.batch_size, after=[start] if start else [],
                        model=name, facts={"data": self.data.digest})

    def probe(self, name, network, layers, data=None, probes="linear,knn"):
        data = data or self.data
        report = self.place.out / "results" / f"{name}.report"
        quick = ["epochs=4", "bootstrap=50", "k=5"] if self.options.quick else []
        line = self.embed_line(data.all, network.model, layers, "pirlprobesink", f"probe={probes}",
                               f"report-file={report}", *quick, *self.device())
        pictures = len(data.train_classes) + len(data.test_classes)
        return self.add(name, f"probe {network.name}: {layers}", [line], probe_result(report),
                        cost=pictures * (.3 + .45 * len(layers.split(","))), after=[network],
                        facts={"data": data.digest})

    def network(self, objective, seed):
        """Trains an objective and sees to it that batch norm has counted image views."""
        name = objective if seed == 0 else f"{objective}-seed{seed}"
        if objective == "random":
            step = self.raw[objective, seed] = self.calibrate(name, None, seed)
        else:
            step = self.raw[objective, seed] = self.train(
                name, objective, seed, [*self.data.train, f"epochs={self.options.epochs}"])
            if OBJECTIVES[objective].counted:
                step = self.calibrate(f"{name}-counted", step, seed)
        self.networks[objective, seed] = step
        if self.data.labelled() and "linear" in self.options.parts:
            self.probe(f"{name}-probe", step, MAPS)

    def distances(self, objective):
        network = self.networks[objective, 0]
        views = OBJECTIVES[objective].views
        transform = next((view.split("=")[1] for view in views if view.startswith("transform=")
                          and view != "transform=crop"), "jigsaw")
        path = self.place.out / "results" / f"{objective}.distances"
        location = self.data.location(self.data.test or self.data.train)
        limit = 20 if self.options.quick else 2000
        line = [self.place.build / "pipelines/pirl-distances", self.place.model(network.model),
                location, "--transform", transform, "--limit", limit, "--output", path]
        self.add(f"{objective}-distances", f"distances of {objective}: {transform}", [line],
                 distances_result(path), cost=limit, after=[network],
                 facts={"data": self.data.digest, "transform": transform})

    def bn_statistics(self):
        """The same weights, but batch norm has counted other views."""
        if ("pirl", 0) in self.networks:
            both = self.calibrate("pirl-counted-both", self.networks["pirl", 0], 0, (),
                                  ("objective=pirl", "bn-statistics=both"))
            self.probe("pirl-both-views-probe", both, LATE_MAPS, probes="linear")
        if ("jigsaw", 0) in self.networks:
            self.probe("jigsaw-patches-probe", self.raw["jigsaw", 0], LATE_MAPS, probes="linear")

    def ablations(self):
        """PIRL on a third of the data, one setting at a time changed."""
        count = self.data.part(float(THIRD))
        source = [*self.data.train, f"fraction={THIRD}", f"epochs={self.options.epochs}"]
        few, middle = max(1, round(.02 * count)), max(2, round(.16 * count))
        runs = {"third": ((), ())}
        if "ablations" in self.options.parts:
            runs |= {f"lambda-{value}": ((), (f"lambda={value}",)) for value in (0, 1)}
            runs |= {f"permutations-{n}": ((f"permutations={n}",), ()) for n in (10, 500)}
            runs |= {f"negatives-{n}": ((), (f"negatives={n}",)) for n in (few, middle)}
        if "near" in self.options.parts:
            runs |= {f"near-{value}": ((), (f"near-threshold={value}",)) for value in NEAR}
        for name, (views, sink) in runs.items():
            network = self.train(name, "pirl", 0, source, views, sink, self.options.epochs * count)
            self.probe(f"{name}-probe", network, LATE_MAPS, probes="linear")
        self.ablation_points = {
            "lambda": [(0, "lambda-0"), (.5, "third"), (1, "lambda-1")],
            "permutations": [(10, "permutations-10"), (500, "permutations-500"), (362880, "third")],
            "negatives": [(few, f"negatives-{few}"), (middle, f"negatives-{middle}"),
                          (min(ALL_NEGATIVES, count - 1), "third")],
            "near-threshold": [*((value, f"near-{value}") for value in NEAR), (1, "third")]}
        # Without a run of its own, "third" is a point of nothing.
        self.ablation_points = {
            name: points for name, points in self.ablation_points.items()
            if any(run in runs for _, run in points if run != "third")}

    def semi(self, objective, percent):
        """Fine-tunes the whole network on some of the labels."""
        fraction = percent / 100
        batch = min(32, self.data.part(fraction))
        count = 4 if self.options.quick else 600
        network = self.networks[objective, 0]
        name = f"{objective}-{percent}percent"
        source = [*self.data.train, f"fraction={fraction}", "epochs=0"]
        # The protocol's rate at each step, whatever the batch. It falls at 3/5 of the steps, the
        # protocol's at 3/7.
        sink = ["objective=supervised", f"model-file={self.place.model(network.model)}",
                f"batch-size={batch}", f"learning-rate={.01 * 256 / batch:g}", "weight-decay=0",
                "nesterov=true", "lr-schedule=step", f"max-steps={count}"]
        tuned = self.add(name, f"fine-tune {objective} on {percent} % of the labels",
                         [self.training_line(source, PLAIN_VIEWS, sink, 0, name)],
                         training_result(name, "supervised"), cost=count * batch, after=[network],
                         model=name, facts={"data": self.data.digest})
        path = self.place.out / "results" / f"{name}.logits"
        line = self.embed_line([*self.data.test, "shuffle=false"], name, "logits",
                               "other/tensors,format=static", "!", "filesink", f"location={path}")
        self.add(f"{name}-test", f"test {name}", [line], logits_result(path, self.data),
                 cost=.3 * len(self.data.test_classes), after=[tuned],
                 facts={"data": self.data.digest})

    def video(self):
        """PIRL on the frames of a video, which nobody has chosen for showing one thing each."""
        frames = self.place.out / "frames"
        line = ["gst-launch-1.0", "-m", "filesrc", f"location={self.options.video}", "!",
                "decodebin", "!", "videoconvert", "!", "videorate", "!",
                "video/x-raw,framerate=4/1", "!", "jpegenc", "quality=90", "!", "multifilesink",
                f"location={frames}/%06d.jpg"]
        stat = self.options.video.stat()
        cut = self.add("frames", "take frames from the video",
                       [["rm", "-rf", frames], ["mkdir", frames], line], nothing,
                       facts={"video": [stat.st_size, stat.st_mtime_ns]})
        total = self.options.epochs * (self.data.count // self.options.batch_size)
        network = self.train("pirl-video", "pirl", 0,
                             ["pirldatasetsrc", f"location={frames}", "epochs=0"], (),
                             (f"max-steps={total}",))
        network.after = [cut]
        self.probe("pirl-video-probe", network, MAPS)

    def _make(self):
        options = self.options
        self.ablation_points = {}
        for seed in range(options.seeds):
            for objective in options.only:
                self.network(objective, seed)
        trained = [name for name in options.only if name != "supervised"]
        if "distances" in options.parts:
            for objective in trained:
                self.distances(objective)
        if not self.data.labelled():
            return
        if "bn" in options.parts:
            self.bn_statistics()
        if {"ablations", "near"} & set(options.parts) and "pirl" in options.only:
            self.ablations()
        if "semi" in options.parts:
            for percent in (1, 10):
                for objective in trained:
                    self.semi(objective, percent)
        if "transfer" in options.parts:
            for target in self.transfer:
                for objective in options.only:
                    self.probe(f"{objective}-on-{target.name}", self.networks[objective, 0],
                               LATE_MAPS, target)
        if "video" in options.parts and options.video:
            self.video()
