/* adacompressenc: what the agent sees of a frame (see observe.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * phi(x, l), with a = log (quality / 10), d(q) = log (0.001 + 1 - cos (E(x), E(J(x, q)))):
 *   shift           1, a, d(quality), mean of d over the probes
 *   frame           1, a, a^2, log of the size, 32 random projections of E(x) / |E(x)|
 *   no extractor    1, a, a^2, log of the size, log of the reference's bits a pixel
 * d at a quality that is no probe is interpolated over log quality: each probe costs a preview and
 * a run of the network, and four of them tell as much as one a level. What did not help a logistic
 * regression on 200 pictures: each probe's shift by itself, sizes, density, norm and sparsity of
 * E(x), its principal components, shifts of earlier layers, in other metrics, or against the shift
 * that mirroring or blurring causes. The projections are fixed (drawn from a seed, not fitted), so
 * that an agent that was saved means the same thing wherever it is loaded.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "observe.h"
#include "device.h"

#include <base/rng.h>
#include <net/embedder.h>

#include <math.h>
#include <string.h>

#define MAX_PROBES 8
/* Levels whose size is counted; those between are interpolated. */
#define MAX_KNOTS 7
#define PROJECTIONS 32
#define PROJECTION_SEED 20190000
/* Keeps the logarithm of a picture that compression leaves alone finite. */
#define LEAST_SHIFT 1e-3

static const gint probe_qualities[] = { 5, 9, 15, 25 };

struct _AdaObserver {
  AdaFeatures features;
  PirlHuffman huffman;
  guint levels, inputs, n_features, probes;
  gint *qualities;              /* levels, then the reference once more */
  gint probe[MAX_PROBES];
  PirlEmbedder *extractor;      /* NULL = sizes only */
  PirlImage preview[1 + MAX_PROBES];
  gfloat *rows;                 /* 1 + probes rows of n_features */
  gfloat *projection;           /* PROJECTIONS x n_features */
  gchar *model;
};

/* --- observations --- */

static AdaObservation *
observation_new (const AdaObserver * observer)
{
  AdaObservation *observation = g_new0 (AdaObservation, 1);

  g_atomic_ref_count_init (&observation->references);
  observation->levels = observer->levels;
  observation->inputs = observer->inputs;
  observation->n_features = observer->n_features;
  observation->phi = g_new0 (gfloat, (gsize) observer->levels * observer->inputs);
  observation->sizes = g_new0 (gdouble, observer->levels);
  return observation;
}

AdaObservation *
ada_observation_ref (AdaObservation * observation)
{
  g_atomic_ref_count_inc (&observation->references);
  return observation;
}

void
ada_observation_unref (AdaObservation * observation)
{
  if (!g_atomic_ref_count_dec (&observation->references))
    return;
  g_free (observation->phi);
  g_free (observation->features);
  g_free (observation->sizes);
  g_free (observation);
}

/* --- making one --- */

static gboolean
check_qualities (const AdaObserverConfig * config, GError ** error)
{
  gboolean good = config->levels >= 1;

  for (guint l = 0; l < config->levels; l++)
    good &= config->qualities[l] >= 1 && config->qualities[l] <= 100
        && (l == 0 || config->qualities[l] > config->qualities[l - 1]);
  if (!good)
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "observer: %u qualities; needed: at least one, from 1 to 100, ascending", config->levels);
  return good;
}

/* Probes at and above the reference quality would say nothing. */
static void
pick_probes (AdaObserver * observer)
{
  const gint reference = observer->qualities[observer->levels - 1];

  for (guint i = 0; i < G_N_ELEMENTS (probe_qualities); i++)
    if (probe_qualities[i] < reference)
      observer->probe[observer->probes++] = probe_qualities[i];
  if (observer->probes == 0)
    observer->probe[observer->probes++] = reference;
}

/* Gaussian, scaled so that a projection of a vector of unit length has unit variance. */
static void
draw_projection (AdaObserver * observer)
{
  const gsize n = (gsize) PROJECTIONS * observer->n_features;
  PirlRng rng;

  pirl_rng_init (&rng, PROJECTION_SEED, 0, 0, PIRL_PURPOSE_AGENT);
  observer->projection = g_new (gfloat, n);
  for (gsize i = 0; i < n; i++)
    observer->projection[i] = pirl_rng_normal (&rng);
}

static gboolean
load_extractor (AdaObserver * observer, const AdaObserverConfig * config, GError ** error)
{
  if (config->features == ADA_FEATURES_SHIFT)
    pick_probes (observer);
  observer->extractor = pirl_embedder_new (config->extractor, "features",
      ada_device (config->device), "auto", config->n_threads, 1 + observer->probes, error);
  if (observer->extractor == NULL)
    return FALSE;
  observer->n_features = pirl_embedder_size (observer->extractor);
  observer->model = g_strdup (pirl_embedder_model (observer->extractor));
  observer->rows = g_new (gfloat, (gsize) (1 + observer->probes) * observer->n_features);
  if (config->features == ADA_FEATURES_FRAME)
    draw_projection (observer);
  return TRUE;
}

