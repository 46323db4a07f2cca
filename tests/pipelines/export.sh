#!/bin/sh
# What pipelines/export writes gives the same numbers in PyTorch, ONNX Runtime and OpenCV as here.
# Needs a Python with torch, torchvision and safetensors, and one each with onnxruntime and cv2:
# PIRL_TORCH_PYTHON (default: python3), for cv2 also PIRL_CV_PYTHON and python3; what is missing is
# skipped, and said. The tool itself is tried in any case.
. "$(dirname "$0")/common.sh"

export PIRL_TEST_DATA="${PIRL_TEST_DATA:-$PIRL_SOURCE/../shared/data}"
python=${PIRL_TORCH_PYTHON:-python3}
convert="$PIRL_BUILD/pipelines/pirl-export"
cd "$scratch" || fail "no scratch folder"

# --- the tool: needs no Python ---
small_model small.safetensors
"$convert" small.safetensors -o small.onnx >log 2>&1 || fail "no ONNX: $(cat log)"
grep -q 'output: embedding, float32 \[batch,128\]' log || fail "no word on the output: $(cat log)"
"$convert" small.safetensors --format detectron2 -o small.pkl >log 2>&1 || fail "$(cat log)"
grep -q 'STRIDE_IN_1X1: False' log || fail "no settings for Detectron2: $(cat log)"
"$convert" --help | grep -q swapRB || fail "no help"
"$convert" small.safetensors >log 2>&1 && fail "went on without -o"
grep -q usage log || fail "no usage: $(cat log)"
"$convert" small.safetensors --format caffe -o small.caffe >log 2>&1 && fail "an unknown format"
grep -q 'torchvision, onnx, detectron2' log || fail "formats are not named: $(cat log)"
[ ! -e small.caffe ] || fail "a failed export left a file"

has() { "$1" -c "import numpy, $2" 2>/dev/null; }
has "$python" torch,torchvision,safetensors,PIL \
  || skip "$python has no torch, torchvision, safetensors and PIL (PIRL_TORCH_PYTHON names one that has)"

# --- random networks with batch norms that do something, and their answers in PyTorch ---
"$python" - <<'PY' || fail "PyTorch could not write the networks"
import os

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file, save_file

torch.set_num_threads(1)
torch.manual_seed(1)
META = {"input_size": "64", "mean": "0.5,0.4,0.3", "std": "0.25,0.2,0.3"}
mean, std = (torch.tensor([float(v) for v in META[k].split(",")])[:, None, None] for k in ("mean", "std"))
pixels = torch.from_numpy(np.random.default_rng(2).integers(0, 256, (3, 3, 64, 64))).float()
nets = {"resnet18": torchvision.models.resnet18(num_classes=7),
        "resnet50": torchvision.models.resnet50(num_classes=7),
        "mobilenetv2": torchvision.models.mobilenet_v2(width_mult=0.35, num_classes=7)}
for name, net in nets.items():
    net.eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1), module.running_var.uniform_(0.8, 1.5)
            module.weight.data.uniform_(0.6, 1.2), module.bias.data.normal_(0, 0.1)
    # Logits as large as a trained network's, for which a distance of 1e-4 says something.
    with torch.no_grad():
        (net.fc if hasattr(net, "fc") else net.classifier[1]).weight.mul_(3 / net((pixels / 255 - mean) / std).std())
    save_file(net.state_dict(), name + ".safetensors", metadata=META)
    with torch.no_grad():
        logits = net((pixels / 255 - mean) / std)
    assert logits.std() > 1, logits
    np.savez(name + ".npz", input=((pixels / 255 - mean) / std).numpy(), pixels=pixels.numpy(),
             output=logits.numpy())

# The shared weights: what torchvision computes with them.
weights = os.path.join(os.environ["PIRL_TEST_DATA"], "weights")
shared = {"resnet50_imagenet_pqf": torchvision.models.resnet50, "mobilenetv2_imagenet": torchvision.models.mobilenet_v2}
for name, make in shared.items():
    path = os.path.join(weights, name + ".safetensors")
    if not os.path.exists(path):
        print(f"{path} is not there: left out")
        continue
    net = make().eval()
    net.load_state_dict({k: v.float() for k, v in load_file(path).items()}, strict=False)
    if "mobilenet" in name:
        net.classifier = torch.nn.Identity()
    x = torch.randn(2, 3, 224, 224)
    mean, std = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.no_grad():
        y = net(x)
    np.savez(name + ".npz", input=x.numpy(), pixels=((x * std + mean) * 255).numpy(), output=y.numpy())
    os.symlink(path, name + ".safetensors")
