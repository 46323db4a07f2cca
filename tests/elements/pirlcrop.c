/* gst-pirl: tests of pictures of which only a region is decoded: the same results, and nobody who does
 * not ask for it sees anything but whole pictures.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dataset-run.h"
#include "crop.h"
#include "embed-run.h"
#include "vision/jpeg-coder.h"

/* ---- pictures ----------------------------------------------------------------------------- */

/* A JPEG file of the stored size, grey or 4:2:0; @orientation 0: without EXIF. */
static void
write_jpeg (const gchar * name, gint width, gint height, gboolean grey, guint8 orientation)
{
  const guint8 exif[] = { 0xff, 0xe1, 0, 34, 'E', 'x', 'i', 'f', 0, 0, 'M', 'M', 0, 42, 0, 0, 0, 8,
    0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0, 0, 0, 0, 0
  };
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();
  g_autoptr (GByteArray) file = g_byte_array_new ();
  g_autofree gchar *path = place (name);
  const guint8 *data;
  PirlImage image;
  gsize size;

  pirl_image_init (&image, width, height);
  paint (image.data, width, height, image.stride, width + orientation);
  if (grey) {
    const PirlYcc ycc = { width, height, {image.data}, {image.stride}, {3} };

    fail_unless (pirl_jpeg_coder_load (coder, &ycc, NULL));
  } else {
    fail_unless (pirl_jpeg_coder_load_rgb (coder, &image, NULL));
  }
  fail_unless (pirl_jpeg_coder_encode (coder, 85, PIRL_HUFFMAN_STANDARD, &data, &size, NULL));
  g_byte_array_append (file, data, 2);
  if (orientation > 0)
    g_byte_array_append (file, exif, sizeof (exif));
  g_byte_array_append (file, data + 2, size - 2);
  fail_unless (g_file_set_contents (path, (const gchar *) file->data, file->len, NULL));
  pirl_image_clear (&image);
}

/* Of all kinds; those that can be decoded in part are called *.jpg and are large enough. */
static void
write_all_kinds (void)
{
  static const gint sizes[][2] = { {90, 60}, {61, 93}, {200, 47}, {48, 48}, {150, 149}, {33, 70} };

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    g_autofree gchar *colour = g_strdup_printf ("colour-%u.jpg", i);
    g_autofree gchar *grey = g_strdup_printf ("grey-%u.jpg", i);
    g_autofree gchar *png = g_strdup_printf ("picture-%u.png", i);

    write_jpeg (colour, sizes[i][0], sizes[i][1], FALSE, 0);
    write_jpeg (grey, sizes[i][0], sizes[i][1], TRUE, 0);
    write_picture (png, sizes[i][0], sizes[i][1], i);
  }
  for (guint8 o = 1; o <= 8; o++) {
    g_autofree gchar *name = g_strdup_printf ("turned-%u.jpg", o);

    write_jpeg (name, 101, 58, FALSE, o);
  }
  write_jpeg ("tiny-1.jpeg", 1, 1, FALSE, 0);
  write_jpeg ("tiny-2.jpeg", 3, 2, FALSE, 6);
  write_jpeg ("tiny-3.jpeg", 30, 20, FALSE, 0);
}

/* ---- what comes out ------------------------------------------------------------------------ */

typedef struct {
  GPtrArray *buffers;
  guint regions;                /* of them made from a region */
  guint halves;                 /* of those at half the size */
} Output;

static void
count_regions (Output * output)
{
  for (guint i = 0; i < output->buffers->len; i++) {
    GstPirlRegion region;

    if (gst_pirl_region_get (g_ptr_array_index (output->buffers, i), &region)) {
      output->regions++;
      output->halves += region.divisor == 2;
      fail_unless (region.box.x >= 0 && region.box.y >= 0 && region.box.width > 0
          && region.box.height > 0 && region.box.x + region.box.width <= region.full_width
          && region.box.y + region.box.height <= region.full_height);
    }
  }
}

