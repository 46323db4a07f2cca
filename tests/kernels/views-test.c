/* gst-pirl: views rendered by a device against those that kernels/vision renders: the same pixels.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Skips where there is no CUDA device that renders.
 */
#include <math.h>

#include "learn-common.h"
#include "vision/pretext.h"

#define SKIPPED 77
#define SAMPLES 4
#define PI_F 3.14159265f

static PirlDevice *device;

/* Something between a photo and noise: slopes, edges and grain. */
static void
draw_picture (PirlImage *image, gint width, gint height, guint32 number)
{
  PirlRng rng;

  pirl_rng_init (&rng, 7, 0, number, PIRL_PURPOSE_TEST);
  pirl_image_init (image, width, height);
  for (gint y = 0; y < height; y++)
    for (gint x = 0; x < width; x++)
      for (gint c = 0; c < 3; c++) {
        const gfloat slope = sinf (2 * PI_F * x * (c + 1) / width)
            * cosf (2 * PI_F * y * (3 - c) / height + number);
        const gfloat edge = ((x / 9 + y / 13) & 1) * 30.f;
        const gfloat grain = pirl_rng_range (&rng, -20, 20);

        image->data[y * image->stride + 3 * x + c]
            = (guint8) CLAMP (118 + 90 * slope + edge + grain, 0, 255);
      }
}

/* Pictures, the draws of their views, the recipes, and what the CPU renders from them. */
typedef struct {
  PirlPretextConfig config;
  gint cells;
  PirlImage picture[SAMPLES];
  PirlView image[SAMPLES], patch[SAMPLES * PIRL_MAX_PATCHES];
  guint8 *images, *patches;
} Views;

static void
views_init (Views *views, gint width, gint height, gint size, gint grid, PirlTransform transform,
    const PirlAugment *augment, guint first)
{
  g_autoptr (PirlResizer) resizer = pirl_resizer_new ();
  PirlPretextConfig *config = &views->config;
  gsize image, patches;

  pirl_pretext_config_defaults (config, size, grid);
  config->augment = *augment;
  pirl_pretext_config_transform (config, transform);
  views->cells = config->grid * config->grid;
  image = 3 * (gsize) size * size;
  patches = 3 * (gsize) views->cells * config->patch_size * config->patch_size;
  views->images = g_malloc (SAMPLES * image);
  views->patches = g_malloc (SAMPLES * patches);
  for (gint i = 0; i < SAMPLES; i++) {
    PirlPretext pretext;

    draw_picture (&views->picture[i], width + 3 * i, height, first + i);
    pirl_pretext_draw (config, NULL, -1, width + 3 * i, height, 1, 2, first + i, &pretext);
    pirl_pretext_views (config, &pretext, &views->picture[i], &views->image[i],
        &views->patch[i * views->cells]);
    pirl_pretext_render_image (config, &pretext, resizer, &views->picture[i],
        views->images + i * image);
    pirl_pretext_render_patches (config, &pretext, resizer, &views->picture[i],
        views->patches + i * patches);
  }
}

static void
views_clear (Views *views)
{
  for (gint i = 0; i < SAMPLES; i++)
    pirl_image_clear (&views->picture[i]);
  g_free (views->images);
  g_free (views->patches);
}

/* An INPUT unit whose values are the pixels, and its memory. */
typedef struct {
  PirlUnitPlan *plan;
  PirlTensorDesc desc;
  gpointer output, scratch;
} Input;

static void
input_init (Input *input, gint n, gint size, PirlDType dtype)
{
  const PirlBackend *backend = device->backend;
  const PirlUnitDesc unit = {.kind = PIRL_UNIT_INPUT, .dtype = dtype,
    .input = { n, 3, size, size }, .output = { n, 3, size, size },
    .std = { 1 / 255.f, 1 / 255.f, 1 / 255.f } };
  PirlUnitMemory memory;
  g_autoptr (GError) error = NULL;

  input->plan = backend->unit_plan (device, &unit, NULL, NULL, &input->desc, &memory, &error);
  g_assert_no_error (error);
  input->output = backend->alloc (device, input->desc.bytes, &error);
  g_assert_no_error (error);
  input->scratch = backend->alloc (device, MAX (memory.scratch, 1), &error);
  g_assert_no_error (error);
}

static void
input_clear (Input *input)
{
  device->backend->unit_free (input->plan);
  device->backend->free (device, input->output);
  device->backend->free (device, input->scratch);
}

static void
input_run (Input *input, PirlPass pass, const PirlView *views)
{
  const PirlUnitBuffers buffers = {.views = views, .output = input->output,
    .scratch = input->scratch };
  g_autoptr (GError) error = NULL;

  device->backend->unit_run (input->plan, pass, &buffers, &error);
  g_assert_no_error (error);
}

