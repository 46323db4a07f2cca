#!/bin/sh
# Runs every gst-launch-1.0 line of the README as it stands, and those of pipelines/export with the
# program behind it, in order, in an empty folder that has only what the lines above it made. Lines
# that need a camera or a screen are checked for syntax: their elements must exist.
. "$(dirname "$0")/common.sh"
cd "$scratch" || exit 1

sed 's/^ *//' "$PIRL_SOURCE/README.md" | sed -n '/^```sh$/,/^```$/p' | sed -e ':a' -e '/\\$/{N;s/\\\n *//;ba' -e '}' \
  | grep -E '^(gst-(launch|inspect)-1\.0|\./pipelines/export) ' \
  | sed "s|^\./pipelines/export|$PIRL_BUILD/pipelines/pirl-export|" >lines
[ -s lines ] || fail "the README has no lines to run"
# The folder that the lines call `photos`.
mkdir photos
gst-launch-1.0 -q pirldatasetsrc location='synthetic:shapes?count=40&classes=4&size=96' \
  ! videoconvert ! jpegenc ! multifilesink location=photos/%03d.jpg || fail "making photos"
# The tars that a line calls `shard-{000000..000002}.tar`.
for i in 0 1 2; do
  tar -cf "shard-00000$i.tar" photos/0"$i"?.jpg || fail "making tars"
done
# The set of two classes that a line calls `labelled`.
for split in train val; do
  for class in first second; do mkdir -p "labelled/$split/$class"; done
  cp photos/00?.jpg "labelled/$split/first"
  cp photos/01?.jpg "labelled/$split/second"
done

while IFS= read -r line; do
  case $line in
    *v4l2src* | *autovideosink*)
      for element in $(echo "$line" | tr '!' '\n' | sed 's/^gst-launch-1.0//' | awk '{print $1}' \
          | grep -E '^pirl|^adacompress'); do
        gst-inspect-1.0 "$element" >/dev/null || fail "no element $element in: $line"
      done
      echo "checked: $line" ;;
    *)
      timeout 200 sh -c "$line" >log 2>&1 </dev/null || { cat log; fail "$line"; }
      echo "ran: $line" ;;
  esac
done <lines
