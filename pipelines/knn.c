/* gst-pirl: how good is a network? kNN accuracy of its features.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   pirl-knn MODEL.safetensors REFERENCES [QUERIES]
 *
 * REFERENCES and QUERIES are labelled locations of pirldatasetsrc (folders of classes, lists,
 * synthetic:...). Without QUERIES every reference is judged by the others. The protocol is that of
 * Wu et al. 2018: cosine, votes weighted by exp (similarity / sigma). Standard output has the number
 * alone, for scripts; standard error says what it is.
 */
#include <math.h>
#include <gst/gst.h>

#include "gallery.h"

static gchar *layer = (gchar *) "features";
static gint k = 20, limit = 5000;
static gdouble sigma = 0.1;

static const GOptionEntry entries[] = {
  { "layer", 0, 0, G_OPTION_ARG_STRING, &layer, "Which layer (features)", "NAME" },
  { "k", 'k', 0, G_OPTION_ARG_INT, &k, "Neighbours that vote (20)", "K" },
  { "sigma", 0, 0, G_OPTION_ARG_DOUBLE, &sigma, "Temperature of the votes (0.1)", "S" },
  { "limit", 0, 0, G_OPTION_ARG_INT, &limit, "At most so many pictures of each (5000)", "N" },
  { NULL }
};

static gboolean
load (PirlGallery *gallery, const gchar *location, const gchar *model, GError **error)
{
  const PirlGallerySource source = { location, TRUE, 0, G_MAXUINT64, 1, (guint) limit, 0 };

  return pirl_gallery_load (gallery, &source, model, layer, error);
}

static gboolean
print_accuracy (PirlGallery *references, PirlGallery *queries)
{
  gdouble accuracy;

  if (queries)
    pirl_gallery_number_like (queries, references);
  accuracy = pirl_gallery_knn (references, queries, (guint) k, sigma);
  if (isnan (accuracy)) {
    g_printerr ("no labels to judge by: a picture's class is the name of its folder, as in "
        "REFERENCES/cat/1.jpg\n");
    return FALSE;
  }
  g_printerr ("kNN accuracy from 0 to 1 (k = %d) of %u pictures, %s:\n", k,
      queries ? queries->n : references->n,
      queries ? "by the labels of the references" : "each by the labels of the others");
  g_print ("%.4f\n", accuracy);
  return TRUE;
}

int
main (int argc, char **argv)
{
  g_autoptr (GOptionContext) context =
      g_option_context_new ("MODEL.safetensors REFERENCES [QUERIES]");
  g_autoptr (GError) error = NULL;
  PirlGallery references = { 0 }, queries = { 0 };
  gboolean ok;

  g_option_context_set_summary (context, "Prints the kNN accuracy, from 0 to 1, of a network's "
      "features: of QUERIES by the labels\nof REFERENCES, both folders of class folders (or what "
      "else pirldatasetsrc takes as a\nlocation), or of REFERENCES, each by the others.");
  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_add_group (context, gst_init_get_option_group ());
  if (!g_option_context_parse (context, &argc, &argv, &error) || argc < 3 || argc > 4) {
    g_printerr ("%s\n", error ? error->message :
        "usage: pirl-knn MODEL.safetensors REFERENCES [QUERIES]");
    return 2;
  }
  ok = load (&references, argv[2], argv[1], &error)
      && (argc < 4 || load (&queries, argv[3], argv[1], &error));
  if (!ok)
    g_printerr ("%s\n", error ? error->message : "no pictures");
  ok = ok && print_accuracy (&references, argc < 4 ? NULL : &queries);
  pirl_gallery_clear (&references);
  pirl_gallery_clear (&queries);
  return ok ? 0 : 1;
}
