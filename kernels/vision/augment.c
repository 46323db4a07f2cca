/* gst-pirl: photometric augmentation of 8-bit RGB, bit for bit as Pillow and torchvision do it.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   blend (a, b, f) = clip (a + f (b - a)), in single precision, cut to an integer
 *   brightness: blend (0, x, f); contrast: blend (mean grey, x, f); saturation: blend (grey, x, f)
 *   grey = (19595 R + 38470 G + 7471 B + 32768) >> 16 (ITU-R BT.601)
 *   hue: through HSV bytes, H + trunc (255 shift) modulo 256
 *   sharpness: blend (smooth, x, f), smooth = 3x3 means with weight 5 in the middle, edges kept
 *   blur: three extended box blurs along each axis (Gwosdek et al., "Theoretical foundations of
 *   Gaussian convolution by extended box filtering", SSVM 2011)
 *
 * Rules: python-pillow/Pillow src/libImaging/{Blend,Convert,Filter,BoxBlur}.c, src/PIL/ImageOps.py;
 * pytorch/vision torchvision/transforms/_functional_pil.py; facebookresearch/vissl
 * ssl_transforms/img_pil_random_photometric.py.
 */
#include "config.h"
#include "vision/vision-private.h"

#include <math.h>
#include <string.h>

#define MAX_BLUR_SIGMA 32.0f    /* pixels; keeps a box below MAX_BOX_TAPS */
#define MAX_BOX_TAPS 80
#define CHUNK 64
#define REFERENCE_SIZE 224.0f   /* pixels at which the blur radii of the papers are meant */

typedef guint8 Table[3][256];

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

static inline guint8
grey_of (const guint8 *rgb)
{
  return (rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 0x8000) >> 16;
}

static inline guint8
blend (gint a, gint b, gfloat factor)
{
  const gfloat v = (gfloat) a + factor * (gfloat) (b - a);

  return (guint8) CLAMP (v, 0.0f, 255.0f);
}

/* Inner loops over contiguous bytes, written so that compilers vectorise them. They are compiled
 * twice, and which is called is chosen by the processor; without fused multiply-adds (see
 * meson.build) both give the same bits. */
#define INNER static inline __attribute__ ((always_inline)) void

/* dst = blend (a, b, factor); dst may be a or b. */
INNER
blend_line (const guint8 *a, const guint8 *b, gfloat factor, gsize n, guint8 *dst)
{
  for (gsize i = 0; i < n; i++)
    dst[i] = blend (a[i], b[i], factor);
}

/* dst = the 3x3 smoothed middle line; reads 3 bytes beyond both ends. */
INNER
smooth_line (const guint8 *above, const guint8 *here, const guint8 *below, gsize n, guint8 *dst)
{
  for (gsize i = 0; i < n; i++) {
    const guint16 corners = above[(gssize) i - 3] + above[i + 3] + below[(gssize) i - 3]
        + below[i + 3];
    const guint16 sum = corners + above[i] + below[i] + here[(gssize) i - 3] + here[i + 3]
        + 5 * here[i];

    /* sum / 13, rounded: no multiple of 1/13 lies half-way, so this is what floats give too. */
    dst[i] = (guint16) (2 * sum + 13) / 26;
  }
}

/* @m <= CHUNK bytes of box_line(), from @x on. */
INNER
box_chunk (const PirlBlurBox *box, const guint8 *const *line, gsize x, gsize m, guint8 *dst)
{
  const gint last = 2 * box->radius + 2;
  const guint32 whole = box->whole, part = box->part;
  const guint8 *first_line = line[0] + x, *last_line = line[last] + x;
  guint16 sum[CHUNK] = { 0 };

  for (gint t = 1; t < last; t++)
    for (gsize i = 0; i < m; i++)
      sum[i] += line[t][x + i];
  for (gsize i = 0; i < m; i++) {
    const guint32 ends = first_line[i] + last_line[i];

    dst[x + i] = (sum[i] * whole + ends * part + (1u << 23)) >> 24;
  }
}

