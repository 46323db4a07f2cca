/* gst-pirl: published weights through pipelines.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A torchvision ResNet-50 and the features and top-5 answers that PyTorch gave for three photos
 * (the check file's JSON says how) against `pirldatasetsrc ! pirlembed`. Skipped where the test
 * data are not at hand. */
#include "embeddings.h"
#include "leaks.h"
#include "net/embedder.h"

#include <glib/gstdio.h>
#include <string.h>

#define EXIT_SKIPPED 77
#define N_PHOTOS 3
#define N_CHECKED 16            /* values of a feature that the check file gives */

static gchar *directory, *weights;

typedef struct {
  gchar *path;
  gfloat feature[N_CHECKED];
  gdouble length;
  gint top5[5];
} PhotoCheck;

static PhotoCheck checks[N_PHOTOS];

/* Reads @n numbers behind the next "key": (or as many keys) and moves @text there. */
static gboolean
numbers_after (const gchar ** text, const gchar * key, gdouble * out, guint n, gboolean repeat)
{
  g_autofree gchar *quoted = g_strdup_printf ("\"%s\":", key);

  for (guint i = 0; i < n; i++) {
    if (i == 0 || repeat) {
      *text = strstr (*text, quoted);
      if (*text == NULL)
        return FALSE;
      *text += strlen (quoted);
    }
    *text += strcspn (*text, "-0123456789");
    out[i] = g_ascii_strtod (*text, (gchar **) text);
  }
  return TRUE;
}

static gboolean
read_checks (const gchar * data)
{
  g_autofree gchar *path = g_build_filename (data, "weights", "resnet50_imagenet_pqf.check.json",
      NULL);
  g_autofree gchar *text = NULL;
  const gchar *at;
  static const gchar *photos[N_PHOTOS] = { "photos/0340_zebra.JPEG",
    "photos/0555_fire_engine.JPEG", "photos/0281_tabby.JPEG"
  };

  if (!g_file_get_contents (path, &text, NULL, NULL))
    return FALSE;
  at = text;
  for (guint i = 0; i < N_PHOTOS; i++) {
    gdouble feature[N_CHECKED], top5[5];

    at = strstr (at, photos[i]);
    g_assert_nonnull (at);
    g_assert_true (numbers_after (&at, "feature_first_16", feature, N_CHECKED, FALSE));
    g_assert_true (numbers_after (&at, "feature_l2", &checks[i].length, 1, FALSE));
    g_assert_true (numbers_after (&at, "index", top5, 5, TRUE));
    for (guint k = 0; k < N_CHECKED; k++)
      checks[i].feature[k] = feature[k];
    for (guint k = 0; k < 5; k++)
      checks[i].top5[k] = top5[k];
    checks[i].path = g_canonicalize_filename (photos[i], data);
  }
  return TRUE;
}

static gint
descending (gconstpointer a, gconstpointer b, gpointer logits)
{
  gfloat x = ((const gfloat *) logits)[*(const gint *) a];
  gfloat y = ((const gfloat *) logits)[*(const gint *) b];

  return (x < y) - (x > y);
}

static void
assert_top5 (const gfloat * logits, const PhotoCheck * check)
{
  gint order[1000];

  for (gint i = 0; i < 1000; i++)
    order[i] = i;
  g_qsort_with_data (order, 1000, sizeof (gint), descending, (gpointer) logits);
  for (guint i = 0; i < 5; i++)
    fail_unless (order[i] == check->top5[i], "%s: place %u is class %d, not %d", check->path, i,
        order[i], check->top5[i]);
}

/* The list of the photos, as pirldatasetsrc reads it. */
static gchar *
write_list (void)
{
  gchar *path = g_build_filename (directory, "photos.txt", NULL);
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint i = 0; i < N_PHOTOS; i++)
    g_string_append_printf (text, "%s\t-1\ttest\n", checks[i].path);
  fail_unless (g_file_set_contents (path, text->str, -1, NULL));
  return path;
}

static void
check_photos (const gchar * precision, gdouble least)
{
  g_autofree gchar *list = write_list ();
  const gchar *const layers[] = { "res5", "logits" };

  for (guint l = 0; l < 2; l++) {
    g_autofree gchar *line = g_strdup_printf ("pirldatasetsrc location=%s shuffle=false ! "
        "pirlembed model-file=%s layer=%s precision=%s interval=1 ! fakesink name=s", list, weights,
        layers[l], precision);
    GPtrArray *buffers = run_pipeline (line);

    fail_unless_equals_int (buffers->len, N_PHOTOS);
    for (guint i = 0; i < N_PHOTOS; i++) {
      GstBuffer *buffer = g_ptr_array_index (buffers, i);

      if (l == 0) {
        const gfloat *v = vector_of (buffer, 2048);
        gdouble c = cosine (v, checks[i].feature, N_CHECKED), length = 0;

        for (guint k = 0; k < 2048; k++)
          length += (gdouble) v[k] * v[k];
        length = sqrt (length) / checks[i].length;
        g_print ("%s %s: cosine %.7f, length %.5f of the check value's\n", precision,
            strrchr (checks[i].path, '/') + 1, c, length);
        fail_unless (c >= least);
        fail_unless (fabs (length - 1) <= sqrt (1 - least));
      } else {
        assert_top5 (vector_of (buffer, 1000), &checks[i]);
      }
    }
    g_ptr_array_unref (buffers);
  }
  g_unlink (list);
}

