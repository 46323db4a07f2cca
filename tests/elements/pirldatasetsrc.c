/* gst-pirl: tests of how pirldatasetsrc sends samples, one behaviour each. What it finds at a
 * location is tested in pirldatasetsrc-listing.c.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dataset-run.h"

#include <unistd.h>

/* ---- order --------------------------------------------------------------------------------- */

/* From tests/golden/philox.py: Fisher-Yates from the end, j = word * (i + 1) >> 32 with the words of
 * the stream (seed 7, epoch, index 0, SHUFFLE). */
#define ORDER_0 "9 0 6 4 5 7 8 3 1 2"
#define ORDER_1 "7 6 5 4 2 0 9 3 8 1"

GST_START_TEST (order_is_that_of_the_documented_stream)
{
  g_autofree gchar *indices = NULL;
  Run *run;

  write_pictures (10, 4, 4);
  run = run_well ("seed=7 epochs=2");
  indices = indices_of (run);
  fail_unless_equals_string (indices, ORDER_0 " " ORDER_1);
  for (guint i = 0; i < 20; i++) {
    const Frame *frame = frame_at (run, i);
    g_autofree gchar *name = g_strdup_printf ("%03u.png", (guint) frame->index);

    fail_unless_equals_string (frame->name, name);
    fail_unless_equals_int (frame->epoch, i / 10);
    fail_unless_equals_uint64 (frame->position, i % 10);
    fail_unless_equals_uint64 (frame->count, 10);
  }
  run_free (run);
}

GST_END_TEST;

GST_START_TEST (without_shuffle_the_order_is_the_listings)
{
  g_autofree gchar *indices = NULL;
  Run *run;

  write_pictures (4, 4, 4);
  run = run_well ("shuffle=false epochs=3 seed=7");
  indices = indices_of (run);
  fail_unless_equals_string (indices, "0 1 2 3 0 1 2 3 0 1 2 3");
  run_free (run);
}

GST_END_TEST;

static void
assert_same_frames (const Run * a, const Run * b)
{
  fail_unless_equals_int (a->frames->len, b->frames->len);
  for (guint i = 0; i < a->frames->len; i++) {
    const Frame *x = frame_at (a, i), *y = frame_at (b, i);

    fail_unless_equals_uint64 (x->index, y->index);
    fail_unless_equals_uint64 (x->pts, y->pts);
    fail_unless_equals_int (x->width, y->width);
    fail_unless_equals_int (x->height, y->height);
    fail_unless_equals_string (x->sum, y->sum);
  }
}

GST_START_TEST (any_number_of_threads_gives_the_same_samples)
{
  const gchar *settings[] = { "", "max-size=20", "size=16" };
  const guint threads[] = { 2, 3, 4, 0 };

  for (guint i = 0; i < 40; i++) {
    g_autofree gchar *name = g_strdup_printf ("%03u.png", i);

    /* Sizes that take times of every kind. */
    write_picture (name, 8 + (i * 37) % 300, 8 + (i * 91) % 200, i);
  }
  write_text ("007.png", "broken", -1);
  for (guint s = 0; s < G_N_ELEMENTS (settings); s++) {
    g_autofree gchar *one = g_strdup_printf ("epochs=2 n-threads=1 %s", settings[s]);
    Run *reference = run_well (one);

    fail_unless_equals_int (reference->frames->len, 78);
    for (guint t = 0; t < G_N_ELEMENTS (threads); t++) {
      g_autofree gchar *many = g_strdup_printf ("epochs=2 n-threads=%u %s", threads[t],
          settings[s]);
      Run *run = run_well (many);

      assert_same_frames (reference, run);
      run_free (run);
    }
    run_free (reference);
  }
}

GST_END_TEST;

GST_START_TEST (shards_are_disjoint_and_equal_and_deal_the_order_out)
{
  const gchar *orders[] = { ORDER_0, ORDER_1 };

  write_pictures (10, 4, 4);
  for (guint rank = 0; rank < 3; rank++) {
    g_autofree gchar *settings = g_strdup_printf ("seed=7 epochs=2 world-size=3 rank=%u", rank);
    Run *run = run_well (settings);

    fail_unless_equals_int (run->frames->len, 6);
    fail_unless_equals_uint64 (run->dataset.count, 3);
    fail_unless_equals_uint64 (run->dataset.total, 10);
    for (guint i = 0; i < 6; i++) {
      /* One digit and one space a sample. */
      guint want = orders[i / 3][2 * (rank + 3 * (i % 3))] - '0';

      fail_unless_equals_uint64 (frame_at (run, i)->index, want);
      fail_unless_equals_uint64 (frame_at (run, i)->position, i % 3);
    }
    run_free (run);
  }
}

GST_END_TEST;

GST_START_TEST (range_is_part_of_the_listing_with_indices_from_0)
{
  g_autofree gchar *names = NULL, *indices = NULL;
  Run *run;

  write_pictures (10, 4, 4);
  run = run_well ("shuffle=false start-index=3 stop-index=6");
  names = names_of (run);
  indices = indices_of (run);
  fail_unless_equals_string (names, "003.png 004.png 005.png");
  fail_unless_equals_string (indices, "0 1 2");
  fail_unless_equals_uint64 (run->dataset.count, 3);
  run_free (run);

  run = run_well ("shuffle=false start-index=8 stop-index=100");
  fail_unless_equals_int (run->frames->len, 2);
  run_free (run);
}

