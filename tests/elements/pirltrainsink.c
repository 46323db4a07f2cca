/* gst-pirl: tests of pirltrainsink, one behaviour each: training, messages, states and changes of the
 * stream.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dlfcn.h>
#include <math.h>

#include "train-run.h"
#include "../kernels/fake-cuda.h"

/* ---- training and telling ----------------------------------------------------------------- */

GST_START_TEST (test_trains_and_posts)
{
  Rig rig = rig_new ("", 12, 2);
  GstMessage *message;
  guint64 steps = 0;

  push_ok (&rig, 12, 2, 0, 0);
  fail_unless (push_eos (&rig));
  while ((message = next_element (rig.bus, "pirl-training")) != NULL) {
    gdouble loss = field_double (message, "loss");

    if (field_uint64 (message, "step") > steps)
      steps++;
    fail_unless_equals_uint64 (field_uint64 (message, "step"), steps);
    fail_unless_equals_uint64 (field_uint64 (message, "steps"), 6);
    fail_unless_equals_uint64 (field_uint64 (message, "epoch"), (steps - 1) / 3);
    /* InfoNCE against a random bank: log (1 + K exp (1 / (2 dim tau^2))) = 2.58 with 11 others,
     * give or take what a similarity of a few sigma does. */
    if (steps == 1)
      fail_unless (fabs (loss - 2.58) < 1, "first loss %g", loss);
    fail_unless (fabs (loss - 0.5 * (field_double (message, "loss-image")
                + field_double (message, "loss-patches"))) < 1e-6);
    fail_unless (field_double (message, "lr") > 0);
    fail_unless (field_double (message, "spread") > 0);
    fail_unless (fabs (field_double (message, "positive")) <= 1);
    field_double (message, "images-per-second");
    field_double (message, "eta");
    field_double (message, "z");
    if (steps > 3)
      fail_unless (field_double (message, "knn-accuracy") >= 0);
    gst_message_unref (message);
  }
  fail_unless_equals_uint64 (steps, 6);
  rig_free (&rig);
}
GST_END_TEST

GST_START_TEST (test_epochs_are_posted_and_remainders_dropped)
{
  Rig rig = rig_new ("", 10, 2);
  GstMessage *message;

  push_ok (&rig, 10, 2, 0, 0);
  fail_unless (push_eos (&rig));
  for (guint epoch = 0; epoch < 2; epoch++) {
    message = next_element (rig.bus, "pirl-epoch");
    fail_unless (message != NULL);
    fail_unless_equals_uint64 (field_uint64 (message, "epoch"), epoch);
    fail_unless_equals_uint64 (field_uint64 (message, "steps"), 2);
    fail_unless_equals_uint64 (field_uint64 (message, "samples"), 8);
    fail_unless_equals_uint64 (field_uint64 (message, "dropped"), 2);
    fail_unless (isfinite (field_double (message, "loss")));
    gst_message_unref (message);
  }
  fail_unless (next_element (rig.bus, "pirl-epoch") == NULL);
  fail_unless_equals_uint64 (counter (&rig, "received"), 20);
  fail_unless_equals_uint64 (counter (&rig, "trained"), 16);
  fail_unless_equals_uint64 (counter (&rig, "dropped"), 4);
  rig_free (&rig);
}
GST_END_TEST

GST_START_TEST (test_post_messages_false_is_silent)
{
  Rig rig = rig_new ("post-messages=false", 8, 1);

  push_ok (&rig, 8, 1, 0, 0);
  fail_unless (push_eos (&rig));
  fail_unless_equals_uint64 (counter (&rig, "step"), 2);
  fail_unless (gst_bus_pop_filtered (rig.bus, GST_MESSAGE_ELEMENT | GST_MESSAGE_PROGRESS) == NULL);
  rig_free (&rig);
}
GST_END_TEST

