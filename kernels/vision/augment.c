/* gst-pirl: photometric augmentation of 8-bit RGB, bit for bit as Pillow and torchvision do it.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   brightness: blend (0, x, f); contrast: blend (mean grey, x, f); saturation: blend (grey, x, f)
 *   hue: through HSV bytes, H + trunc (255 shift) modulo 256
 *   sharpness: blend (smooth, x, f), smooth = 3x3 means with weight 5 in the middle, edges kept
 *   blur: three extended box blurs along each axis (Gwosdek et al., "Theoretical foundations of
 *   Gaussian convolution by extended box filtering", SSVM 2011)
 *
 * colour-loops.c has the arithmetic. Steps that look at one pixel only are put off and done
 * together, some rows at a time as planes that stay in the first cache: until something is needed
 * that only the whole picture tells (the mean grey, neighbours). Mirroring is one of them: all that
 * follows it is the same from left and from right.
 *
 * Rules: python-pillow/Pillow src/libImaging/{Blend,Convert,Filter,BoxBlur}.c, src/PIL/ImageOps.py;
 * pytorch/vision torchvision/transforms/_functional_pil.py; facebookresearch/vissl
 * ssl_transforms/img_pil_random_photometric.py.
 */
#include "config.h"
#include "vision/colour-loops.h"
#include "vision/vision-private.h"

#include <math.h>
#include <string.h>

#define MAX_BLUR_SIGMA 32.0f    /* pixels; keeps a box below MAX_BOX_TAPS */
#define MAX_BOX_TAPS 80
#define BLOCK 512              /* pixels done together, or a row where that is more */
#define REFERENCE_SIZE 224.0f   /* pixels at which the blur radii of the papers are meant */

/* Steps that look at one pixel only. */
typedef enum {
  POINT_TONE, POINT_SATURATION, POINT_HUE, POINT_POSTERIZE, POINT_SOLARIZE, POINT_TABLE, POINT_GREY
} PointKind;

typedef struct {
  PointKind kind;
  gint number;                  /* constant, turn, mask or threshold */
  gfloat factor;
} Point;

#define MAX_POINTS 8            /* four of jitter, three photometric, grey */

/* A picture and what is still to be done to it. */
typedef struct {
  const PirlColourLoops *loops;
  PirlImage *image;
  Point point[MAX_POINTS];
  guint n_points;
  gboolean mirror;
  guint8 table[3][256];         /* of the step POINT_TABLE */
} Work;

/* What a picture can be asked for after its steps. */
typedef struct {
  guint64 grey;                 /* sum */
  guint8 range[3][2];
} Statistics;

typedef void (*MeasureFunc) (const PirlColourLoops *loops, const PirlPlanes *planes, gsize n,
    Statistics *statistics);

/* Working memory, one a thread: pirl_colour_apply() is called for each patch by decode workers and
 * streaming threads, which must not allocate for every frame and own no object to keep it in. */
typedef struct {
  gsize size;
  guint8 *data;
} Scratch;

static void
scratch_free (gpointer data)
{
  Scratch *scratch = data;

  g_free (scratch->data);
  g_free (scratch);
}

static guint8 *
scratch_get (gsize size)
{
  static GPrivate key = G_PRIVATE_INIT (scratch_free);
  Scratch *scratch = g_private_get (&key);

  if (!scratch) {
    scratch = g_new0 (Scratch, 1);
    g_private_set (&key, scratch);
  }
  if (size > scratch->size) {
    g_free (scratch->data);
    scratch->data = g_malloc (size);
    scratch->size = size;
  }
  return scratch->data;
}

static inline guint8 *
row_of (const PirlImage *image, gint y)
{
  return image->data + y * image->stride;
}

const PirlColourLoops *
pirl_colour_loops (void)
{
  const PirlColourLoops *avx2 = pirl_colour_avx2 ();

  return avx2 ? avx2 : &pirl_colour_plain;
}

static void
look_up (const guint8 *table, guint8 *line, gsize n)
{
  for (gsize i = 0; i < n; i++)
    line[i] = table[line[i]];
}

static void
apply_to_lines (const Work *work, const Point *point, const PirlPlanes *planes, gsize n)
{
  for (gint c = 0; c < 3; c++) {
    guint8 *line = planes->data + c * planes->stride;

    switch (point->kind) {
      case POINT_TONE:
        work->loops->tone (line, n, point->number, point->factor);
        break;
      case POINT_POSTERIZE:
        work->loops->posterize (line, n, point->number);
        break;
      case POINT_SOLARIZE:
        work->loops->solarize (line, n, point->number);
        break;
      default:
        look_up (work->table[c], line, n);
        break;
    }
  }
}