/* dst = weighted sum of 2 radius + 3 lines of @n bytes, the outer two by box->part. */
INNER
box_line (const PirlBlurBox *box, const guint8 *const *line, gsize n, guint8 *dst)
{
  gsize x = 0;

  for (; x + CHUNK <= n; x += CHUNK)
    box_chunk (box, line, x, CHUNK, dst);
  if (x < n)
    box_chunk (box, line, x, n - x, dst);
}

typedef struct {
  void (*blend) (const guint8 *a, const guint8 *b, gfloat factor, gsize n, guint8 *dst);
  void (*smooth) (const guint8 *above, const guint8 *here, const guint8 *below, gsize n,
      guint8 *dst);
  void (*box) (const PirlBlurBox *box, const guint8 *const *line, gsize n, guint8 *dst);
} Loops;

#define DEFINE_LOOPS(name, target) \
  target static void name##_blend (const guint8 *a, const guint8 *b, gfloat factor, gsize n, \
      guint8 *dst) \
  { \
    blend_line (a, b, factor, n, dst); \
  } \
  target static void name##_smooth (const guint8 *above, const guint8 *here, \
      const guint8 *below, gsize n, guint8 *dst) \
  { \
    smooth_line (above, here, below, n, dst); \
  } \
  target static void name##_box (const PirlBlurBox *box, const guint8 *const *line, gsize n, \
      guint8 *dst) \
  { \
    box_line (box, line, n, dst); \
  } \
  static const Loops name##_loops = { name##_blend, name##_smooth, name##_box }

DEFINE_LOOPS (plain, );
#if defined (__x86_64__) && defined (__GNUC__)
DEFINE_LOOPS (avx2, __attribute__ ((target ("avx2"))));
#endif

static const Loops *
loops (void)
{
#if defined (__x86_64__) && defined (__GNUC__)
  if (__builtin_cpu_supports ("avx2"))
    return &avx2_loops;
#endif
  return &plain_loops;
}

static void
apply_table (PirlImage *image, const Table table)
{
  for (gint y = 0; y < image->height; y++) {
    guint8 *p = row_of (image, y);

    for (gint x = 0; x < image->width; x++, p += 3)
      for (gint c = 0; c < 3; c++)
        p[c] = table[c][p[c]];
  }
}

static void
blend_with_constant (PirlImage *image, gint constant, gfloat factor)
{
  Table table;

  if (factor == 1)
    return;
  for (gint v = 0; v < 256; v++)
    table[0][v] = table[1][v] = table[2][v] = blend (constant, v, factor);
  apply_table (image, table);
}

static gint
mean_grey (const PirlImage *image)
{
  guint64 sum = 0;

  for (gint y = 0; y < image->height; y++) {
    const guint8 *p = row_of (image, y);
    guint row_sum = 0;

    for (gint x = 0; x < image->width; x++, p += 3)
      row_sum += grey_of (p);
    sum += row_sum;
  }
  return (gint) ((gdouble) sum / ((gdouble) image->width * image->height) + 0.5);
}

/* A row in grey, three bytes a pixel. */
static void
grey_row (const guint8 *rgb, gint width, guint8 *grey)
{
  for (gint x = 0; x < width; x++, rgb += 3, grey += 3)
    grey[0] = grey[1] = grey[2] = grey_of (rgb);
}

static void
apply_saturation (PirlImage *image, gfloat factor)
{
  const gsize n = 3 * (gsize) image->width;
  guint8 *grey;

  if (factor == 1)
    return;
  grey = scratch_get (n);
  for (gint y = 0; y < image->height; y++) {
    guint8 *row = row_of (image, y);

    grey_row (row, image->width, grey);
    loops ()->blend (grey, row, factor, n, row);
  }
}

void
pirl_rgb_to_hsv (const guint8 rgb[3], guint8 hsv[3])
{
  const guint8 r = rgb[0], g = rgb[1], b = rgb[2];
  const guint8 max = MAX (r, MAX (g, b)), min = MIN (r, MIN (g, b));
  const gfloat range = max - min;
  gfloat to_r, to_g, to_b, hue;
  gdouble turn;

  hsv[2] = max;
  if (max == min) {
    hsv[0] = hsv[1] = 0;
    return;
  }
  to_r = (max - r) / range;
  to_g = (max - g) / range;
  to_b = (max - b) / range;
  if (r == max)
    hue = to_b - to_g;
  else if (g == max)
    hue = 2.0 + to_r - to_b;
  else
    hue = 4.0 + to_g - to_r;
  turn = hue / 6.0 + 1.0;
  hue = turn - (gint) turn;
  hsv[0] = (gint) (hue * 255.0);
  hsv[1] = (gint) (range / max * 255.0);
}

