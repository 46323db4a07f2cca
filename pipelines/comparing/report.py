"""What a comparison found: compare.json, a table, plots and a page.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import base64
import html
import shlex
import statistics
import subprocess

import steps
from orderings import orderings
from plan import LAYERS, OBJECTIVES

ENDS = ("mean", "low", "high")
STYLE = """<style>
body { font: 15px sans-serif; margin: 2em; max-width: 75em }
table { border-collapse: collapse; margin: 1em 0 }
caption { text-align: left; font-weight: bold }
td, th { padding: .2em .8em; text-align: right; border-bottom: 1px solid #ddd }
td:first-child, th:first-child { text-align: left }
img { max-width: 100% }
pre { white-space: pre-wrap; background: #f4f4f4; padding: .6em }
</style>"""


def mean_of(figures):
    """Of the same figure for several seeds."""
    return {end: statistics.fmean(figure[end] for figure in figures) for end in ENDS}


def percent(figure):
    """With half of its interval."""
    return f"{100 * figure['mean']:.1f} +-{50 * (figure['high'] - figure['low']):.1f}"


def interval(figure):
    return (f"{100 * figure['mean']:.1f} ({100 * figure['low']:.1f} to "
            f"{100 * figure['high']:.1f})")


class Report:
    """Gathers the results of the steps of @plan that are done; @failed: name -> why."""

    def __init__(self, plan, place, facts, failed):
        self.plan, self.place, self.failed = plan, place, failed
        self.done = {}
        for step in plan.steps:
            result = place.result_of(step)
            if result is not None:
                self.done[step.name] = result
        self.found = {**facts, **self._gather()}

    # ---- gathering ----

    def _name(self, objective, seed):
        return objective if seed == 0 else f"{objective}-seed{seed}"

    def _probes(self, objective):
        """By seed."""
        names = {seed: f"{self._name(objective, seed)}-probe"
                 for seed in range(self.plan.options.seeds)}
        return {seed: self.done[name] for seed, name in names.items() if name in self.done}

    def _by_layer(self, probes, probe):
        """layer -> figure of several seeds."""
        layers = [layer for layer in (*LAYERS, "features") if layer in probes[0].get(probe, {})]
        return {layer: mean_of([found[probe][layer]["top1"] for found in probes])
                for layer in layers}

    def _layers_by_seed(self, objective):
        return {seed: {layer: found["linear"][layer]["top1"] for layer in LAYERS}
                for seed, found in self._probes(objective).items()}

    def _spread(self, probes, layer):
        """(of one figure, what it is)"""
        values = [found["linear"][layer]["top1"] for found in probes]
        if len(values) > 1:
            return statistics.stdev(value["mean"] for value in values), "seeds"
        return (values[0]["high"] - values[0]["low"]) / 2, "bootstrap"

    def _linear(self, probes):
        by_layer = self._by_layer(probes, "linear")
        best = max((layer for layer in LAYERS if layer in by_layer),
                   key=lambda layer: by_layer[layer]["mean"])
        spread, of = self._spread(probes, best)
        return {"mean": by_layer[best]["mean"], "spread": spread, "spread_of": of, "layer": best,
                "seeds": len(probes),
                "by_layer": {layer: by_layer[layer] for layer in LAYERS if layer in by_layer},
                "features": by_layer["features"]}

    def _gather(self):
        found = {key: {} for key in ("linear", "knn", "semi", "speed", "curves", "distances",
                                     "bn_statistics", "transfer")}
        for objective in OBJECTIVES:
            probes = list(self._probes(objective).values())
            if probes:
                found["linear"][objective] = self._linear(probes)
                found["knn"][objective] = self._by_layer(probes, "knn")
            training = self.done.get(objective)
            if training:
                found["speed"][objective] = {key: training[key] for key in (
                    "pictures_per_second", "steps_per_second", "cpu_ms_per_picture", "steps")}
                found["curves"][objective] = training["epochs"]
            if f"{objective}-distances" in self.done:
                found["distances"][objective] = self.done[f"{objective}-distances"]
            semi = {f"{part}%": self.done[f"{objective}-{part}percent-test"] for part in (1, 10)
                    if f"{objective}-{part}percent-test" in self.done}
            if semi:
                found["semi"][objective] = semi
            for target in self.plan.transfer:
                if f"{objective}-on-{target.name}" in self.done:
                    found["transfer"].setdefault(objective, {})[target.name] = self._by_layer(
                        [self.done[f"{objective}-on-{target.name}"]], "linear")
        found["warnings"] = {name: result["warnings"] for name, result in self.done.items()
                             if result.get("warnings")}
        found["failed"] = self.failed
        found["ablations"] = self._ablations()
        found["orderings"] = orderings({name: self._layers_by_seed(name) for name in OBJECTIVES},
                                       found["ablations"])
        found["bn_statistics"] = self._bn_statistics()
        if "pirl-video-probe" in self.done:
            found["video"] = self._linear([self.done["pirl-video-probe"]])
        return {key: value for key, value in found.items() if value}

    def _ablations(self):
        found = {}
        for name, points in self.plan.ablation_points.items():
            rows = [{"value": value, **self.done[f"{run}-probe"]["linear"]["res5"]["top1"],
                     "by_layer": {layer: figures["top1"] for layer, figures in
                                  self.done[f"{run}-probe"]["linear"].items()}}
                    for value, run in points if f"{run}-probe" in self.done]
            if rows:
                found[name] = rows
        return found

    def _bn_statistics(self):
        cases = {"pirl": {"images": "pirl-probe", "both": "pirl-both-views-probe"},
                 "jigsaw": {"images": "jigsaw-probe", "patches": "jigsaw-patches-probe"}}
        found = {}
        for objective, views in cases.items():
            if all(step in self.done for step in views.values()):
                found[objective] = {
                    view: {layer: self.done[step]["linear"][layer]["top1"]
                           for layer in ("res4", "res5", "features")}
                    for view, step in views.items()}
        return found

    # ---- tables ----

    def tables(self):
        """(title, head, rows) of everything that was found."""
        found, tables = self.found, []
        if "linear" in found:
            tables.append(self._linear_table())
        if "orderings" in found:
            tables.append(self._orderings_table())
        if "speed" in found:
            rows = [[name, f"{s['pictures_per_second']:.0f}", f"{s['steps_per_second']:.2f}",
                     f"{s['cpu_ms_per_picture']:.1f}"] for name, s in found["speed"].items()]
            tables.append(("Training speed", ["objective", "pictures/s", "steps/s",
                                              "CPU ms a picture"], rows))
        if "semi" in found:
            rows = [[name] + [interval(by[part][top]) if part in by else "" for part in
                              ("1%", "10%") for top in ("top1", "top5")]
                    for name, by in found["semi"].items()]
            tables.append(("Semi-supervised: fine-tuned on some labels, %", [
                "start", "1 %, top-1", "1 %, top-5", "10 %, top-1", "10 %, top-5"], rows))
        for name, points in found.get("ablations", {}).items():
            rows = [[f"{point['value']:g}", interval(point)] for point in points]
            tables.append((f"PIRL on a third of the data: {name}, linear on res5, %",
                           [name, "top-1"], rows))
        if "distances" in found:
            rows = [[name, f"{d['same']['mean']:.3f}", f"{d['other']['mean']:.3f}",
                     f"{100 * d['nearer']:.1f}"] for name, d in found["distances"].items()]
            tables.append(("Distance between a picture and its transformed self", [
                "objective", "own", "another's", "own nearer, %"], rows))
        for name, views in found.get("bn_statistics", {}).items():
            rows = [[view, *(interval(layers[layer]) for layer in ("res4", "res5", "features"))]
                    for view, layers in views.items()]
            tables.append((f"Batch norm of {name} has counted, linear, %",
                           ["views", "res4", "res5", "features"], rows))
        tables += self._transfer_tables()
        if "video" in found:
            tables.append(("PIRL trained on the frames of the video, linear, %", list(LAYERS),
                           [[interval(found["video"]["by_layer"][layer]) for layer in LAYERS]]))
        rows = [[name, text] for name, texts in found.get("warnings", {}).items() for text in texts]
        rows += [[name, f"failed: {text}"] for name, text in found.get("failed", {}).items()]
        if rows:
            tables.append(("What went wrong", ["step", ""], rows))
        return tables

    def _linear_table(self):
        rows = []
        for name, linear in self.found["linear"].items():
            knn = self.found["knn"][name].get("features")
            rows.append([name, *(percent(linear["by_layer"][layer]) for layer in LAYERS),
                         percent(linear["features"]), percent(knn) if knn else "",
                         f"{100 * linear['mean']:.1f} +-{100 * linear['spread']:.1f}",
                         linear["layer"]])
        of = {linear["spread_of"] for linear in self.found["linear"].values()}
        return ("Linear probes by layer, kNN on pooled res5, top-1, % +- half of the 95 % interval "
                "over the test pictures" + (" (best: the seeds' deviation)" if "seeds" in of else ""),
                ["objective", *LAYERS, "pooled", "kNN", "best", "layer"], rows)

    def _orderings_table(self):
        seeds = {row["seeds"] for row in self.found["orderings"]}
        of = ("seeds and test pictures; of one seed, the test pictures alone" if max(seeds) > 1
              else "the test pictures alone: another seed may change more")
        rows = [[row["claim"], row["where"], f"{100 * row['first']:.1f}",
                 f"{100 * row['second']:.1f}", interval(row["difference"]), row["verdict"]]
                for row in self.found["orderings"]]
        return (f"Orderings of the paper, linear, top-1, % (95 % intervals over {of})",
                ["", "layers", "first", "second", "difference", ""], rows)

    def _transfer_tables(self):
        targets = [target.name for target in self.plan.transfer]
        table = self.found.get("transfer", {})
        if not table:
            return []
        rows = [[name] + [interval(max(by[target].values(), key=lambda f: f["mean"]))
                          if target in by else "" for target in targets]
                for name, by in table.items()]
        return [("Transfer: linear on the best late layer, top-1, %", ["objective", *targets],
                 rows)]

    def print(self):
        for title, head, rows in self.tables():
            widths = [max(len(str(row[i])) for row in [head, *rows]) for i in range(len(head))]
            print(f"\n{title}")
            for row in [head, *rows]:
                print("  " + "  ".join(
                    str(cell).ljust(width) if i == 0 or not head[i] else str(cell).rjust(width)
                    for i, (cell, width) in enumerate(zip(row, widths))))

    # ---- plots ----

    def _plots(self):
        """name -> description for pirl-plot."""
        found, plots = self.found, {}
        if "linear" in found:
            text = "linear\tLinear probes by layer\tlayer\ttop-1, %\n"
            text += "\t".join(["ticks", *LAYERS]) + "\n"
            for name, linear in found["linear"].items():
                text += f"curve\t{name}\n" + "".join(
                    point(i + 1, linear["by_layer"][layer]) for i, layer in enumerate(LAYERS))
            plots["layers"] = text
        if "ablations" in found:
            plots["ablations"] = "".join(
                f"linear\tPIRL on a third of the data: {name}\t{name}\tlinear on res5, top-1, %\n"
                + "\t".join(["ticks", *(f"{p['value']:g}" for p in points)]) + "\ncurve\tpirl\n"
                + "".join(point(i + 1, p) for i, p in enumerate(points))
                for name, points in found["ablations"].items())
        if "distances" in found:
            plots["distances"] = "".join(map(self._distances_panel, found["distances"]))
        curves = self._curves()
        if curves:
            plots["curves"] = curves
        if "semi" in found:
            plots["semi"] = self._semi_plot()
        if "speed" in found:
            names = list(found["speed"])
            plots["speed"] = ("linear\tTraining speed\t\tpictures/s\n"
                              + "\t".join(["ticks", *names]) + "\npoints\tall threads\n" + "".join(
                f"{i + 1}\t{found['speed'][name]['pictures_per_second']}\n"
                for i, name in enumerate(names))
                              # Twice as fast is twice as high.
                              + f"dashed\tzero\n.5\t0\n{len(names) + .5}\t0\n")
        return plots

    def _distances_panel(self, name):
        distances = self.found["distances"][name]
        text = f"linear\t{name}: picture and transformed picture\tdistance\tshare of pictures, %\n"
        for kind, curve in (("same", "its own"), ("other", "another's")):
            text += f"line\t{curve}\n" + "".join(
                f"{(i + .5) * distances['bin']}\t{100 * part}\n"
                for i, part in enumerate(distances[kind]["histogram"]))
        return text

    def _curves(self):
        panels = (("knn", "kNN of the memory bank, leave-one-out", "accuracy, %"),
                  ("accuracy", "Pretext tasks and labels, while training", "accuracy, %"))
        text = ""
        for key, title, label in panels:
            curves = {name: [e for e in epochs if key in e]
                      for name, epochs in self.found.get("curves", {}).items()}
            if not any(curves.values()):
                continue
            text += f"linear\t{title}\tepochs\t{label}\n"
            for name, epochs in curves.items():
                if epochs:
                    text += f"curve\t{name}\n" + "".join(
                        f"{e['epoch']}\t{100 * e[key]}\n" for e in epochs)
        return text

    def _semi_plot(self):
        text = ""
        for part in ("1%", "10%"):
            names = [name for name, by in self.found["semi"].items() if part in by]
            if not names:
                continue
            text += (f"linear\tFine-tuned on {part} of the labels\t\ttop-1, %\n"
                     + "\t".join(["ticks", *names]) + "\npoints\ttop-1\n")
            text += "".join(point(i + 1, self.found["semi"][name][part]["top1"])
                            for i, name in enumerate(names))
        return text

    # ---- files ----

    def write(self):
        out = self.place.out
        steps.write_json(out / "compare.json", self.found)
        images = {}
        for name, text in self._plots().items():
            path = out / f"{name}.png"
            # A group of its own: Ctrl-C is for the steps.
            subprocess.run([self.place.build / "pipelines/pirl-plot", path], input=text, text=True,
                           check=True, process_group=0)
            images[name] = path
        (out / "compare.html").write_text(self._page(images), encoding="utf-8")

    def _page(self, images):
        facts = ", ".join(f"{key} {self.found[key]}" for key in (
            "folder", "pictures", "classes", "arch", "size", "epochs", "batch_size", "seeds"))
        parts = ["<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\">"
                 "<title>Objectives compared</title>", STYLE, "<h1>Objectives compared</h1>",
                 f"<p>{html.escape(facts)}.</p><p>", "<br>".join(
                     f"<b>{name}</b>: {html.escape(OBJECTIVES[name].text)}"
                     for name in self.plan.options.only), "</p>"]
        for title, head, rows in self.tables():
            parts.append(f"<table><caption>{html.escape(title)}</caption>")
            for i, row in enumerate([head, *rows]):
                cell = "td" if i else "th"
                parts.append("<tr>" + "".join(f"<{cell}>{html.escape(str(text))}</{cell}>"
                                              for text in row) + "</tr>")
            parts.append("</table>")
        for name, path in images.items():
            data = base64.b64encode(path.read_bytes()).decode()
            parts.append(f"<p><img alt=\"{name}\" src=\"data:image/png;base64,{data}\"></p>")
        parts.append("<h2>Launch lines</h2>")
        for step in self.plan.steps:
            if step.name in self.done:
                lines = "\n".join(launch_line(words) for words in step.lines)
                parts.append(f"<p>{html.escape(step.title)}</p><pre>{html.escape(lines)}</pre>")
        return "".join(parts) + "</html>\n"


def point(x, figure):
    return f"{x}\t" + "\t".join(str(100 * figure[end]) for end in ENDS) + "\n"


def launch_line(words):
    """As one would type it."""
    return " ".join(word if word == "!" else shlex.quote(word) for word in map(str, words))
