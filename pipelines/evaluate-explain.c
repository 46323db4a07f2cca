/* gst-pirl: which regions of a picture does the agent fear for? (see evaluate-explain.h)
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "evaluate-explain.h"

#include <cairo.h>
#include <math.h>
#include <string.h>
#include "learn/bandit.h"

/* Regions along the shorter side of the page's picture. */
#define REGIONS 8
#define PAGE_SIDE 384
#define MARGIN 12
#define HEAD 48
/* What is explained where the reference is sent, of which nothing can be feared. */
#define USUAL_QUALITY 15

/* The picture that is being explained. */
typedef struct {
  PirlJpegCoder *coder;
  AdaObserver *observer;
  PirlBandit *bandit;
  const guint *grid;
  guint n_grid;
  guint choice, level;          /* what is sent, and what is explained: indices into grid */
  guint probes;
  PirlImage *pictures;          /* the frame, and what each probe leaves of it */
  gfloat *phi;
  gdouble *p;
} Subject;

/* --- learning from the whole table --- */

static void
pick_rows (const gfloat *phi, guint inputs, const guint *grid, guint n, gfloat *to)
{
  for (guint l = 0; l < n; l++)
    memcpy (to + (gsize) l * inputs, phi + (gsize) grid[l] * inputs, inputs * sizeof (gfloat));
}

static PirlBandit *
learn_all (const EvalTable *table, gdouble target, const guint *grid, guint n_grid, GError **error)
{
  const EvalLook *look = table->looks->pdata[0];
  g_autofree gfloat *phi = g_new (gfloat, (gsize) n_grid * look->inputs);
  g_autofree gfloat *outcome = g_new (gfloat, n_grid);
  g_autofree gdouble *sizes = g_new (gdouble, n_grid);
  PirlBanditConfig config;
  PirlBandit *bandit;

  pirl_bandit_config_defaults (&config);
  config.levels = n_grid;
  config.inputs = look->inputs;
  config.target = target;
  config.capacity = MAX (config.capacity, table->n);
  bandit = pirl_bandit_new (&config, error);
  for (guint i = 0; bandit && i < table->n; i++) {
    pick_rows (look->phi + (gsize) i * table->levels * look->inputs, look->inputs, grid,
        n_grid, phi);
    for (guint l = 0; l < n_grid; l++) {
      outcome[l] = l + 1 == n_grid ? -1
          : table->agreement[(gsize) i * table->qualities_all + grid[l]];
      sizes[l] = table->predicted[(gsize) i * table->levels + grid[l]];
    }
    pirl_bandit_learn (bandit, phi, sizes, outcome);
  }
  if (bandit)
    pirl_bandit_refit (bandit);
  return bandit;
}

/* --- one picture --- */

/* The predicted agreement at the choice, with what the extractor is shown. */
static gboolean
predict (Subject *subject, const EvalTable *table, gboolean choose, gdouble *agreement,
    GError **error)
{
  g_autofree const PirlImage **pictures = g_new (const PirlImage *, subject->probes + 1);
  g_autofree gdouble *sizes = g_new (gdouble, subject->n_grid);
  g_autoptr (AdaObservation) observation = NULL;

  for (guint i = 0; i <= subject->probes; i++)
    pictures[i] = &subject->pictures[i];
  observation = ada_observer_run_pictures (subject->observer, subject->coder, pictures, error);
  if (!observation)
    return FALSE;
  pick_rows (observation->phi, observation->inputs, subject->grid, subject->n_grid, subject->phi);
  for (guint l = 0; l < subject->n_grid; l++)
    sizes[l] = observation->sizes[subject->grid[l]];
  if (choose) {
    subject->choice = pirl_bandit_choose (subject->bandit, subject->phi, sizes, NULL);
    subject->level = subject->choice;
    while (subject->choice + 1 == subject->n_grid && subject->level > 0
        && table->qualities[subject->grid[subject->level]] > USUAL_QUALITY)
      subject->level--;
  }
  pirl_bandit_predict (subject->bandit, subject->phi, subject->p, NULL);
  *agreement = subject->p[subject->level];
  return TRUE;
}

static void
copy_region (const PirlImage *from, PirlImage *to, gint x, gint y, gint w, gint h)
{
  for (gint row = y; row < y + h; row++)
    memcpy (to->data + row * to->stride + 3 * (gsize) x, from->data + row * from->stride
        + 3 * (gsize) x, 3 * (gsize) w);
}