/* Position in the circle of hues: the sextant and how far into it. */
typedef struct {
  guint8 sextant[256];
  gfloat within[256];
  gfloat part[256];             /* v / 255 */
} HueTable;

static const HueTable *
hue_table (void)
{
  static HueTable table;
  static gsize once = 0;

  if (g_once_init_enter (&once)) {
    for (gint v = 0; v < 256; v++) {
      const gdouble position = (gfloat) v * 6.0 / 255.0;
      const gint sextant = (gint) position;

      table.sextant[v] = sextant % 6;
      table.within[v] = position - sextant;
      table.part[v] = v / 255.0;
    }
    g_once_init_leave (&once, 1);
  }
  return &table;
}

void
pirl_hsv_to_rgb (const guint8 hsv[3], guint8 rgb[3])
{
  /* Which of { value, falling, rising, floor } each channel is, by sextant. */
  static const guint8 pick[6][3] = { { 0, 2, 3 }, { 1, 0, 3 }, { 3, 0, 2 }, { 3, 1, 0 },
    { 2, 3, 0 }, { 0, 3, 1 } };
  const HueTable *table = hue_table ();
  const gfloat part = table->part[hsv[1]], within = table->within[hsv[0]], value = hsv[2];
  const guint8 *which = pick[table->sextant[hsv[0]]];
  /* The products that Pillow takes in single precision stay so: roundings hang on it. */
  const guint8 level[4] = { hsv[2], (gint) (value * (1.0 - part * within) + 0.5),
    (gint) (value * (1.0 - part * (1.0 - within)) + 0.5), (gint) (value * (1.0 - part) + 0.5) };

  for (gint c = 0; c < 3; c++)
    rgb[c] = level[which[c]];
}

static void
apply_hue (PirlImage *image, gfloat shift)
{
  const guint8 turn = (guint8) (gint) ((gdouble) shift * 255);

  if (shift == 0)
    return;
  for (gint y = 0; y < image->height; y++) {
    guint8 *p = row_of (image, y);

    for (gint x = 0; x < image->width; x++, p += 3) {
      guint8 hsv[3];

      pirl_rgb_to_hsv (p, hsv);
      hsv[0] += turn;
      pirl_hsv_to_rgb (hsv, p);
    }
  }
}

static void
apply_jitter (const PirlColour *colour, PirlImage *image)
{
  for (guint i = 0; i < G_N_ELEMENTS (colour->order); i++) {
    switch (colour->order[i]) {
      case PIRL_JITTER_BRIGHTNESS:
        blend_with_constant (image, 0, colour->brightness);
        break;
      case PIRL_JITTER_CONTRAST:
        if (colour->contrast != 1)
          blend_with_constant (image, mean_grey (image), colour->contrast);
        break;
      case PIRL_JITTER_SATURATION:
        apply_saturation (image, colour->saturation);
        break;
      default:
        apply_hue (image, colour->hue);
        break;
    }
  }
}

static void
apply_posterize (PirlImage *image, gint bits)
{
  const guint8 mask = (guint8) (0xff00 >> CLAMP (bits, 0, 8));
  Table table;

  for (gint v = 0; v < 256; v++)
    table[0][v] = table[1][v] = table[2][v] = v & mask;
  apply_table (image, table);
}

static void
apply_solarize (PirlImage *image, gint threshold)
{
  Table table;

  for (gint v = 0; v < 256; v++)
    table[0][v] = table[1][v] = table[2][v] = v < threshold ? v : 255 - v;
  apply_table (image, table);
}