static void
play_to_the_end (GstElement * pipeline)
{
  GstBus *bus = gst_element_get_bus (pipeline);
  GstMessage *message;

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, 2 * PATIENCE, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  fail_unless (message != NULL, "it never ended");
  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
    GError *error = NULL;

    gst_message_parse_error (message, &error, NULL);
    fail ("%s", error->message);
  }
  gst_message_unref (message);
  gst_object_unref (bus);
  gst_element_set_state (pipeline, GST_STATE_NULL);
}

/* All buffers that reach "sink" behind "pirldatasetsrc location=@folder @line". */
static Output
run_line (const gchar * folder, const gchar * line)
{
  g_autofree gchar *text = g_strdup_printf ("pirldatasetsrc name=src shuffle=false n-threads=2 %s",
      line);
  Output output = { g_ptr_array_new_with_free_func ((GDestroyNotify) gst_buffer_unref) };
  GstElement *pipeline = gst_parse_launch (text, NULL), *element;

  fail_unless (pipeline != NULL, "%s", text);
  element = gst_bin_get_by_name (GST_BIN (pipeline), "src");
  g_object_set (element, "location", folder, NULL);
  gst_object_unref (element);
  element = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  g_object_set (element, "signal-handoffs", TRUE, "sync", FALSE, NULL);
  g_signal_connect (element, "handoff", G_CALLBACK (keep_buffer), output.buffers);
  gst_object_unref (element);
  play_to_the_end (pipeline);
  gst_object_unref (pipeline);
  count_regions (&output);
  return output;
}

static Output
embed_folder (const gchar * folder, const gchar * source, const gchar * between,
    const gchar * properties)
{
  g_autofree gchar *line = g_strdup_printf ("%s %s ! pirlembed model-file=%s n-threads=1 "
      "precision=f32 %s ! other/tensors ! fakesink name=sink", source, between, model_a, properties);

  return run_line (folder, line);
}

static void
output_clear (Output * output)
{
  g_ptr_array_unref (output->buffers);
}

static gint
compare_memory (GstBuffer * a, GstBuffer * b, guint nth)
{
  GstMemory *x = gst_buffer_peek_memory (a, nth), *y = gst_buffer_peek_memory (b, nth);
  GstMapInfo one, other;
  gint difference;

  fail_unless (gst_memory_map (x, &one, GST_MAP_READ) && gst_memory_map (y, &other, GST_MAP_READ));
  fail_unless_equals_int (one.size, other.size);
  difference = memcmp (one.data, other.data, one.size);
  gst_memory_unmap (x, &one);
  gst_memory_unmap (y, &other);
  return difference;
}

static void
assert_same_output (const Output * a, const Output * b)
{
  fail_unless_equals_int (a->buffers->len, b->buffers->len);
  for (guint i = 0; i < a->buffers->len; i++) {
    GstBuffer *x = g_ptr_array_index (a->buffers, i), *y = g_ptr_array_index (b->buffers, i);
    GstPirlSample sample;

    fail_unless (gst_pirl_sample_get (x, &sample));
    fail_unless (compare_memory (x, y, 0) == 0, "%s is another", sample.name);
  }
}

/* ---- embeddings ---------------------------------------------------------------------------- */

GST_START_TEST (embeddings_of_regions_are_those_of_pictures)
{
  static const gchar *const between[] = { "", "! queue", "! queue ! queue max-size-buffers=2" };
  static const gchar *const properties[] = { "", "batch-size=4" };

  write_all_kinds ();
  for (guint k = 0; k < G_N_ELEMENTS (properties); k++) {
    Output whole = embed_folder (scratch, "decode=whole", "", properties[k]);

    fail_unless_equals_int (whole.buffers->len, 29);
    fail_unless_equals_int (whole.regions, 0);
    for (guint i = 0; i < G_N_ELEMENTS (between); i++) {
      Output regions = embed_folder (scratch, "", between[i], properties[k]);

      assert_same_output (&whole, &regions);
      /* Of the JPEGs large enough, but for the nearly square ones: there little is to be saved. */
      fail_unless (regions.regions >= 14, "%u regions", regions.regions);
      fail_unless_equals_int (regions.halves, 0);
      output_clear (&regions);
    }
    output_clear (&whole);
  }
}

