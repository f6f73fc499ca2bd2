#!/usr/bin/env bash
# Puts a CUDA 13 toolkit together from Python wheels, so that `--features cuda` builds on a machine with neither GPU nor toolkit.
#
# usage: eval "$(.ci/cuda_toolkit.sh FOLDER)" && cargo build --release -p train --features cuda
#
# FOLDER is made if need be and takes about 2 GB; a second call only prints the environment again.
# `cargo fetch` must have run: the names of the driver's functions are taken from cudarc's sources.
# What is built here runs where the driver and the same libraries are found on LD_LIBRARY_PATH.
set -euo pipefail

wheels=(
  nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-cccl==13.0.85
  nvidia-cuda-runtime==13.0.96 nvidia-cuda-nvrtc==13.0.88
  nvidia-cublas==13.1.0.3 nvidia-curand==10.4.0.35 nvidia-cudnn-cu13==9.19.0.56 nvidia-nccl-cu13==2.28.9
)

folder=$(mkdir -p "${1:?usage: cuda_toolkit.sh FOLDER}" && cd "$1" && pwd)
toolkit=$folder/toolkit

# Wheels install into site-packages/nvidia/*; nvcc and cargo's build scripts expect the layout of the official installer.
lay_out() {
  local nvidia=$1 library name
  mkdir -p "$toolkit/lib64"
  ln -sfn "$nvidia/cu13/bin" "$toolkit/bin"
  ln -sfn "$nvidia/cu13/include" "$toolkit/include"
  ln -sfn "$nvidia/cu13/nvvm" "$toolkit/nvvm"
  ln -sfn lib64 "$toolkit/lib"
  for library in "$nvidia"/cu13/lib/*.so.* "$nvidia"/cudnn/lib/*.so.* "$nvidia"/nccl/lib/*.so.*; do
    name=$(basename "$library")
    ln -sf "$library" "$toolkit/lib64/$name"
    ln -sf "$library" "$toolkit/lib64/${name%%.so*}.so"
  done
  ln -sf "$nvidia"/cu13/lib/libcudart_static.a "$nvidia"/cu13/lib/libcudadevrt.a "$toolkit/lib64/"
}

# libcuda.so.1 comes with the driver of the machine that runs the program; the linker only needs its names.
stub_driver() {
  local sources=${CARGO_HOME:-$HOME/.cargo}/registry/src
  {
    grep -ohE '\bcu[A-Z][A-Za-z0-9]*(_v[0-9]+)?(_ptsz|_ptds)?\b' "$toolkit/include/cuda.h"
    grep -ohE 'fn cu[A-Z][A-Za-z0-9_]*' "$sources"/*/cudarc-*/src/driver/sys/*.rs | sed 's/^fn //'
  } | sort -u | sed 's/.*/void &(void) {}/' > "$toolkit/driver_stub.c"
  cc -shared -fPIC -w -Wl,-soname,libcuda.so.1 -o "$toolkit/lib64/libcuda.so" "$toolkit/driver_stub.c"
}

if [ ! -e "$toolkit/complete" ]; then
  python3 -m venv "$folder/venv" >&2
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps "${wheels[@]}" >&2
  lay_out "$("$folder/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/nvidia"
  stub_driver
  touch "$toolkit/complete"
fi

cat <<ENVIRONMENT
export CUDA_HOME="$toolkit" CUDA_PATH="$toolkit" CUDA_ROOT="$toolkit" CUDA_TOOLKIT_ROOT_DIR="$toolkit" NVCC="$toolkit/bin/nvcc"
export PATH="$toolkit/bin:\$PATH" LIBRARY_PATH="$toolkit/lib64"
export CUDA_COMPUTE_CAP="\${CUDA_COMPUTE_CAP:-90}" CUDARC_CUDA_VERSION=13000
export RUSTFLAGS="\${RUSTFLAGS:-} -L native=$toolkit/lib64"
ENVIRONMENT