/* heat[y][x]: by how much the prediction's logit rises when that region is left whole. */
static gboolean
heat_map (Subject *subject, const EvalTable *table, gint columns, gint rows, gdouble *heat,
    gdouble *before, GError **error)
{
  const gint w = subject->pictures[0].width, h = subject->pictures[0].height;
  g_autofree PirlImage *kept = g_new0 (PirlImage, subject->probes + 1);
  gboolean good = predict (subject, table, TRUE, before, error);

  for (guint i = 1; i <= subject->probes; i++) {
    pirl_image_init (&kept[i], w, h);
    pirl_image_copy (&subject->pictures[i], &kept[i]);
  }
  for (gint cell = 0; good && cell < columns * rows; cell++) {
    const gint x0 = cell % columns * w / columns, x1 = (cell % columns + 1) * w / columns;
    const gint y0 = cell / columns * h / rows, y1 = (cell / columns + 1) * h / rows;
    gdouble after;

    for (guint i = 1; i <= subject->probes; i++)
      copy_region (&subject->pictures[0], &subject->pictures[i], x0, y0, x1 - x0, y1 - y0);
    good = predict (subject, table, FALSE, &after, error);
    if (good)
      heat[cell] = log ((after + 1e-4) / (1 + 1e-4 - after))
          - log ((*before + 1e-4) / (1 + 1e-4 - *before));
    for (guint i = 1; i <= subject->probes; i++)
      copy_region (&kept[i], &subject->pictures[i], x0, y0, x1 - x0, y1 - y0);
  }
  for (guint i = 1; i <= subject->probes; i++)
    pirl_image_clear (&kept[i]);
  return good;
}

/* --- the page --- */

static cairo_surface_t *
surface_of (const PirlImage *image)
{
  cairo_surface_t *surface = cairo_image_surface_create (CAIRO_FORMAT_RGB24, image->width,
      image->height);
  guint8 *data = cairo_image_surface_get_data (surface);
  const gint stride = cairo_image_surface_get_stride (surface);

  for (gint y = 0; data && y < image->height; y++) {
    guint32 *to = (guint32 *) (gpointer) (data + (gsize) y * stride);
    const guint8 *from = image->data + y * image->stride;

    for (gint x = 0; x < image->width; x++, from += 3)
      to[x] = (guint32) from[0] << 16 | (guint32) from[1] << 8 | from[2];
  }
  cairo_surface_mark_dirty (surface);
  return surface;
}

static void
paint (cairo_t *cr, const PirlImage *image, double x, double scale)
{
  cairo_surface_t *surface = surface_of (image);

  cairo_save (cr);
  cairo_translate (cr, x, HEAD);
  cairo_scale (cr, scale, scale);
  cairo_set_source_surface (cr, surface, 0, 0);
  cairo_paint (cr);
  cairo_restore (cr);
  cairo_surface_destroy (surface);
}

static void
paint_heat (cairo_t *cr, const gdouble *heat, gint columns, gint rows, double x, double w, double h)
{
  gdouble most = 1e-6;

  for (gint i = 0; i < columns * rows; i++)
    most = fmax (most, fabs (heat[i]));
  for (gint i = 0; i < columns * rows; i++) {
    const gdouble share = heat[i] / most;

    cairo_set_source_rgba (cr, share > 0 ? 1 : .1, .15, share > 0 ? .1 : 1, .75 * fabs (share));
    cairo_rectangle (cr, x + i % columns * w / columns, HEAD + i / columns * h / rows, w / columns,
        h / rows);
    cairo_fill (cr);
  }
}

static gboolean
draw_page (const Subject *subject, const PirlImage *chosen, const gchar *title, const gdouble *heat,
    gint columns, gint rows, const gchar *path, GError **error)
{
  const PirlImage *frame = &subject->pictures[0];
  const double scale = PAGE_SIDE / (double) MAX (frame->width, frame->height);
  const double w = frame->width * scale, h = frame->height * scale;
  cairo_surface_t *page = cairo_image_surface_create (CAIRO_FORMAT_RGB24,
      (int) (3 * w + 4 * MARGIN), (int) (HEAD + h + MARGIN));
  cairo_t *cr = cairo_create (page);
  cairo_status_t status;

  cairo_set_source_rgb (cr, 1, 1, 1);
  cairo_paint (cr);
  cairo_set_source_rgb (cr, 0, 0, 0);
  cairo_set_font_size (cr, 13);
  cairo_move_to (cr, MARGIN, 18);
  cairo_show_text (cr, title);
  cairo_set_font_size (cr, 11);
  cairo_move_to (cr, MARGIN, HEAD - 8);
  cairo_show_text (cr, "the picture");
  cairo_move_to (cr, 2 * MARGIN + w, HEAD - 8);
  cairo_show_text (cr, "as it is sent");
  cairo_move_to (cr, 3 * MARGIN + 2 * w, HEAD - 8);
  cairo_show_text (cr, "red: compression here costs agreement");
  paint (cr, frame, MARGIN, scale);
  paint (cr, chosen, 2 * MARGIN + w, PAGE_SIDE / (double) MAX (chosen->width, chosen->height));
  paint (cr, frame, 3 * MARGIN + 2 * w, scale);
  paint_heat (cr, heat, columns, rows, 3 * MARGIN + 2 * w, w, h);
  status = cairo_surface_write_to_png (page, path);
  cairo_destroy (cr);
  cairo_surface_destroy (page);
  if (status == CAIRO_STATUS_SUCCESS)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "cannot write %s: %s", path,
      cairo_status_to_string (status));
  return FALSE;
}