GST_END_TEST;

GST_START_TEST (ranges_and_shards_that_cannot_be_are_errors)
{
  write_pictures (3, 4, 4);
  expect_error (scratch, "start-index=3", "start-index is 3|3 samples");
  expect_error (scratch, "start-index=2 stop-index=2", "stop-index (2)");
  expect_error (scratch, "rank=2 world-size=2", "rank is 2|0 to 1");
  expect_error (scratch, "world-size=4", "3 samples|world-size=4");
}

GST_END_TEST;

/* ---- epochs and time ------------------------------------------------------------------------ */

static guint64
epoch_field (const Run * run, guint i, const gchar * field)
{
  guint64 value = G_MAXUINT64;

  fail_unless (i < run->epochs->len);
  fail_unless (gst_structure_get_uint64 (g_ptr_array_index (run->epochs, i), field, &value));
  return value;
}

GST_START_TEST (every_epoch_is_reported)
{
  Run *run;

  write_pictures (5, 4, 4);
  write_text ("002.png", "broken", -1);
  run = run_well ("epochs=3");
  fail_unless_equals_int (run->epochs->len, 3);
  for (guint i = 0; i < 3; i++) {
    guint epoch;

    fail_unless (gst_structure_get_uint (g_ptr_array_index (run->epochs, i), "epoch", &epoch));
    fail_unless_equals_int (epoch, i);
    fail_unless_equals_uint64 (epoch_field (run, i, "samples"), 4);
    fail_unless_equals_uint64 (epoch_field (run, i, "unreadable"), 1);
  }
  run_free (run);
}

GST_END_TEST;

GST_START_TEST (zero_epochs_are_endless)
{
  Run *run;

  write_pictures (3, 4, 4);
  run = run_well ("epochs=0 num-buffers=20");
  fail_unless_equals_int (run->frames->len, 20);
  fail_unless_equals_int (frame_at (run, 19)->epoch, 6);
  fail_unless_equals_int (run->dataset.epochs, 0);
  run_free (run);
}

GST_END_TEST;

GST_START_TEST (time_is_the_samples_number_by_the_framerate)
{
  Run *run;

  write_pictures (4, 4, 4);
  run = run_well ("epochs=2 framerate=30/7");
  for (guint i = 0; i < 8; i++) {
    const Frame *frame = frame_at (run, i);
    /* Rounded down: 7/30 s = 233 333 333.3 ns. */
    GstClockTime pts = G_GUINT64_CONSTANT (7000000000) * i / 30;

    fail_unless_equals_uint64 (frame->pts, pts);
    fail_unless_equals_uint64 (frame->pts + frame->duration,
        G_GUINT64_CONSTANT (7000000000) * (i + 1) / 30);
    fail_unless_equals_uint64 (frame->offset, i);
    fail_unless (frame->discont == (i == 0));
  }
  run_free (run);
}

GST_END_TEST;

/* Prerolled, and ready to be asked. */
static Run *
run_paused (const gchar * settings)
{
  Run *run = run_new (settings);

  gst_element_set_state (run->pipeline, GST_STATE_PAUSED);
  fail_unless_equals_int (gst_element_get_state (run->pipeline, NULL, NULL, PATIENCE),
      GST_STATE_CHANGE_SUCCESS);
  return run;
}

GST_START_TEST (length_position_and_conversions_are_known_in_both_formats)
{
  Run *run;
  gint64 value, start, stop;
  gboolean seekable;
  GstQuery *query;

  write_pictures (10, 4, 4);
  run = run_paused ("epochs=3 framerate=10/1");
  fail_unless (gst_element_query_duration (run->pipeline, GST_FORMAT_DEFAULT, &value));
  fail_unless_equals_int64 (value, 30);
  fail_unless (gst_element_query_duration (run->pipeline, GST_FORMAT_TIME, &value));
  fail_unless_equals_int64 (value, 3 * GST_SECOND);
  fail_if (gst_element_query_duration (run->src, GST_FORMAT_BYTES, &value));
  fail_unless (gst_element_query_convert (run->src, GST_FORMAT_TIME, 1250 * GST_MSECOND,
          GST_FORMAT_DEFAULT, &value));
  fail_unless_equals_int64 (value, 12);
  fail_unless (gst_element_query_convert (run->src, GST_FORMAT_DEFAULT, 12, GST_FORMAT_TIME,
          &value));
  fail_unless_equals_int64 (value, 1200 * GST_MSECOND);
  query = gst_query_new_seeking (GST_FORMAT_DEFAULT);
  fail_unless (gst_element_query (run->src, query));
  gst_query_parse_seeking (query, NULL, &seekable, &start, &stop);
  fail_unless (seekable && start == 0 && stop == 30);
  gst_query_unref (query);
  gst_element_set_state (run->pipeline, GST_STATE_PLAYING);
  run_until (run, GST_MESSAGE_EOS, PATIENCE);
  fail_unless (gst_element_query_position (run->src, GST_FORMAT_DEFAULT, &value));
  fail_unless_equals_int64 (value, 30);
  run_free (run);

  run = run_paused ("epochs=0");
  fail_if (gst_element_query_duration (run->pipeline, GST_FORMAT_TIME, &value));
  run_free (run);
}

