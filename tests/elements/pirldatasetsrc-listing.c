/* gst-pirl: tests of what pirldatasetsrc finds at a location, one behaviour each.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dataset-run.h"

#include "learn/probe.h"

#include <gio/gio.h>
#include <sys/stat.h>
#include <unistd.h>

static void
assert_names (const gchar * settings, const gchar * want)
{
  Run *run = run_well (settings);
  g_autofree gchar *names = names_of (run);

  fail_unless_equals_string (names, want);
  run_free (run);
}

/* ---- folders ------------------------------------------------------------------------------- */

GST_START_TEST (folder_is_listed_recursively_and_byte_by_byte)
{
  /* '.' < '/' < 'B' < 'a' < 'b'; a file system has them in any other order. */
  write_picture ("b.png", 4, 4, 0);
  write_picture ("a/z.png", 4, 4, 1);
  write_picture ("a/b/c.png", 4, 4, 2);
  write_picture ("a.png", 4, 4, 3);
  write_picture ("B.png", 4, 4, 4);
  assert_names ("shuffle=false", "B.png a.png a/b/c.png a/z.png b.png");
}

GST_END_TEST;

GST_START_TEST (only_pictures_that_are_not_hidden_are_listed)
{
  write_picture ("1.PNG", 4, 4, 0);
  write_picture ("2", 4, 4, 0); /* by its first bytes */
  write_picture (".3.png", 4, 4, 0);
  write_picture (".hidden/4.png", 4, 4, 0);
  write_picture ("5.txt", 4, 4, 0);
  write_text ("6", "not a picture", -1);
  write_text ("7", "", 0);
  write_text ("notes.txt", "hello", -1);
  g_autofree gchar *pipe = place ("8.png");
  fail_unless (mkfifo (pipe, 0600) == 0);
  assert_names ("shuffle=false", "1.PNG 2");
}

GST_END_TEST;

GST_START_TEST (links_are_followed_but_not_in_circles)
{
  g_autofree gchar *loop = place ("a/loop"), *link = place ("link"), *file = place ("z.png");
  g_autofree gchar *dangling = place ("dangling.png"), *self = place ("self");

  write_picture ("a/1.png", 4, 4, 0);
  fail_unless (symlink ("..", loop) == 0);
  fail_unless (symlink (".", self) == 0);
  fail_unless (symlink ("a", link) == 0);
  fail_unless (symlink ("a/1.png", file) == 0);
  fail_unless (symlink ("nowhere.png", dangling) == 0);
  assert_names ("shuffle=false", "a/1.png link/1.png z.png");
}

GST_END_TEST;

GST_START_TEST (a_folder_that_cannot_be_read_is_a_warning)
{
  g_autofree gchar *closed = place ("closed");
  Run *run;

  if (geteuid () == 0) {
    g_print ("root reads everything: not tested\n");
    return;
  }
  write_picture ("open/1.png", 4, 4, 0);
  g_mkdir (closed, 0);
  run = run_well ("");
  fail_unless_equals_int (run->warnings->len, 1);
  fail_unless (strstr (g_ptr_array_index (run->warnings, 0), "closed") != NULL);
  run_free (run);
}

GST_END_TEST;

GST_START_TEST (a_single_picture_is_a_location)
{
  g_autofree gchar *path = place ("only.png");
  Run *run;

  write_picture ("only.png", 5, 3, 2);
  write_picture ("other.png", 5, 3, 2);
  run = run_new_at (path, "", "fakesink");
  run_through (run);
  fail_unless_equals_int (run->frames->len, 1);
  fail_unless_equals_string (frame_at (run, 0)->name, "only.png");
  run_free (run);
}

GST_END_TEST;

/* ---- labels and splits ----------------------------------------------------------------------- */

typedef struct {
  const gchar *name;
  gint label;
  const gchar *split;
} Want;