static void
apply_point (const Work *work, const Point *point, const PirlPlanes *planes, gsize n)
{
  switch (point->kind) {
    case POINT_SATURATION:
      work->loops->saturation (planes, n, point->factor);
      break;
    case POINT_HUE:
      work->loops->hue (planes, n, point->number);
      break;
    case POINT_GREY:
      work->loops->grey (planes, n);
      break;
    default:
      apply_to_lines (work, point, planes, n);
      break;
  }
}

static void
mirror_rows (const PirlColourLoops *loops, const PirlPlanes *from, gint width, gint rows,
    const PirlPlanes *to)
{
  for (gint c = 0; c < 3; c++)
    for (gint y = 0; y < rows; y++) {
      const gsize at = c * from->stride + (gsize) y * width;

      loops->reverse (from->data + at, width, to->data + at);
    }
}

/* Does what was put off; then, where @measure is given, adds to @statistics. */
static void
flush (Work *work, MeasureFunc measure, Statistics *statistics)
{
  const PirlImage *image = work->image;
  const gboolean packed = image->stride == 3 * (gsize) image->width;
  const gint rows = packed ? CLAMP (BLOCK / MAX (image->width, 1), 1, image->height) : 1;
  const gsize room = ((gsize) rows * image->width + 31) & ~(gsize) 31;
  PirlPlanes planes = { NULL, room }, mirrored = { NULL, room };

  if (work->n_points == 0 && !work->mirror && !measure)
    return;
  planes.data = scratch_get (6 * room);
  mirrored.data = planes.data + 3 * room;
  for (gint y = 0; y < image->height; y += rows) {
    const gint here = MIN (rows, image->height - y);
    const gsize n = (gsize) here * image->width;

    work->loops->split (row_of (image, y), n, &planes);
    for (guint i = 0; i < work->n_points; i++)
      apply_point (work, &work->point[i], &planes, n);
    if (measure)
      measure (work->loops, &planes, n, statistics);
    if (work->mirror)
      mirror_rows (work->loops, &planes, image->width, here, &mirrored);
    if (work->n_points > 0 || work->mirror)
      work->loops->join (work->mirror ? &mirrored : &planes, n, row_of (image, y));
  }
  work->n_points = 0;
  work->mirror = FALSE;
}

static void
put_off (Work *work, PointKind kind, gint number, gfloat factor)
{
  work->point[work->n_points++] = (Point) { kind, number, factor };
}

static void
measure_grey (const PirlColourLoops *loops, const PirlPlanes *planes, gsize n,
    Statistics *statistics)
{
  statistics->grey += loops->sum_grey (planes, n);
}

static void
measure_range (const PirlColourLoops *loops, const PirlPlanes *planes, gsize n,
    Statistics *statistics)
{
  for (gint c = 0; c < 3; c++)
    loops->range (planes->data + c * planes->stride, n, statistics->range[c]);
}

/* The steps [begin, end) of the drawn order; @grey: the mean grey of the picture, for contrast. */
static void
apply_jitter (Work *work, const PirlColour *colour, guint begin, guint end, gint grey)
{
  const gint turn = (guint8) (gint) ((gdouble) colour->hue * 255);

  for (guint i = begin; i < end; i++) {
    switch (colour->order[i]) {
      case PIRL_JITTER_BRIGHTNESS:
        if (colour->brightness != 1)
          put_off (work, POINT_TONE, 0, colour->brightness);
        break;
      case PIRL_JITTER_CONTRAST:
        if (colour->contrast != 1)
          put_off (work, POINT_TONE, grey, colour->contrast);
        break;
      case PIRL_JITTER_SATURATION:
        if (colour->saturation != 1)
          put_off (work, POINT_SATURATION, 0, colour->saturation);
        break;
      default:
        if (colour->hue != 0)
          put_off (work, POINT_HUE, turn, 0);
        break;
    }
  }
}