GST_END_TEST;

/* ---- seeking ------------------------------------------------------------------------------- */

static void
assert_seek (const Run * run, GstFormat format, GstSeekFlags flags, gint64 start, gint64 stop,
    gboolean works)
{
  gboolean ok = gst_element_seek (run->pipeline, 1.0, format, flags, GST_SEEK_TYPE_SET, start,
      stop >= 0 ? GST_SEEK_TYPE_SET : GST_SEEK_TYPE_NONE, stop);

  fail_unless (ok == works);
}

/* Seeks a paused run, plays the rest; only frames after the seek stay. */
static Run *
run_sought (const gchar * settings, GstFormat format, gint64 start, gint64 stop)
{
  Run *run = run_paused (settings);

  g_mutex_lock (&run->lock);
  g_array_set_size (run->frames, 0);
  g_mutex_unlock (&run->lock);
  assert_seek (run, format, GST_SEEK_FLAG_FLUSH | GST_SEEK_FLAG_ACCURATE, start, stop, TRUE);
  run_through (run);
  fail_unless (run->error == NULL, "%s", run->error);
  return run;
}

GST_START_TEST (seeks_by_sample_and_by_time)
{
  g_autofree gchar *indices = NULL;
  Run *whole, *run;

  write_pictures (10, 4, 4);
  whole = run_well ("seed=7 epochs=2 framerate=30/1");
  run = run_sought ("seed=7 epochs=2 framerate=30/1", GST_FORMAT_DEFAULT, 13, -1);
  fail_unless_equals_int (run->frames->len, 7);
  for (guint i = 0; i < 7; i++) {
    fail_unless_equals_uint64 (frame_at (run, i)->index, frame_at (whole, 13 + i)->index);
    fail_unless_equals_uint64 (frame_at (run, i)->pts, frame_at (whole, 13 + i)->pts);
    fail_unless_equals_uint64 (frame_at (run, i)->epoch, 1);
  }
  fail_unless (frame_at (run, 0)->discont);
  run_free (run);

  run = run_sought ("seed=7 epochs=2 framerate=10/1", GST_FORMAT_TIME, 450 * GST_MSECOND, -1);
  fail_unless_equals_int (run->frames->len, 16);
  fail_unless_equals_uint64 (frame_at (run, 0)->offset, 4);
  run_free (run);

  run = run_sought ("seed=7 epochs=2", GST_FORMAT_DEFAULT, 2, 5);
  indices = indices_of (run);
  fail_unless_equals_string (indices, "6 4 5");
  run_free (run);
  run_free (whole);
}

GST_END_TEST;

GST_START_TEST (seeking_behind_the_end_is_eos_and_backwards_is_refused)
{
  Run *run;

  write_pictures (4, 4, 4);
  run = run_sought ("", GST_FORMAT_DEFAULT, 4, -1);
  fail_unless (run->eos);
  fail_unless_equals_int (run->frames->len, 0);
  run_free (run);

  run = run_paused ("");
  fail_if (gst_element_seek (run->pipeline, -1.0, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH,
          GST_SEEK_TYPE_SET, 0, GST_SEEK_TYPE_NONE, -1));
  run_free (run);
}

GST_END_TEST;

GST_START_TEST (seeks_again_and_again_while_it_plays)
{
  Run *run;

  write_pictures (30, 64, 64);
  run = run_new ("seed=3 epochs=0 n-threads=3");
  gst_element_set_state (run->pipeline, GST_STATE_PLAYING);
  for (guint i = 0; i < 60; i++) {
    gint64 target = (i * 7919) % 1000;
    gboolean found = FALSE;

    g_mutex_lock (&run->lock);
    g_array_set_size (run->frames, 0);
    g_mutex_unlock (&run->lock);
    assert_seek (run, GST_FORMAT_DEFAULT, GST_SEEK_FLAG_FLUSH, target, -1, TRUE);
    gst_element_get_state (run->pipeline, NULL, NULL, PATIENCE);
    g_mutex_lock (&run->lock);
    for (guint k = 0; k < run->frames->len; k++)
      found |= frame_at (run, k)->offset == (guint64) target;
    g_mutex_unlock (&run->lock);
    fail_unless (found, "seek %u to sample %d", i, (gint) target);
  }
  run_free (run);
}

GST_END_TEST;

/* ---- resume -------------------------------------------------------------------------------- */

typedef struct {
  guint64 epoch, index, seed;
  const gchar *hash;
  guint asked;
} Answer;

static GstPadProbeReturn
answer_resume (GstPad * pad, GstPadProbeInfo * info, gpointer data)
{
  GstQuery *query = GST_PAD_PROBE_INFO_QUERY (info);
  Answer *answer = data;

  if (!gst_pirl_is_resume_query (query))
    return GST_PAD_PROBE_OK;
  answer->asked++;
  if (answer->hash == NULL)
    return GST_PAD_PROBE_OK;
  gst_pirl_resume_answer (query, answer->epoch, answer->index, answer->seed, answer->hash);
  return GST_PAD_PROBE_HANDLED;
}

