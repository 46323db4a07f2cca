/* gst-pirl: tests of WebDataset tars as a location of pirldatasetsrc, one behaviour each.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dataset-run.h"

#include <archive.h>
#include <archive_entry.h>
#include <malloc.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- tars ---------------------------------------------------------------------------------- */

static const gint formats[] = {
  ARCHIVE_FORMAT_TAR_USTAR, ARCHIVE_FORMAT_TAR_GNUTAR, ARCHIVE_FORMAT_TAR_PAX_INTERCHANGE,
  ARCHIVE_FORMAT_TAR_PAX_RESTRICTED,
};

#define USTAR ARCHIVE_FORMAT_TAR_USTAR

/* What an entry holds: "#N" is a picture of shade N, else the text itself. */
typedef struct {
  const gchar *name, *content;
  enum { PLAIN, FOLDER, SYMLINK, HARDLINK, SPARSE } kind;
} Entry;

/* A PNG of 6 + @shade x 5 pixels. */
static gchar *
picture_bytes (gint shade, gsize * size)
{
  g_autofree gchar *path = place ("picture.tmp");
  gchar *bytes;

  write_picture ("picture.tmp", 6 + shade, 5, shade);
  fail_unless (g_file_get_contents (path, &bytes, size, NULL));
  g_remove (path);
  return bytes;
}

static void
put_entry (struct archive *tar, const Entry * entry)
{
  struct archive_entry *header = archive_entry_new ();
  g_autofree gchar *bytes = NULL;
  gsize size;

  if (*entry->content == '#') {
    bytes = picture_bytes (atoi (entry->content + 1), &size);
  } else {
    bytes = g_strdup (entry->content);
    size = strlen (bytes);
  }
  archive_entry_set_pathname (header, entry->name);
  archive_entry_set_perm (header, 0644);
  archive_entry_set_filetype (header, entry->kind == FOLDER ? AE_IFDIR
      : entry->kind == SYMLINK ? AE_IFLNK : AE_IFREG);
  if (entry->kind == SYMLINK || entry->kind == HARDLINK) {
    if (entry->kind == SYMLINK)
      archive_entry_set_symlink (header, entry->content);
    else
      archive_entry_set_hardlink (header, entry->content);
    size = 0;
  }
  archive_entry_set_size (header, entry->kind == SPARSE ? 1 << 20 : size);
  if (entry->kind == SPARSE)
    archive_entry_sparse_add_entry (header, 0, size);
  /* It warns of names that are no words of the locale. */
  fail_unless (archive_write_header (tar, header) >= ARCHIVE_WARN, "%s: %s", entry->name,
      archive_error_string (tar));
  if (size > 0 && entry->kind != FOLDER)
    fail_unless (archive_write_data (tar, bytes, size) == (la_ssize_t) size);
  archive_entry_free (header);
}

/* For tars written one after the other faster than clocks of files tick. */
static void
forget_index (const gchar * path)
{
  g_autofree gchar *index = g_strconcat (path, ".index", NULL);

  g_remove (index);
}

/* A tar below the scratch folder; its path, transfer full. */
static gchar *
write_tar (const gchar * name, gint format, const Entry * entries, guint n)
{
  struct archive *tar = archive_write_new ();
  gchar *path = place (name);

  fail_unless (archive_write_set_format (tar, format) == ARCHIVE_OK);
  fail_unless (archive_write_open_filename (tar, path) == ARCHIVE_OK);
  for (guint i = 0; i < n; i++)
    put_entry (tar, &entries[i]);
  fail_unless (archive_write_close (tar) == ARCHIVE_OK, "%s", archive_error_string (tar));
  archive_write_free (tar);
  return path;
}

/* @n pictures 000.png, ... with labels from @classes classes. */
static gchar *
write_numbered (const gchar * name, guint n, guint classes)
{
  g_autoptr (GArray) entries = g_array_new (FALSE, FALSE, sizeof (Entry));
  GStringChunk *chunk = g_string_chunk_new (1024);
  gchar *path;

  for (guint i = 0; i < n; i++) {
    g_autofree gchar *picture = g_strdup_printf ("%03u.png", i);
    g_autofree gchar *label = g_strdup_printf ("%03u.cls", i);
    g_autofree gchar *shade = g_strdup_printf ("#%u", i), *class = g_strdup_printf ("%u",
        i % classes);
    const Entry both[2] = {
      {g_string_chunk_insert (chunk, label), g_string_chunk_insert (chunk, class)},
      {g_string_chunk_insert (chunk, picture), g_string_chunk_insert (chunk, shade)},
    };

    g_array_append_vals (entries, both, 2);
  }
  path = write_tar (name, USTAR, (const Entry *) entries->data, entries->len);
  g_string_chunk_free (chunk);
  return path;
}

static Run *
run_at (const gchar * location, const gchar * settings)
{
  Run *run = run_new_at (location, settings, "fakesink name=sink");

  run_through (run);
  fail_unless (run->eos && run->error == NULL, "%s", run->error);
  return run;
}

