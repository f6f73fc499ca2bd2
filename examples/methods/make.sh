#!/bin/sh
# Compares methods on the quickstart's images:  make.sh OUT [METHOD...]
# $BIN is the folder of the programs, $QUICKSTART the folder of the quickstart, $FIT holds more flags for `train fit`.
# Writes OUT/fluorescence/ and OUT/slide/: a run for each method, and compare/ with the page and the figure.
# A stopped run is resumed; a finished run is kept.
set -eu
out=${1:?usage: make.sh OUT [METHOD...]}
shift
bin=${BIN:-target/release}
quickstart=${QUICKSTART:-quickstart}
[ $# -gt 0 ] || set -- full pce s2l both
for data in "$quickstart"/*/; do
    part=$(basename "$data")
    if [ ! -d "$data/scored" ]; then
        echo "$data has no folder scored/; hint: cargo run --release --example quickstart" >&2
        exit 1
    fi
    runs=
    for method in "$@"; do
        # Complete masks exist for the fluorescence image only.
        [ "$method" = full ] && [ ! -d "$data/data/labels" ] && continue
        run=$out/$part/$method
        if [ ! -e "$run/report.html" ]; then
            resume=
            [ -e "$run/last.safetensors" ] && resume=--resume
            # shellcheck disable=SC2086 # the variable holds several words or none
            "$bin/train" fit "$data/run/config.toml" -o "$run" $resume --set "method.name=\"$method\"" ${FIT:-}
        fi
        runs="$runs $run"
    done
    # shellcheck disable=SC2086 # the variable holds one word for each run
    "$bin/train" compare "$data/scored" $runs -o "$out/$part/compare"
done