static void
assert_labels (const Run * run, const Want * want, guint n)
{
  fail_unless_equals_int (run->frames->len, n);
  for (guint i = 0; i < n; i++) {
    const Frame *frame = frame_at (run, i);

    fail_unless_equals_string (frame->name, want[i].name);
    fail_unless_equals_int (frame->label, want[i].label);
    fail_unless_equals_string (frame->split, want[i].split);
  }
}

GST_START_TEST (labels_are_the_first_folders_in_order)
{
  static const Want want[] = {
    {"0.png", -1, ""}, {"cat/1.png", 0, ""}, {"cat/deep/2.png", 0, ""}, {"dog/0.png", 1, ""},
    {"train/x.png", 2, ""},     /* a class, since not all folders are splits */
  };
  Run *run;

  for (guint i = 0; i < G_N_ELEMENTS (want); i++)
    write_picture (want[i].name, 4, 4, i);
  run = run_well ("shuffle=false labels=folder");
  assert_labels (run, want, G_N_ELEMENTS (want));
  fail_unless_equals_int (run->dataset.n_classes, 3);
  fail_unless_equals_string (run->dataset.class_names[0], "cat");
  fail_unless_equals_string (run->dataset.class_names[1], "dog");
  fail_unless_equals_string (run->dataset.class_names[2], "train");
  run_free (run);

  run = run_well ("shuffle=false");
  for (guint i = 0; i < run->frames->len; i++)
    fail_unless_equals_int (frame_at (run, i)->label, -1);
  fail_unless_equals_int (run->dataset.n_classes, 0);
  run_free (run);
}

GST_END_TEST;

GST_START_TEST (split_folders_are_recognised)
{
  static const Want want[] = {
    {"test/n02/c.png", 1, "test"}, {"train/loose.png", -1, "train"},
    {"train/n01/a.png", 0, "train"}, {"train/n02/b.png", 1, "train"},
    {"val/n03/d.png", 2, "test"},
  };
  Run *run;

  for (guint i = 0; i < G_N_ELEMENTS (want); i++)
    write_picture (want[i].name, 4, 4, i);
  run = run_well ("shuffle=false labels=folder");
  assert_labels (run, want, G_N_ELEMENTS (want));
  fail_unless_equals_int (run->dataset.n_classes, 3);
  fail_unless_equals_string (run->dataset.class_names[0], "n01");
  run_free (run);
}

GST_END_TEST;

/* ---- lists --------------------------------------------------------------------------------- */

static Run *
run_list (const gchar * text)
{
  g_autofree gchar *path = place ("list.tsv");
  Run *run;

  write_text ("list.tsv", text, -1);
  run = run_new_at (path, "shuffle=false", "fakesink");
  run_through (run);
  fail_unless (run->error == NULL, "%s", run->error);
  return run;
}

GST_START_TEST (list_gives_path_label_and_split_in_its_own_order)
{
  g_autofree gchar *absolute = place ("sub/b.png");
  g_autofree gchar *text = g_strdup_printf ("# a comment\n"
      "z.png\tzebra\ttrain\r\n\n" "sub/b.png\tbear\tval\n" "%s\n" "z.png\tbear", absolute);
  const Want want[] = {
    {"z.png", 1, "train"}, {"sub/b.png", 0, "test"}, {absolute, -1, ""}, {"z.png", 0, ""},
  };
  Run *run;

  write_picture ("z.png", 4, 4, 0);
  write_picture ("sub/b.png", 6, 4, 0);
  run = run_list (text);
  assert_labels (run, want, G_N_ELEMENTS (want));
  fail_unless_equals_int (run->dataset.n_classes, 2);
  fail_unless_equals_string (run->dataset.class_names[0], "bear");
  fail_unless_equals_string (run->dataset.class_names[1], "zebra");
  run_free (run);
}

GST_END_TEST;