/* START before all others, then CONTINUE, and COMPLETE exactly once. */
GST_START_TEST (test_progress_is_well_formed)
{
  Rig rig = rig_new ("", 8, 1);
  guint counts[GST_PROGRESS_TYPE_ERROR + 1] = { 0 };
  GstMessage *message;

  push_ok (&rig, 8, 1, 0, 0);
  fail_unless (push_eos (&rig));
  gst_element_set_state (rig.sink, GST_STATE_READY);
  while ((message = gst_bus_pop_filtered (rig.bus, GST_MESSAGE_PROGRESS)) != NULL) {
    GstProgressType type;
    g_autofree gchar *code = NULL, *text = NULL;

    gst_message_parse_progress (message, &type, &code, &text);
    fail_unless_equals_string (code, "training");
    fail_unless (strstr (text, "loss") != NULL, "%s", text);
    fail_unless (counts[GST_PROGRESS_TYPE_START] == (type == GST_PROGRESS_TYPE_START ? 0 : 1));
    fail_unless (counts[GST_PROGRESS_TYPE_COMPLETE] == 0);
    counts[type]++;
    gst_message_unref (message);
  }
  fail_unless_equals_int (counts[GST_PROGRESS_TYPE_START], 1);
  fail_unless_equals_int (counts[GST_PROGRESS_TYPE_COMPLETE], 1);
  fail_unless_equals_int (counts[GST_PROGRESS_TYPE_CANCELED], 0);
  fail_unless (counts[GST_PROGRESS_TYPE_CONTINUE] > 0);
  rig_free (&rig);
}
GST_END_TEST

/* ---- ends --------------------------------------------------------------------------------- */

/* When EOS is posted, the file is whole and has every step. */
static GstBusSyncReply
look_at_checkpoint (GstBus * bus, GstMessage * message, gpointer path)
{
  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS)
    fail_unless_equals_uint64 (checkpoint_step (path), 3);
  return GST_BUS_PASS;
}

GST_START_TEST (test_eos_drains_and_saves_before_it_passes)
{
  g_autofree gchar *path = path_of ("eos.safetensors");
  g_autofree gchar *settings = g_strdup_printf ("checkpoint-file=%s", path);
  Rig rig = rig_new (settings, 12, 1);
  GstMessage *message;

  gst_bus_set_sync_handler (rig.bus, look_at_checkpoint, path, NULL);
  push_ok (&rig, 12, 1, 0, 0);
  fail_unless (push_eos (&rig));
  message = gst_bus_pop_filtered (rig.bus, GST_MESSAGE_EOS);
  fail_unless (message != NULL);
  gst_message_unref (message);
  gst_bus_set_sync_handler (rig.bus, NULL, NULL, NULL);
  rig_free (&rig);
}
GST_END_TEST

GST_START_TEST (test_eos_without_samples_passes)
{
  Rig rig = rig_new ("", 12, 1);

  fail_unless (push_eos (&rig));
  expect_no_error (rig.bus);
  rig_free (&rig);
}
GST_END_TEST

GST_START_TEST (test_max_steps_ends_the_stream)
{
  g_autofree gchar *path = path_of ("max.safetensors");
  g_autofree gchar *settings = g_strdup_printf ("max-steps=2 checkpoint-file=%s", path);
  Rig rig = rig_new (settings, 12, 100);

  fail_unless_equals_int (push_run (&rig, 12, 100, 0, 0), GST_FLOW_EOS);
  fail_unless_equals_uint64 (counter (&rig, "step"), 2);
  fail_unless_equals_uint64 (checkpoint_step (path), 2);
  fail_unless (push_eos (&rig));
  expect_no_error (rig.bus);
  rig_free (&rig);
}
GST_END_TEST

GST_START_TEST (test_max_steps_can_swallow_the_rest)
{
  Rig rig = rig_new ("max-steps=2 on-finish=drop", 12, 4);
  g_autofree gchar *state = NULL;

  push_ok (&rig, 12, 4, 0, 0);
  fail_unless (push_eos (&rig));
  state = state_of (&rig);
  fail_unless_equals_string (state, "finished");
  fail_unless_equals_uint64 (counter (&rig, "step"), 2);
  fail_unless_equals_uint64 (counter (&rig, "trained") + counter (&rig, "discarded"), 48);
  rig_free (&rig);
}
GST_END_TEST

/* ---- states ------------------------------------------------------------------------------- */