/* bf16 is not for every CPU. */
static gboolean
precision_works (const gchar * precision)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (PirlEmbedder) e = pirl_embedder_new (weights, NULL, "auto", precision, 0, 1, &error);

  if (e == NULL && g_error_matches (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED))
    g_print ("skipped: %s\n", error->message);
  return e != NULL;
}

GST_START_TEST (photos_agree_with_the_check_values_f32)
{
  check_photos ("f32", 0.9999);
}

GST_END_TEST;

GST_START_TEST (photos_agree_with_the_check_values_bf16)
{
  if (precision_works ("bf16"))
    check_photos ("bf16", 0.998);
}

GST_END_TEST;

/* The whole feature of a photo, by the kernels alone; the tests above hold them to the check
 * values. */
static void
embed_photo (const gchar * path, gfloat feature[2048])
{
  GError *error = NULL;
  g_autoptr (PirlEmbedder) e = pirl_embedder_new (weights, "res5", "auto", "f32", 0, 1, &error);
  PirlImage image = { 0 };
  const PirlImage *pictures[] = { &image };

  fail_unless (e != NULL && pirl_image_load (path, &image, NULL, &error)
      && pirl_embedder_run (e, pictures, 1, feature, &error));
  pirl_image_clear (&image);
}

/* Another decoder and the way over Y'CbCr: reported, with a loose bound. */
GST_START_TEST (photos_through_jpegdec_are_close)
{
  static const gchar *const paths[] = { "jpegdec idct-method=islow", "jpegdec",
    "jpegdec ! videoconvert ! video/x-raw,format=RGB"
  };

  for (guint i = 0; i < N_PHOTOS; i++) {
    gfloat feature[2048];

    embed_photo (checks[i].path, feature);
    for (guint p = 0; p < G_N_ELEMENTS (paths); p++) {
      g_autofree gchar *line = g_strdup_printf ("filesrc location=%s blocksize=10000000 ! %s ! "
          "pirlembed model-file=%s layer=res5 precision=f32 interval=1 ! fakesink name=s",
          checks[i].path, paths[p], weights);
      GPtrArray *buffers = run_pipeline (line);
      gdouble c;

      fail_unless_equals_int (buffers->len, 1);
      c = cosine (vector_of (g_ptr_array_index (buffers, 0), 2048), feature, 2048);
      g_print ("%s through %s: cosine %.5f\n", strrchr (checks[i].path, '/') + 1, paths[p], c);
      fail_unless (c >= 0.99);
      g_ptr_array_unref (buffers);
    }
  }
}

GST_END_TEST;

static Suite *
parity_suite (void)
{
  Suite *s = suite_create ("pirlembed-parity");
  TCase *tc = tcase_create ("general");

  tcase_add_checked_fixture (tc, NULL, leaks_none);
  tcase_set_timeout (tc, 200);  /* seconds, on a machine that is busy otherwise */
  suite_add_tcase (s, tc);
  tcase_add_test (tc, photos_agree_with_the_check_values_f32);
  tcase_add_test (tc, photos_agree_with_the_check_values_bf16);
  tcase_add_test (tc, photos_through_jpegdec_are_close);
  return s;
}

int
main (int argc, char **argv)
{
  const gchar *given = g_getenv ("PIRL_TEST_DATA");
  g_autofree gchar *data = g_canonicalize_filename (given ? given : "../shared/data", NULL);
  int failed;
  Suite *s;

  leaks_watch ();
  gst_check_init (&argc, &argv);
  gst_pirl_meta_init ();
  if (!read_checks (data)) {
    g_print ("skipped: no weights with check values in %s; set PIRL_TEST_DATA\n", data);
    return EXIT_SKIPPED;
  }
  weights = g_build_filename (data, "weights", "resnet50_imagenet_pqf.safetensors", NULL);
  directory = g_dir_make_tmp ("pirlembed-parity-XXXXXX", NULL);
  s = parity_suite ();
  failed = gst_check_run_suite (s, "pirlembed-parity", __FILE__);
  g_rmdir (directory);
  for (guint i = 0; i < N_PHOTOS; i++)
    g_free (checks[i].path);
  g_free (directory);
  g_free (weights);
  return failed;
}