PY

for data in *.npz; do
  name=${data%.npz} layer=logits
  [ "$name" = mobilenetv2_imagenet ] && layer=features
  "$convert" "$name.safetensors" -l $layer -o "$name.onnx" >log 2>&1 || fail "$name: $(cat log)"
  "$convert" "$name.safetensors" -l $layer --preprocess -o "$name.pixels.onnx" >log 2>&1 || fail "$name: $(cat log)"
  "$convert" "$name.safetensors" -f torchvision -o "$name.torchvision" >log 2>&1 || fail "$name: $(cat log)"
done
# The same net, seen as Detectron2 sees it.
"$convert" resnet50.safetensors -f detectron2 -o resnet50.pkl >log 2>&1 || fail "$(cat log)"

# --- PyTorch ---
"$python" - <<'PY' || fail "PyTorch computes something else"
import glob
import pickle

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file

torch.set_num_threads(1)
MAKE = {"resnet18": lambda: torchvision.models.resnet18(num_classes=7),
        "resnet50": lambda: torchvision.models.resnet50(num_classes=7),
        "mobilenetv2": lambda: torchvision.models.mobilenet_v2(width_mult=0.35, num_classes=7),
        "resnet50_imagenet_pqf": torchvision.models.resnet50,
        "mobilenetv2_imagenet": torchvision.models.mobilenet_v2}
for path in sorted(glob.glob("*.npz")):
    name, data = path[:-4], np.load(path)
    net = MAKE[name]().eval()
    keys = net.load_state_dict(load_file(name + ".torchvision"), strict=False)
    headless = name == "mobilenetv2_imagenet"
    assert not keys.unexpected_keys and all(k.startswith("classifier.") for k in keys.missing_keys), keys
    assert bool(keys.missing_keys) == headless, keys
    if headless:
        net.classifier = torch.nn.Identity()
    with torch.no_grad():
        error = np.abs(net(torch.from_numpy(data["input"])).numpy() - data["output"]).max()
    print(f"PyTorch {torch.__version__}: {name}: {error:.1e}")
    assert error < 1e-4
    torchvision_only = torchvision.models.resnet50()
    if name == "resnet50":
        missing = torchvision_only.load_state_dict({k: v for k, v in load_file(name + ".torchvision").items()
                                                    if not k.startswith("fc.")}, strict=False)
        assert set(missing.missing_keys) == {"fc.weight", "fc.bias"}, missing

# As Detectron2's DetectionCheckpointer opens it; its names are taken back by its own converter's rules.
found = pickle.load(open("resnet50.pkl", "rb"), encoding="latin1")
assert found["matching_heuristics"] is True and found["__author__"] == "gst-pirl"
back = {}
for name, array in found["model"].items():
    assert isinstance(array, np.ndarray) and array.dtype == np.float32 and array.flags.writeable
    name = name.removeprefix("stem.").replace("shortcut.norm", "downsample.1").replace("shortcut", "downsample.0")
    for i in (1, 2, 3):
        name = name.replace(f"conv{i}.norm", f"bn{i}")
    for i in (5, 4, 3, 2):
        name = name.replace(f"res{i}.", f"layer{i - 1}.")
    back[name] = torch.from_numpy(array)
own = torchvision.models.resnet50(num_classes=7)
keys = own.load_state_dict(back, strict=False)
assert not keys.unexpected_keys and set(keys.missing_keys) == {"fc.weight", "fc.bias"}, keys
want = load_file("resnet50.safetensors")
assert all(torch.equal(value, want[name]) for name, value in back.items())
print(f"Detectron2: {len(back)} arrays")
PY

# --- ONNX Runtime ---
if has "$python" onnxruntime; then
  "$python" - <<'PY' || fail "ONNX Runtime computes something else"
import glob

import numpy as np
import onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
for path in sorted(glob.glob("*.npz")):
    name, data = path[:-4], np.load(path)
    for file, key in ((name + ".onnx", "input"), (name + ".pixels.onnx", "pixels")):
        session = onnxruntime.InferenceSession(file, options)
        for n in (1, len(data[key])):
            error = np.abs(session.run(None, {"images": data[key][:n]})[0] - data["output"][:n]).max()
            print(f"ONNX Runtime {onnxruntime.__version__}: {file}, {n} pictures: {error:.1e}")
            assert error < 1e-4
try:
    import onnx
except ImportError:
    print("no onnx: its checker does not look at the files")
else:
    for file in glob.glob("*.onnx"):
        onnx.checker.check_model(onnx.load(file), full_check=True)
PY
else
  echo "skipped: $python has no onnxruntime"
