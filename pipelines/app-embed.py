#!/usr/bin/env python3
"""Reads embeddings in Python: app-embed.py MODEL.safetensors [SOURCE]; see app-embed.c.

Needs Debian's python3-gst-1.0.
"""
import array, math, sys
import gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst

Gst.init(None)
source = sys.argv[2] if len(sys.argv) > 2 else "videotestsrc num-buffers=30 ! video/x-raw,width=320,height=240"
pipeline = Gst.parse_launch(f"{source} ! pirlembed name=embed interval=1 ! fakesink name=sink signal-handoffs=true")
pipeline.get_by_name("embed").set_property("model-file", sys.argv[1])

previous = None

def on_frame(sink, buffer, pad):
    global previous
    embedding = buffer.get_custom_meta("pirl-embedding").get_structure()
    values = array.array("f", embedding.get_value("data").get_data())
    line = f"{buffer.pts / Gst.SECOND:.3f} s  {len(values)} values"
    if previous:
        cosine = sum(a * b for a, b in zip(values, previous)) / (math.hypot(*values) * math.hypot(*previous))
        line += f", cosine with the frame before {cosine:.4f}"
    print(line)
    previous = values

pipeline.get_by_name("sink").connect("handoff", on_frame)
pipeline.set_state(Gst.State.PLAYING)
end = pipeline.get_bus().timed_pop_filtered(Gst.CLOCK_TIME_NONE, Gst.MessageType.EOS | Gst.MessageType.ERROR)
pipeline.set_state(Gst.State.NULL)
sys.exit(end.parse_error().gerror.message if end.type == Gst.MessageType.ERROR else 0)