/* The values against packed pixels, which 16-bit numbers hold exactly, too. */
static void
input_compare (Input *input, const guint8 *expected, const gchar *what)
{
  const PirlDims d = input->desc.dims;
  const gsize n = pirl_dims_count (d), plane = (gsize) d.h * d.w;
  g_autofree gfloat *values = g_new (gfloat, n);
  g_autoptr (GError) error = NULL;
  gdouble sum = 0, most = 0;

  device->backend->tensor_read (device, &input->desc, input->output, values, &error);
  g_assert_no_error (error);
  for (gsize i = 0; i < n; i++) {
    const gsize sample = i / (3 * plane), c = i / plane % 3;
    const gdouble difference
        = fabs (rint (values[i]) - expected[3 * (sample * plane + i % plane) + c]);

    most = MAX (most, difference);
    sum += difference;
  }
  g_test_message ("%s, %dx%d in %s: largest difference %g levels, mean %.3g", what, d.w, d.h,
      pirl_dtype_name (input->desc.dtype), most, sum / n);
  g_assert_cmpfloat (most, <=, 0);
}

static const PirlAugment none = { 0 };
static const PirlAugment colours = {.brightness = .4f, .contrast = .4f, .saturation = .4f,
  .hue = .4f, .grayscale = .2f };
static const PirlAugment everything = {.brightness = .8f, .contrast = .8f, .saturation = .8f,
  .hue = .5f, .grayscale = .3f, .photometric = .6f, .blur = .6f };

/* Every augmentation, pictures larger and smaller than the views, sides that are no multiples. */
static void
test_pixels (void)
{
  static const struct {
    gint width, height, size, grid;
    const PirlAugment *augment;
    PirlDType dtype;
    PirlTransform transform;
  } cases[] = {
    { 160, 120, 64, 3, &none, PIRL_DTYPE_F32 },
    { 250, 187, 96, 3, &colours, PIRL_DTYPE_F32 },
    { 160, 120, 64, 3, &everything, PIRL_DTYPE_F32 },
    { 40, 60, 96, 3, &everything, PIRL_DTYPE_F16 },
    { 5, 3, 48, 2, &everything, PIRL_DTYPE_F32 },
    { 150, 200, 33, 3, &everything, PIRL_DTYPE_BF16 },
    { 900, 700, 32, 2, &everything, PIRL_DTYPE_F32 },
    { 64, 64, 64, 1, &colours, PIRL_DTYPE_F32 },
    { 200, 150, 80, 5, &everything, PIRL_DTYPE_F32 },
    { 160, 120, 64, 3, &everything, PIRL_DTYPE_F32, PIRL_TRANSFORM_ROTATION },
    { 60, 90, 33, 3, &everything, PIRL_DTYPE_F16, PIRL_TRANSFORM_ROTATION },
    { 160, 120, 64, 3, &everything, PIRL_DTYPE_F32, PIRL_TRANSFORM_BOTH },
    { 70, 30, 45, 2, &everything, PIRL_DTYPE_BF16, PIRL_TRANSFORM_BOTH },
    { 1, 1, 16, 2, &everything, PIRL_DTYPE_F32, PIRL_TRANSFORM_BOTH },
    { 100, 80, 48, 3, &everything, PIRL_DTYPE_F32, PIRL_TRANSFORM_CROP },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    Input images, patches;
    Views views;

    views_init (&views, cases[i].width, cases[i].height, cases[i].size, cases[i].grid,
        cases[i].transform, cases[i].augment, 10 * i);
    input_init (&images, SAMPLES, cases[i].size, cases[i].dtype);
    input_init (&patches, SAMPLES * views.cells, views.config.patch_size, cases[i].dtype);
    input_run (&images, PIRL_PASS_FORWARD, views.image);
    input_compare (&images, views.images, "images");
    input_run (&patches, PIRL_PASS_FORWARD, views.patch);
    input_compare (&patches, views.patches, "patches");
    input_clear (&images);
    input_clear (&patches);
    views_clear (&views);
  }
}

/* While a step is under way the next one's views are staged, from larger pictures each time; the
 * pictures may go at once. Steps are recorded on the way. */