GST_START_TEST (test_states_cycle)
{
  Rig rig = rig_new ("", 8, 1);

  for (guint i = 0; i < 3; i++) {
    push_ok (&rig, 8, 1, 0, 0);
    fail_unless (push_eos (&rig));
    fail_unless_equals_uint64 (counter (&rig, "step"), 2);
    gst_element_set_state (rig.sink, i % 2 ? GST_STATE_READY : GST_STATE_NULL);
    /* What the last training came to can still be read. */
    fail_unless_equals_uint64 (counter (&rig, "step"), 2);
    gst_element_set_state (rig.sink, GST_STATE_PLAYING);
    gst_harness_push_event (rig.harness, gst_event_new_stream_start ("again"));
    rig_caps (&rig, SIZE, 30);
    gst_harness_push_event (rig.harness, make_dataset (8, 1));
  }
  expect_no_error (rig.bus);
  rig_free (&rig);
}
GST_END_TEST

/* In PAUSED nothing is trained, though whole batches wait; what comes of it is what would have come
 * without the pause. */
GST_START_TEST (test_pause_stops_training_and_changes_nothing)
{
  g_autofree gchar *path = path_of ("pause.safetensors");
  g_autofree gchar *path_plain = path_of ("pause-plain.safetensors");

  for (guint pauses = 0; pauses < 2; pauses++) {
    g_autofree gchar *settings = g_strdup_printf ("checkpoint-file=%s", pauses ? path : path_plain);
    Rig rig = rig_new (settings, 16, 3);

    push_ok (&rig, 16, 1, 0, 0);
    if (pauses) {
      guint64 trained;
      g_autofree gchar *state = NULL;

      gst_element_set_state (rig.sink, GST_STATE_PAUSED);
      /* A step under way is cancelled; the statistics follow at once. */
      g_usleep (100000);
      state = state_of (&rig);
      trained = counter (&rig, "trained");
      fail_unless (g_strcmp0 (state, "paused") == 0 || trained == 16, "%s", state);
      g_usleep (300000);
      fail_unless_equals_uint64 (counter (&rig, "trained"), trained);
      gst_element_set_state (rig.sink, GST_STATE_PLAYING);
    }
    push_ok (&rig, 16, 3, 1, 0);
    fail_unless (push_eos (&rig));
    rig_free (&rig);
  }
  expect_same_checkpoint (path, path_plain);
}
GST_END_TEST

/* A step of this one takes seconds: READY must not wait for it. */
GST_START_TEST (test_ready_cancels_the_step_under_way)
{
  Rig rig = rig_new ("arch=resnet34 base-width=64 batch-size=16 device=reference", 16, 1);
  gint64 start;

  push_ok (&rig, 16, 1, 0, 0);
  for (;;) {
    g_autofree gchar *state = state_of (&rig);

    if (g_strcmp0 (state, "training") == 0)
      break;
    g_usleep (1000);
  }
  g_usleep (50000);
  start = g_get_monotonic_time ();
  gst_element_set_state (rig.sink, GST_STATE_READY);
  GST_INFO ("READY after %" G_GINT64_FORMAT " us", g_get_monotonic_time () - start);
  fail_unless_equals_uint64 (counter (&rig, "trained"), 0);
  rig_free (&rig);
}
GST_END_TEST

GST_START_TEST (test_ready_saves)
{
  g_autofree gchar *path = path_of ("ready.safetensors");
  g_autofree gchar *settings = g_strdup_printf ("checkpoint-file=%s", path);
  Rig rig = rig_new (settings, 12, 10);
  guint64 steps;

  push_ok (&rig, 12, 1, 0, 0);
  wait_for_steps (&rig, 1);
  gst_element_set_state (rig.sink, GST_STATE_READY);
  steps = counter (&rig, "step");
  fail_unless (steps >= 1);
  fail_unless_equals_uint64 (checkpoint_step (path), steps);
  rig_free (&rig);
}
GST_END_TEST