GST_END_TEST;

/* The network looks at 32 of 37 pixels: from a short side of 74 pixels on half the size is enough. */
GST_START_TEST (scaled_regions_are_of_large_pictures_only_and_nearly_the_same)
{
  Output whole, scaled;

  write_all_kinds ();
  write_jpeg ("large.jpg", 400, 301, FALSE, 8);
  whole = embed_folder (scratch, "decode=whole", "", "");
  scaled = embed_folder (scratch, "decode=scaled", "! queue", "");
  fail_unless_equals_int (whole.buffers->len, scaled.buffers->len);
  for (guint i = 0; i < whole.buffers->len; i++) {
    GstBuffer *x = g_ptr_array_index (whole.buffers, i), *y = g_ptr_array_index (scaled.buffers, i);
    gdouble likeness = cosine (vector_of (x, DIM), vector_of (y, DIM), DIM);
    GstPirlRegion region;
    gboolean half = gst_pirl_region_get (y, &region) && region.divisor == 2;

    fail_unless (half ? likeness > 0.9 : compare_memory (x, y, 0) == 0, "picture %u: %g", i,
        likeness);
    if (half)
      fail_unless (MIN (region.full_width, region.full_height) >= 74);
  }
  /* 150 x 149 in colour and grey, and the large one. */
  fail_unless_equals_int (scaled.halves, 3);
  output_clear (&whole);
  output_clear (&scaled);
}

GST_END_TEST;

/* Who sees frames, sees whole ones: beside, between or behind what asks for regions. */
GST_START_TEST (others_see_whole_pictures)
{
#define EMBED "pirlembed n-threads=1 model-file="
  static const gchar *const lines[][2] = {
    {"! tee name=t t. ! queue ! " EMBED, " ! other/tensors ! fakesink async=false "
          "t. ! queue ! fakesink name=sink"},
    {"! identity ! " EMBED, " ! other/tensors ! fakesink name=sink"},
    {"! videoconvert ! video/x-raw,format=I420 ! " EMBED, " ! other/tensors ! fakesink name=sink"},
    {"! videoscale ! video/x-raw,width=80,height=80 ! " EMBED,
          " ! other/tensors ! fakesink name=sink"},
    {"! " EMBED, " ! fakesink name=sink"},
    {"! " EMBED, " ! video/x-raw ! fakesink name=sink"},
    {"size=50 ! " EMBED, " ! other/tensors ! fakesink name=sink"},
  };

  write_jpeg ("a.jpg", 200, 100, FALSE, 0);
  write_jpeg ("b.jpg", 100, 180, FALSE, 0);
  for (guint i = 0; i < G_N_ELEMENTS (lines); i++) {
    g_autofree gchar *line = g_strconcat (lines[i][0], model_a, lines[i][1], NULL);
    Output output = run_line (scratch, line);

    fail_unless_equals_int (output.buffers->len, 2);
    fail_unless (output.regions == 0, "%s: a region", line);
    output_clear (&output);
  }
}

GST_END_TEST;

/* The probe of dataset-run.h also tells the sizes. */
GST_START_TEST (a_probe_on_the_way_sees_whole_pictures)
{
  g_autofree gchar *rest = g_strdup_printf ("queue ! pirlembed n-threads=1 model-file=%s "
      "! other/tensors ! fakesink", model_a);
  Run *run;

  write_jpeg ("a.jpg", 200, 100, FALSE, 0);
  run = run_new_at (scratch, "", rest);
  run_through (run);
  fail_unless (run->eos, "%s", run->error);
  fail_unless_equals_int (frame_at (run, 0)->width, 200);
  fail_unless_equals_int (frame_at (run, 0)->height, 100);
  run_free (run);
}