/* A run whose sink, behind an element, answers. */
static Run *
run_resumable (const gchar * settings, Answer * answer)
{
  Run *run = run_new_at (scratch, settings, "identity ! fakesink name=sink");
  GstElement *sink = gst_bin_get_by_name (GST_BIN (run->pipeline), "sink");
  GstPad *pad = gst_element_get_static_pad (sink, "sink");

  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_QUERY_DOWNSTREAM, answer_resume, answer, NULL);
  gst_object_unref (pad);
  gst_object_unref (sink);
  return run;
}

GST_START_TEST (resumes_where_the_sink_says)
{
  Run *whole, *run;
  Answer answer = { 1, 4, 7, NULL, 0 };

  write_pictures (10, 4, 4);
  whole = run_well ("seed=7 epochs=3 framerate=10/1");
  answer.hash = whole->dataset.hash;
  run = run_resumable ("seed=7 epochs=3 framerate=10/1", &answer);
  run_through (run);
  fail_unless (run->error == NULL, "%s", run->error);
  fail_unless_equals_int (answer.asked, 1);
  fail_unless_equals_int (run->frames->len, 16);
  for (guint i = 0; i < 16; i++) {
    const Frame *got = frame_at (run, i), *want = frame_at (whole, 14 + i);

    fail_unless_equals_uint64 (got->index, want->index);
    fail_unless_equals_uint64 (got->position, want->position);
    fail_unless_equals_int (got->epoch, want->epoch);
    fail_unless_equals_uint64 (got->pts, want->pts);
  }
  /* Running time begins at 0. */
  fail_unless_equals_uint64 (run->segment_start, 1400 * GST_MSECOND);
  fail_unless_equals_int (run->n_dataset, 1);
  run_free (run);

  /* The end of an epoch is the beginning of the next; the end of all is the end. */
  answer.index = 10;
  run = run_resumable ("seed=7 epochs=3", &answer);
  run_through (run);
  fail_unless_equals_int (run->frames->len, 10);
  fail_unless_equals_int (frame_at (run, 0)->epoch, 2);
  run_free (run);
  answer.epoch = 3;
  answer.index = 0;
  run = run_resumable ("seed=7 epochs=3", &answer);
  run_through (run);
  fail_unless (run->eos && run->error == NULL && run->frames->len == 0);
  run_free (run);
  run_free (whole);
}

GST_END_TEST;

GST_START_TEST (resuming_other_data_or_another_order_is_an_error)
{
  Answer answers[] = {
    {0, 1, 7, "0123456789abcdef", 0}, {0, 1, 8, NULL, 0}, {0, 11, 7, NULL, 0},
  };
  const gchar *words[] = { "0123456789abcdef", "seed=8", "sample 11" };
  Run *whole;

  write_pictures (10, 4, 4);
  whole = run_well ("seed=7");
  for (guint i = 0; i < G_N_ELEMENTS (answers); i++) {
    Run *run;

    if (answers[i].hash == NULL)
      answers[i].hash = whole->dataset.hash;
    run = run_resumable ("seed=7", &answers[i]);
    run_through (run);
    fail_unless (run->error != NULL && strstr (run->error, words[i]) != NULL, "%s", run->error);
    fail_unless_equals_int (run->frames->len, 0);
    run_free (run);
  }
  run_free (whole);
}

GST_END_TEST;

GST_START_TEST (resume_is_asked_once_a_run)
{
  Answer answer = { 0, 0, 0, NULL, 0 };
  Run *run;

  write_pictures (10, 4, 4);
  run = run_resumable ("", &answer);
  gst_element_set_state (run->pipeline, GST_STATE_PAUSED);
  gst_element_get_state (run->pipeline, NULL, NULL, PATIENCE);
  fail_unless_equals_int (answer.asked, 1);
  assert_seek (run, GST_FORMAT_DEFAULT, GST_SEEK_FLAG_FLUSH, 0, -1, TRUE);
  run_through (run);
  fail_unless_equals_int (answer.asked, 1);
  gst_element_set_state (run->pipeline, GST_STATE_NULL);
  run_through (run);
  fail_unless_equals_int (answer.asked, 2);
  run_free (run);
}

GST_END_TEST;

GST_START_TEST (dataset_event_comes_before_the_caps)
{
  Run *run;

  write_pictures (10, 4, 4);
  run = run_well ("seed=9 epochs=4");
  fail_unless_equals_int (run->n_dataset, 1);
  fail_unless (run->dataset_before_caps);
  fail_unless_equals_uint64 (run->dataset.count, 10);
  fail_unless_equals_uint64 (run->dataset.total, 10);
  fail_unless_equals_int (run->dataset.epochs, 4);
  fail_unless_equals_uint64 (run->dataset.seed, 9);
  fail_unless (run->dataset.class_names == NULL);
  run_free (run);
}

GST_END_TEST;

/* ---- sizes and pixels ------------------------------------------------------------------------ */