/* Samples that were queued are let go of. */
GST_START_TEST (test_ready_keeps_no_buffer)
{
  Rig rig = rig_new ("", 12, 1);
  GstBuffer *buffers[6];

  for (guint i = 0; i < G_N_ELEMENTS (buffers); i++) {
    buffers[i] = make_sample (i, 0, 12);
    fail_unless_equals_int (gst_harness_push (rig.harness, gst_buffer_ref (buffers[i])),
        GST_FLOW_OK);
  }
  gst_element_set_state (rig.sink, GST_STATE_READY);
  for (guint i = 0; i < G_N_ELEMENTS (buffers); i++) {
    ASSERT_MINI_OBJECT_REFCOUNT (buffers[i], "buffer", 1);
    gst_buffer_unref (buffers[i]);
  }
  rig_free (&rig);
}
GST_END_TEST

/* ---- the stream changes ------------------------------------------------------------------- */

GST_START_TEST (test_caps_change)
{
  static const gchar *const words[] = { "32 px", "64 px", "image-size", NULL };
  Rig rig = rig_new ("", 12, 2);

  push_ok (&rig, 12, 1, 0, 0);
  wait_for_steps (&rig, 1);
  /* Another frame rate is the same views. */
  rig_caps (&rig, SIZE, 25);
  push_ok (&rig, 12, 2, 1, 0);
  expect_no_error (rig.bus);
  rig_caps (&rig, 2 * SIZE, 25);
  for (guint i = 0; i < 2; i++)
    fail_unless (gst_harness_push (rig.harness, make_views (i, 2, 2 * SIZE)) < GST_FLOW_OK);
  expect_error (rig.bus, words);
  expect_no_error (rig.bus);
  rig_free (&rig);
}
GST_END_TEST

GST_START_TEST (test_caps_that_are_no_views)
{
  GstBus *bus;
  GstElement *sink = make_sink ("", &bus);
  GstPad *pad = gst_element_get_static_pad (sink, "sink");
  GstCaps *video = gst_caps_from_string ("video/x-raw,format=RGB,width=32,height=32");
  GstCaps *views = gst_caps_from_string ("other/tensors,format=static,num_tensors=2,"
      "types=\"uint8,uint8\",dimensions=\"3:32:32:1,3:16:16:9\",framerate=0/1");

  fail_if (gst_pad_query_accept_caps (pad, video));
  fail_unless (gst_pad_query_accept_caps (pad, views));
  gst_caps_unref (video);
  gst_caps_unref (views);
  gst_object_unref (pad);
  gst_element_set_bus (sink, NULL);
  gst_object_unref (sink);
  gst_object_unref (bus);
}
GST_END_TEST

GST_START_TEST (test_flush_drops_samples_and_keeps_weights)
{
  Rig rig = rig_new ("", 12, 2);
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  push_ok (&rig, 4, 1, 0, 0);
  wait_for_steps (&rig, 1);
  for (guint i = 4; i < 6; i++)
    gst_harness_push (rig.harness, make_sample (i, 0, 12));
  gst_harness_push_event (rig.harness, gst_event_new_flush_start ());
  gst_harness_push_event (rig.harness, gst_event_new_flush_stop (TRUE));
  gst_harness_push_event (rig.harness, gst_event_new_segment (&segment));
  for (guint i = 0; i < 4; i++)
    fail_unless_equals_int (gst_harness_push (rig.harness, make_sample (i, 1, 12)), GST_FLOW_OK);
  fail_unless (push_eos (&rig));
  fail_unless_equals_uint64 (counter (&rig, "step"), 2);
  fail_unless_equals_uint64 (counter (&rig, "flushed"), 2);
  /* After EOS too. */
  gst_harness_push_event (rig.harness, gst_event_new_flush_start ());
  gst_harness_push_event (rig.harness, gst_event_new_flush_stop (TRUE));
  gst_harness_push_event (rig.harness, gst_event_new_segment (&segment));
  push_ok (&rig, 12, 3, 2, 0);
  fail_unless (push_eos (&rig));
  fail_unless_equals_uint64 (counter (&rig, "step"), 5);
  expect_no_error (rig.bus);
  rig_free (&rig);
}
GST_END_TEST

static gpointer
push_many (gpointer data)
{
  return GINT_TO_POINTER (push_run (data, 12, 1000, 0, 0));
}