GST_END_TEST;

GST_START_TEST (damaged_files_give_the_same)
{
  g_autofree gchar *folder = NULL;
  Output whole, regions;

  if (g_getenv ("PIRL_TEST_DATA"))
    folder = g_build_filename (g_getenv ("PIRL_TEST_DATA"), "corrupt-jpeg", NULL);
  else
    folder = g_strdup ("../shared/data/corrupt-jpeg");
  if (!g_file_test (folder, G_FILE_TEST_IS_DIR)) {
    g_print ("no %s: skipped\n", folder);
    return;
  }
  whole = embed_folder (folder, "decode=whole", "", "");
  regions = embed_folder (folder, "decode=region", "", "");
  g_print ("%u of the damaged pictures, %u of them in part\n", regions.buffers->len,
      regions.regions);
  assert_same_output (&whole, &regions);
  fail_unless (regions.regions > 0);
  output_clear (&whole);
  output_clear (&regions);
}

GST_END_TEST;

/* A model that looks at more than is being decoded must not take over. */
GST_START_TEST (a_model_with_another_crop_is_refused_while_regions_come)
{
  g_autofree gchar *larger = make_model ("larger.safetensors", 5, DIM, 8, 48);
  g_autofree gchar *line = g_strdup_printf ("pirldatasetsrc location=%s epochs=0 n-threads=1 "
      "! pirlembed name=embed model-file=%s n-threads=1 ! other/tensors ! fakesink", scratch, model_a);
  g_autofree gchar *in_use = NULL;
  GstElement *pipeline, *embed;
  GstMessage *message;
  GError *error = NULL;
  GstBus *bus;

  write_jpeg ("a.jpg", 200, 100, FALSE, 0);
  pipeline = gst_parse_launch (line, NULL);
  embed = gst_bin_get_by_name (GST_BIN (pipeline), "embed");
  bus = gst_element_get_bus (pipeline);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, PATIENCE, GST_MESSAGE_ASYNC_DONE | GST_MESSAGE_ERROR);
  fail_unless (message && GST_MESSAGE_TYPE (message) == GST_MESSAGE_ASYNC_DONE);
  gst_message_unref (message);
  g_object_set (embed, "model-file", larger, NULL);
  message = gst_bus_timed_pop_filtered (bus, PATIENCE, GST_MESSAGE_WARNING | GST_MESSAGE_ERROR);
  fail_unless (message && GST_MESSAGE_TYPE (message) == GST_MESSAGE_WARNING);
  gst_message_parse_warning (message, &error, NULL);
  fail_unless (strstr (error->message, "centre") != NULL, "%s", error->message);
  g_clear_error (&error);
  gst_message_unref (message);
  g_object_get (embed, "model-file", &in_use, NULL);
  fail_unless_equals_string (in_use, model_a);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (bus);
  gst_object_unref (embed);
  gst_object_unref (pipeline);
  g_unlink (larger);
}

GST_END_TEST;

/* ---- one view ------------------------------------------------------------------------------ */

/* In the place of pirltrainsink: says whether it looks at image views only, and keeps what comes. */
typedef struct {
  GPtrArray *buffers;
  gboolean image_only;
  GMutex lock;
  GCond ended;
  gboolean eos;
} Trainer;

static GstFlowReturn
trainer_chain (GstPad * pad, GstObject * parent, GstBuffer * buffer)
{
  Trainer *trainer = gst_pad_get_element_private (pad);

  g_ptr_array_add (trainer->buffers, buffer);
  return GST_FLOW_OK;
}

static gboolean
trainer_event (GstPad * pad, GstObject * parent, GstEvent * event)
{
  Trainer *trainer = gst_pad_get_element_private (pad);

  g_mutex_lock (&trainer->lock);
  trainer->eos |= GST_EVENT_TYPE (event) == GST_EVENT_EOS;
  g_cond_signal (&trainer->ended);
  g_mutex_unlock (&trainer->lock);
  gst_event_unref (event);
  return TRUE;
}