fi

# --- the heads: embeddings here and there ---
if has "$python" onnxruntime; then
  "$python" -c 'import numpy, PIL.Image
PIL.Image.fromarray(numpy.random.default_rng(3).integers(0, 256, (32, 32, 3), dtype="uint8")).resize((37, 37)).save("picture.png")'
  for head in linear bn mlp; do
    gst-launch-1.0 -q pirldatasetsrc location='synthetic:shapes?count=64&classes=4&size=48' \
      ! pirljigsaw image-size=32 ! pirltrainsink arch=resnet18 base-width=8 batch-size=16 head=$head \
      checkpoint-file=$head.safetensors || fail "training with head=$head"
    "$convert" $head.safetensors --preprocess -o $head.onnx >log 2>&1 || fail "head=$head: $(cat log)"
    gst-launch-1.0 -q filesrc location=picture.png ! pngdec ! videoconvert \
      ! pirlembed model-file=$head.safetensors device=cpu precision=f32 ! other/tensors \
      ! filesink location=$head.f32 || fail "pirlembed with head=$head"
  done
  "$python" - <<'PY' || fail "ONNX Runtime embeds something else"
import numpy as np
import onnxruntime
import PIL.Image

picture = np.asarray(PIL.Image.open("picture.png").convert("RGB"))[2:34, 2:34].astype("f4").transpose(2, 0, 1)[None]
for head in ("linear", "bn", "mlp"):
    ours = np.fromfile(head + ".f32", "<f4")
    theirs = onnxruntime.InferenceSession(head + ".onnx").run(None, {"images": picture})[0][0]
    np.savez(head + ".head", pixels=np.repeat(picture, 3, 0), output=np.repeat(ours[None], 3, 0))
    error = np.abs(ours - theirs).max()
    print(f"head {head}: {error:.1e}, length {np.linalg.norm(theirs):.6f}")
    assert error < 1e-4 and abs(np.linalg.norm(theirs) - 1) < 1e-5
PY
fi

# --- timm: its files are read, its ResNets take ours ---
if has "$python" timm,onnxruntime; then
  PIRL_EXPORT=$convert "$python" - <<'PY' || fail "a file of timm's is another network here"
import os
import subprocess

import numpy as np
import onnxruntime
import timm
import torch
from safetensors.torch import load_file, save_file

torch.set_num_threads(1)
for name in ("mobilenetv2_050", "resnet18"):
    net = timm.create_model(name, num_classes=7).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1), module.running_var.uniform_(0.8, 1.5)
    save_file(net.state_dict(), "timm.safetensors", metadata={"input_size": "64"})
    for arguments in (["-l", "logits", "-o", "timm.onnx"], ["-f", "torchvision", "-o", "timm.torchvision"]):
        subprocess.run([os.environ["PIRL_EXPORT"], "timm.safetensors", *arguments], check=True,
                       stdout=subprocess.DEVNULL)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        error = np.abs(onnxruntime.InferenceSession("timm.onnx").run(None, {"images": x.numpy()})[0]
                       - net(x).numpy()).max()
    print(f"timm {timm.__version__}: {name}: {error:.1e}")
    assert error < 1e-4
    if name == "resnet18":
        net.load_state_dict(load_file("timm.torchvision"))
PY
else
  echo "skipped: $python has no timm"
fi

# --- OpenCV ---
seen=
for candidate in "$python" "${PIRL_CV_PYTHON:-python3}" python3; do
  has "$candidate" cv2 || continue
  version=$("$candidate" -c 'import cv2; print(cv2.__version__)')
  case " $seen " in *" $version "*) continue ;; esac
  seen="$seen $version"
  "$candidate" - <<'PY' || fail "OpenCV computes something else"
import glob

import cv2
import numpy as np

cv2.setNumThreads(1)
for path in sorted(glob.glob("*.npz")):
    name, data = path[:-4], np.load(path)
    whole = not name.endswith(".head")
    name = name.removesuffix(".head")
    files = ((name + ".onnx", "input"), (name + ".pixels.onnx", "pixels")) if whole else ((name + ".onnx", "pixels"),)
    for file, key in files:
        for n in (1, len(data[key])):
            net = cv2.dnn.readNetFromONNX(file)
            net.setInput(data[key][:n])
            error = np.abs(net.forward() - data["output"][:n]).max()
            print(f"OpenCV {cv2.__version__}: {file}, {n} pictures: {error:.1e}")
            assert error < 1e-4
PY
done
[ -n "$seen" ] || echo "skipped: no Python here has cv2 (PIRL_CV_PYTHON names one that has)"
