#!/bin/sh
# A model and its card for each kind of images:  make.sh OUT DATA...   (programs in $BIN; more for `train fit` in $FIT)
# DATA/NAME has images/, scribbles/ or labels/, and index.csv (docs/training.md). Makes OUT/NAME.onnx, OUT/NAME.md and OUT/NAME/ (the run).
# A run that was stopped goes on; a model that is there stays.
set -eu
out=${1:?usage: make.sh OUT DATA...}
shift
bin=${BIN:-target/release}
mkdir -p "$out"
for data in "$@"; do
    name=$(basename "$data")
    [ -d "$data/scribbles" ] || "$bin/train" scribble "$data" --strokes
    [ -e "$out/$name.toml" ] || "$bin/train" init "$data" -o "$out/$name.toml"
    resume=
    [ -e "$out/$name/last.safetensors" ] && resume=--resume
    if [ ! -e "$out/$name.onnx" ]; then
        # shellcheck disable=SC2086 # several words, or none
        "$bin/train" fit "$out/$name.toml" -o "$out/$name" $resume ${FIT:-}
        "$bin/export" onnx "$out/$name/best.safetensors" -o "$out/$name.onnx"
    fi
    "$bin/export" card "$out/$name.onnx" > "$out/$name.md"
    "$bin/train" evaluate "$out/$name" "$data" --split test > "$out/$name.txt" || rm -f "$out/$name.txt"
done