static GstPadProbeReturn
check_pixels (GstPad * pad, GstPadProbeInfo * info, gpointer data)
{
  GstCaps *caps = gst_pad_get_current_caps (pad);
  GstVideoFrame frame;
  GstVideoInfo video;
  guint *n = data;

  fail_unless (gst_video_info_from_caps (&video, caps));
  fail_unless (gst_video_frame_map (&frame, &video, GST_PAD_PROBE_INFO_BUFFER (info), GST_MAP_READ));
  for (gint y = 0; y < GST_VIDEO_FRAME_HEIGHT (&frame); y++) {
    const guint8 *row = (guint8 *) GST_VIDEO_FRAME_PLANE_DATA (&frame, 0)
        + y * GST_VIDEO_FRAME_PLANE_STRIDE (&frame, 0);

    for (gint x = 0; x < GST_VIDEO_FRAME_WIDTH (&frame); x++) {
      guint8 want[3];

      test_pixel (x, y, (*n), want);
      fail_unless (memcmp (row + 3 * x, want, 3) == 0, "picture %u, pixel %d, %d", *n, x, y);
    }
  }
  gst_video_frame_unmap (&frame);
  gst_caps_unref (caps);
  (*n)++;
  return GST_PAD_PROBE_OK;
}

GST_START_TEST (pixels_are_the_files_at_every_width)
{
  guint n = 0;
  GstPad *pad;
  Run *run;

  /* 5, 6, 7 and 8 pixels: all kinds of padding. */
  for (guint i = 0; i < 4; i++) {
    g_autofree gchar *name = g_strdup_printf ("%u.png", i);

    write_picture (name, 5 + i, 3, i);
  }
  run = run_new ("shuffle=false");
  pad = gst_element_get_static_pad (run->src, "src");
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, check_pixels, &n, NULL);
  gst_object_unref (pad);
  run_through (run);
  fail_unless_equals_int (n, 4);
  run_free (run);
}

GST_END_TEST;

/* Buffers that are kept, and their contents when they came. */
typedef struct {
  GPtrArray *buffers, *sums;
} Kept;

static gchar *
sum_of (GstBuffer * buffer)
{
  GstMapInfo map;
  gchar *sum;

  fail_unless (gst_buffer_map (buffer, &map, GST_MAP_READ));
  sum = g_compute_checksum_for_data (G_CHECKSUM_MD5, map.data, map.size);
  gst_buffer_unmap (buffer, &map);
  return sum;
}

/* Keeps every third, so that the others' memory is used again meanwhile. */
static GstPadProbeReturn
keep_some (GstPad * pad, GstPadProbeInfo * info, gpointer data)
{
  GstBuffer *buffer = GST_PAD_PROBE_INFO_BUFFER (info);
  Kept *kept = data;

  if (GST_BUFFER_OFFSET (buffer) % 3 == 0) {
    g_ptr_array_add (kept->buffers, gst_buffer_ref (buffer));
    g_ptr_array_add (kept->sums, sum_of (buffer));
  }
  return GST_PAD_PROBE_OK;
}

GST_START_TEST (pictures_that_are_kept_stay_as_they_are)
{
  static const gchar *settings[] = { "", "size=40", "max-size=50" };

  for (guint i = 0; i < 12; i++) {
    g_autofree gchar *name = g_strdup_printf ("%02u.png", i);

    write_picture (name, 35 + 7 * i, 90 - 6 * i, i);
  }
  for (guint i = 0; i < G_N_ELEMENTS (settings); i++) {
    g_autofree gchar *line = g_strdup_printf ("epochs=8 n-threads=2 %s", settings[i]);
    Kept kept = { g_ptr_array_new_with_free_func ((GDestroyNotify) gst_buffer_unref),
      g_ptr_array_new_with_free_func (g_free)
    };
    Run *run = run_new (line);
    GstPad *pad = gst_element_get_static_pad (run->src, "src");

    gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, keep_some, &kept, NULL);
    gst_object_unref (pad);
    run_through (run);
    /* The memory outlives what it came from. */
    run_free (run);
    fail_unless_equals_int (kept.buffers->len, 32);
    for (guint k = 0; k < kept.buffers->len; k++) {
      g_autofree gchar *sum = sum_of (g_ptr_array_index (kept.buffers, k));

      fail_unless_equals_string (sum, g_ptr_array_index (kept.sums, k));
    }
    g_ptr_array_unref (kept.buffers);
    g_ptr_array_unref (kept.sums);
  }
}

GST_END_TEST;

static GstPadProbeReturn
note_address (GstPad * pad, GstPadProbeInfo * info, gpointer data)
{
  GstMapInfo map;

  fail_unless (gst_buffer_map (GST_PAD_PROBE_INFO_BUFFER (info), &map, GST_MAP_READ));
  g_hash_table_add (data, map.data);
  gst_buffer_unmap (GST_PAD_PROBE_INFO_BUFFER (info), &map);
  return GST_PAD_PROBE_OK;
}

/* One worker has at most four pictures ready and one at work, the sink the last one. */
GST_START_TEST (memory_is_used_again)
{
  g_autoptr (GHashTable) addresses = g_hash_table_new (NULL, NULL);
  GstPad *pad;
  Run *run;

  write_pictures (10, 120, 90);
  run = run_new ("epochs=20 n-threads=1");
  pad = gst_element_get_static_pad (run->src, "src");
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, note_address, addresses, NULL);
  gst_object_unref (pad);
  run_through (run);
  fail_unless_equals_int (run->frames->len, 200);
  fail_unless (g_hash_table_size (addresses) <= 8, "%u different memories for 200 pictures",
      g_hash_table_size (addresses));
  run_free (run);
}

GST_END_TEST;