/* Stretches each channel to 0..255. */
static void
apply_autocontrast (Work *work)
{
  Statistics statistics = { .range = { { 255, 0 }, { 255, 0 }, { 255, 0 } } };

  flush (work, measure_range, &statistics);
  for (gint c = 0; c < 3; c++) {
    const gint low = statistics.range[c][0], high = statistics.range[c][1];
    const gboolean flat = high <= low;
    const gdouble scale = flat ? 1.0 : 255.0 / (high - low);
    const gdouble offset = flat ? 0.0 : -low * scale;

    for (gint v = 0; v < 256; v++) {
      const gdouble stretched = v * scale + offset;

      work->table[c][v] = (guint8) CLAMP (stretched, 0.0, 255.0);
    }
  }
  put_off (work, POINT_TABLE, 0, 0);
}

static void
apply_sharpness (Work *work, gfloat factor)
{
  const PirlImage *image = work->image;
  const gsize n = 3 * (gsize) image->width;
  guint8 *above, *here;

  if (factor == 1 || image->width < 3 || image->height < 3)
    return;
  flush (work, NULL, NULL);
  above = scratch_get (2 * n);
  here = above + n;
  memcpy (above, image->data, n);
  /* The outermost pixels stay: their smoothed value is their own. */
  for (gint y = 1; y < image->height - 1; y++) {
    guint8 *dst = row_of (image, y), *swap = above;

    memcpy (here, dst, n);
    work->loops->sharpen (above + 3, here + 3, row_of (image, y + 1) + 3, n - 6, factor, dst + 3);
    above = here;
    here = swap;
  }
}

static void
apply_photometric (Work *work, const PirlColour *colour)
{
  const gint bits = CLAMP (colour->posterize_bits, 0, 8);

  put_off (work, POINT_POSTERIZE, (guint8) (0xff00 >> bits), 0);
  apply_sharpness (work, colour->sharpness);
  put_off (work, POINT_SOLARIZE, colour->solarize_threshold, 0);
  apply_autocontrast (work);
}

/* The box of which PIRL_BLUR_PASSES applications have the Gaussian's variance (equations 7, 11,
 * 14). */
PirlBlurBox
pirl_blur_box (gfloat sigma)
{
  const gfloat used = MIN (sigma, MAX_BLUR_SIGMA);
  const gfloat variance = used * used / PIRL_BLUR_PASSES;
  const gfloat length = sqrt (12.0 * variance + 1.0);
  const gfloat whole = floor ((length - 1.0) / 2.0);
  gfloat part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance), radius;
  PirlBlurBox box;

  part /= 6 * (variance - (whole + 1) * (whole + 1));
  radius = whole + part;
  box.radius = (gint) radius;
  box.whole = (guint32) ((gfloat) (1 << 24) / (radius * 2 + 1));
  box.part = ((1u << 24) - (guint32) (box.radius * 2 + 1) * box.whole) / 2;
  return box;
}

/* Blurs a row three times; @a and @b hold a row with radius + 1 pixels more at both ends. */
static void
blur_row (const PirlColourLoops *loops, const PirlBlurBox *box, const guint8 *src,
    gint width, guint8 *a, guint8 *b, guint8 *dst)
{
  const gint border = box->radius + 1;
  const gsize n = 3 * (gsize) width;
  const guint8 *line[MAX_BOX_TAPS];

  memcpy (a + 3 * border, src, n);
  for (gint pass = 0; pass < PIRL_BLUR_PASSES; pass++) {
    guint8 *body = a + 3 * border, *out = pass < PIRL_BLUR_PASSES - 1 ? b + 3 * border : dst;
    guint8 *swap = a;

    for (gint i = 1; i <= border; i++) {
      memcpy (body - 3 * i, body, 3);
      memcpy (body + n + 3 * (i - 1), body + n - 3, 3);
    }
    for (gint t = 0; t < 2 * border + 1; t++)
      line[t] = a + 3 * t;
    loops->box (box, line, n, out);
    a = b;
    b = swap;
  }
}

static void
blur_columns (const PirlColourLoops *loops, const PirlBlurBox *box, const PirlImage *src,
    PirlImage *dst)
{
  const guint8 *line[MAX_BOX_TAPS];

  for (gint y = 0; y < dst->height; y++) {
    for (gint t = 0; t < 2 * box->radius + 3; t++)
      line[t] = row_of (src, CLAMP (y + t - box->radius - 1, 0, src->height - 1));
    loops->box (box, line, 3 * (gsize) dst->width, row_of (dst, y));
  }
}

