#!/bin/sh
# A model, its card and its pictures for each kind of images:  make.sh OUT DATA...   (programs in $BIN; more for `train fit` in $FIT)
# DATA/NAME has images/, scribbles/ or labels/, index.csv (docs/guide/train.md), and about.toml if its card is to say more (docs/guide/export-sign-ship.md).
# Makes OUT/NAME.onnx, OUT/NAME.md, OUT/NAME/ (the run) and, where test images have masks, OUT/NAME.txt and OUT/NAME-pictures/.
# A run that was stopped goes on; a model that is there stays.
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
        # shellcheck disable=SC2086 # several words, or none
        [ -e "$run/report.html" ] || "$bin/train" fit "$run.toml" -o "$run" $resume ${FIT:-}
        about=
        [ -e "$data/about.toml" ] && about=$data/about.toml
        "$bin/export" onnx "$run/best.safetensors" -o "$run.onnx" ${about:+--about "$about"}
    fi
    "$bin/export" card "$run.onnx" > "$run.md"
    "$bin/train" evaluate "$run" "$data" --split test > "$run.txt" || rm -f "$run.txt"
    [ ! -e "$run.txt" ] || "$bin/train" compare "$data" "$run" -o "$run-pictures" --split test
done