static void
assert_names (const Run * run, const gchar * want)
{
  g_autofree gchar *names = names_of (run);

  fail_unless_equals_string (names, want);
}

/* "label label ..." of all frames. */
static void
assert_labels (const Run * run, const gchar * want)
{
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint i = 0; i < run->frames->len; i++)
    g_string_append_printf (text, "%s%d", i ? " " : "", frame_at (run, i)->label);
  fail_unless_equals_string (text->str, want);
}

/* The pixels must be those of the picture of @shade. */
static void
assert_shade (const Frame * frame, gint shade)
{
  g_autofree gchar *name = g_strdup_printf ("shade/%d.png", shade);
  g_autofree gchar *path = place (name);
  Run *run;

  fail_unless_equals_int (frame->width, 6 + shade);
  write_picture (name, 6 + shade, 5, shade);
  run = run_at (path, "");
  fail_unless_equals_string (frame->sum, frame_at (run, 0)->sum);
  run_free (run);
}

static void
assert_warned (const Run * run, guint i, const gchar * words)
{
  g_auto (GStrv) parts = g_strsplit (words, "|", -1);

  fail_unless (i < run->warnings->len, "there are only %u warnings", run->warnings->len);
  for (guint k = 0; parts[k]; k++)
    fail_unless (strstr (g_ptr_array_index (run->warnings, i), parts[k]) != NULL,
        "\"%s\" is not in: %s", parts[k], (gchar *) g_ptr_array_index (run->warnings, i));
}

/* ---- samples ------------------------------------------------------------------------------- */

GST_START_TEST (samples_are_entries_with_one_basename_in_the_tars_order)
{
  static const Entry entries[] = {
    {"z/", "", FOLDER}, {"z/b/000002.png", "#2"}, {"z/b/000002.cls", "7\n"},
    {"z/b/000002.json", "{}"}, {"z/b/000002.txt", "a bear"}, {"./000001.cls", "0"},
    {"./000001.PNG", "#1"}, {"only.json", "{}"}, {"only.cls", "1"}, {"/a/._000003.png", "#3"},
    {"/a/000003.depth.png", "#4"}, {"/a/000003.png", "#3"}, {"/a/000003.mask.png", "#5"},
    {"a/000004.left.png", "#6"}, {"README", "text"}, {"late.png", "#0"}, {"a/000003.cls", " 2 "},
  };

  for (guint f = 0; f < G_N_ELEMENTS (formats); f++) {
    g_autofree gchar *name = g_strdup_printf ("shard-%u.tar", f);
    g_autofree gchar *path = write_tar (name, formats[f], entries, G_N_ELEMENTS (entries));
    g_autofree gchar *want = g_strdup_printf ("%s/z/b/000002.png %s/000001.PNG "
        "%s/a/000003.png %s/a/000004.left.png %s/late.png", name, name, name, name, name);

    /* Once from the tar, once from the index. */
    for (guint i = 0; i < 2; i++) {
      Run *run = run_at (path, "shuffle=false");

      assert_names (run, want);
      assert_labels (run, "7 0 2 -1 -1");
      assert_shade (frame_at (run, 0), 2);
      assert_shade (frame_at (run, 1), 1);
      assert_shade (frame_at (run, 2), 3);
      assert_shade (frame_at (run, 3), 6);
      assert_shade (frame_at (run, 4), 0);
      fail_unless_equals_int (run->dataset.n_classes, 8);
      fail_unless_equals_int (run->warnings->len, 0);
      run_free (run);
    }
  }
}

GST_END_TEST;

GST_START_TEST (long_and_foreign_names_are_read_in_every_format)
{
  g_autofree gchar *folder = g_strnfill (90, 'd'), *base = g_strnfill (90, 'b');
  g_autofree gchar *name = g_strdup_printf ("%s/%s.png", folder, base);
  const Entry entries[] = { {name, "#1"}, {"B\303\244r/\347\206\212.png", "#2"}, {"x.png", "#3"} };

  for (guint f = 0; f < G_N_ELEMENTS (formats); f++) {
    g_autofree gchar *path = write_tar ("t.tar", formats[f], entries, G_N_ELEMENTS (entries));
    g_autofree gchar *want = g_strdup_printf ("t.tar/%s t.tar/%s t.tar/x.png", name,
        entries[1].name);
    Run *run;

    forget_index (path);
    run = run_at (path, "shuffle=false");
    assert_names (run, want);
    for (guint i = 0; i < 3; i++)
      assert_shade (frame_at (run, i), 1 + i);
    run_free (run);
  }
}

GST_END_TEST;