GST_START_TEST (labels_of_a_list_that_are_numbers_stay_numbers)
{
  static const Want numbers[] = { {"a.png", 10, ""}, {"b.png", 2, ""}, {"a.png", -1, "test"} };
  static const Want words[] = { {"a.png", 0, ""}, {"b.png", 1, ""} };
  Run *run;

  write_picture ("a.png", 4, 4, 0);
  write_picture ("b.png", 4, 4, 0);
  run = run_list ("a.png\t10\nb.png\t2\na.png\t\ttest\n");
  assert_labels (run, numbers, G_N_ELEMENTS (numbers));
  fail_unless_equals_int (run->dataset.n_classes, 11);
  run_free (run);
  /* One that is none makes all of them names. */
  run = run_list ("a.png\t10\nb.png\ttwo\n");
  assert_labels (run, words, G_N_ELEMENTS (words));
  fail_unless_equals_string (run->dataset.class_names[0], "10");
  run_free (run);
}

GST_END_TEST;

GST_START_TEST (bad_lists_are_errors_that_name_the_line)
{
  static const struct
  {
    const gchar *text;
    gssize length;
    const gchar *words;
  } bad[] = {
    {"a.png\n../secret.png\n", -1, "line 2|leads out|\"..\""},
    {"a.png\nb/../../c.png\n", -1, "line 2|leads out"},
    {"a.png\tcat\tsometimes\n", -1, "line 1|train, test or val"},
    {"a.png\tcat\ttrain\textra\n", -1, "line 1|path[TAB]label[TAB]split"},
    {"a.png\nb\0c.png\n", 14, "line 2|zero byte"},
    {"\n# nothing\n", -1, "no pictures"},
  };
  g_autofree gchar *path = place ("list.txt");

  write_picture ("a.png", 4, 4, 0);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
    write_text ("list.txt", bad[i].text, bad[i].length);
    expect_error (path, "", bad[i].words);
  }
}

GST_END_TEST;

GST_START_TEST (missing_files_of_a_list_are_skipped)
{
  Run *run;

  write_picture ("a.png", 4, 4, 0);
  run = run_list ("a.png\nnone.png\n.\na.png\n");
  fail_unless_equals_int (run->frames->len, 2);
  fail_unless_equals_uint64 (frame_at (run, 1)->index, 3);
  fail_unless_equals_int (run->warnings->len, 2);
  fail_unless (strstr (g_ptr_array_index (run->warnings, 0), "none.png") != NULL);
  fail_unless (strstr (g_ptr_array_index (run->warnings, 1), "regular") != NULL);
  run_free (run);
}

GST_END_TEST;

/* ---- wrong locations ------------------------------------------------------------------------- */

GST_START_TEST (wrong_locations_are_errors_that_say_what_would_be_right)
{
  g_autofree gchar *missing = place ("missing"), *text = place ("text.jpg");
  static const struct
  {
    const gchar *location, *words;
  } bad[] = {
    {"", "location is not set|folder"},
    {"synthetic:circles", "synthetic:circles|synthetic:shapes"},
    {"synthetic:shapesque", "synthetic:shapes"},
    {"synthetic:shapes?count=0", "count=0|from 1"},
    {"synthetic:shapes?count=ten", "count=ten"},
    {"synthetic:shapes?classes=11", "classes=11|to 10"},
    {"synthetic:shapes?size=4", "size=4|from 8"},
    {"synthetic:shapes?colour=red", "colour=red|count="},
    {"synthetic:shapes?count", "no setting"},
  };

  expect_error (NULL, "", "location is not set|folder");
  expect_error (scratch, "", "no pictures|.jpg");
  expect_error (missing, "", "does not exist|folder");
  write_text ("text.jpg", "a\0b", 3);
  expect_error (text, "", "zero byte|picture");
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    expect_error (bad[i].location, "", bad[i].words);
}

GST_END_TEST;

