#!/bin/sh
# app-camera-uplink, built as a user would with nothing but pkg-config: statistics every second, files
# that play whatever signal ended them, errors that name what is wrong.
. "$(dirname "$0")/common.sh"
uplink=$scratch/app-camera-uplink
log=$scratch/log

# shellcheck disable=SC2046
${CC:-cc} -Wall -Werror -o "$uplink" "$PIRL_SOURCE/pipelines/app-camera-uplink.c" \
  $(pkg-config --cflags --libs gstreamer-1.0) || fail "compiling it"

# A model behind the Open Inference Protocol. Commands go to descriptor 3, whose end ends it.
mkfifo "$scratch/commands"
: >"$scratch/server"
python3 -B "$PIRL_SOURCE/tests/servers/oip.py" <"$scratch/commands" >"$scratch/server" &
exec 3>"$scratch/commands"
wait_for() { # FILE PATTERN COUNT: until it is there so often
  tries=600
  until [ "$(grep -c "$2" "$1")" -ge "$3" ]; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || fail "no $3 lines of \"$2\" in $(cat "$1")"
    sleep .1
  done
}
wait_for "$scratch/server" '^port ' 1
cloud=oip+http://127.0.0.1:$(sed -n 's/^port //p' "$scratch/server")/v2/models/M
echo 'set labels ["0.7:0:fish & chips", "0.3:1:<b>"]' >&3

line='^ *[0-9]* frames *[0-9.]* fps *[0-9]* bytes a frame  quality [ 0-9.]*  agreement .*  [a-z]*  [0-9]* requests, [0-9]* answers'
frames_said() { grep "$line" "$log" | tail -n 1 | awk '{print $1}'; }
frames_of() { # FILE: how many can be decoded
  rm -f "$scratch"/frame*
  gst-launch-1.0 -q filesrc location="$1" ! matroskademux ! jpegdec ! videoscale \
    ! video/x-raw,width=16,height=16 ! multifilesink location="$scratch/frame%05d" || fail "$1 does not play"
  find "$scratch" -name 'frame*' | wc -l
}
# SIGNAL INPUT OUTPUT: runs it until there are two lines of statistics and a label, then ends it.
run_until() {
  : >"$log"                     # else what the last run said may be found before this one begins
  GST_DEBUG=basetextoverlay:5 GST_DEBUG_NO_COLOR=1 GST_DEBUG_FILE=$scratch/overlay \
    "$uplink" "$cloud" "$2" "$3" --no-window --encoder max-requests-per-minute=0 >"$log" 2>&1 3>&- &
  process=$!
  wait_for "$log" "$line" 2
  wait_for "$log" 'answers  sees ' 1
  kill "-$1" $process
  wait $process || fail "after SIG$1 it ended with $?: $(cat "$log")"
}

for signal in INT TERM; do
  run_until $signal test "$scratch/test.mkv"
  [ "$(frames_said)" -gt 0 ] || fail "no frames: $(cat "$log")"
  [ "$(frames_of "$scratch/test.mkv")" -eq "$(frames_said)" ] \
    || fail "the file holds $(frames_of "$scratch/test.mkv") frames: $(cat "$log")"
  grep -q '[1-9][0-9]* requests, [1-9][0-9]* answers  sees fish & chips$' "$log" || fail "no labels: $(cat "$log")"
  grep -q 'fish &amp; chips 70 %' "$scratch/overlay" || fail "the labels are not on the screen"
done

# A file plays to its own end.
"$uplink" "$cloud" "$scratch/test.mkv" --no-window >"$log" 2>&1 || fail "of a file: $(cat "$log")"
[ "$(frames_said)" -eq "$(frames_of "$scratch/test.mkv")" ] || fail "of a file: $(cat "$log")"

# Over a connection. The receiver takes any free port, and says which.
gst-launch-1.0 -v tcpserversrc host=127.0.0.1 port=0 ! matroskademux ! jpegdec ! fakesink \
  >"$scratch/receiver" 2>&1 3>&- &
receiver=$!
trap 'kill $receiver 2>/dev/null; rm -rf "$scratch"' EXIT
wait_for "$scratch/receiver" 'current-port = [1-9]' 1
port=$(sed -n 's/.*current-port = //p' "$scratch/receiver" | head -n 1)
run_until INT test "tcp://127.0.0.1:$port"
wait $receiver || fail "the receiver: $(cat "$scratch/receiver")"
grep -q 'fakesink0.*caps = video/x-raw' "$scratch/receiver" || fail "nothing was received"

# CLOUD INPUT OUTPUT, and what the error says.
refuses() {
  "$uplink" "$1" "$2" "$3" --no-window >"$log" 2>&1 && fail "$1 $2 $3 was accepted"
  grep -q "$4" "$log" || fail "the error does not say \"$4\": $(cat "$log")"
}
refuses local:missing.safetensors test none missing.safetensors
refuses "$cloud" "$scratch/missing.mkv" none missing.mkv
refuses "$cloud" test "$scratch/no/such/folder.mkv" no/such/folder.mkv
refuses "$cloud" test tcp://127.0.0.1:1 'refused'
"$uplink" >"$log" 2>&1 && fail "no cloud was accepted"
grep -q -e --help "$log" || fail "the error does not name --help: $(cat "$log")"

echo stats >&3
exec 3>&-
wait_for "$scratch/server" complaints 1
grep -q '"complaints": \[\]' "$scratch/server" || fail "the server complains: $(tail -n 1 "$scratch/server")"
