/* gst-pirl: pictures in device memory, in decoders' layouts, read by a device's INPUT unit, against
 * the same pixels brought to RGB here and resized by kernels/vision: the same values.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Skips where there is no CUDA device that reads surfaces.
 */
#include <math.h>
#include <string.h>

#include "backends/backend.h"
#include "vision/image.h"

#define SKIPPED 77
#define SAMPLES 3

static PirlDevice *device;

/* --- pictures --- */

typedef enum { RGB, BGRX, PLANAR_RGB, NV12, NV21, I420, Y42B, Y444 } Layout;

/* BT.709, limited range, and BT.601, full range, worked out from the standards' Kr and Kb. */
static const PirlYuvMatrix matrices[] = {
  { 76309, 117489, -13975, -34925, 138438, 16 },
  { 65536, 91881, -22553, -46802, 116130, 0 },
};

/* A picture in the host's memory, and a copy of it in the device's. */
typedef struct {
  PirlSurface host, device;
  guint8 *bytes;
  gpointer memory;
  PirlImage rgb;                /* what it shows */
} Picture;

static void
set_component (PirlSurface *surface, gint c, const guint8 *bytes, gsize at, gsize stride, gint step)
{
  surface->data[c] = bytes + at;
  surface->stride[c] = stride;
  surface->step[c] = step;
}

/* Fills in the layout; returns the bytes that it takes. Rows are longer than they need to be. */
static gsize
lay_out (PirlSurface *surface, Layout layout, const guint8 *bytes)
{
  const gint width = surface->width, height = surface->height;
  const gint half_width = (width + 1) / 2, half_height = (height + 1) / 2;
  const gsize pitch = ((gsize) 4 * width + 100) & ~(gsize) 31, plane = pitch * height;
  const gsize half = pitch * half_height;

  surface->yuv = layout >= NV12;
  surface->shift_x = layout >= NV12 && layout <= Y42B;
  surface->shift_y = layout >= NV12 && layout <= I420;
  switch (layout) {
    case RGB:
      for (gint c = 0; c < 3; c++)
        set_component (surface, c, bytes, c, pitch, 3);
      return plane;
    case BGRX:
      for (gint c = 0; c < 3; c++)
        set_component (surface, c, bytes, 2 - c, pitch, 4);
      return plane;
    case NV12:
    case NV21:
      set_component (surface, 0, bytes, 0, pitch, 1);
      set_component (surface, 1, bytes, plane + (layout == NV21), pitch, 2);
      set_component (surface, 2, bytes, plane + (layout == NV12), pitch, 2);
      return plane + half;
    case I420:
      set_component (surface, 0, bytes, 0, pitch, 1);
      set_component (surface, 1, bytes, plane, pitch / 2, 1);
      set_component (surface, 2, bytes, plane + pitch / 2 * half_height, pitch / 2, 1);
      return plane + half + pitch;
    default:
      for (gint c = 0; c < 3; c++)
        set_component (surface, c, bytes, c * plane, pitch, 1);
      return 3 * plane + half_width;
  }
}

/* Slopes, edges and grain, over all the values of a byte. */
static void
draw (guint8 *bytes, gsize n, guint32 number)
{
  PirlRng rng;

  pirl_rng_init (&rng, 8, 0, number, PIRL_PURPOSE_TEST);
  for (gsize i = 0; i < n; i++)
    bytes[i] = (guint8) CLAMP (128 + 140 * sin (i * .013 + number) + pirl_rng_range (&rng, -40, 40),
        0, 255);
}

/* Component @c in the grid of its own. */
static gint
value_at (const PirlSurface *s, gint c, gint x, gint y)
{
  const gint width = (s->width + s->shift_x) >> s->shift_x;
  const gint height = (s->height + s->shift_y) >> s->shift_y;

  x = CLAMP (x, 0, width - 1);
  y = CLAMP (y, 0, height - 1);
  return s->data[c][(gsize) y * s->stride[c] + (gsize) x * s->step[c]];
}

/* Chroma at a pixel, as base/surface.h says. */
static gint
chroma_at (const PirlSurface *s, gint c, gint x, gint y)
{
  gint row[2];
  const gint neighbour = y & 1 ? 1 : -1;

  if (s->shift_x == 0)
    return value_at (s, c, x, y);
  for (gint k = 0; k < 2; k++) {
    const gint at = (s->shift_y ? y / 2 : y) + k * neighbour, near = value_at (s, c, x / 2, at);
    const gint far = value_at (s, c, x & 1 ? x / 2 + 1 : x / 2 - 1, at);

    if (s->cosited)
      row[k] = x & 1 ? (near + far + 1) / 2 : near;
    else
      row[k] = (3 * near + far + 2) / 4;
  }
  return s->shift_y ? (3 * row[0] + row[1] + 2) / 4 : row[0];
}