GST_START_TEST (missing_location_fails_the_state_change)
{
  Run *run = run_new_at ("/this/does/not/exist", "", "fakesink");

  fail_unless_equals_int (gst_element_set_state (run->pipeline, GST_STATE_READY),
      GST_STATE_CHANGE_SUCCESS);
  fail_unless_equals_int (gst_element_set_state (run->pipeline, GST_STATE_PAUSED),
      GST_STATE_CHANGE_FAILURE);
  run_until (run, GST_MESSAGE_ERROR, PATIENCE);
  fail_unless (run->error_domain == GST_RESOURCE_ERROR
      && run->error_code == GST_RESOURCE_ERROR_NOT_FOUND);
  fail_if (run_until (run, GST_MESSAGE_ERROR, 0), "another error after the reason");
  /* Mended, it works. */
  gst_element_set_state (run->pipeline, GST_STATE_NULL);
  write_picture ("a.png", 4, 4, 0);
  g_object_set (run->src, "location", scratch, NULL);
  run_through (run);
  fail_unless_equals_int (run->frames->len, 1);
  run_free (run);
}

GST_END_TEST;

/* ---- drawn sets ------------------------------------------------------------------------------ */

GST_START_TEST (drawn_set_has_balanced_labels_and_names)
{
  Run *run = run_new_at ("synthetic:shapes?count=12&classes=4&size=20", "shuffle=false",
      "fakesink");

  run_through (run);
  fail_unless_equals_int (run->frames->len, 12);
  fail_unless_equals_int (run->dataset.n_classes, 4);
  for (guint i = 0; i < 12; i++) {
    const Frame *frame = frame_at (run, i);
    g_autofree gchar *name = g_strdup_printf ("%s/%06u",
        run->dataset.class_names[i % 4], i);

    fail_unless_equals_int (frame->label, i % 4);
    fail_unless_equals_string (frame->name, name);
    fail_unless_equals_int (frame->width, 20);
  }
  run_free (run);
}

GST_END_TEST;

/* "sum sum ..." of a drawn set's pictures in their own order. */
static gchar *
drawn_sums (const gchar * location, const gchar * settings)
{
  Run *run = run_new_at (location, settings, "fakesink");
  GString *sums = g_string_new (NULL);

  run_through (run);
  for (guint i = 0; i < run->frames->len; i++)
    g_string_append_printf (sums, "%s ", frame_at (run, i)->sum);
  run_free (run);
  return g_string_free (sums, FALSE);
}

GST_START_TEST (drawn_pictures_depend_on_the_locations_seed_only)
{
  const gchar *location = "synthetic:shapes?count=5&size=24";
  g_autofree gchar *a = drawn_sums (location, "shuffle=false seed=1");
  g_autofree gchar *b = drawn_sums (location, "shuffle=false seed=2");
  g_autofree gchar *c = drawn_sums ("synthetic:shapes?count=5&size=24&seed=9", "shuffle=false");
  g_autofree gchar *d = drawn_sums ("synthetic:shapes?count=9&size=24", "shuffle=false");

  fail_unless_equals_string (a, b);
  fail_if (strcmp (a, c) == 0);
  /* More of them do not change the first. */
  fail_unless (g_str_has_prefix (d, a));
}

GST_END_TEST;

/* ---- identity -------------------------------------------------------------------------------- */

static gchar *
hash_of (const gchar * location, const gchar * settings)
{
  Run *run = run_new_at (location, settings, "fakesink");
  gchar *hash;

  run_through (run);
  fail_unless (run->error == NULL, "%s", run->error);
  hash = g_strdup (run->dataset.hash);
  run_free (run);
  return hash;
}

