#!/bin/sh
# Ours and the Python peer on one slide, alternately; figures as JSON lines.
# usage: run.sh INFER MODEL.onnx SLIDE [ROUNDS] [TILE] [HALO]      (PYTHON=... names an interpreter with the packages of README.md)
# TILE is the peer's; ours takes its own default, or OURS="--tile ..." and other options.
set -eu
infer=$1 model=$2 slide=$3 rounds=${4:-3} tile=${5:-1024} halo=${6:-96}
python=${PYTHON:-python3}
here=$(dirname "$0")
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
for round in $(seq "$rounds"); do
    "$infer" -q segment "$model" "$slide" -o "$out" --halo "$halo" --no-tissue --json ${OURS:-} |
        "$python" -c 'import json,sys; s=json.load(sys.stdin)[0]; t=s["timings"]; print(json.dumps({"ours": round(t["megapixels_per_second"],3), "seconds": round(t["wall_seconds"],2), "network_share": t["busy_share"]["network"], "nuclei": s["nuclei"]["count"]}))'
    printf 'peer, halo %s: ' "$halo"
    "$python" "$here/segment.py" "$slide" "$model" "$out/p.tif" --tile "$tile" --halo "$halo" --instances
    printf 'peer, overlap 64 blended: '
    "$python" "$here/segment.py" "$slide" "$model" "$out/p.tif" --tile "$tile" --overlap 64 --instances
done