static guint8
rounded (gint64 number)
{
  return (guint8) CLAMP ((gint) floor (number / (gdouble) (1 << PIRL_YUV_BITS) + .5), 0, 255);
}

static void
to_rgb (const PirlSurface *s, PirlImage *rgb)
{
  const PirlYuvMatrix *m = &s->matrix;

  pirl_image_init (rgb, s->width, s->height);
  for (gint y = 0; y < s->height; y++)
    for (gint x = 0; x < s->width; x++) {
      guint8 *pixel = rgb->data + y * rgb->stride + 3 * (gsize) x;
      const gint64 luma = (gint64) m->luma * (s->data[0][y * s->stride[0]
              + (gsize) x * s->step[0]] - m->luma_offset);
      gint u, v;

      if (!s->yuv) {
        for (gint c = 0; c < 3; c++)
          pixel[c] = s->data[c][y * s->stride[c] + (gsize) x * s->step[c]];
        continue;
      }
      u = chroma_at (s, 1, x, y) - 128;
      v = chroma_at (s, 2, x, y) - 128;
      pixel[0] = rounded (luma + (gint64) m->red_v * v);
      pixel[1] = rounded (luma + (gint64) m->green_u * u + (gint64) m->green_v * v);
      pixel[2] = rounded (luma + (gint64) m->blue_u * u);
    }
}

static void
picture_init (Picture *picture, gint width, gint height, Layout layout, gboolean cosited,
    gint matrix, guint32 number)
{
  const PirlBackend *backend = device->backend;
  g_autoptr (GError) error = NULL;
  gsize bytes;

  picture->host = (PirlSurface) { width, height };
  picture->host.cosited = cosited;
  picture->host.matrix = matrices[matrix];
  picture->device = picture->host;
  bytes = lay_out (&picture->host, layout, NULL);
  picture->bytes = g_malloc (bytes);
  draw (picture->bytes, bytes, number);
  lay_out (&picture->host, layout, picture->bytes);
  picture->memory = backend->alloc (device, bytes, &error);
  g_assert_no_error (error);
  backend->upload (device, picture->memory, picture->bytes, bytes, &error);
  g_assert_no_error (error);
  lay_out (&picture->device, layout, picture->memory);
  to_rgb (&picture->host, &picture->rgb);
}

static void
picture_clear (Picture *picture)
{
  device->backend->free (device, picture->memory);
  pirl_image_clear (&picture->rgb);
  g_free (picture->bytes);
}

/* --- the unit --- */

/* An INPUT unit whose values are the pixels, and its memory. */
typedef struct {
  PirlUnitPlan *plan;
  PirlTensorDesc desc;
  gpointer output, scratch;
  gint size;
} Input;