GST_START_TEST (labels_are_names_where_one_is_none_of_a_number)
{
  static const Entry entries[] = {
    {"n1/0.png", "#0"}, {"n1/0.cls", "dog\n"}, {"n1/1.png", "#1"}, {"n1/1.cls", "cat"},
    {"n2/2.png", "#2"}, {"n2/2.cls", "10"}, {"n2/3.png", "#3"}, {"4.png", "#4"}, {"4.cls", "-1"},
  };
  g_autofree gchar *path = write_tar ("t.tar", USTAR, entries, G_N_ELEMENTS (entries));
  Run *run = run_at (path, "shuffle=false");

  assert_labels (run, "2 1 0 -1 -1");
  fail_unless_equals_int (run->dataset.n_classes, 3);
  fail_unless_equals_string (run->dataset.class_names[0], "10");
  fail_unless_equals_string (run->dataset.class_names[2], "dog");
  run_free (run);

  run = run_at (path, "shuffle=false labels=folder");
  assert_labels (run, "0 0 1 1 -1");
  fail_unless_equals_string (run->dataset.class_names[1], "n2");
  run_free (run);
}

GST_END_TEST;

/* ---- several tars -------------------------------------------------------------------------- */

GST_START_TEST (patterns_name_tars_in_order)
{
  static const struct
  {
    const gchar *pattern, *names;
  } cases[] = {
    {"s-{08..10}.tar", "s-08.tar/8.png s-09.tar/9.png s-10.tar/10.png"},
    {"s-{10..09}.tar", "s-10.tar/10.png s-09.tar/9.png"},
    {"s-{10,08}.tar", "s-10.tar/10.png s-08.tar/8.png"},
    {"s-{0{9,8},10}.tar", "s-09.tar/9.png s-08.tar/8.png s-10.tar/10.png"},
    {"{s-08.tar,s-10.tar}", "s-08.tar/8.png s-10.tar/10.png"},
    {"s-*.tar", "s-08.tar/8.png s-09.tar/9.png s-10.tar/10.png"},
    {"s-0?.t{a}r", NULL},
    {"s-0?.tar", "s-08.tar/8.png s-09.tar/9.png"},
    {"[s]-1*.tar", "s-10.tar/10.png"},
  };
  g_autofree gchar *missing = place ("s-{08..12}.tar"), *none = place ("x-*.tar");
  g_autofree gchar *first = place ("none.tar"), *many = place ("{0..999}{0..999}.tar");

  for (gint i = 10; i >= 8; i--) {
    g_autofree gchar *name = g_strdup_printf ("s-%02d.tar", i);
    g_autofree gchar *picture = g_strdup_printf ("%d.png", i);
    const Entry entry = { picture, "#1" };

    g_free (write_tar (name, USTAR, &entry, 1));
  }
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree gchar *location = place (cases[i].pattern);
    Run *run;

    if (cases[i].names == NULL) {
      expect_error (location, "", "does not exist|tars");
      continue;
    }
    run = run_at (location, "shuffle=false");
    assert_names (run, cases[i].names);
    run_free (run);
  }
  expect_error (missing, "", "s-11.tar\" does not exist");
  expect_error (none, "", "matches no file|folder/*.tar");
  expect_error (first, "", "none.tar\" does not exist");
  expect_error (many, "", "more than 100000 tars");
}

GST_END_TEST;

static void
assert_splits (const gchar * pattern, const gchar * want)
{
  g_autofree gchar *location = place (pattern);
  g_autoptr (GString) text = g_string_new (NULL);
  Run *run = run_at (location, "shuffle=false");

  for (guint i = 0; i < run->frames->len; i++)
    g_string_append_printf (text, "%s,", frame_at (run, i)->split);
  fail_unless_equals_string (text->str, want);
  run_free (run);
}

GST_START_TEST (splits_are_in_the_names_of_all_tars)
{
  static const Entry entry = { "0.png", "#1" };
  static const gchar *const names[] = {
    "set-train-00.tar", "set-val-00.tar", "set-contest-00.tar", "train/0.tar", "test/0.tar",
    "testing-train-1.tar",
  };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    g_free (write_tar (names[i], USTAR, &entry, 1));
  assert_splits ("set-{train,val}-00.tar", "train,test,");
  assert_splits ("set-{train,val,contest}-00.tar", ",,,");
  assert_splits ("{train,test}/0.tar", "train,test,");
  assert_splits ("testing-train-1.tar", "train,");
}

GST_END_TEST;

/* ---- order, resume, seeking ---------------------------------------------------------------- */

