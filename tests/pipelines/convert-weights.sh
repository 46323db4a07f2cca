#!/bin/sh
# A network that PyTorch saved, in several nests, gives the same logits in a pipeline as in PyTorch.
# Needs a Python with torch and torchvision: PIRL_TORCH_PYTHON (default: python3); skipped without.
. "$(dirname "$0")/common.sh"

python=${PIRL_TORCH_PYTHON:-python3}
"$python" -c 'import torch, torchvision, PIL' 2>/dev/null \
  || skip "$python has no torch, torchvision and PIL (PIRL_TORCH_PYTHON names one that has)"
convert="$PIRL_SOURCE/pipelines/convert-weights.py"
cd "$scratch" || fail "no scratch folder"

"$python" - <<'PY' || fail "PyTorch could not write the files"
import struct
import numpy as np
import torch
import torchvision
from PIL import Image

torch.manual_seed(1)
net = torchvision.models.mobilenet_v2(width_mult=0.1, num_classes=7).eval()
for module in net.modules():
    if isinstance(module, torch.nn.BatchNorm2d):
        module.running_mean.normal_(0, 0.3), module.running_var.uniform_(0.5, 2)
        module.weight.data.uniform_(0.5, 2), module.bias.data.normal_(0, 0.5)
pixels = np.random.default_rng(2).integers(0, 256, (256, 256, 3), dtype=np.uint8)
Image.fromarray(pixels).save("picture.png")
mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.25, 0.2, 0.3])
x = (torch.from_numpy(pixels[16:240, 16:240] / 255).float() - mean) / std
with torch.no_grad():
    logits = net(x.permute(2, 0, 1)[None])[0]
open("logits.f32", "wb").write(struct.pack("<7f", *logits.tolist()))

state = net.state_dict()
torch.save(state, "plain.pth")
torch.save({"epoch": 3, "optimizer": {"lr": 0.1}, "state_dict": {"module." + k: v for k, v in state.items()}},
           "nested.pth")
torch.save({"model": {**{"encoder_q." + k: v for k, v in state.items()},
                      **{"encoder_k." + k: torch.zeros_like(v) for k, v in state.items()}}}, "moco.pth")
torch.save(state, "legacy.pth", _use_new_zipfile_serialization=False)
torch.jit.script(net).save("script.pt")


class Trap:
    def __reduce__(self):
        return (open, ("sprung", "w"))


torch.save({"state_dict": state, "args": Trap()}, "trap.pth")
PY

for name in plain.pth nested.pth moco.pth legacy.pth script.pt; do
  model=${name%.*}.safetensors
  "$python" "$convert" "$name" --mean 0.5,0.4,0.3 --std 0.25,0.2,0.3 >log 2>&1 || fail "$name: $(cat log)"
  grep -q 'mobilenetv2, 262 tensors' log || fail "$name: $(cat log)"
  gst-launch-1.0 -q filesrc location=picture.png ! pngdec ! videoconvert \
    ! pirlembed model-file="$model" layer=logits ! other/tensors ! filesink location=got.f32 \
    || fail "$model was not taken"
  "$python" - <<'PY' || fail "$name: other logits than PyTorch's"
import numpy as np
a, b = (np.fromfile(n, "<f4") for n in ("logits.f32", "got.f32"))
error = np.abs(a - b[:7]).max() / np.abs(a).max()
print(f"logits differ by {error:.1e}")
raise SystemExit(not (len(b) == 7 and error < 1e-4))
PY
done

# A file that would run code is refused, and does not run it.
"$python" "$convert" trap.pth >log 2>&1 && fail "a pickle with code in it was opened"
grep -q -- --trust log || fail "no way out is named: $(cat log)"
[ ! -e sprung ] || fail "the code ran"
"$python" "$convert" picture.png >log 2>&1 && fail "a picture was converted"

# Half the size, the same tensors.
"$python" "$convert" plain.pth half.safetensors --half >/dev/null || fail "--half"
[ "$(wc -c <half.safetensors)" -lt $(($(wc -c <plain.safetensors) * 6 / 10)) ] || fail "--half is not half"

# The reader's own words lead here.
gst-launch-1.0 pirldatasetsrc location='synthetic:shapes?count=1' ! pirlembed model-file=plain.pth ! fakesink \
  >log 2>&1 && fail "a pickle was taken for a model"
grep -q 'convert-weights.py' log || fail "the error does not name the tool: $(cat log)"
