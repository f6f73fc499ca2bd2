#!/bin/sh
# Methods side by side on the quickstart's images:  make.sh OUT [METHOD...]   (programs in $BIN; the quickstart's folder in $QUICKSTART;
# more for `train fit` in $FIT). Makes OUT/fluorescence/ and OUT/slide/: a run for each method and compare/, the page and the figure.
# A run that was stopped goes on; a finished one stays.
set -eu
out=${1:?usage: make.sh OUT [METHOD...]}
shift
bin=${BIN:-target/release}
quickstart=${QUICKSTART:-quickstart}
[ $# -gt 0 ] || set -- full pce s2l both
for data in "$quickstart"/*/; do
    part=$(basename "$data")
    if [ ! -d "$data/scored" ]; then
        echo "$data has no scored/: run cargo run --release --example quickstart first" >&2
        exit 1
    fi
    runs=
    for method in "$@"; do
        # Complete masks are there for the fluorescence image only.
        [ "$method" = full ] && [ ! -d "$data/data/labels" ] && continue
        run=$out/$part/$method
        if [ ! -e "$run/report.html" ]; then
            resume=
            [ -e "$run/last.safetensors" ] && resume=--resume
            # shellcheck disable=SC2086 # several words, or none
            "$bin/train" fit "$data/run/config.toml" -o "$run" $resume --set "method.name=\"$method\"" ${FIT:-}
        fi
        runs="$runs $run"
    done
    # shellcheck disable=SC2086 # a word for each run
    "$bin/train" compare "$data/scored" $runs -o "$out/$part/compare"
done