GST_START_TEST (shuffled_epochs_do_not_depend_on_threads)
{
  g_autofree gchar *a = write_numbered ("s-0.tar", 20, 3), *b = write_numbered ("s-1.tar", 13, 3);
  g_autofree gchar *location = place ("s-{0..1}.tar");
  Run *one = run_at (location, "epochs=2 seed=7 n-threads=1");
  Run *four = run_at (location, "epochs=2 seed=7 n-threads=4");

  fail_unless_equals_int (one->frames->len, 66);
  fail_unless_equals_int (four->frames->len, 66);
  for (guint i = 0; i < 66; i++) {
    const Frame *x = frame_at (one, i), *y = frame_at (four, i);
    g_autofree gchar *want = g_strdup_printf ("s-%u.tar/%03u.png", x->index >= 20,
        (guint) x->index % 20);

    fail_unless_equals_string (x->name, want);
    fail_unless_equals_string (x->name, y->name);
    fail_unless_equals_string (x->sum, y->sum);
    fail_unless_equals_int (x->label, x->index % 20 % 3);
    fail_unless_equals_int (x->width, 6 + x->index % 20);
  }
  run_free (one);
  run_free (four);
}

GST_END_TEST;

GST_START_TEST (a_fraction_of_tars_is_of_their_pictures)
{
  g_autofree gchar *path = write_numbered ("f.tar", 20, 2);
  Run *run = run_at (path, "fraction=0.2");

  fail_unless_equals_int (run->frames->len, 4);
  for (guint i = 0; i < 4; i++) {
    const Frame *frame = frame_at (run, i);
    const guint number = (guint) atoi (frame->name + strlen ("f.tar/"));

    fail_unless_equals_int (frame->label, number % 2);
    assert_shade (frame, number);
  }
  run_free (run);
}

GST_END_TEST;

static GstPadProbeReturn
answer_resume (GstPad * pad, GstPadProbeInfo * info, gpointer hash)
{
  GstQuery *query = GST_PAD_PROBE_INFO_QUERY (info);

  if (!gst_pirl_is_resume_query (query))
    return GST_PAD_PROBE_OK;
  gst_pirl_resume_answer (query, 1, 4, 7, hash);
  return GST_PAD_PROBE_HANDLED;
}

/* A run whose sink wants to go on at sample 4 of epoch 1 of data set @hash. */
static Run *
run_resumed (const gchar * location, gchar * hash)
{
  Run *run = run_new_at (location, "seed=7 epochs=2", "fakesink name=sink");
  GstElement *sink = gst_bin_get_by_name (GST_BIN (run->pipeline), "sink");
  GstPad *pad = gst_element_get_static_pad (sink, "sink");

  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_QUERY_DOWNSTREAM, answer_resume, hash, NULL);
  gst_object_unref (pad);
  gst_object_unref (sink);
  run_through (run);
  return run;
}

GST_START_TEST (resumes_in_the_same_tars_wherever_they_lie)
{
  g_autofree gchar *path = write_numbered ("one/t.tar", 10, 2);
  g_autofree gchar *moved = write_numbered ("two/t.tar", 10, 2);
  g_autofree gchar *other = write_numbered ("three/t.tar", 10, 3);
  Run *whole = run_at (path, "seed=7 epochs=2"), *run = run_resumed (moved, whole->dataset.hash);

  fail_unless (run->error == NULL, "%s", run->error);
  fail_unless_equals_int (run->frames->len, 6);
  for (guint i = 0; i < 6; i++) {
    fail_unless_equals_string (frame_at (run, i)->name, frame_at (whole, 14 + i)->name);
    fail_unless_equals_string (frame_at (run, i)->sum, frame_at (whole, 14 + i)->sum);
  }
  run_free (run);
  run = run_resumed (other, whole->dataset.hash);
  fail_unless (run->error && strstr (run->error, "cannot resume") != NULL, "%s", run->error);
  run_free (run);
  run_free (whole);
}

GST_END_TEST;

GST_START_TEST (seeks_to_any_sample)
{
  g_autofree gchar *path = write_numbered ("t.tar", 10, 2);
  Run *run = run_new_at (path, "shuffle=false", "fakesink name=sink");

  gst_element_set_state (run->pipeline, GST_STATE_PAUSED);
  gst_element_get_state (run->pipeline, NULL, NULL, PATIENCE);
  g_mutex_lock (&run->lock);
  g_array_set_size (run->frames, 0);
  g_mutex_unlock (&run->lock);
  fail_unless (gst_element_seek (run->pipeline, 1.0, GST_FORMAT_DEFAULT, GST_SEEK_FLAG_FLUSH,
          GST_SEEK_TYPE_SET, 8, GST_SEEK_TYPE_NONE, -1));
  run_through (run);
  assert_names (run, "t.tar/008.png t.tar/009.png");
  run_free (run);
}

GST_END_TEST;

/* ---- the index ----------------------------------------------------------------------------- */

static gchar *
read_text (const gchar * name)
{
  g_autofree gchar *path = place (name);
  gchar *text;

  fail_unless (g_file_get_contents (path, &text, NULL, NULL), "no %s", path);
  return text;
}

static void
replace_in (const gchar * name, const gchar * what, const gchar * by)
{
  g_autofree gchar *text = read_text (name);
  g_auto (GStrv) parts = g_strsplit (text, what, 2);
  g_autofree gchar *changed = g_strjoinv (by, parts);

  fail_unless (parts[1] != NULL, "no %s in %s", what, text);
  write_text (name, changed, -1);
}