GST_START_TEST (hash_is_of_names_labels_and_range_not_of_the_place)
{
  g_autofree gchar *one = place ("one"), *two = place ("two"), *three = place ("three");
  g_autofree gchar *hash = NULL;
  const struct
  {
    const gchar *location, *settings;
    gboolean same;
  } cases[] = {
    {one, "", TRUE}, {two, "", TRUE}, {one, "seed=5 epochs=2 n-threads=1 size=8", TRUE},
    {three, "", FALSE}, {one, "labels=folder", FALSE}, {one, "start-index=1", FALSE},
    {one, "stop-index=1", FALSE}, {one, "shuffle=false", FALSE}, {one, "world-size=2", FALSE},
  };

  write_picture ("one/a/1.png", 4, 4, 0);
  write_picture ("one/b/2.png", 4, 4, 0);
  write_picture ("two/a/1.png", 4, 4, 7);
  write_picture ("two/b/2.png", 4, 4, 7);
  write_picture ("three/a/1.png", 4, 4, 0);
  write_picture ("three/b/3.png", 4, 4, 0);
  hash = hash_of (one, "");
  fail_unless_equals_int (strlen (hash), 16);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree gchar *other = hash_of (cases[i].location, cases[i].settings);

    fail_unless ((strcmp (hash, other) == 0) == cases[i].same, "%s %s", cases[i].location,
        cases[i].settings);
  }
}

GST_END_TEST;

/* ---- a part of the samples ------------------------------------------------------------------- */

/* 40 pictures of the class a, 20 of b, 3 of c and 10 without a class. */
static void
write_classes (void)
{
  static const struct {
    const gchar *folder;
    guint n;
  } classes[] = { {"a/", 40}, {"b/", 20}, {"c/", 3}, {"", 10} };
  guint shade = 0;

  for (guint c = 0; c < G_N_ELEMENTS (classes); c++)
    for (guint i = 0; i < classes[c].n; i++) {
      g_autofree gchar *name = g_strdup_printf ("%s%02u.png", classes[c].folder, i);

      write_picture (name, 4, 4, shade++);
    }
}

/* Whether @run has a frame like @frame: name, label and pixels. */
static gboolean
has_frame (const Run * run, const Frame * frame)
{
  for (guint i = 0; i < run->frames->len; i++) {
    const Frame *other = frame_at (run, i);

    if (strcmp (other->name, frame->name) == 0 && other->label == frame->label
        && strcmp (other->sum, frame->sum) == 0)
      return TRUE;
  }
  return FALSE;
}

static void
assert_part_of (const Run * part, const Run * whole)
{
  for (guint i = 0; i < part->frames->len; i++)
    fail_unless (has_frame (whole, frame_at (part, i)), "%s is not in the whole",
        frame_at (part, i)->name);
}

GST_START_TEST (a_fraction_has_its_part_of_each_class)
{
  guint labels[4] = { 0 };      /* the last one: none */
  Run *run, *more, *all;

  write_classes ();
  run = run_well ("labels=folder seed=3 fraction=0.1 epochs=2");
  fail_unless_equals_uint64 (run->dataset.count, 4 + 2 + 1 + 1);
  fail_unless_equals_int (run->frames->len, 2 * 8);
  for (guint i = 0; i < 8; i++) {
    const Frame *frame = frame_at (run, i);

    labels[frame->label >= 0 ? frame->label : 3]++;
    fail_unless (frame->index < 8 && frame->count == 8);
  }
  fail_unless (labels[0] == 4 && labels[1] == 2 && labels[2] == 1 && labels[3] == 1);

  more = run_well ("labels=folder seed=3 fraction=0.3");
  all = run_well ("labels=folder seed=3");
  fail_unless_equals_int (more->frames->len, 12 + 6 + 1 + 3);
  fail_unless_equals_int (all->frames->len, 73);
  assert_part_of (run, more);
  assert_part_of (more, all);
  run_free (run);
  run_free (more);
  run_free (all);
}

GST_END_TEST;