static gboolean
trainer_query (GstPad * pad, GstObject * parent, GstQuery * query)
{
  Trainer *trainer = gst_pad_get_element_private (pad);

  if (gst_pirl_is_views_query (query, pad))
    return trainer->image_only;
  if (GST_QUERY_TYPE (query) == GST_QUERY_ACCEPT_CAPS) {
    gst_query_set_accept_caps_result (query, TRUE);
    return TRUE;
  }
  return FALSE;
}

/* The views of the scratch folder's pictures, two epochs. */
static Output
views_of (const gchar * decode, gboolean image_only)
{
  g_autofree gchar *line = g_strdup_printf ("pirldatasetsrc location=%s shuffle=false n-threads=2 "
      "epochs=2 decode=%s ! pirljigsaw name=jigsaw image-size=32 n-threads=1 seed=9", scratch, decode);
  Output output = { g_ptr_array_new_with_free_func ((GDestroyNotify) gst_buffer_unref) };
  Trainer trainer = {.buffers = output.buffers,.image_only = image_only };
  GstElement *pipeline = gst_parse_launch (line, NULL);
  GstElement *jigsaw = gst_bin_get_by_name (GST_BIN (pipeline), "jigsaw");
  GstPad *pad = gst_pad_new ("sink", GST_PAD_SINK), *src = gst_element_get_static_pad (jigsaw, "src");

  g_mutex_init (&trainer.lock);
  g_cond_init (&trainer.ended);
  gst_pad_set_element_private (pad, &trainer);
  gst_pad_set_chain_function (pad, trainer_chain);
  gst_pad_set_event_function (pad, trainer_event);
  gst_pad_set_query_function (pad, trainer_query);
  gst_pad_set_active (pad, TRUE);
  fail_unless_equals_int (gst_pad_link (src, pad), GST_PAD_LINK_OK);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  g_mutex_lock (&trainer.lock);
  while (!trainer.eos)
    g_cond_wait (&trainer.ended, &trainer.lock);
  g_mutex_unlock (&trainer.lock);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_pad_unlink (src, pad);
  gst_pad_set_active (pad, FALSE);
  gst_object_unref (src);
  gst_object_unref (pad);
  gst_object_unref (jigsaw);
  gst_object_unref (pipeline);
  g_mutex_clear (&trainer.lock);
  g_cond_clear (&trainer.ended);
  count_regions (&output);
  return output;
}

static gboolean
is_black (GstBuffer * buffer, guint nth)
{
  GstMemory *memory = gst_buffer_peek_memory (buffer, nth);
  gboolean black = TRUE;
  GstMapInfo map;

  fail_unless (gst_memory_map (memory, &map, GST_MAP_READ));
  for (gsize i = 0; i < map.size; i++)
    black &= map.data[i] == 0;
  gst_memory_unmap (memory, &map);
  return black;
}

static gchar *
crop_of_image_view (GstBuffer * buffer)
{
  const GstStructure *s =
      gst_custom_meta_get_structure (gst_buffer_get_custom_meta (buffer, GST_PIRL_PRETEXT_META));

  return gst_value_serialize (gst_structure_get_value (s, "crops"));
}

