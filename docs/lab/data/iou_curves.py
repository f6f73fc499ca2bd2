"""IoU of the validation images over iterations, a curve for each method: logs.csv to iou-1200.svg.   usage: iou_curves.py LOGS SVG"""
import csv, sys

import matplotlib
matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "nuclei", "svg.fonttype": "none", "font.size": 8})
import matplotlib.pyplot as plt

METHODS = ["pce", "s2l", "r1", "r4", "both", "full"]
SETS = {"fluo": "fluorescence", "mono": "MoNuSeg", "bf": "bright field"}

def main(logs, svg):
    rows = [row for row in csv.DictReader(open(logs)) if row["score"]]
    figure, axes = plt.subplots(1, 3, figsize=(9, 2.8), sharey=True)
    colours = {name: f"C{n}" for n, name in enumerate([*METHODS, "default"])}
    for axis, (data, title) in zip(axes, SETS.items()):
        for name, profile, method in [(m, "paper-1200", m) for m in METHODS] + [("default", "default-1200", "s2l")]:
            points = [(int(row["iteration"]), float(row["score"])) for row in rows
                      if (row["profile"], row["data"], row["method"]) == (profile, data, method)]
            if points:
                axis.plot(*zip(*points), marker=".", label=name, color=colours[name], linewidth=2.5 if name == "default" else 1)
        axis.set(title=title, xlabel="iteration", xlim=(0, 1250))
    axes[0].set_ylabel("IoU, validation images")
    axes[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=7)
    figure.tight_layout()
    figure.savefig(svg, metadata={"Date": None})

main(*sys.argv[1:])