GST_START_TEST (a_fraction_is_drawn_as_the_probes_draw_theirs)
{
  g_autoptr (GString) want = g_string_new (NULL);
  g_autofree gchar *names = NULL;
  gint labels[40] = { 0 };
  gboolean keep[40];
  Run *run;

  write_pictures (40, 4, 4);
  pirl_probe_subset (labels, 40, .2, 9, keep);
  for (guint i = 0; i < 40; i++)
    if (keep[i])
      g_string_append_printf (want, "%s%03u.png", want->len ? " " : "", i);
  run = run_well ("shuffle=false seed=9 fraction=0.2");
  names = names_of (run);
  fail_unless_equals_string (names, want->str);
  run_free (run);

  /* Places are counted in what is left. */
  run = run_well ("shuffle=false seed=9 fraction=0.2 start-index=7");
  fail_unless_equals_int (run->frames->len, 1);
  fail_unless (g_str_has_suffix (want->str, frame_at (run, 0)->name));
  fail_unless_equals_uint64 (frame_at (run, 0)->index, 0);
  run_free (run);
}

GST_END_TEST;

GST_START_TEST (a_fraction_of_a_drawn_set_is_of_its_pictures)
{
  const gchar *location = "synthetic:shapes?count=60&classes=3&size=8";
  Run *part = run_new_at (location, "fraction=0.1 seed=1", "fakesink");
  Run *other = run_new_at (location, "fraction=0.1 seed=2", "fakesink");
  Run *all = run_new_at (location, "", "fakesink");

  run_through (part);
  run_through (other);
  run_through (all);
  fail_unless_equals_int (part->frames->len, 6);
  assert_part_of (part, all);
  /* Other samples are another data set. */
  fail_unless (strcmp (part->dataset.hash, other->dataset.hash) != 0);
  fail_unless (strcmp (part->dataset.hash, all->dataset.hash) != 0);
  run_free (part);
  run_free (other);
  run_free (all);
}

GST_END_TEST;

static Suite *
listing_suite (void)
{
  Suite *s = suite_create ("pirldatasetsrc-listing");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (s, tc);
  tcase_add_checked_fixture (tc, setup_scratch, teardown_scratch);
  tcase_add_test (tc, folder_is_listed_recursively_and_byte_by_byte);
  tcase_add_test (tc, only_pictures_that_are_not_hidden_are_listed);
  tcase_add_test (tc, links_are_followed_but_not_in_circles);
  tcase_add_test (tc, a_folder_that_cannot_be_read_is_a_warning);
  tcase_add_test (tc, a_single_picture_is_a_location);
  tcase_add_test (tc, labels_are_the_first_folders_in_order);
  tcase_add_test (tc, split_folders_are_recognised);
  tcase_add_test (tc, list_gives_path_label_and_split_in_its_own_order);
  tcase_add_test (tc, labels_of_a_list_that_are_numbers_stay_numbers);
  tcase_add_test (tc, bad_lists_are_errors_that_name_the_line);
  tcase_add_test (tc, missing_files_of_a_list_are_skipped);
  tcase_add_test (tc, wrong_locations_are_errors_that_say_what_would_be_right);
  tcase_add_test (tc, missing_location_fails_the_state_change);
  tcase_add_test (tc, drawn_set_has_balanced_labels_and_names);
  tcase_add_test (tc, drawn_pictures_depend_on_the_locations_seed_only);
  tcase_add_test (tc, hash_is_of_names_labels_and_range_not_of_the_place);
  tcase_add_test (tc, a_fraction_has_its_part_of_each_class);
  tcase_add_test (tc, a_fraction_is_drawn_as_the_probes_draw_theirs);
  tcase_add_test (tc, a_fraction_of_a_drawn_set_is_of_its_pictures);
  return s;
}

int
main (int argc, char **argv)
{
  leaks_watch ();
  gst_check_init (&argc, &argv);
  gst_pirl_meta_init ();
  return gst_check_run_suite (listing_suite (), "pirldatasetsrc-listing", __FILE__);
}