static const Entry cat_and_dog[] = {
  {"0.png", "#1"}, {"0.cls", "cat"}, {"1.png", "#2"}, {"1.cls", "dog"}, {"2.png", "#3"},
};

#define CAT_AND_DOG cat_and_dog, G_N_ELEMENTS (cat_and_dog)

static void
assert_cat_and_dog (const gchar * path)
{
  Run *run = run_at (path, "shuffle=false");

  assert_names (run, "t.tar/0.png t.tar/1.png t.tar/2.png");
  assert_labels (run, "0 1 -1");
  fail_unless_equals_string (run->dataset.class_names[0], "cat");
  for (guint i = 0; i < 3; i++)
    fail_unless_equals_int (frame_at (run, i)->width, 7 + i);
  fail_unless_equals_int (run->warnings->len, 0);
  run_free (run);
}

GST_START_TEST (index_is_kept_beside_the_tar_and_used)
{
  static const Entry pig_and_dog[] = {
    {"0.png", "#1"}, {"0.cls", "pig"}, {"1.png", "#2"}, {"1.cls", "dog"}, {"2.png", "#3"},
  };
  g_autofree gchar *path = write_tar ("t.tar", USTAR, CAT_AND_DOG);
  Run *run;

  assert_cat_and_dog (path);
  /* What only the index can have told. */
  replace_in ("t.tar.index", "\tcat\t", "\tcow\t");
  run = run_at (path, "");
  fail_unless_equals_string (run->dataset.class_names[0], "cow");
  run_free (run);
  /* Another tar of this name and size; clocks of files tick every few milliseconds. */
  g_usleep (20000);
  g_free (write_tar ("t.tar", USTAR, pig_and_dog, G_N_ELEMENTS (pig_and_dog)));
  run = run_at (path, "");
  fail_unless_equals_string (run->dataset.class_names[1], "pig");
  run_free (run);
  /* And one of another size. */
  g_free (write_numbered ("t.tar", 4, 2));
  run = run_at (path, "");
  fail_unless_equals_int (run->frames->len, 4);
  run_free (run);
}

GST_END_TEST;

GST_START_TEST (index_that_was_changed_or_cut_is_made_anew)
{
  static const gchar *const changes[][2] = {
    {"index 1", "index 2"}, {"\t0.png", "\t../0.png"}, {"\t0.png", "\t.0.png"}, {"\t0.png", "\t"},
    {"512\t", "99999999\t"}, {"512\t", "-1\t"}, {"512\t", "512\t99999999"}, {"512\t", "512"},
    {"\t3\t0\n", "\t4\t0\n"}, {"\t3\t0\n", "\t2\t0\n"}, {"\t3\t0\n", "\t99999999999999999999\t0\n"},
    {"end\n", "end"}, {"end\n", ""}, {"\tcat\t", "\t\xff\t"},
  };
  g_autofree gchar *path = write_tar ("t.tar", USTAR, CAT_AND_DOG), *good = NULL;

  assert_cat_and_dog (path);
  good = read_text ("t.tar.index");
  for (guint i = 0; i < G_N_ELEMENTS (changes); i++) {
    g_autofree gchar *again = NULL;

    replace_in ("t.tar.index", changes[i][0], changes[i][1]);
    assert_cat_and_dog (path);
    again = read_text ("t.tar.index");
    fail_unless_equals_string (again, good);
  }
  for (gsize length = 0; length < strlen (good); length += 3) {
    write_text ("t.tar.index", good, length);
    assert_cat_and_dog (path);
  }
}

GST_END_TEST;

GST_START_TEST (index_goes_to_the_cache_where_the_folder_is_closed)
{
  g_autofree gchar *path = write_tar ("t.tar", USTAR, CAT_AND_DOG);
  g_autofree gchar *obstacle = place ("t.tar.index/x");
  g_autofree gchar *folder = g_build_filename (g_get_user_cache_dir (), "gst-pirl", NULL);
  g_autofree gchar *cached = NULL, *text = NULL, *changed = NULL;
  g_auto (GStrv) parts = NULL;
  GDir *dir;
  Run *run;

  /* A folder of the index's name: root, too, cannot write a file there. */
  assert_cat_and_dog (path);
  dir = g_dir_open (folder, 0, NULL);
  fail_unless (dir != NULL, "no %s", folder);
  cached = g_build_filename (folder, g_dir_read_name (dir), NULL);
  g_dir_close (dir);
  fail_unless (g_file_get_contents (cached, &text, NULL, NULL));
  parts = g_strsplit (text, "\tdog\t", 2);
  changed = g_strjoinv ("\tdoe\t", parts);
  fail_unless (g_file_set_contents (cached, changed, -1, NULL));
  run = run_at (path, "");
  fail_unless_equals_string (run->dataset.class_names[1], "doe");
  run_free (run);
  remove_tree (folder);
}