GST_START_TEST (caps_follow_the_sizes_and_only_them)
{
  Run *run;

  write_picture ("0.png", 20, 10, 0);
  write_picture ("1.png", 20, 10, 1);
  write_picture ("2.png", 10, 20, 2);
  run = run_well ("shuffle=false");
  fail_unless_equals_int (run->n_caps, 2);
  fail_unless_equals_int (frame_at (run, 2)->width, 10);
  run_free (run);

  run = run_well ("shuffle=false size=8 max-size=4");
  fail_unless_equals_int (run->n_caps, 1);
  fail_unless (frame_at (run, 2)->width == 8 && frame_at (run, 2)->height == 8);
  run_free (run);

  run = run_well ("shuffle=false max-size=15");
  fail_unless (frame_at (run, 0)->width == 15 && frame_at (run, 0)->height == 8);
  fail_unless (frame_at (run, 2)->width == 8 && frame_at (run, 2)->height == 15);
  run_free (run);

  run = run_well ("shuffle=false max-size=20");
  fail_unless (frame_at (run, 0)->width == 20 && frame_at (run, 0)->height == 10);
  run_free (run);
}

GST_END_TEST;

GST_START_TEST (caps_are_complete)
{
  Run *run;
  GstPad *pad;
  GstCaps *caps, *want;

  write_pictures (1, 6, 4);
  run = run_paused ("framerate=15/2");
  pad = gst_element_get_static_pad (run->src, "src");
  caps = gst_pad_get_current_caps (pad);
  want = gst_caps_from_string ("video/x-raw, format=RGB, width=6, height=4, framerate=15/2, "
      "pixel-aspect-ratio=1/1, interlace-mode=progressive, colorimetry=sRGB");
  fail_unless (gst_caps_is_equal (caps, want), "%" GST_PTR_FORMAT, caps);
  gst_caps_unref (caps);
  gst_caps_unref (want);
  gst_object_unref (pad);
  run_free (run);
}

GST_END_TEST;

GST_START_TEST (a_size_that_downstream_refuses_is_a_clear_error)
{
  Run *run;

  write_picture ("0.png", 8, 8, 0);
  write_picture ("1.png", 9, 9, 0);
  run = run_new_at (scratch, "shuffle=false", "video/x-raw,width=8 ! fakesink");
  run_through (run);
  fail_unless (run->error != NULL && strstr (run->error, "9 x 9") != NULL
      && strstr (run->error, "videoscale") != NULL, "%s", run->error);
  fail_unless_equals_int (run->frames->len, 1);
  run_free (run);
}

GST_END_TEST;

static GstPadProbeReturn
count_metas (GstPad * pad, GstPadProbeInfo * info, gpointer data)
{
  GstPirlSample sample;

  if (gst_pirl_sample_get (GST_PAD_PROBE_INFO_BUFFER (info), &sample) && sample.count == 4
      && g_str_has_suffix (sample.name, ".png"))
    (*(guint *) data)++;
  return GST_PAD_PROBE_OK;
}

GST_START_TEST (meta_survives_conversion_and_scaling)
{
  guint n = 0;
  GstElement *sink;
  GstPad *pad;
  Run *run;

  write_pictures (4, 20, 16);
  run = run_new_at (scratch, "", "videoconvert ! videoscale ! "
      "video/x-raw,format=I420,width=10,height=10 ! videoflip method=clockwise ! fakesink name=sink");
  sink = gst_bin_get_by_name (GST_BIN (run->pipeline), "sink");
  pad = gst_element_get_static_pad (sink, "sink");
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, count_metas, &n, NULL);
  gst_object_unref (pad);
  gst_object_unref (sink);
  run_through (run);
  fail_unless (run->error == NULL, "%s", run->error);
  fail_unless_equals_int (n, 4);
  run_free (run);
}

GST_END_TEST;

/* ---- unreadable pictures ---------------------------------------------------------------------- */

static guint64
stat_field (const Run * run, const gchar * field)
{
  GstStructure *stats;
  guint64 value = G_MAXUINT64;

  g_object_get (run->src, "stats", &stats, NULL);
  fail_unless (gst_structure_get_uint64 (stats, field, &value));
  gst_structure_free (stats);
  return value;
}

GST_START_TEST (unreadable_pictures_leave_gaps_and_are_named_once)
{
  g_autofree gchar *indices = NULL;
  Run *run;

  write_pictures (6, 4, 4);
  write_text ("001.png", "broken", -1);
  write_text ("004.png", "", 0);
  run = run_new ("shuffle=false epochs=2");
  run_through (run);
  fail_unless (run->eos && run->error == NULL);
  indices = indices_of (run);
  fail_unless_equals_string (indices, "0 2 3 5 0 2 3 5");
  fail_unless_equals_int (run->warnings->len, 2);
  fail_unless (strstr (g_ptr_array_index (run->warnings, 0), "001.png") != NULL);
  fail_unless (strstr (g_ptr_array_index (run->warnings, 1), "004.png") != NULL);
  fail_unless_equals_uint64 (stat_field (run, "unreadable"), 2);
  fail_unless_equals_uint64 (stat_field (run, "samples"), 8);
  fail_unless_equals_uint64 (frame_at (run, 1)->offset, 2);
  fail_unless_equals_uint64 (frame_at (run, 1)->position, 2);
  fail_unless (frame_at (run, 1)->discont && !frame_at (run, 2)->discont);
  run_free (run);
}