AdaObserver *
ada_observer_new (const AdaObserverConfig * config, GError ** error)
{
  g_autoptr (AdaObserver) observer = g_new0 (AdaObserver, 1);

  if (!check_qualities (config, error))
    return NULL;
  observer->features = config->features;
  observer->huffman = config->huffman;
  observer->levels = config->levels;
  observer->qualities = g_memdup2 (config->qualities, sizeof (gint) * config->levels);
  if (config->extractor == NULL) {
    observer->inputs = 5;
    observer->model = g_strdup ("none");
  } else {
    if (!load_extractor (observer, config, error))
      return NULL;
    observer->inputs = config->features == ADA_FEATURES_SHIFT ? 4 : 4 + PROJECTIONS;
  }
  return g_steal_pointer (&observer);
}

void
ada_observer_free (AdaObserver * observer)
{
  if (observer == NULL)
    return;
  g_clear_pointer (&observer->extractor, pirl_embedder_free);
  for (guint i = 0; i < G_N_ELEMENTS (observer->preview); i++)
    pirl_image_clear (&observer->preview[i]);
  g_free (observer->qualities);
  g_free (observer->rows);
  g_free (observer->projection);
  g_free (observer->model);
  g_free (observer);
}

guint
ada_observer_inputs (const AdaObserver * observer)
{
  return observer->inputs;
}

guint
ada_observer_features (const AdaObserver * observer)
{
  return observer->n_features;
}

const gchar *
ada_observer_model (const AdaObserver * observer)
{
  return observer->model;
}

/* --- looking --- */

/* Linear in log quality between the points @at, and beyond them as in the nearest pair. */
static gdouble
interpolate (const gdouble * at, const gdouble * value, guint n, gdouble x)
{
  guint i = 1;

  if (n == 1)
    return value[0];
  while (i + 1 < n && x > at[i])
    i++;
  return value[i - 1] + (x - at[i - 1]) / (at[i] - at[i - 1]) * (value[i] - value[i - 1]);
}

/* How finely a quality quantises: libjpeg's scale of the tables, as a logarithm. */
static gdouble
fineness (gint quality)
{
  return -log (quality < 50 ? 5000.0 / quality : MAX (200 - 2 * quality, 1));
}

/* Bytes at every level, and those of the last with standard tables. Counting costs a pass over a sample
 * of the picture a level, and log bytes are nearly linear in the log of the step: a few are counted. */
static gdouble
count_bytes (const AdaObserver * observer, PirlJpegCoder * coder, gdouble * bytes)
{
  const guint last = observer->levels - 1, n = MIN (observer->levels, MAX_KNOTS);
  gint knot[MAX_KNOTS];
  gdouble at[MAX_KNOTS], size[MAX_KNOTS], reference;

  for (guint i = 0; i < n; i++)
    knot[i] = observer->qualities[n > 1 ? i * last / (n - 1) : last];
  pirl_jpeg_coder_sizes (coder, knot, n, observer->huffman, size, &reference);
  for (guint i = 0; i < n; i++) {
    at[i] = fineness (knot[i]);
    size[i] = log (size[i]);
  }
  for (guint l = 0; l < observer->levels; l++)
    bytes[l] = exp (interpolate (at, size, n, fineness (observer->qualities[l])));
  return reference;
}

/* Against the reference's bytes, which are always with standard tables. Returns log of its bits a
 * pixel. */
static gdouble
look_at_sizes (const AdaObserver * observer, PirlJpegCoder * coder, AdaObservation * observation)
{
  const gdouble bytes = count_bytes (observer, coder, observation->sizes);
  gint width, height;

  pirl_jpeg_coder_size (coder, &width, &height);
  observation->reference_bytes = bytes;
  for (guint l = 0; l < observer->levels; l++)
    observation->sizes[l] /= bytes;
  return log (8 * bytes / ((gdouble) width * height));
}

/* Where the centre @crop of @scaled pixels, which @pixels were resized to, comes from, and what resizing
 * blends with it. */
static void
find_source (gint pixels, gint scaled, gint offset, gint crop, gint * begin, gint * end)
{
  const gdouble step = (gdouble) pixels / scaled, reach = MAX (step, 1) + 1;

  *begin = MAX ((gint) floor (offset * step - reach), 0);
  *end = MIN ((gint) ceil ((offset + crop) * step + reach), pixels);
}

