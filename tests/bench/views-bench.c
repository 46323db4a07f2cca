/* gst-pirl: what making a sample's two views costs one thread, and each augmentation by itself.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   views-bench [ROUNDS]        prints CPU microseconds a sample: the image view, the nine patches
 *
 * The views are pirljigsaw's (224; nine patches of 64 from 255) of a 500x375 picture, 16 drawn
 * samples a round, at the element's default strengths, with each other transform's second view in
 * place of the patches, and without any colour. Every single step is
 * done to finished views of 224 and of 64 pixels; what copying them costs is taken off, and is the
 * row "copy". Then both views by teams of threads: wall clock, and CPU time of the whole process, a
 * sample. Medians of the rounds (31).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vision/pretext.h"

#define WIDTH 500
#define HEIGHT 375
#define SAMPLES 16
#define ROUNDS 31
#define MAX_ROUNDS 1001

typedef struct {
  PirlPretextConfig config;
  PirlImage picture;
  PirlResizer *resizer;
  guint8 *view, *patches, *scratch;
} Bench;

typedef struct {
  const gchar *name;
  PirlColour colour;
} Step;

/* In the order of PirlColour: order, brightness, contrast, saturation, hue, photometric, posterize,
 * solarize, sharpness, grayscale, blur, flip. */
#define ORDER { 0, 1, 2, 3 }
static const Step steps[] = {
  { "brightness", { ORDER, 1.3f, 1, 1, 0, FALSE, 8, 256, 1, FALSE, 0, FALSE } },
  { "contrast", { ORDER, 1, 0.7f, 1, 0, FALSE, 8, 256, 1, FALSE, 0, FALSE } },
  { "saturation", { ORDER, 1, 1, 1.2f, 0, FALSE, 8, 256, 1, FALSE, 0, FALSE } },
  { "hue", { ORDER, 1, 1, 1, 0.3f, FALSE, 8, 256, 1, FALSE, 0, FALSE } },
  { "jitter (all four)", { ORDER, 1.3f, 0.7f, 1.2f, 0.3f, FALSE, 8, 256, 1, FALSE, 0, FALSE } },
  { "grayscale", { ORDER, 1, 1, 1, 0, FALSE, 8, 256, 1, TRUE, 0, FALSE } },
  { "flip", { ORDER, 1, 1, 1, 0, FALSE, 8, 256, 1, FALSE, 0, TRUE } },
  { "blur", { ORDER, 1, 1, 1, 0, FALSE, 8, 256, 1, FALSE, 1.5f, FALSE } },
  { "photometric", { ORDER, 1, 1, 1, 0, TRUE, 6, 128, 1.5f, FALSE, 0, FALSE } },
};
#undef ORDER

/* In microseconds. */
static gdouble
time_of (clockid_t clock)
{
  struct timespec now;

  clock_gettime (clock, &now);
  return 1e6 * now.tv_sec + 1e-3 * now.tv_nsec;
}

static gdouble
cpu_now (void)
{
  return time_of (CLOCK_THREAD_CPUTIME_ID);
}

/* Slopes and grain, in many colours: hue takes another way in greys. */
static void
draw_picture (PirlImage *image)
{
  PirlRng rng;

  pirl_rng_init (&rng, 1, 0, 0, PIRL_PURPOSE_TEST);
  pirl_image_init (image, WIDTH, HEIGHT);
  for (gint y = 0; y < HEIGHT; y++)
    for (gint x = 0; x < WIDTH; x++)
      for (gint c = 0; c < 3; c++) {
        const gdouble v = 128 + 80 * sin (x * (c + 1) * 0.021 + y * (3 - c) * 0.017)
            + pirl_rng_range (&rng, -30, 30);

        image->data[y * image->stride + 3 * x + c] = (guint8) CLAMP (v, 0, 255);
      }
}

static gdouble
time_views (Bench *bench, gboolean patches)
{
  gdouble begin;
  PirlPretext pretext[SAMPLES];

  for (gint i = 0; i < SAMPLES; i++)
    pirl_pretext_draw (&bench->config, NULL, -1, WIDTH, HEIGHT, 1, 0, i, &pretext[i]);
  begin = cpu_now ();
  for (gint i = 0; i < SAMPLES; i++)
    if (patches)
      pirl_pretext_render_patches (&bench->config, &pretext[i], bench->resizer, &bench->picture,
          bench->patches);
    else
      pirl_pretext_render_image (&bench->config, &pretext[i], bench->resizer, &bench->picture,
          bench->view);
  return (cpu_now () - begin) / SAMPLES;
}

/* @colour NULL: copying alone. */
static gdouble
time_step (Bench *bench, gboolean patches, const PirlColour *colour)
{
  const gint n = patches ? 9 : 1, size = patches ? bench->config.patch_size
      : bench->config.image_size;
  const guint8 *from = patches ? bench->patches : bench->view;
  const gsize bytes = 3 * (gsize) size * size;
  const gdouble begin = cpu_now ();

  for (gint i = 0; i < SAMPLES; i++)
    for (gint k = 0; k < n; k++) {
      PirlImage image = { size, size, 3 * (gsize) size, bench->scratch + k * bytes };

      memcpy (image.data, from + k * bytes, bytes);
      if (colour)
        pirl_colour_apply (colour, &image);
    }
  return (cpu_now () - begin) / SAMPLES;
}