GST_END_TEST;

GST_START_TEST (many_unreadable_pictures_are_ten_warnings_and_a_summary)
{
  Run *run;

  write_pictures (30, 4, 4);
  for (guint i = 0; i < 25; i++) {
    g_autofree gchar *name = g_strdup_printf ("%03u.png", i);

    write_text (name, "broken", -1);
  }
  run = run_well ("epochs=2");
  fail_unless_equals_int (run->warnings->len, 11);
  fail_unless (g_str_has_prefix (g_ptr_array_index (run->warnings, 10), "25 of 30 pictures"));
  fail_unless_equals_int (run->frames->len, 10);
  run_free (run);
}

GST_END_TEST;

GST_START_TEST (an_epoch_without_a_picture_is_an_error)
{
  write_text ("1.jpg", "broken", -1);
  write_text ("2.jpg", "broken", -1);
  expect_error (scratch, "epochs=0", "None of the 2 pictures|warnings");
}

GST_END_TEST;

/* Links to the test data; FALSE where they are absent. */
static gboolean
link_data (const gchar * folder, const gchar * suffix, guint limit, guint * n)
{
  const gchar *root = g_getenv ("PIRL_TEST_DATA") ? g_getenv ("PIRL_TEST_DATA") : "../shared/data";
  g_autofree gchar *path = g_build_filename (root, folder, NULL);
  g_autofree gchar *absolute = g_canonicalize_filename (path, NULL);
  GDir *dir = g_dir_open (absolute, 0, NULL);
  const gchar *name;

  *n = 0;
  if (dir == NULL) {
    g_print ("not tested: no %s; set PIRL_TEST_DATA\n", absolute);
    return FALSE;
  }
  while (*n < limit && (name = g_dir_read_name (dir)) != NULL) {
    g_autofree gchar *target = g_build_filename (absolute, name, NULL);
    g_autofree gchar *link_name = g_strdup_printf ("%s-%u%s", folder, (*n)++, suffix);
    g_autofree gchar *link_path = place (link_name);

    fail_unless (symlink (target, link_path) == 0);
  }
  g_dir_close (dir);
  return TRUE;
}

GST_START_TEST (corrupt_jpegs_among_good_ones_do_no_harm)
{
  guint bad, good;
  guint64 readable;
  Run *run, *again;

  if (!link_data ("corrupt-jpeg", ".jpg", G_MAXUINT, &bad)
      || !link_data ("photos", ".jpg", 20, &good))
    return;
  run = run_well ("max-size=128 n-threads=2");
  readable = run->frames->len;
  g_print ("%u corrupt and %u good pictures: %u readable\n", bad, good, (guint) readable);
  fail_unless_equals_int (bad, 299);
  fail_unless (readable >= good && readable < bad + good);
  fail_unless_equals_uint64 (stat_field (run, "unreadable"), bad + good - readable);
  fail_unless_equals_uint64 (epoch_field (run, 0, "samples"), readable);
  again = run_well ("max-size=128 n-threads=4");
  assert_same_frames (run, again);
  run_free (again);
  run_free (run);
}

GST_END_TEST;

/* ---- states -------------------------------------------------------------------------------- */

GST_START_TEST (states_cycle_and_each_run_begins_anew)
{
  Run *run;

  write_pictures (10, 4, 4);
  run = run_new ("seed=7");
  for (guint i = 0; i < 5; i++) {
    g_autofree gchar *indices = NULL;

    g_array_set_size (run->frames, 0);
    run->eos = FALSE;
    run_through (run);
    fail_unless (run->eos);
    indices = indices_of (run);
    fail_unless_equals_string (indices, ORDER_0);
    gst_element_set_state (run->pipeline, GST_STATE_READY);
    gst_element_set_state (run->pipeline, GST_STATE_PAUSED);
    gst_element_set_state (run->pipeline, GST_STATE_READY);
    gst_element_set_state (run->pipeline, GST_STATE_NULL);
  }
  run_free (run);
}

GST_END_TEST;

GST_START_TEST (stops_at_any_moment)
{
  Run *run;

  write_pictures (12, 300, 300);
  run = run_new ("epochs=0 n-threads=4");
  for (guint i = 0; i < 25; i++) {
    gst_element_set_state (run->pipeline, GST_STATE_PLAYING);
    g_usleep ((i * i) % 23 * 1000);
    if (i % 3 == 0) {
      gst_element_set_state (run->pipeline, GST_STATE_PAUSED);
      g_usleep (1000);
    }
    fail_unless_equals_int (gst_element_set_state (run->pipeline,
            i % 2 ? GST_STATE_NULL : GST_STATE_READY), GST_STATE_CHANGE_SUCCESS);
  }
  run_free (run);
}

GST_END_TEST;

GST_START_TEST (pause_holds_and_play_goes_on)
{
  g_autofree gchar *indices = NULL;
  Run *run;

  write_pictures (10, 4, 4);
  run = run_new ("seed=7");
  for (guint i = 0; i < 3; i++) {
    gst_element_set_state (run->pipeline, GST_STATE_PAUSED);
    fail_unless_equals_int (gst_element_get_state (run->pipeline, NULL, NULL, PATIENCE),
        GST_STATE_CHANGE_SUCCESS);
  }
  run_through (run);
  indices = indices_of (run);
  fail_unless_equals_string (indices, ORDER_0);
  run_free (run);
}