/* The queue is full and a streaming thread waits in it: flush and READY must set it free. */
GST_START_TEST (test_full_queue_is_interruptible)
{
  for (guint i = 0; i < 2; i++) {
    Rig rig = rig_new ("", 12, 0);
    GThread *thread = g_thread_new ("source", push_many, &rig);
    GstFlowReturn ret;

    wait_for_steps (&rig, 2);
    if (i == 0)
      gst_harness_push_event (rig.harness, gst_event_new_flush_start ());
    else
      gst_element_set_state (rig.sink, GST_STATE_READY);
    ret = GPOINTER_TO_INT (g_thread_join (thread));
    fail_unless_equals_int (ret, GST_FLOW_FLUSHING);
    if (i == 0)
      gst_harness_push_event (rig.harness, gst_event_new_flush_stop (TRUE));
    rig_free (&rig);
  }
}
GST_END_TEST

/* ---- without a data set ------------------------------------------------------------------- */

GST_START_TEST (test_camera_trains)
{
  g_autofree gchar *path = path_of ("camera.safetensors");
  g_autofree gchar *settings = g_strdup_printf ("bank-size=8 checkpoint-file=%s resume=true", path);

  g_unlink (path);
  for (guint run = 0; run < 2; run++) {
    Rig rig = rig_new (settings, 0, 0);

    for (guint i = 0; i < 12; i++)
      fail_unless_equals_int (gst_harness_push (rig.harness, make_views (i, run, SIZE)),
          GST_FLOW_OK);
    fail_unless (push_eos (&rig));
    expect_no_error (rig.bus);
    fail_unless_equals_uint64 (checkpoint_step (path), 3 * (run + 1));
    rig_free (&rig);
  }
}
GST_END_TEST

/* ---- a GPU that is made up (tests/kernels/fake-cuda.c) ------------------------------------ */

/* NULL when the module is not there, or another one. */
static FakeCuda *
find_fake (void)
{
  const gchar *path = g_getenv ("PIRL_CUDA_MODULE");
  gpointer module = path ? dlopen (path, RTLD_NOW | RTLD_LOCAL) : NULL;
  FakeCudaState state = module ? (FakeCudaState) dlsym (module, FAKE_CUDA_STATE) : NULL;

  return state ? state () : NULL;
}

/* The next batch's pictures travel while the device trains, and nothing else is different. */
GST_START_TEST (test_next_batch_travels_early)
{
  g_autofree gchar *on_cpu = path_of ("steps-cpu.safetensors");
  g_autofree gchar *on_fake = path_of ("steps-fake.safetensors");
  g_autofree gchar *cpu = g_strdup_printf ("device=cpu precision=f32 checkpoint-file=%s",
      on_cpu);
  g_autofree gchar *cuda = g_strdup_printf ("device=cuda bank-precision=f32 checkpoint-file=%s",
      on_fake);
  FakeCuda *fake = find_fake ();
  const gchar *const settings[] = { cpu, cuda };

  for (guint i = 0; i < G_N_ELEMENTS (settings); i++) {
    Rig rig = rig_new (settings[i], 22, 3);
    g_autoptr (GstStructure) stats = NULL;

    push_ok (&rig, 22, 3, 0, 0);
    fail_unless (push_eos (&rig));
    expect_no_error (rig.bus);
    stats = stats_of (&rig);
    fail_unless_equals_string (gst_structure_get_string (stats, "precision"), i ? "fp16" : "f32");
    fail_unless_equals_uint64 (counter (&rig, "trained"), 3 * 20);
    fail_unless_equals_uint64 (counter (&rig, "dropped"), 3 * 2);
    rig_free (&rig);
  }
  fail_unless_equals_int (fake->steps, 15);
  fail_unless (fake->staged_in_steps > 0, "no batch was staged while another was trained");
  GST_INFO ("%d stagings in 15 steps", fake->staged_in_steps);
  expect_same_checkpoint (on_cpu, on_fake);
}

GST_END_TEST;

