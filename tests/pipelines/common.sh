# Shared by the scripts of this folder: a scratch folder, the built plugin, and how to fail.
# Expects PIRL_SOURCE, PIRL_BUILD (set by meson).
set -u
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }
skip() { echo "skipped: $*"; exit 77; }
is_png() { [ "$(head -c 8 "$1" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ]; }

# A small network trained for a few steps: $1 = where it goes.
small_model() {
  gst-launch-1.0 -q pirldatasetsrc location='synthetic:shapes?count=64&classes=4&size=48' \
    ! pirljigsaw image-size=32 ! pirltrainsink arch=resnet18 base-width=8 batch-size=16 \
    checkpoint-file="$1" || fail "the training pipeline ended with an error"
  [ -s "$1" ] || fail "no checkpoint at $1"
}