GST_END_TEST;

GST_START_TEST (two_at_once_share_nothing)
{
  Run *a, *b;

  write_pictures (10, 4, 4);
  a = run_new ("seed=7 epochs=2");
  b = run_new ("seed=7 shuffle=false");
  gst_element_set_state (a->pipeline, GST_STATE_PLAYING);
  gst_element_set_state (b->pipeline, GST_STATE_PLAYING);
  fail_unless (run_until (a, GST_MESSAGE_EOS, PATIENCE));
  fail_unless (run_until (b, GST_MESSAGE_EOS, PATIENCE));
  {
    g_autofree gchar *x = indices_of (a), *y = indices_of (b);

    fail_unless_equals_string (x, ORDER_0 " " ORDER_1);
    fail_unless_equals_string (y, "0 1 2 3 4 5 6 7 8 9");
  }
  run_free (a);
  run_free (b);
}

GST_END_TEST;

GST_START_TEST (eos_from_outside_ends_it)
{
  Run *run;

  write_pictures (10, 4, 4);
  run = run_new ("epochs=0");
  gst_element_set_state (run->pipeline, GST_STATE_PLAYING);
  g_usleep (20000);
  gst_element_send_event (run->pipeline, gst_event_new_eos ());
  fail_unless (run_until (run, GST_MESSAGE_EOS, PATIENCE));
  run_free (run);
}

GST_END_TEST;

GST_START_TEST (is_not_live)
{
  GstQuery *query = gst_query_new_latency ();
  gboolean live = TRUE;
  Run *run;

  write_pictures (2, 4, 4);
  run = run_paused ("");
  fail_unless (gst_element_query (run->pipeline, query));
  gst_query_parse_latency (query, &live, NULL, NULL);
  fail_if (live);
  gst_query_unref (query);
  run_free (run);
}

GST_END_TEST;

static TCase *
add_case (Suite * s, const gchar * name)
{
  TCase *tc = tcase_create (name);

  suite_add_tcase (s, tc);
  tcase_add_checked_fixture (tc, setup_scratch, teardown_scratch);
  return tc;
}

static Suite *
dataset_suite (void)
{
  Suite *s = suite_create ("pirldatasetsrc");
  TCase *order = add_case (s, "order"), *time = add_case (s, "time");
  TCase *pictures = add_case (s, "pictures"), *states = add_case (s, "states");

  tcase_add_test (order, order_is_that_of_the_documented_stream);
  tcase_add_test (order, without_shuffle_the_order_is_the_listings);
  tcase_add_test (order, any_number_of_threads_gives_the_same_samples);
  tcase_add_test (order, shards_are_disjoint_and_equal_and_deal_the_order_out);
  tcase_add_test (order, range_is_part_of_the_listing_with_indices_from_0);
  tcase_add_test (order, ranges_and_shards_that_cannot_be_are_errors);
  tcase_add_test (order, resumes_where_the_sink_says);
  tcase_add_test (order, resuming_other_data_or_another_order_is_an_error);
  tcase_add_test (order, resume_is_asked_once_a_run);
  tcase_add_test (order, dataset_event_comes_before_the_caps);
  tcase_add_test (time, every_epoch_is_reported);
  tcase_add_test (time, zero_epochs_are_endless);
  tcase_add_test (time, time_is_the_samples_number_by_the_framerate);
  tcase_add_test (time, length_position_and_conversions_are_known_in_both_formats);
  tcase_add_test (time, seeks_by_sample_and_by_time);
  tcase_add_test (time, seeking_behind_the_end_is_eos_and_backwards_is_refused);
  tcase_add_test (time, seeks_again_and_again_while_it_plays);
  tcase_add_test (pictures, pixels_are_the_files_at_every_width);
  tcase_add_test (pictures, pictures_that_are_kept_stay_as_they_are);
  tcase_add_test (pictures, memory_is_used_again);
  tcase_add_test (pictures, caps_follow_the_sizes_and_only_them);
  tcase_add_test (pictures, caps_are_complete);
  tcase_add_test (pictures, a_size_that_downstream_refuses_is_a_clear_error);
  tcase_add_test (pictures, meta_survives_conversion_and_scaling);
  tcase_add_test (pictures, unreadable_pictures_leave_gaps_and_are_named_once);
  tcase_add_test (pictures, many_unreadable_pictures_are_ten_warnings_and_a_summary);
  tcase_add_test (pictures, an_epoch_without_a_picture_is_an_error);
  tcase_add_test (pictures, corrupt_jpegs_among_good_ones_do_no_harm);
  tcase_add_test (states, states_cycle_and_each_run_begins_anew);
  tcase_add_test (states, stops_at_any_moment);
  tcase_add_test (states, pause_holds_and_play_goes_on);
  tcase_add_test (states, two_at_once_share_nothing);
  tcase_add_test (states, eos_from_outside_ends_it);
  tcase_add_test (states, is_not_live);
  return s;
}

int
main (int argc, char **argv)
{
  leaks_watch ();
  gst_check_init (&argc, &argv);
  gst_pirl_meta_init ();
  return gst_check_run_suite (dataset_suite (), "pirldatasetsrc", __FILE__);
}