static int
compare (const void *a, const void *b)
{
  const gdouble x = *(const gdouble *) a, y = *(const gdouble *) b;

  return (x > y) - (x < y);
}

static gdouble
median (gdouble *value, gint n)
{
  qsort (value, n, sizeof *value, compare);
  return value[n / 2];
}

static void
print_views (Bench *bench, const gchar *name, gint rounds)
{
  gdouble cost[2][MAX_ROUNDS];

  for (gint r = 0; r < rounds; r++)
    for (gint patches = 0; patches < 2; patches++)
      cost[patches][r] = time_views (bench, patches);
  printf ("%-20s %9.0f %9.0f\n", name, median (cost[0], rounds), median (cost[1], rounds));
}

static void
print_transform (Bench *bench, PirlTransform transform, gint rounds)
{
  Bench other = *bench;
  g_autofree gchar *name = g_strdup_printf ("transform=%s", pirl_transform_name (transform));

  pirl_pretext_config_transform (&other.config, transform);
  print_views (&other, name, rounds);
}

static void
print_step (Bench *bench, const Step *step, gint rounds)
{
  gdouble cost[2][MAX_ROUNDS];

  for (gint r = 0; r < rounds; r++)
    for (gint patches = 0; patches < 2; patches++) {
      cost[patches][r] = time_step (bench, patches, step ? &step->colour : NULL);
      if (step)
        cost[patches][r] -= time_step (bench, patches, NULL);
    }
  printf ("%-20s %9.1f %9.1f\n", step ? step->name : "copy", median (cost[0], rounds),
      median (cost[1], rounds));
}

static void
print_team (Bench *bench, guint n_threads, gint rounds)
{
  static const clockid_t clocks[2] = { CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID };
  PirlRenderer *renderer = pirl_renderer_new (n_threads, NULL);
  gdouble cost[2][MAX_ROUNDS];
  PirlPretext pretext[SAMPLES];

  g_return_if_fail (renderer != NULL);
  for (gint i = 0; i < SAMPLES; i++)
    pirl_pretext_draw (&bench->config, NULL, -1, WIDTH, HEIGHT, 1, 0, i, &pretext[i]);
  for (gint r = 0; r < rounds; r++) {
    const gdouble begin[2] = { time_of (clocks[0]), time_of (clocks[1]) };

    for (gint i = 0; i < SAMPLES; i++)
      pirl_renderer_run (renderer, &bench->config, &pretext[i], &bench->picture, bench->view,
          bench->patches);
    for (gint k = 0; k < 2; k++)
      cost[k][r] = (time_of (clocks[k]) - begin[k]) / SAMPLES;
  }
  printf ("%2u thread%-11s %9.0f %9.0f\n", n_threads, n_threads > 1 ? "s" : "",
      median (cost[0], rounds), median (cost[1], rounds));
  pirl_renderer_free (renderer);
}

int
main (int argc, char **argv)
{
  const gint rounds = argc > 1 ? CLAMP (atoi (argv[1]), 1, MAX_ROUNDS) : ROUNDS;
  const PirlAugment strengths = { .brightness = 0.4f, .contrast = 0.4f, .saturation = 0.4f,
    .hue = 0.4f, .grayscale = 0.2f };
  Bench bench = { .resizer = pirl_resizer_new () };

  pirl_pretext_config_defaults (&bench.config, 224, 3);
  bench.config.crop_scale_min = 0.2f;
  draw_picture (&bench.picture);
  bench.view = g_malloc (3 * 224 * 224);
  bench.patches = g_malloc (3 * 224 * 224);
  bench.scratch = g_malloc (3 * 224 * 224);
  printf ("%-20s %9s %9s\n", "CPU us a sample", "image", "patches");
  bench.config.augment = strengths;
  print_views (&bench, "all, by default", rounds);
  for (PirlTransform t = PIRL_TRANSFORM_ROTATION; t < PIRL_N_TRANSFORMS; t++)
    print_transform (&bench, t, rounds);
  bench.config.augment = (PirlAugment) { 0 };
  bench.config.flip = FALSE;
  print_views (&bench, "crop and resize", rounds);
  for (guint i = 0; i < G_N_ELEMENTS (steps); i++)
    print_step (&bench, &steps[i], rounds);
  print_step (&bench, NULL, rounds);
  bench.config.augment = strengths;
  bench.config.flip = TRUE;
  printf ("%-20s %9s %9s\n", "us a sample", "wall", "CPU");
  for (guint n = 1; n <= 8; n *= 2)
    print_team (&bench, n, rounds);
  pirl_resizer_free (bench.resizer);
  pirl_image_clear (&bench.picture);
  g_free (bench.view);
  g_free (bench.patches);
  g_free (bench.scratch);
  return 0;
}