GST_END_TEST;

/* Bytes of the heap while the data set of @n samples is open. */
static gsize
memory_with (guint n)
{
  g_autoptr (GArray) entries = g_array_new (FALSE, FALSE, sizeof (Entry));
  GStringChunk *chunk = g_string_chunk_new (1 << 16);
  g_autofree gchar *path = NULL;
  struct mallinfo2 info;
  gint64 before;
  Run *run;

  for (guint i = 0; i < n; i++) {
    g_autofree gchar *name = g_strdup_printf ("n01440764/n01440764_%08u.png", i);
    const Entry entry = { g_string_chunk_insert (chunk, name), i ? "x" : "#1" };

    g_array_append_val (entries, entry);
  }
  path = write_tar ("m.tar", USTAR, (const Entry *) entries->data, n);
  g_string_chunk_free (chunk);
  info = mallinfo2 ();
  before = info.uordblks + info.hblkhd;
  run = run_new_at (path, "stop-index=1 labels=folder", "fakesink name=sink");
  gst_element_set_state (run->pipeline, GST_STATE_PAUSED);
  fail_unless_equals_int (gst_element_get_state (run->pipeline, NULL, NULL, PATIENCE),
      GST_STATE_CHANGE_SUCCESS);
  info = mallinfo2 ();
  before = info.uordblks + info.hblkhd - before;
  run_free (run);
  return MAX (before, 0);
}

GST_START_TEST (sample_costs_less_than_200_bytes)
{
  gdouble few, many, each;

  if (mallinfo2 ().uordblks == 0) {
    g_print ("not tested: a sanitizer's heap does not count\n");
    return;
  }
  few = memory_with (1000);
  many = memory_with (21000);
  each = (many - few) / 20000;
  g_print ("%.1f bytes a sample\n", each);
  /* Its name alone is 43; less, and this measures nothing. */
  fail_unless (each > 43 && each < 200, "%f bytes", each);
}

GST_END_TEST;

/* ---- tars that are not as they should be --------------------------------------------------- */

GST_START_TEST (what_is_no_readable_tar_is_an_error)
{
  static const struct
  {
    const gchar *name, *content;
    gssize length;
    const gchar *words;
  } bad[] = {
    {"a.tar.gz", "\x1f\x8b\x08\0", 4, "compressed with gzip|gunzip"},
    {"gz-inside.tar", "\x1f\x8b\x08\0", 4, "compressed with gzip|gunzip"},
    {"a.tar.zst", "\x28\xb5\x2f\xfd", 4, "compressed with zstd|unzstd"},
    {"a.tar.xz", "\xfd" "7zXZ", 6, "compressed with xz|unxz"},
    {"a.tgz", "BZh9", 4, "compressed with bzip2|bunzip2"},
    {"empty.tar", "", 0, "is not a tar"},
    {"text.tar", "hello, this is no tar", -1, "is not a tar"},
  };
  g_autofree gchar *pipe = place ("pipe.tar");

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autofree gchar *path = place (bad[i].name);

    write_text (bad[i].name, bad[i].content, bad[i].length);
    expect_error (path, "", bad[i].words);
  }
  fail_unless (mkfifo (pipe, 0600) == 0);
  expect_error (pipe, "", "pipe.tar|not a regular file");
  {
    static const Entry entry = { "a.txt", "no picture" };
    g_autofree gchar *path = write_tar ("none.tar", USTAR, &entry, 1);

    expect_error (path, "", "no pictures");
  }
}

GST_END_TEST;

GST_START_TEST (links_sparse_and_upward_names_are_left_out_and_counted)
{
  /* Behind it even the size that a sparse picture claims is within the tar. */
  g_autofree gchar *filler = g_strnfill (2 << 20, 'x');
  const Entry entries[] = {
    {"1.png", "#1"}, {"2.png", "1.png", SYMLINK}, {"3.png", "1.png", HARDLINK},
    {"4.png", "#4", SPARSE}, {"../5.png", "#5"}, {"a/../../6.png", "#6"}, {"a/..", "#6"},
    {"7\n.png", "#7"}, {"b/8.png", "#8"}, {"b/8.png", "#9"}, {"b/8.cls", "dog"},
    {"b/8.cls", "cat"}, {"9.cls", ""}, {"9.png", "#9"}, {"c.png", "c", SYMLINK},
    {"a..b/c..png", "#3"}, {"filler.txt", filler},
  };

  for (guint f = 2; f < G_N_ELEMENTS (formats); f++) {
    g_autofree gchar *path = write_tar ("t.tar", formats[f], entries, G_N_ELEMENTS (entries));

    forget_index (path);
    for (guint i = 0; i < 2; i++) {
      Run *run = run_at (path, "shuffle=false");

      assert_names (run, "t.tar/1.png t.tar/b/8.png t.tar/9.png t.tar/a..b/c..png");
      assert_labels (run, "-1 0 -1 -1");
      assert_shade (frame_at (run, 0), 1);
      assert_shade (frame_at (run, 1), 8);
      assert_shade (frame_at (run, 3), 3);
      fail_unless_equals_int (run->warnings->len, 1);
      /* 2, 3, 4, 5, 6, 7, the second picture and label of 8, the label of 9, c */
      assert_warned (run, 0, "10 entries|t.tar|\"2.png\" is a link");
      run_free (run);
    }
  }
}