static void
input_init (Input *input, gint size)
{
  const PirlBackend *backend = device->backend;
  const PirlDims dims = { SAMPLES, 3, size, size };
  const PirlUnitDesc unit = {.kind = PIRL_UNIT_INPUT, .mode = PIRL_MODE_INFER,
    .dtype = PIRL_DTYPE_F32, .input = dims, .output = dims,
    .std = { 1 / 255.f, 1 / 255.f, 1 / 255.f } };
  PirlUnitMemory memory;
  g_autoptr (GError) error = NULL;

  input->size = size;
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

static gboolean
input_run (Input *input, PirlPass pass, const PirlSurfaceView *views, GError **error)
{
  const PirlUnitBuffers buffers = {.surfaces = views, .output = input->output,
    .scratch = input->scratch };

  return device->backend->unit_run (input->plan, pass, &buffers, error);
}

/* Against the pictures as kernels/vision resizes them. */
static void
input_compare (Input *input, const Picture *pictures, gint resize)
{
  g_autoptr (PirlResizer) resizer = pirl_resizer_new ();
  const gsize plane = (gsize) input->size * input->size;
  g_autofree gfloat *values = g_new (gfloat, SAMPLES * 3 * plane);
  g_autoptr (GError) error = NULL;
  gdouble most = 0;

  device->backend->tensor_read (device, &input->desc, input->output, values, &error);
  g_assert_no_error (error);
  for (gint i = 0; i < SAMPLES; i++) {
    PirlImage expected = { 0 };

    pirl_resize_center_crop (resizer, &pictures[i].rgb, resize, input->size, &expected);
    for (gsize k = 0; k < 3 * plane; k++)
      most = MAX (most, fabs (values[i * 3 * plane + k]
              - expected.data[3 * (k % plane) + k / plane]));
    pirl_image_clear (&expected);
  }
  g_test_message ("%d x %d to %d: largest difference %g levels", pictures->rgb.width,
      pictures->rgb.height, input->size, most);
  g_assert_cmpfloat (most, <, 1e-3);
}

static void
place (const Picture *picture, gint resize, gint size, PirlSurfaceView *view)
{
  view->surface = picture->device;
  pirl_place_center_crop (picture->host.width, picture->host.height, resize, size,
      &view->scaled_width, &view->scaled_height, &view->left, &view->top);
}

/* --- tests --- */

/* Every layout, larger and smaller than the input, odd sides, each batch of other sizes. */
static void
test_pixels (void)
{
  static const struct {
    gint width, height, resize, size;
    Layout layout;
    gboolean cosited;
    gint matrix;
  } cases[] = {
    { 160, 120, 40, 32, RGB, FALSE, 0 },
    { 97, 131, 36, 32, BGRX, FALSE, 0 },
    { 33, 47, 64, 56, PLANAR_RGB, FALSE, 0 },
    { 160, 120, 40, 32, NV12, FALSE, 0 },
    { 161, 121, 40, 32, NV12, TRUE, 0 },
    { 64, 64, 64, 64, NV12, TRUE, 1 },
    { 75, 51, 24, 24, NV21, FALSE, 1 },
    { 121, 161, 40, 32, I420, FALSE, 1 },
    { 47, 33, 64, 56, I420, TRUE, 0 },
    { 3, 2, 40, 32, I420, FALSE, 0 },
    { 1, 1, 20, 16, NV12, FALSE, 0 },
    { 90, 70, 40, 32, Y42B, FALSE, 0 },
    { 91, 71, 40, 32, Y42B, TRUE, 1 },
    { 90, 70, 40, 32, Y444, FALSE, 0 },
    { 640, 480, 40, 32, NV12, FALSE, 0 },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    PirlSurfaceView views[SAMPLES];
    Picture pictures[SAMPLES];
    g_autoptr (GError) error = NULL;
    Input input;

    input_init (&input, cases[i].size);
    for (gint k = 0; k < SAMPLES; k++) {
      picture_init (&pictures[k], cases[i].width + 7 * k, cases[i].height + 5 * k,
          cases[i].layout, cases[i].cosited, cases[i].matrix, 10 * i + k);
      place (&pictures[k], cases[i].resize, cases[i].size, &views[k]);
    }
    input_run (&input, PIRL_PASS_FORWARD, views, &error);
    g_assert_no_error (error);
    input_compare (&input, pictures, cases[i].resize);
    for (gint k = 0; k < SAMPLES; k++)
      picture_clear (&pictures[k]);
    input_clear (&input);
  }
}

/* Staged before FORWARD, larger from turn to turn, after pictures of the host. */
static void
test_staged (void)
{
  const gint size = 32, resize = 40;
  g_autofree guint8 *packed = g_malloc0 (3 * size * size);
  const guint8 *host[SAMPLES] = { packed, packed, packed };
  g_autoptr (GError) error = NULL;
  Input input;

  input_init (&input, size);
  for (gint turn = 0; turn < 3; turn++) {
    const PirlUnitBuffers buffers = {.input = host, .output = input.output,
      .scratch = input.scratch };
    PirlSurfaceView views[SAMPLES];
    Picture pictures[SAMPLES];

    device->backend->unit_run (input.plan, PIRL_PASS_FORWARD, &buffers, &error);
    g_assert_no_error (error);
    for (gint k = 0; k < SAMPLES; k++) {
      picture_init (&pictures[k], 60 << turn, 50 << turn, k == 1 ? RGB : NV12, FALSE, 0, turn);
      place (&pictures[k], resize, size, &views[k]);
    }
    input_run (&input, PIRL_PASS_STAGE, views, &error);
    g_assert_no_error (error);
    input_run (&input, PIRL_PASS_FORWARD, NULL, &error);
    g_assert_no_error (error);
    input_compare (&input, pictures, resize);
    for (gint k = 0; k < SAMPLES; k++)
      picture_clear (&pictures[k]);
  }
  input_clear (&input);
}

static void
test_refusals (void)
{
  g_autoptr (GError) error = NULL;
  PirlSurfaceView views[SAMPLES];
  Picture picture;
  Input input;

  input_init (&input, 32);
  picture_init (&picture, 60, 50, RGB, FALSE, 0, 1);
  for (gint k = 0; k < SAMPLES; k++)
    place (&picture, 40, 32, &views[k]);
  views[1].left = views[1].scaled_width - 31;
  g_assert_false (input_run (&input, PIRL_PASS_FORWARD, views, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  g_assert_nonnull (strstr (error->message, "picture 1"));
  picture_clear (&picture);
  input_clear (&input);
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  gint result;

  g_test_init (&argc, &argv, NULL);
  device = pirl_device_open ("cuda", 1, FALSE, &error);
  if (!device || !device->backend->reads_surfaces) {
    g_print ("1..0 # SKIP %s\n", error ? error->message : "the device reads no surfaces");
    g_clear_pointer (&device, pirl_device_close);
    return SKIPPED;
  }
  g_test_add_func ("/surfaces/pixels", test_pixels);
  g_test_add_func ("/surfaces/staged", test_staged);
  g_test_add_func ("/surfaces/refusals", test_refusals);
  result = g_test_run ();
  pirl_device_close (device);
  return result;
}