static gboolean
explain_loaded (Subject *subject, const EvalTable *table, const gchar *name, const gchar *path,
    GError **error)
{
  const gint w = subject->pictures[0].width, h = subject->pictures[0].height;
  const gint columns = w >= h ? (gint) lround (REGIONS * (gdouble) w / h) : REGIONS;
  const gint rows = h > w ? (gint) lround (REGIONS * (gdouble) h / w) : REGIONS;
  const gint across = CLAMP (columns, 1, MIN (w, 4 * REGIONS));
  const gint down = CLAMP (rows, 1, MIN (h, 4 * REGIONS));
  g_autofree gdouble *heat = g_new0 (gdouble, (gsize) across * down);
  g_autofree gchar *title = NULL;
  PirlImage chosen = { 0 };
  gdouble agreement;
  gint quality;
  gboolean good;

  if (!heat_map (subject, table, across, down, heat, &agreement, error))
    return FALSE;
  quality = table->qualities[subject->grid[subject->choice]];
  title = g_strdup_printf ("%s: quality %d is sent; agreement predicted for %d: %.0f %%", name,
      quality, table->qualities[subject->grid[subject->level]], 100 * agreement);
  pirl_jpeg_coder_preview (subject->coder, quality, PAGE_SIDE, NULL, &chosen);
  good = draw_page (subject, &chosen, title, heat, across, down, path, error);
  pirl_image_clear (&chosen);
  return good;
}

static gboolean
explain_one (Subject *subject, const EvalTable *table, const EvalTableConfig *config,
    const gchar *name, const gchar *path, GError **error)
{
  g_autofree gchar *file = g_build_filename (config->folder, name, NULL);
  PirlImage image = { 0 };
  const gint *probes;
  gboolean good;

  subject->probes = ada_observer_probes (subject->observer, &probes);
  subject->pictures = g_new0 (PirlImage, subject->probes + 1);
  good = pirl_image_load (file, &image, NULL, error)
      && pirl_jpeg_coder_load_rgb (subject->coder, &image, error);
  for (guint i = 0; good && i <= subject->probes; i++)
    pirl_jpeg_coder_preview (subject->coder, i == 0 ? 0 : probes[i - 1], PAGE_SIDE / 3 * 2,
        NULL, &subject->pictures[i]);
  good = good && explain_loaded (subject, table, name, path, error);
  for (guint i = 0; i <= subject->probes; i++)
    pirl_image_clear (&subject->pictures[i]);
  g_clear_pointer (&subject->pictures, g_free);
  pirl_image_clear (&image);
  return good;
}

/* --- all of them --- */

static gboolean
explain_several (Subject *subject, const EvalTable *table, const EvalTableConfig *config,
    const gchar *path, guint n, GError **error)
{
  for (guint k = 0; k < n; k++) {
    const gchar *name = table->names->pdata[(gsize) k * table->n / n];
    g_autofree gchar *base = g_path_get_basename (name);
    g_autofree gchar *out = g_strdup_printf ("%s-%s.png", path, base);

    if (!explain_one (subject, table, config, name, out, error))
      return FALSE;
    g_print ("explained: %s\n", out);
  }
  return TRUE;
}

gboolean
eval_explain (const EvalTable *table, const EvalTableConfig *config, gdouble target,
    const guint *grid, guint n_grid, const gchar *path, guint n, GError **error)
{
  const AdaObserverConfig observer = {
    .extractor = config->extractors ? config->extractors[0] : NULL,
    .features = ADA_FEATURES_SHIFT, .qualities = table->qualities, .levels = table->levels,
    .huffman = config->huffman, .device = config->device, .n_threads = config->n_threads };
  const EvalLook *look = table->looks->pdata[0];
  g_autofree gfloat *phi = g_new (gfloat, (gsize) n_grid * look->inputs);
  g_autofree gdouble *p = g_new (gdouble, n_grid);
  Subject subject = { .grid = grid, .n_grid = n_grid, .phi = phi, .p = p };
  gboolean good = FALSE;

  if (!observer.extractor) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "--explain shows where the extractor's features move; --extractor names none");
    return FALSE;
  }
  subject.observer = ada_observer_new (&observer, error);
  subject.bandit = subject.observer ? learn_all (table, target, grid, n_grid, error) : NULL;
  if (subject.bandit) {
    subject.coder = pirl_jpeg_coder_new ();
    pirl_jpeg_coder_set_flat (subject.coder, config->flat ? config->reference : 0);
    good = explain_several (&subject, table, config, path, MIN (n, table->n), error);
    pirl_jpeg_coder_free (subject.coder);
    pirl_bandit_free (subject.bandit);
  }
  ada_observer_free (subject.observer);
  return good;
}