GST_END_TEST;

GST_START_TEST (empty_and_broken_pictures_leave_gaps)
{
  static const Entry entries[] = {
    {"0.png", "#1"}, {"1.png", ""}, {"2.jpg", "broken"}, {"3.png", "#3"},
  };
  g_autofree gchar *path = write_tar ("t.tar", USTAR, entries, G_N_ELEMENTS (entries));
  Run *run = run_at (path, "shuffle=false");

  assert_names (run, "t.tar/0.png t.tar/3.png");
  fail_unless_equals_uint64 (frame_at (run, 1)->index, 3);
  fail_unless_equals_int (run->warnings->len, 2);
  assert_warned (run, 0, "t.tar/1.png");
  assert_warned (run, 1, "t.tar/2.jpg");
  run_free (run);
}

GST_END_TEST;

GST_START_TEST (truncated_tars_keep_what_is_whole)
{
  g_autofree gchar *path = write_numbered ("t.tar", 6, 2), *bytes = NULL;
  guint last = 0;
  gsize size;

  fail_unless (g_file_get_contents (path, &bytes, &size, NULL));
  for (gsize length = 2600; length < size; length += 300) {
    Run *run;

    write_text ("t.tar", bytes, length);
    run = run_at (path, "shuffle=false");
    fail_unless (run->frames->len >= last && run->frames->len > 0 && run->frames->len <= 6);
    last = run->frames->len;
    for (guint i = 0; i < last; i++)
      fail_unless_equals_int (frame_at (run, i)->width, 6 + i);
    /* A tar that ends between two entries looks whole. */
    if (last < 6 && length % 512 != 0) {
      fail_unless_equals_int (run->warnings->len, 1);
      assert_warned (run, 0, "t.tar|truncated");
    }
    run_free (run);
  }
  fail_unless_equals_int (last, 6);
}

GST_END_TEST;

GST_START_TEST (damaged_bytes_never_crash_it)
{
  static const Entry entries[] = {
    {"0.png", "#1"}, {"0.cls", "cat"}, {"1.png", "#2", SPARSE}, {"1.cls", "dog"}, {"2.png", "#3"},
  };
  guint64 word = 42;
  guint ended = 0;

  for (guint f = 0; f < G_N_ELEMENTS (formats); f++) {
    g_autofree gchar *path = write_tar ("t.tar", formats[f], entries, G_N_ELEMENTS (entries));
    g_autofree gchar *bytes = NULL;
    gsize size;

    fail_unless (g_file_get_contents (path, &bytes, &size, NULL));
    for (guint i = 0; i < 100; i++) {
      g_autofree gchar *damaged = g_memdup2 (bytes, size);
      Run *run;

      for (guint k = 0; k <= i % 4; k++) {
        gsize at = (word >> 20) % MIN (size, 6000);

        damaged[at] = (gchar) (word >> 50);
        word = word * G_GUINT64_CONSTANT (6364136223846793005) + 1;
        /* Headers that are wrong but whose sum is right get further. */
        at = at / 512 * 512;
        if (memcmp (damaged + at + 257, "ustar", 5) == 0) {
          guint sum = 8 * ' ';

          for (guint b = 0; b < 512; b++)
            sum += b >= 148 && b < 156 ? 0 : (guint8) damaged[at + b];
          g_snprintf (damaged + at + 148, 8, "%06o", sum);
          damaged[at + 155] = ' ';
        }
      }
      write_text ("t.tar", damaged, size);
      forget_index (path);
      run = run_new_at (path, "epochs=2", "fakesink name=sink");
      run_through (run);
      fail_unless (run->eos || run->error != NULL);
      ended += run->eos;
      run_free (run);
    }
  }
  g_print ("%u of 400 damaged tars gave pictures\n", ended);
  fail_unless (ended > 40 && ended < 400);
}

GST_END_TEST;

GST_START_TEST (tar_that_changes_meanwhile_is_not_misread)
{
  g_autofree gchar *path = write_numbered ("t.tar", 60, 2);
  Run *run = run_new_at (path, "shuffle=false n-threads=1", "fakesink name=sink");
  guint n;

  gst_element_set_state (run->pipeline, GST_STATE_PAUSED);
  gst_element_get_state (run->pipeline, NULL, NULL, PATIENCE);
  g_free (write_numbered ("t.tar", 70, 2));
  run_through (run);
  n = run->frames->len;
  /* What was read ahead is sent. */
  fail_unless (run->eos && n > 0 && n < 10, "%u frames", n);
  assert_warned (run, 0, "t.tar\" has changed since it was listed");
  run_free (run);
}

