"""Compares objectives on the pictures of a folder; see pipelines/compare.

SPDX-License-Identifier: LGPL-2.1-or-later
"""
import argparse
import os
import pathlib
import subprocess
import sys

sys.dont_write_bytecode = True
# What is imported from here on leaves no files in the source.
from data import Data, Unusable
from plan import DEFAULT, DEFAULT_PARTS, OBJECTIVES, PARTS, Plan
from report import Report
from steps import Echo, Failed, Interrupted, Place, span

ROOT = pathlib.Path(__file__).resolve().parents[2]


def names_of(known, default):
    """An argument that is a comma list of @known, or "all"."""
    def read(text):
        names = list(default) if text == "" else list(known) if text == "all" else text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(
                    f"there is no {name}; there are {', '.join(known)}")
        return sorted(set(names), key=list(known).index)
    return read


def options_of(arguments):
    parser = argparse.ArgumentParser(
        prog="pipelines/compare", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Trains objectives under one budget on the pictures of FOLDER and compares "
        "what they learnt.\nWithout labels only what needs none is done.",
        epilog="objectives:\n" + "\n".join(f"  {name:14} {of.text}"
                                           for name, of in OBJECTIVES.items()))
    parser.add_argument("folder", type=pathlib.Path, metavar="FOLDER",
                        help="train/CLASS/... and val/CLASS/..., or CLASS/..., or pictures")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR", default="out/compare")
    parser.add_argument("--epochs", type=int, default=15, metavar="N")
    parser.add_argument("--arch", default="resnet18",
                        help="resnet18, resnet34 or resnet50: layers are probed")
    parser.add_argument("--base-width", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, default=64, metavar="PIXELS", help="of the image view")
    parser.add_argument("--batch-size", type=int, default=64, metavar="N")
    parser.add_argument("--seeds", type=int, default=1, metavar="N")
    parser.add_argument("--only", type=names_of(OBJECTIVES, DEFAULT), default=list(DEFAULT),
                        metavar="NAME,...", help=f"objectives, or all ({','.join(DEFAULT)})")
    parser.add_argument("--parts", type=names_of(PARTS, DEFAULT_PARTS), default=list(DEFAULT_PARTS),
                        metavar="NAME,...", help=f"of {','.join(PARTS)}, or all (all but near: "
                        "PIRL without the negatives that are most alike)")
    parser.add_argument("--transfer", type=pathlib.Path, action="append", default=[],
                        metavar="FOLDER", help="probe on these labelled pictures, too")
    parser.add_argument("--video", type=pathlib.Path, metavar="FILE",
                        help="train PIRL on its frames, too")
    parser.add_argument("--device", default="", help="cpu, cuda, ... (auto)")
    parser.add_argument("--precision", default="", help="f32, fp16, ... (auto; probes f32)")
    parser.add_argument("--quick", action="store_true", help="little work: does it all work?")
    options = parser.parse_args(arguments)
    if options.quick:
        options.base_width = options.base_width or 8
    if options.video and not options.video.is_file():
        parser.error(f"{options.video}: there is no such video")
    return options


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return {"cpu": names[0] if names else "", "cores": os.cpu_count()}


def facts_of(options, data):
    return {"folder": data.folder.name, "pictures": data.count, "data": data.digest,
            "classes": len(data.classes), "test_pictures": len(data.test_classes),
            "arch": options.arch, "size": options.size, "epochs": options.epochs,
            "batch_size": options.batch_size, "seeds": options.seeds, "machine": machine()}


def run_step(step, place, position, failed):
    """What fails (an objective that diverges) keeps others from their turn only where they need
    it."""
    missing = next((before.name for before in step.after if before.name in failed), None)
    try:
        if missing:
            raise Failed(f"{missing} is missing")
        place.run(step, position)
    except Failed as error:
        failed[step.name] = str(error)
        place.echo.say("\n      ".join([f"    {step.name} failed: {error}", *error.words]))


def compare(options, place):
    """Runs what is not done yet; returns the report."""
    data = Data(options.folder, options.out)
    if data.count < options.batch_size:
        raise Unusable(f"{options.folder}: {data.count} training pictures are fewer than a batch of "
                       f"{options.batch_size}; give a smaller --batch-size or more pictures")
    thirds = {"ablations", "near"} & set(options.parts)
    if thirds and data.part(1 / 3) < options.batch_size:
        print(f"A third of the {data.count} pictures is no batch of {options.batch_size}: "
              "no ablations.")
        options.parts = [part for part in options.parts if part not in thirds]
    transfer = [Data(folder, options.out, folder.resolve().name) for folder in options.transfer]
    if not data.labelled():
        print("There are no classes (folders of pictures): only what needs no labels is done.")
    plan = Plan(options, data, transfer, place)
    facts = facts_of(options, data)
    todo = [step for step in plan.steps if place.result_of(step) is None]
    if len(todo) < len(plan.steps):
        place.echo.say(f"{len(plan.steps) - len(todo)} of {len(plan.steps)} steps are done already")
    for step in plan.steps:
        if step in todo:
            continue
        # How long they took tells how long the others will.
        place.spent += place.saved(step.name)["seconds"]
        place.passed += step.cost
    failed = {}
    for i, step in enumerate(plan.steps):
        place.left = sum(later.cost for later in plan.steps[i:] if later in todo)
        run_step(step, place, f"{i + 1}/{len(plan.steps)}", failed)
        if step in todo:
            Report(plan, place, facts, failed).write()
    report = Report(plan, place, facts, failed)
    report.write()
    return report


def main():
    options = options_of(sys.argv[1:])
    options.out = options.out.resolve()
    build = pathlib.Path(os.environ.get("PIRL_BUILD") or ROOT / "build").resolve()
    try:
        place = Place(options.out, build, Echo())
        place.echo.place = place
        report = compare(options, place)
    except Interrupted:
        print(f"\ninterrupted; the same line goes on. So far: {options.out}/compare.html",
              flush=True)
        sys.exit(130)
    except (Failed, Unusable, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"compare: {error}")
    report.print()
    print(f"\n{options.out}/compare.html, compare.json; it took {span(place.spent)}")
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
