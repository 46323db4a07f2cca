#!/bin/sh
# Plain gst-launch-1.0 trains, ends by itself, and the file it leaves embeds a live-like stream.
. "$(dirname "$0")/common.sh"

small_model "$scratch/model.safetensors"
gst-launch-1.0 videotestsrc num-buffers=10 ! video/x-raw,format=I420,width=160,height=120 \
  ! pirlembed model-file="$scratch/model.safetensors" interval=1 ! fakesink silent=false -v \
  >"$scratch/log" || fail "embedding ended with an error"
timeout 60 gst-launch-1.0 -q videotestsrc ! pirljigsaw image-size=32 \
  ! pirltrainsink arch=resnet18 base-width=8 batch-size=16 bank-size=256 max-steps=3 \
  || fail "max-steps did not end the pipeline"