static void
apply_blur (Work *work, gfloat sigma)
{
  const PirlBlurBox box = pirl_blur_box (sigma);
  PirlImage *image = work->image;
  const gsize padded = 3 * ((gsize) image->width + 2 * box.radius + 2);
  PirlImage other = *image;
  guint8 *lines;

  if (!(sigma > 0))
    return;
  flush (work, NULL, NULL);
  other.stride = 3 * (gsize) image->width;
  other.data = scratch_get (other.stride * image->height + 2 * padded);
  lines = other.data + other.stride * image->height;
  for (gint y = 0; y < image->height; y++)
    blur_row (work->loops, &box, row_of (image, y), image->width, lines, lines + padded,
        row_of (&other, y));
  G_STATIC_ASSERT (PIRL_BLUR_PASSES % 2 == 1);
  for (gint pass = 0; pass < PIRL_BLUR_PASSES; pass++)
    blur_columns (work->loops, &box, pass % 2 ? image : &other, pass % 2 ? &other : image);
}

void
pirl_colour_draw (PirlRng *rng, const PirlAugment *augment, gint size, gfloat flip_probability,
    PirlColour *colour)
{
  const gfloat strength[3] = { augment->brightness, augment->contrast, augment->saturation };
  gfloat *const factor[3] = { &colour->brightness, &colour->contrast, &colour->saturation };
  const gfloat blur_scale = MIN (1.0f, size / REFERENCE_SIZE);
  guint32 order[4];
  gfloat radius;

  pirl_rng_permutation (rng, order, 4);
  for (gint i = 0; i < 4; i++)
    colour->order[i] = order[i];
  for (gint i = 0; i < 3; i++)
    *factor[i] = pirl_rng_range (rng, MAX (0.0f, 1 - strength[i]), 1 + strength[i]);
  colour->hue = pirl_rng_range (rng, -augment->hue, augment->hue);
  colour->photometric = pirl_rng_chance (rng, augment->photometric);
  colour->posterize_bits = 4 + pirl_rng_below (rng, 5);
  colour->solarize_threshold = pirl_rng_below (rng, 257);
  colour->sharpness = pirl_rng_range (rng, 0.1f, 1.9f);
  colour->grayscale = pirl_rng_chance (rng, augment->grayscale);
  colour->blur_radius = pirl_rng_chance (rng, augment->blur) ? 1 : 0;
  radius = blur_scale * pirl_rng_range (rng, 0.1f, 2.0f);
  colour->blur_radius *= radius;
  colour->flip = pirl_rng_chance (rng, flip_probability);
}

gboolean
pirl_colour_by_rows (const PirlColour *colour)
{
  return !colour->photometric && !(colour->blur_radius > 0);
}

/* How many steps of jitter come before the one that wants to know the mean grey; 0: none does. */
static guint
steps_before_grey (const PirlColour *colour)
{
  guint i = 0;

  if (colour->contrast == 1)
    return 0;
  while (i < G_N_ELEMENTS (colour->order) && colour->order[i] != PIRL_JITTER_CONTRAST)
    i++;
  return i % G_N_ELEMENTS (colour->order);
}

guint64
pirl_colour_begin (const PirlColourLoops *loops, const PirlColour *colour, PirlImage *rows)
{
  Work work = { .loops = loops, .image = rows };
  Statistics statistics = { 0 };

  if (colour->contrast == 1)
    return 0;
  apply_jitter (&work, colour, 0, steps_before_grey (colour), 0);
  flush (&work, measure_grey, &statistics);
  return statistics.grey;
}

void
pirl_colour_end (const PirlColourLoops *loops, const PirlColour *colour, guint64 grey,
    const PirlImage *image, PirlImage *rows)
{
  const gdouble pixels = (gdouble) image->width * image->height;
  Work work = { .loops = loops, .image = rows };

  apply_jitter (&work, colour, steps_before_grey (colour), G_N_ELEMENTS (colour->order),
      (gint) (grey / pixels + 0.5));
  if (colour->photometric)
    apply_photometric (&work, colour);
  if (colour->grayscale)
    put_off (&work, POINT_GREY, 0, 0);
  work.mirror = colour->flip;
  apply_blur (&work, colour->blur_radius);
  flush (&work, NULL, NULL);
}

void
pirl_colour_apply_with (const PirlColourLoops *loops, const PirlColour *colour, PirlImage *image)
{
  if (image->width > 0 && image->height > 0)
    pirl_colour_end (loops, colour, pirl_colour_begin (loops, colour, image), image, image);
}

void
pirl_colour_apply (const PirlColour *colour, PirlImage *image)
{
  pirl_colour_apply_with (pirl_colour_loops (), colour, image);
}