/* Steps beyond fp16 are counted, and leave no loss that is no number. */
GST_START_TEST (test_skipped_steps_are_told)
{
  FakeCuda *fake = find_fake ();
  Rig rig = rig_new ("device=cuda", 12, 2);
  guint64 skipped = 0;
  GstMessage *message;
  gdouble scale = 0;

  fake->overflows = 2;
  push_ok (&rig, 12, 2, 0, 0);
  fail_unless (push_eos (&rig));
  fail_unless_equals_uint64 (counter (&rig, "step"), 6);
  fail_unless_equals_uint64 (counter (&rig, "trained"), 24);
  while ((message = gst_bus_pop_filtered (rig.bus, GST_MESSAGE_ELEMENT)) != NULL) {
    if (gst_message_has_name (message, "pirl-training")) {
      skipped = field_uint64 (message, "skipped");
      scale = field_double (message, "loss-scale");
      fail_unless (isfinite (field_double (message, "loss")));
    } else if (gst_message_has_name (message, "pirl-epoch")) {
      fail_unless (field_double (message, "loss") > 0);
      fail_unless_equals_uint64 (field_uint64 (message, "steps"), 3);
    }
    gst_message_unref (message);
  }
  fail_unless_equals_uint64 (skipped, 2);
  fail_unless_equals_float (scale, 8192);
  rig_free (&rig);
}

GST_END_TEST;

/* ---- two at once -------------------------------------------------------------------------- */

GST_START_TEST (test_two_at_once_are_as_each_alone)
{
  g_autofree gchar *paths[3] = { path_of ("alone.safetensors"), path_of ("one.safetensors"),
    path_of ("two.safetensors")
  };
  Rig rigs[3];

  for (guint i = 0; i < 3; i++) {
    g_autofree gchar *settings = g_strdup_printf ("checkpoint-file=%s", paths[i]);

    rigs[i] = rig_new (settings, 12, 2);
    if (i == 0) {
      push_run (&rigs[0], 12, 2, 0, 0);
      fail_unless (push_eos (&rigs[0]));
    }
  }
  for (guint position = 0; position < 24; position++)
    for (guint i = 1; i < 3; i++)
      fail_unless_equals_int (gst_harness_push (rigs[i].harness, make_sample (position % 12,
                  position / 12, 12)), GST_FLOW_OK);
  for (guint i = 1; i < 3; i++)
    fail_unless (push_eos (&rigs[i]));
  for (guint i = 0; i < 3; i++)
    rig_free (&rigs[i]);
  expect_same_checkpoint (paths[0], paths[1]);
  expect_same_checkpoint (paths[0], paths[2]);
  for (guint i = 0; i < 3; i++)
    g_free (g_steal_pointer (&paths[i]));
}
GST_END_TEST

/* ---- properties --------------------------------------------------------------------------- */

/* The recipe of the paper (Misra and van der Maaten 2020, sections 3 and A; VISSL's configuration). */
GST_START_TEST (test_preset_paper)
{
  GstElement *sink = gst_element_factory_make ("pirltrainsink", NULL);
  static const struct {
    const gchar *name, *value;
  } expected[] = {
    {"head", "linear"}, {"loss", "nce"}, {"z-mode", "first-batch"},
    {"exclude-positive", "FALSE"}, {"lr-schedule", "cosine"}, {"bn-statistics", "both"},
    {"warmup", "0"}, {"negatives", "0"},
  };
  gdouble temperature, rate, decay, momentum, lambda, bank_momentum;

  gst_util_set_object_arg (G_OBJECT (sink), "preset", "paper");
  for (guint i = 0; i < G_N_ELEMENTS (expected); i++) {
    GValue value = G_VALUE_INIT;
    g_autofree gchar *text = NULL;

    g_object_get_property (G_OBJECT (sink), expected[i].name, &value);
    text = gst_value_serialize (&value);
    fail_unless (g_ascii_strcasecmp (text, expected[i].value) == 0, "%s is %s", expected[i].name,
        text);
    g_value_unset (&value);
  }
  g_object_get (sink, "temperature", &temperature, "learning-rate", &rate, "weight-decay", &decay,
      "momentum", &momentum, "lambda", &lambda, "bank-momentum", &bank_momentum, NULL);
  fail_unless (temperature == 0.07 && rate == 0.03 && decay == 1e-4 && momentum == 0.9
      && lambda == 0.5 && bank_momentum == 0.5);
  gst_object_unref (sink);
}
GST_END_TEST