GST_END_TEST;

/* ---- other writers ------------------------------------------------------------------------- */

GST_START_TEST (reads_what_pythons_tarfile_writes)
{
  static const gchar script[] = "import sys, tarfile, io\n"
      "folder = sys.argv[1]\n"
      "for name, format in (('u', tarfile.USTAR_FORMAT), ('g', tarfile.GNU_FORMAT),"
      " ('p', tarfile.PAX_FORMAT)):\n"
      "  with tarfile.open(f'{folder}/{name}.tar', 'w', format=format) as tar:\n"
      "    for i in range(1, 5):\n"
      "      key = ('x' * 60 + '/') * (i - 1) + f'{i}'\n"
      "      for extension, data in (('png', open(f'{folder}/{i}.png', 'rb').read()),"
      " ('cls', str(i).encode()), ('json', b'{}')):\n"
      "        info = tarfile.TarInfo(f'{key}.{extension}')\n"
      "        info.size, info.mtime = len(data), 1.5\n"
      "        tar.addfile(info, io.BytesIO(data))\n";
  const gchar *argv[] = { "python3", "-c", script, scratch, NULL };
  g_autofree gchar *python = g_find_program_in_path ("python3");
  gint status = -1;

  if (python == NULL) {
    g_print ("not tested: no python3\n");
    return;
  }
  for (guint i = 1; i < 5; i++) {
    g_autofree gchar *name = g_strdup_printf ("%u.png", i);

    write_picture (name, 6 + i, 5, i);
  }
  fail_unless (g_spawn_sync (NULL, (gchar **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL,
          NULL, &status, NULL) && status == 0);
  for (guint f = 0; f < 3; f++) {
    g_autofree gchar *name = g_strdup_printf ("%c.tar", "ugp"[f]);
    g_autofree gchar *path = place (name);
    Run *run = run_at (path, "shuffle=false");

    fail_unless_equals_int (run->frames->len, 4);
    assert_labels (run, "1 2 3 4");
    fail_unless (g_str_has_suffix (frame_at (run, 3)->name, "x/4.png"));
    fail_unless_equals_int (strlen (frame_at (run, 3)->name), 6 + 3 * 61 + 5);
    for (guint i = 0; i < 4; i++)
      assert_shade (frame_at (run, i), 1 + i);
    run_free (run);
  }
}

GST_END_TEST;

static Suite *
tar_suite (void)
{
  Suite *s = suite_create ("pirldatasetsrc-tar");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (s, tc);
  tcase_add_checked_fixture (tc, setup_scratch, teardown_scratch);
  tcase_add_test (tc, samples_are_entries_with_one_basename_in_the_tars_order);
  tcase_add_test (tc, long_and_foreign_names_are_read_in_every_format);
  tcase_add_test (tc, labels_are_names_where_one_is_none_of_a_number);
  tcase_add_test (tc, patterns_name_tars_in_order);
  tcase_add_test (tc, splits_are_in_the_names_of_all_tars);
  tcase_add_test (tc, shuffled_epochs_do_not_depend_on_threads);
  tcase_add_test (tc, a_fraction_of_tars_is_of_their_pictures);
  tcase_add_test (tc, resumes_in_the_same_tars_wherever_they_lie);
  tcase_add_test (tc, seeks_to_any_sample);
  tcase_add_test (tc, index_is_kept_beside_the_tar_and_used);
  tcase_add_test (tc, index_that_was_changed_or_cut_is_made_anew);
  tcase_add_test (tc, index_goes_to_the_cache_where_the_folder_is_closed);
  tcase_add_test (tc, sample_costs_less_than_200_bytes);
  tcase_add_test (tc, what_is_no_readable_tar_is_an_error);
  tcase_add_test (tc, links_sparse_and_upward_names_are_left_out_and_counted);
  tcase_add_test (tc, empty_and_broken_pictures_leave_gaps);
  tcase_add_test (tc, truncated_tars_keep_what_is_whole);
  tcase_add_test (tc, damaged_bytes_never_crash_it);
  tcase_add_test (tc, tar_that_changes_meanwhile_is_not_misread);
  tcase_add_test (tc, reads_what_pythons_tarfile_writes);
  return s;
}

int
main (int argc, char **argv)
{
  gchar *cache = g_dir_make_tmp ("pirl-cache-XXXXXX", NULL);
  gint failed;

  /* The user's cache is not ours to write to. */
  g_setenv ("XDG_CACHE_HOME", cache, TRUE);
  leaks_watch ();
  gst_check_init (&argc, &argv);
  gst_pirl_meta_init ();
  failed = gst_check_run_suite (tar_suite (), "pirldatasetsrc-tar", __FILE__);
  remove_tree (cache);
  g_free (cache);
  return failed;
}
