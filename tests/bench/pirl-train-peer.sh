#!/bin/sh
# The step that pirl-train-bench times is the step that peers/pirl_train.py times: from the same
# weights, pictures and negatives both come to the same losses, on the CPU.
# Needs a Python with torch: PIRL_TORCH_PYTHON (default: python3); skipped without.
#   pirl-train-peer.sh BENCH
set -eu
bench=$1 here=$(cd "$(dirname "$0")" && pwd)
python=${PIRL_TORCH_PYTHON:-python3}
"$python" -c 'import torch' 2>/dev/null || {
  echo "skipped: $python has no torch (PIRL_TORCH_PYTHON names one that has)"; exit 77; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export OMP_NUM_THREADS=1

# follow STEPS OPTIONS...: the first losses within 1e-4, those after an update within 1e-3.
follow() {
  steps=$1; shift
  "$bench" --device cpu --precision f32 --threads 1 --width 16 --size 64 --patch 32 --batch 16 \
    --bank 512 --negatives 64 --rate 3e-5 --steps "$steps" --dump "$scratch/dump" "$@" >/dev/null
  "$python" "$here/peers/pirl_train.py" --device cpu --threads 1 --check "$scratch/dump"
}
follow 3 --arch resnet18
# A rate at which momentum and weight decay show, too.
follow 4 --arch resnet18 --objective supervised --rate 1e-2
follow 3 --arch resnet18 --head mlp --loss infonce
# Untrained and narrow, ResNet-50 soon makes much of float32's last digits, in PyTorch, too.
follow 1 --arch resnet50
