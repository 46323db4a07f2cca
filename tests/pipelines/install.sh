#!/bin/sh
# What is installed works outside the tree: pkg-config, headers, plugin.
. "$(dirname "$0")/common.sh"

DESTDIR=$scratch meson install -C "$PIRL_BUILD" --no-rebuild --quiet >"$scratch/log" 2>&1 \
  || fail "meson install: $(tail -n 5 "$scratch/log")"
pc=$(find "$scratch" -name pirlkernels.pc)
[ -n "$pc" ] || fail "no pirlkernels.pc"
prefix=$scratch$(sed -n 's/^prefix=//p' "$pc")
sed -i "s|^prefix=.*|prefix=$prefix|" "$pc"
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
cat >"$scratch/user.c" <<'C'
#include <stdio.h>
#include <base/rng.h>
#include <learn/trainer.h>
int main (void)
{
  PirlRng rng;
  pirl_rng_init (&rng, 1, 2, 3, PIRL_PURPOSE_TEST);
  printf ("%u\n", pirl_rng_below (&rng, 10));
  return 0;
}
C
# shellcheck disable=SC2046
cc -o "$scratch/user" "$scratch/user.c" \
  $(pkg-config --cflags --libs pirlkernels) \
  -Wl,-rpath,"$(dirname "$(find "$prefix" -name libpirlkernels.so)")" || fail "compiling against it"
"$scratch/user" >/dev/null || fail "running against it"
plugin=$(find "$prefix" -name libgstpirl.so)
GST_PLUGIN_PATH=$(dirname "$plugin") GST_REGISTRY=$scratch/registry \
  LD_LIBRARY_PATH="$(dirname "$(find "$prefix" -name libpirlkernels.so)")" \
  gst-inspect-1.0 "$plugin" | grep -q pirltrainsink || fail "the installed plugin does not load"