static void
test_steps (void)
{
  const PirlBackend *backend = device->backend;
  PirlStepResult result;
  Input input;

  input_init (&input, SAMPLES, 32, PIRL_DTYPE_F32);
  for (gint step = -1; step < 6; step++) {
    const gint next = step + 1;
    g_autofree guint8 *expected = NULL;
    static guint8 *staged = NULL;
    g_autoptr (GError) error = NULL;
    Views views;

    if (step >= 0) {
      backend->step_begin (device, &error);
      g_assert_no_error (error);
      input_run (&input, PIRL_PASS_FORWARD, NULL);
      backend->step_launch (device, &error);
      g_assert_no_error (error);
    }
    expected = g_steal_pointer (&staged);
    /* Twice: what was staged and not used is forgotten. */
    for (gint again = 0; again < 2; again++) {
      views_init (&views, 40 + 30 * next, 50 + 20 * next, 32, 2, PIRL_TRANSFORM_JIGSAW,
          &everything, 100 + 10 * next + 5 * again);
      input_run (&input, PIRL_PASS_STAGE, views.image);
      g_clear_pointer (&staged, g_free);
      staged = g_memdup2 (views.images, SAMPLES * 3 * 32 * 32);
      for (gint i = 0; i < SAMPLES; i++)
        memset (views.picture[i].data, 0, views.picture[i].stride * views.picture[i].height);
      views_clear (&views);
    }
    if (step >= 0) {
      backend->step_end (device, &result, &error);
      g_assert_no_error (error);
      input_compare (&input, expected, "a step's images");
    }
    if (step == 5)
      g_clear_pointer (&staged, g_free);
  }
  input_clear (&input);
}

static void
refused (Input *input, const PirlView *views, const gchar *expected)
{
  const PirlUnitBuffers buffers = {.views = views, .output = input->output,
    .scratch = input->scratch };
  g_autoptr (GError) error = NULL;

  g_assert_false (device->backend->unit_run (input->plan, PIRL_PASS_FORWARD, &buffers, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  g_assert_nonnull (strstr (error->message, expected));
}

static void
test_refusals (void)
{
  Input input;
  Views views;

  views_init (&views, 60, 50, 32, 2, PIRL_TRANSFORM_JIGSAW, &none, 3);
  input_init (&input, SAMPLES, 32, PIRL_DTYPE_F32);
  refused (&input, NULL, "none staged");
  views.image[2].left = 1;
  refused (&input, views.image, "view 2");
  views.image[2].left = 0;
  views.image[1].crop.width = 0;
  refused (&input, views.image, "view 1");
  views.image[1].crop.width = 1;
  views.image[3].turns = 4;
  refused (&input, views.image, "turned by 4");
  refused (&input, views.patch, "be 32 x 32");
  input_clear (&input);
  views_clear (&views);
}

/* A training from recipes is, bit for bit, the training from what the CPU renders. */
static void
test_training (void)
{
  const gint grid = 2;
  PirlTrainerConfig config;
  const guint8 *image[BATCH], *patch[BATCH];
  g_autoptr (PirlTrainer) rendering = NULL, plain = NULL;
  guint32 rows[BATCH];

  small_config (&config);
  config.device = (gchar *) "cuda";
  config.batch = SAMPLES;
  config.patch_size = 9;
  config.loss = PIRL_LOSS_NCE;  /* the first Z is estimated from the pictures, too */
  config.temperature = .1;
  rendering = new_trainer (&config);
  plain = new_trainer (&config);
  g_assert_true (pirl_trainer_renders (rendering));
  for (guint step = 0; step < 4; step++) {
    PirlBatch batch = {.rows = rows };
    PirlStepStats stats[2];
    g_autoptr (GError) error = NULL;
    gsize patch_bytes;
    Views views;

    views_init (&views, 50, 40, SIZE, grid, PIRL_TRANSFORM_BOTH, &everything, 20 * step);
    g_assert_cmpint (views.config.patch_size, ==, config.patch_size);
    patch_bytes = 3 * (gsize) views.cells * config.patch_size * config.patch_size;
    for (guint i = 0; i < SAMPLES; i++) {
      image[i] = views.images + i * 3 * SIZE * SIZE;
      patch[i] = views.patches + i * patch_bytes;
      rows[i] = (step * SAMPLES + i) % ROWS;
    }
    batch.images = image;
    batch.patches = patch;
    pirl_trainer_step (plain, &batch, NULL, &stats[0], &error);
    g_assert_no_error (error);
    batch.images = batch.patches = NULL;
    batch.image_views = views.image;
    batch.patch_views = views.patch;
    pirl_trainer_step (rendering, &batch, NULL, &stats[1], &error);
    g_assert_no_error (error);
    g_assert_cmpfloat (stats[0].loss, ==, stats[1].loss);
    views_clear (&views);
  }
  assert_same_bits (plain, rendering);
}

int
main (int argc, char **argv)
{
  gint result;

  g_test_init (&argc, &argv, NULL);
  device = pirl_device_open ("cuda", 1, TRUE, NULL);
  if (!device) {
    g_print ("skipped: %s\n", pirl_cuda_reason ());
    return SKIPPED;
  }
  g_test_add_func ("/views/devices-render-the-cpus-pixels", test_pixels);
  g_test_add_func ("/views/steps-render-what-was-staged", test_steps);
  g_test_add_func ("/views/bad-recipes-are-explained", test_refusals);
  g_test_add_func ("/views/trainings-from-recipes-are-the-same", test_training);
  result = g_test_run ();
  pirl_device_close (device);
  return result;
}