/* Stretches each channel to 0..255. */
static void
apply_autocontrast (PirlImage *image)
{
  gint low[3] = { 255, 255, 255 }, high[3] = { 0, 0, 0 };
  Table table;

  for (gint y = 0; y < image->height; y++) {
    const guint8 *p = row_of (image, y);

    for (gint x = 0; x < image->width; x++, p += 3)
      for (gint c = 0; c < 3; c++) {
        low[c] = MIN (low[c], p[c]);
        high[c] = MAX (high[c], p[c]);
      }
  }
  for (gint c = 0; c < 3; c++) {
    const gboolean flat = high[c] <= low[c];
    const gdouble scale = flat ? 1.0 : 255.0 / (high[c] - low[c]);
    const gdouble offset = flat ? 0.0 : -low[c] * scale;

    for (gint v = 0; v < 256; v++) {
      const gdouble stretched = v * scale + offset;

      table[c][v] = (guint8) CLAMP (stretched, 0.0, 255.0);
    }
  }
  apply_table (image, table);
}

static void
apply_sharpness (PirlImage *image, gfloat factor)
{
  const gsize n = 3 * (gsize) image->width;
  guint8 *above, *here, *smooth;

  if (factor == 1 || image->width < 3 || image->height < 3)
    return;
  above = scratch_get (3 * n);
  here = above + n;
  smooth = here + n;
  memcpy (above, image->data, n);
  /* The outermost pixels stay: their smoothed value is their own. */
  for (gint y = 1; y < image->height - 1; y++) {
    guint8 *dst = row_of (image, y), *swap = above;

    memcpy (here, dst, n);
    loops ()->smooth (above + 3, here + 3, row_of (image, y + 1) + 3, n - 6, smooth);
    loops ()->blend (smooth, here + 3, factor, n - 6, dst + 3);
    above = here;
    here = swap;
  }
}

static void
apply_grayscale (PirlImage *image)
{
  for (gint y = 0; y < image->height; y++)
    grey_row (row_of (image, y), image->width, row_of (image, y));
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
blur_row (const PirlBlurBox *box, const guint8 *src, gint width, guint8 *a, guint8 *b, guint8 *dst)
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
    loops ()->box (box, line, n, out);
    a = b;
    b = swap;
  }
}

static void
blur_columns (const PirlBlurBox *box, const PirlImage *src, PirlImage *dst)
{
  const guint8 *line[MAX_BOX_TAPS];

  for (gint y = 0; y < dst->height; y++) {
    for (gint t = 0; t < 2 * box->radius + 3; t++)
      line[t] = row_of (src, CLAMP (y + t - box->radius - 1, 0, src->height - 1));
    loops ()->box (box, line, 3 * (gsize) dst->width, row_of (dst, y));
  }
}

static void
apply_blur (PirlImage *image, gfloat sigma)
{
  const PirlBlurBox box = pirl_blur_box (sigma);
  const gsize padded = 3 * ((gsize) image->width + 2 * box.radius + 2);
  PirlImage other = *image;
  guint8 *lines;

  if (!(sigma > 0))
    return;
  other.stride = 3 * (gsize) image->width;
  other.data = scratch_get (other.stride * image->height + 2 * padded);
  lines = other.data + other.stride * image->height;
  for (gint y = 0; y < image->height; y++)
    blur_row (&box, row_of (image, y), image->width, lines, lines + padded, row_of (&other, y));
  G_STATIC_ASSERT (PIRL_BLUR_PASSES % 2 == 1);
  for (gint pass = 0; pass < PIRL_BLUR_PASSES; pass++)
    blur_columns (&box, pass % 2 ? image : &other, pass % 2 ? &other : image);
}

static void
apply_flip (PirlImage *image)
{
  for (gint y = 0; y < image->height; y++) {
    guint8 *left = row_of (image, y), *right = left + 3 * (image->width - 1);

    for (; left < right; left += 3, right -= 3)
      for (gint c = 0; c < 3; c++) {
        const guint8 swap = left[c];

        left[c] = right[c];
        right[c] = swap;
      }
  }
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

void
pirl_colour_apply (const PirlColour *colour, PirlImage *image)
{
  apply_jitter (colour, image);
  if (colour->photometric) {
    apply_posterize (image, colour->posterize_bits);
    apply_sharpness (image, colour->sharpness);
    apply_solarize (image, colour->solarize_threshold);
    apply_autocontrast (image);
  }
  if (colour->grayscale)
    apply_grayscale (image);
  apply_blur (image, colour->blur_radius);
  if (colour->flip)
    apply_flip (image);
}