/* What the extractor looks at of a preview: of wide frames little more than half. */
static PirlPart
find_part (const AdaObserver * observer, const PirlJpegCoder * coder)
{
  const gint short_side = pirl_embedder_short_side (observer->extractor);
  const gint crop = pirl_embedder_crop (observer->extractor);
  gint width, height, scaled_width, scaled_height, left, top;
  PirlPart part;

  pirl_jpeg_coder_preview_size (coder, short_side, &width, &height);
  pirl_place_center_crop (width, height, short_side, crop, &scaled_width, &scaled_height, &left,
      &top);
  find_source (width, scaled_width, left, crop, &part.x0, &part.x1);
  find_source (height, scaled_height, top, crop, &part.y0, &part.y1);
  return part;
}

/* Picture 0: the frame; the others: what the probes leave of it. */
static void
make_previews (AdaObserver * observer, PirlJpegCoder * coder, const PirlImage ** pictures)
{
  const gint short_side = pirl_embedder_short_side (observer->extractor);
  const PirlPart part = find_part (observer, coder);

  for (guint i = 0; i <= observer->probes; i++) {
    pirl_jpeg_coder_preview (coder, i == 0 ? 0 : observer->probe[i - 1], short_side, &part,
        &observer->preview[i]);
    pictures[i] = &observer->preview[i];
  }
}

static gdouble
cosine (const gfloat * a, const gfloat * b, guint n)
{
  gdouble ab = 0, aa = 0, bb = 0;

  for (guint i = 0; i < n; i++) {
    ab += (gdouble) a[i] * b[i];
    aa += (gdouble) a[i] * a[i];
    bb += (gdouble) b[i] * b[i];
  }
  return ab / sqrt (MAX (aa * bb, 1e-30));
}

static void
fill_shift (const AdaObserver * observer, AdaObservation * observation)
{
  gdouble at[MAX_PROBES], shift[MAX_PROBES], mean = 0;

  for (guint i = 0; i < observer->probes; i++) {
    const gfloat *row = observer->rows + (gsize) (i + 1) * observer->n_features;

    at[i] = log (observer->probe[i]);
    shift[i] = log (LEAST_SHIFT + MAX (0, 1 - cosine (observer->rows, row, observer->n_features)));
    mean += shift[i] / observer->probes;
  }
  for (guint l = 0; l < observer->levels; l++) {
    gfloat *phi = observation->phi + (gsize) l * observer->inputs;

    phi[2] = MAX (log (LEAST_SHIFT),
        interpolate (at, shift, observer->probes, log (observer->qualities[l])));
    phi[3] = mean;
  }
}

static void
fill_frame (const AdaObserver * observer, AdaObservation * observation)
{
  const guint n = observer->n_features;
  gfloat projected[PROJECTIONS];
  gdouble length = 0;

  for (guint i = 0; i < n; i++)
    length += (gdouble) observer->rows[i] * observer->rows[i];
  length = sqrt (MAX (length, 1e-30));
  for (guint k = 0; k < PROJECTIONS; k++) {
    gdouble sum = 0;

    for (guint i = 0; i < n; i++)
      sum += (gdouble) observer->projection[(gsize) k * n + i] * observer->rows[i];
    projected[k] = sum / length;
  }
  for (guint l = 0; l < observer->levels; l++)
    memcpy (observation->phi + (gsize) l * observer->inputs + 4, projected, sizeof projected);
}

/* The inputs that do not depend on what the extractor sees. */
static void
fill_plain (const AdaObserver * observer, AdaObservation * observation, gdouble bits)
{
  for (guint l = 0; l < observer->levels; l++) {
    gfloat *phi = observation->phi + (gsize) l * observer->inputs;
    const gdouble a = log (observer->qualities[l] / 10.0);

    phi[0] = 1;
    phi[1] = a;
    phi[2] = a * a;
    phi[3] = log (observation->sizes[l]);
    if (!observer->extractor)
      phi[4] = bits;
  }
}

guint
ada_observer_probes (const AdaObserver * observer, const gint ** qualities)
{
  if (qualities != NULL)
    *qualities = observer->probe;
  return observer->probes;
}

AdaObservation *
ada_observer_run_pictures (AdaObserver * observer, PirlJpegCoder * coder,
    const PirlImage * const *pictures, GError ** error)
{
  g_autoptr (AdaObservation) observation = observation_new (observer);

  fill_plain (observer, observation, look_at_sizes (observer, coder, observation));
  if (observer->extractor == NULL)
    return g_steal_pointer (&observation);
  if (!pirl_embedder_run (observer->extractor, pictures, 1 + observer->probes, observer->rows,
          error))
    return NULL;
  observation->features = g_memdup2 (observer->rows, sizeof (gfloat) * observer->n_features);
  if (observer->features == ADA_FEATURES_SHIFT)
    fill_shift (observer, observation);
  else
    fill_frame (observer, observation);
  return g_steal_pointer (&observation);
}

AdaObservation *
ada_observer_run (AdaObserver * observer, PirlJpegCoder * coder, GError ** error)
{
  const PirlImage *pictures[1 + MAX_PROBES];

  if (observer->extractor)
    make_previews (observer, coder, pictures);
  return ada_observer_run_pictures (observer, coder, pictures, error);
}
