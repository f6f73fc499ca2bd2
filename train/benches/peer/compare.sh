#!/bin/sh
# Runs the training step of this crate and PyTorch's alternately, and prints the ratios, their spread and both peak memories.
#   compare.sh PYTHON [BATCH] [ROUNDS] [PRECISION] [DEVICE] [compile|''] [OURS]
# PYTHON is an interpreter that can import torch; DEVICE is cpu or cuda; `compile` enables torch.compile in PyTorch.
# On cuda both run in PRECISION; on the CPU this crate runs in OURS (auto: f32). Run the script from the root of the repository, on an idle machine.
set -eu
python=${1:?usage: compare.sh PYTHON [BATCH] [ROUNDS] [PRECISION] [DEVICE] [compile] [OURS]}
batch=${2:-4}
rounds=${3:-5}
precision=${4:-f32}
device=${5:-cpu}
compile=${6:+--compile}
features=
own=${7:-auto}
if [ "$device" = cuda ]; then
    features="--features cuda"
    own=$precision
fi
here=$(dirname "$0")
# shellcheck disable=SC2086 # an empty value must expand to no argument
bench=$(cargo bench -q -p train $features --bench step --no-run --message-format=json | sed -n 's/.*"executable":"\([^"]*step-[^"]*\)".*/\1/p' | tail -1)
echo "batch $batch, 256 x 256, $device, PyTorch in $precision with channels last ${compile#--}; seconds are minima of one run each"
for round in $(seq "$rounds"); do
    ours=$("$bench" --batch "$batch" --device "$device" --precision "$own" --only step)
    # shellcheck disable=SC2086 # as above
    theirs=$("$python" "$here/pytorch_step.py" --batch "$batch" --precision "$precision" --device "$device" $compile)
    echo "ours   $ours"
    echo "theirs $theirs"
    echo "$ours $theirs"
done | awk '
    /^ours|^theirs/ { print; next }
    { for (i = 1; i <= NF; i++) { if ($i == "step") s[++k % 2] = $(i + 1); if ($i == "peak_mib") m[++l % 2] = $(i + 1) }
      n++; r[n] = s[1] / s[0]; q = m[1] / m[0] }
    END { for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (r[j] < r[i]) { t = r[i]; r[i] = r[j]; r[j] = t }
      printf "ratio of seconds, ours to theirs: median %.3f, from %.3f to %.3f; ratio of peak memory %.3f\n", r[int((n + 1) / 2)], r[1], r[n], q }'