/* What is asked for is what is trained with, says so, and is what the checkpoint holds. */
GST_START_TEST (test_bank_precision)
{
  static const struct
  {
    const gchar *settings, *expected;
    PirlDType dtype;
  } cases[] = {
    {"device=cpu", "f32", PIRL_DTYPE_F32},
    {"device=cpu bank-precision=fp16", "fp16", PIRL_DTYPE_F16},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree gchar *path = path_of ("bank-precision.safetensors");
    g_autofree gchar *settings = g_strdup_printf ("%s checkpoint-file=%s", cases[i].settings, path);
    Rig rig = rig_new (settings, 8, 1);
    g_autoptr (PirlSafetensors) file = NULL;
    g_autoptr (GstStructure) stats = NULL;
    g_autofree gchar *asked = NULL;

    g_object_get (rig.sink, "bank-precision", &asked, NULL);
    fail_unless_equals_string (asked, i == 0 ? "auto" : "fp16");
    push_ok (&rig, 8, 1, 0, 0);
    fail_unless (push_eos (&rig));
    expect_no_error (rig.bus);
    stats = stats_of (&rig);
    fail_unless_equals_string (gst_structure_get_string (stats, "bank-precision"),
        cases[i].expected);
    file = pirl_safetensors_open (path, NULL);
    fail_unless (file != NULL);
    fail_unless_equals_int (pirl_safetensors_lookup (file, "state.bank")->dtype, cases[i].dtype);
    fail_unless_equals_string (pirl_safetensors_metadata (file, "bank_precision"),
        cases[i].expected);
    rig_free (&rig);
  }
}
GST_END_TEST

GST_START_TEST (test_sink_defaults)
{
  GstElement *sink = gst_element_factory_make ("pirltrainsink", NULL);
  g_autoptr (GstStructure) stats = NULL;
  gboolean sync, qos, last_sample;

  g_object_get (sink, "sync", &sync, "qos", &qos, "enable-last-sample", &last_sample,
      "training-stats", &stats, NULL);
  fail_if (sync || qos || last_sample);
  fail_unless (gst_structure_has_name (stats, "application/x-pirl-training-stats"));
  fail_unless_equals_string (gst_structure_get_string (stats, "state"), "stopped");
  gst_object_unref (sink);
}
GST_END_TEST

/* ---- main --------------------------------------------------------------------------------- */

static Suite *
pirltrainsink_suite (void)
{
  Suite *suite = suite_create ("pirltrainsink");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_checked_fixture (tc, make_folder, remove_folder);
  tcase_add_test (tc, test_trains_and_posts);
  tcase_add_test (tc, test_epochs_are_posted_and_remainders_dropped);
  tcase_add_test (tc, test_post_messages_false_is_silent);
  tcase_add_test (tc, test_progress_is_well_formed);
  tcase_add_test (tc, test_eos_drains_and_saves_before_it_passes);
  tcase_add_test (tc, test_eos_without_samples_passes);
  tcase_add_test (tc, test_max_steps_ends_the_stream);
  tcase_add_test (tc, test_max_steps_can_swallow_the_rest);
  tcase_add_test (tc, test_states_cycle);
  tcase_add_test (tc, test_pause_stops_training_and_changes_nothing);
  tcase_add_test (tc, test_ready_cancels_the_step_under_way);
  tcase_add_test (tc, test_ready_saves);
  tcase_add_test (tc, test_ready_keeps_no_buffer);
  tcase_add_test (tc, test_caps_change);
  tcase_add_test (tc, test_caps_that_are_no_views);
  tcase_add_test (tc, test_flush_drops_samples_and_keeps_weights);
  tcase_add_test (tc, test_full_queue_is_interruptible);
  tcase_add_test (tc, test_camera_trains);
  if (find_fake ()) {
    tcase_add_test (tc, test_next_batch_travels_early);
    tcase_add_test (tc, test_skipped_steps_are_told);
  }
  tcase_add_test (tc, test_two_at_once_are_as_each_alone);
  tcase_add_test (tc, test_preset_paper);
  tcase_add_test (tc, test_bank_precision);
  tcase_add_test (tc, test_sink_defaults);
  return suite;
}

GST_CHECK_MAIN (pirltrainsink);