GST_START_TEST (image_views_of_regions_are_those_of_pictures)
{
  Output both, one, regions, scaled;

  write_all_kinds ();
  write_jpeg ("large.jpg", 300, 201, FALSE, 0);
  both = views_of ("region", FALSE);
  one = views_of ("whole", TRUE);
  regions = views_of ("region", TRUE);
  scaled = views_of ("scaled", TRUE);
  fail_unless_equals_int (both.buffers->len, 60);
  fail_unless_equals_int (both.regions, 0);
  fail_unless_equals_int (one.regions, 0);
  fail_unless (regions.regions >= 20, "%u regions", regions.regions);
  fail_unless (regions.halves == 0 && scaled.halves > 0, "%u halves", scaled.halves);
  assert_same_output (&both, &one);
  assert_same_output (&both, &regions);
  for (guint i = 0; i < both.buffers->len; i++) {
    g_autofree gchar *want = crop_of_image_view (g_ptr_array_index (both.buffers, i));
    g_autofree gchar *got = crop_of_image_view (g_ptr_array_index (regions.buffers, i));

    fail_unless_equals_string (got, want);
    fail_unless (is_black (g_ptr_array_index (one.buffers, i), 1));
    fail_unless (is_black (g_ptr_array_index (regions.buffers, i), 1));
    fail_if (is_black (g_ptr_array_index (both.buffers, i), 1));
  }
  output_clear (&both);
  output_clear (&one);
  output_clear (&regions);
  output_clear (&scaled);
}

GST_END_TEST;

/* The loss after some steps: the same however the pictures were decoded. */
static gdouble
loss_of (const gchar * decode, const gchar * objective)
{
  g_autofree gchar *line = g_strdup_printf ("pirldatasetsrc location=%s labels=folder seed=3 epochs=3 "
      "decode=%s ! pirljigsaw image-size=32 n-threads=1 ! pirltrainsink name=sink objective=%s "
      "arch=resnet18 width=0.125 batch-size=4 device=cpu precision=f32 n-threads=1 negatives=4",
      scratch, decode, objective);
  GstElement *pipeline = gst_parse_launch (line, NULL), *sink;
  GstStructure *stats = NULL;
  gdouble loss = 0;

  fail_unless (pipeline != NULL, "%s", line);
  sink = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  play_to_the_end (pipeline);
  g_object_get (sink, "training-stats", &stats, NULL);
  fail_unless (gst_structure_get_double (stats, "loss", &loss));
  gst_structure_free (stats);
  gst_object_unref (sink);
  gst_object_unref (pipeline);
  return loss;
}

GST_START_TEST (trainings_of_one_view_are_the_same)
{
  for (guint i = 0; i < 8; i++) {
    g_autofree gchar *name = g_strdup_printf ("%s/%u.jpg", i % 2 ? "a" : "b", i);

    write_jpeg (name, 120 + 9 * i, 90 - 2 * i, FALSE, 0);
  }
  fail_unless_equals_float (loss_of ("whole", "supervised"), loss_of ("region", "supervised"));
  fail_unless_equals_float (loss_of ("whole", "npid"), loss_of ("region", "npid"));
}

GST_END_TEST;

static Suite *
crop_suite (void)
{
  Suite *s = suite_create ("pirlcrop");
  TCase *tc = tcase_create ("regions");

  suite_add_tcase (s, tc);
  tcase_set_timeout (tc, 300);
  tcase_add_unchecked_fixture (tc, make_models, remove_models);
  tcase_add_checked_fixture (tc, setup_scratch, teardown_scratch);
  tcase_add_test (tc, embeddings_of_regions_are_those_of_pictures);
  tcase_add_test (tc, scaled_regions_are_of_large_pictures_only_and_nearly_the_same);
  tcase_add_test (tc, others_see_whole_pictures);
  tcase_add_test (tc, a_probe_on_the_way_sees_whole_pictures);
  tcase_add_test (tc, damaged_files_give_the_same);
  tcase_add_test (tc, a_model_with_another_crop_is_refused_while_regions_come);
  tcase_add_test (tc, image_views_of_regions_are_those_of_pictures);
  tcase_add_test (tc, trainings_of_one_view_are_the_same);
  return s;
}

int
main (int argc, char **argv)
{
  leaks_watch ();
  gst_check_init (&argc, &argv);
  gst_pirl_meta_init ();
  return gst_check_run_suite (crop_suite (), "pirlcrop", __FILE__);
}
