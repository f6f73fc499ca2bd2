#!/bin/sh
# Trains and exports one model per modality, with its card and pictures:  make.sh OUT DATA...
# $BIN is the folder of the programs, $FIT holds more flags for `train fit`.
# DATA/NAME has images/, scribbles/ or labels/, index.csv (docs/guide/train.md), and optionally about.toml with entries of the card (docs/guide/export-sign-ship.md).
# Writes OUT/NAME.onnx, OUT/NAME.md, OUT/NAME/ (the run) and, if test images have masks, OUT/NAME.txt and OUT/NAME-pictures/.
# A stopped run is resumed; an existing model is kept.
set -eu
out=${1:?usage: make.sh OUT DATA...}
shift
bin=${BIN:-target/release}
mkdir -p "$out"
"$bin/infer" --quiet runtime install > /dev/null
for data in "$@"; do
    name=$(basename "$data")
    run=$out/$name
    [ -d "$data/scribbles" ] || "$bin/train" scribble "$data" --strokes
    [ -e "$run.toml" ] || "$bin/train" init "$data" -o "$run.toml"
    resume=
    [ -e "$run/last.safetensors" ] && resume=--resume
    if [ ! -e "$run.onnx" ]; then
        # shellcheck disable=SC2086 # the variable holds several words or none
        [ -e "$run/report.html" ] || "$bin/train" fit "$run.toml" -o "$run" $resume ${FIT:-}
        about=
        [ -e "$data/about.toml" ] && about=$data/about.toml
        "$bin/export" onnx "$run/best.safetensors" -o "$run.onnx" ${about:+--about "$about"}
    fi
    "$bin/export" card "$run.onnx" > "$run.md"
    "$bin/train" evaluate "$run" "$data" --split test > "$run.txt" || rm -f "$run.txt"
    [ ! -e "$run.txt" ] || "$bin/train" compare "$data" "$run" -o "$run-pictures" --split test
done
