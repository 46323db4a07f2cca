/* gst-pirl: antialiased bilinear resizing of 8-bit RGB, with the exact pixels of Pillow.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * For an axis that maps source pixels [lo, hi) to n outputs, s = (hi - lo) / n, r = max (s, 1):
 *   centre_i = lo + (i + 1/2) s,  taps t from floor (centre - r + 1/2) to floor (centre + r + 1/2)
 *   w_t proportional to max (0, 1 - |t - centre + 1/2| / r), of sum 1, rounded to 22 bits
 * and out_i = clip ((2^21 + sum w_t in_t) >> 22). Columns first, for the rows that the second pass
 * needs, then rows; an axis that changes nothing is left out (python-pillow/Pillow,
 * src/libImaging/Resample.c, gives the rules, as in its versions up to 12.3; 13.0 takes the cheaper
 * order of passes instead). After the weights all is integer arithmetic, so sums may be reordered.
 */
#include "config.h"
#include "vision/vision-private.h"

#include <math.h>
#include <string.h>

#define CHUNK 64                /* bytes of a row summed at a time in plain C */

struct _PirlResizer {
  const PirlResizeLoops *loops;
  PirlAxis columns, rows;       /* of the plan; n = 0 where it changes nothing */
  gint left, top;               /* where the plan begins in the result */
  gdouble *real_weight;
  gsize real_weight_size;
  guint8 *between;              /* after the horizontal pass */
  gsize between_size;
};

static inline guint8
clip_fixed (gint32 sum)
{
  const gint32 v = sum >> PIRL_RESIZE_BITS;

  return CLAMP (v, 0, 255);
}

void
pirl_resize_horizontal_from (const PirlAxis *axis, gint begin, const guint8 *src, guint8 *dst)
{
  for (gint i = begin; i < axis->n; i++) {
    const gint32 *w = axis->weight + (gsize) i * axis->stride;
    const guint8 *p = src + 3 * (gsize) axis->first[i];
    gint32 r = 1 << (PIRL_RESIZE_BITS - 1), g = r, b = r;

    for (gint t = 0; t < axis->count[i]; t++, p += 3) {
      r += w[t] * p[0];
      g += w[t] * p[1];
      b += w[t] * p[2];
    }
    dst[3 * i] = clip_fixed (r);
    dst[3 * i + 1] = clip_fixed (g);
    dst[3 * i + 2] = clip_fixed (b);
  }
}

static void
plain_horizontal (const PirlAxis *axis, const guint8 *src, gsize src_stride, gint rows,
    guint8 *dst, gsize dst_stride)
{
  for (gint y = 0; y < rows; y++)
    pirl_resize_horizontal_from (axis, 0, src + y * src_stride, dst + y * dst_stride);
}

static void
plain_vertical (const gint32 *weight, gint count, const guint8 *src, gsize stride, gsize n,
    guint8 *dst)
{
  gint32 sum[CHUNK];

  for (gsize x = 0; x < n; x += CHUNK) {
    const gsize m = MIN (CHUNK, n - x);

    for (gsize i = 0; i < m; i++)
      sum[i] = 1 << (PIRL_RESIZE_BITS - 1);
    for (gint t = 0; t < count; t++) {
      const guint8 *row = src + t * stride + x;
      const gint32 w = weight[t];

      for (gsize i = 0; i < m; i++)
        sum[i] += w * row[i];
    }
    for (gsize i = 0; i < m; i++)
      dst[x + i] = clip_fixed (sum[i]);
  }
}

const PirlResizeLoops pirl_resize_plain = { plain_horizontal, plain_vertical };

static const PirlResizeLoops *
best_loops (void)
{
  const PirlResizeLoops *avx2 = pirl_resize_avx2 ();

  return avx2 ? avx2 : &pirl_resize_plain;
}

PirlResizer *
pirl_resizer_new_with (const PirlResizeLoops *loops)
{
  PirlResizer *resizer = g_new0 (PirlResizer, 1);

  resizer->loops = loops;
  return resizer;
}

PirlResizer *
pirl_resizer_new (void)
{
  return pirl_resizer_new_with (best_loops ());
}

static void
axis_clear (PirlAxis *axis)
{
  g_free (axis->first);
  g_free (axis->count);
  g_free (axis->weight);
  g_free (axis->split);
}

void
pirl_resizer_free (PirlResizer *resizer)
{
  if (!resizer)
    return;
  axis_clear (&resizer->columns);
  axis_clear (&resizer->rows);
  g_free (resizer->real_weight);
  g_free (resizer->between);
  g_free (resizer);
}

static void
axis_reserve (PirlAxis *axis, gint n, gint taps)
{
  gsize weights;

  axis->n = n;
  axis->stride = (taps + 3) & ~3;
  weights = (gsize) n * axis->stride;
  if ((gsize) n > axis->n_allocated) {
    axis->n_allocated = n;
    axis->first = g_renew (gint, axis->first, n);
    axis->count = g_renew (gint, axis->count, n);
  }
  if (weights > axis->weight_allocated) {
    axis->weight_allocated = weights;
    axis->weight = g_renew (gint32, axis->weight, weights);
    axis->split = g_renew (guint32, axis->split, weights);
  }
}

/* Rounds one position's weights of sum @total to fixed point, padded with zeros. */
static void
axis_set (PirlAxis *axis, gint i, const gdouble *real, gint count, gdouble total)
{
  gint32 *weight = axis->weight + (gsize) i * axis->stride;
  guint32 *split = axis->split + (gsize) i * axis->stride;
  const guint low = (1 << PIRL_RESIZE_SPLIT) - 1;

  for (gint t = 0; t < axis->stride; t++) {
    const gdouble w = t < count ? (total != 0 ? real[t] / total : real[t]) : 0;

    weight[t] = (gint32) (0.5 + w * (1 << PIRL_RESIZE_BITS));
  }
  for (gint t = 0; t < axis->stride; t += 2) {
    const guint32 w0 = weight[t], w1 = weight[t + 1];

    split[t] = w1 >> PIRL_RESIZE_SPLIT << 16 | w0 >> PIRL_RESIZE_SPLIT;
    split[t + 1] = (w1 & low) << 16 | (w0 & low);
  }
}

/* How far an output reaches to both sides of its centre, in source pixels of which @scale make one. */
static gdouble
support_of (gdouble scale)
{
  return MAX (scale, 1.0);
}

/* The source pixels [*first, *last) of @in_size of an output at @centre. */
static void
taps_of (gdouble centre, gdouble support, gint in_size, gint *first, gint *last)
{
  *first = MAX ((gint) (centre - support + 0.5), 0);
  *last = MIN ((gint) (centre + support + 0.5), in_size);
}

/* Weights of the outputs [begin, begin + n) of @out_size from the source pixels [lo, hi). */
static void
axis_compute (PirlResizer *resizer, PirlAxis *axis, gint in_size, gfloat lo, gfloat hi,
    gint out_size, gint begin, gint n)
{
  const gdouble scale = (gdouble) (hi - lo) / out_size;
  const gdouble support = support_of (scale), per_tap = 1.0 / support;
  const gint taps = (gint) ceil (support) * 2 + 1;

  axis_reserve (axis, n, taps);
  axis->in_size = in_size;
  if ((gsize) taps > resizer->real_weight_size) {
    resizer->real_weight_size = taps;
    resizer->real_weight = g_renew (gdouble, resizer->real_weight, taps);
  }
  for (gint i = 0; i < n; i++) {
    const gdouble centre = lo + (begin + i + 0.5) * scale;
    gdouble total = 0;
    gint first, last;

    taps_of (centre, support, in_size, &first, &last);

    for (gint t = 0; t < last - first; t++) {
      const gdouble distance = fabs ((t + first - centre + 0.5) * per_tap);

      resizer->real_weight[t] = distance < 1.0 ? 1.0 - distance : 0.0;
      total += resizer->real_weight[t];
    }
    axis->first[i] = first;
    axis->count[i] = last - first;
    axis_set (axis, i, resizer->real_weight, last - first, total);
  }
}

static void
copy_window (const PirlImage *src, gint x0, gint y0, PirlImage *dst)
{
  for (gint y = 0; y < dst->height; y++)
    memcpy (dst->data + y * dst->stride, src->data + (y0 + y) * src->stride + 3 * (gsize) x0,
        3 * (gsize) dst->width);
}

/* The outputs [begin, begin + n) of @axis, where it changes anything. */
static PirlAxis
axis_part (const PirlAxis *axis, gint begin, gint n)
{
  PirlAxis part = *axis;

  if (part.n == 0)
    return part;
  part.n = n;
  part.first += begin;
  part.count += begin;
  part.weight += (gsize) begin * axis->stride;
  part.split += (gsize) begin * axis->stride;
  return part;
}

/* @src's row 0 is the source's row @origin. */
static void
run_vertical (const PirlResizeLoops *loops, const PirlAxis *axis, const guint8 *src, gsize stride,
    gint origin, PirlImage *dst)
{
  for (gint y = 0; y < dst->height; y++)
    loops->vertical (axis->weight + (gsize) y * axis->stride, axis->count[y],
        src + (axis->first[y] - origin) * stride, stride, 3 * (gsize) dst->width,
        dst->data + y * dst->stride);
}

/* Both passes: columns for the rows that are needed, into the resizer's memory, then rows. */
static void
run_both (PirlResizer *resizer, const PirlAxis *columns, const PirlAxis *rows, const PirlImage *src,
    PirlImage *dst)
{
  const gint begin = rows->first[0], end = rows->first[rows->n - 1] + rows->count[rows->n - 1];
  const gsize stride = 3 * (gsize) dst->width;
  const gsize need = stride * (end - begin);

  if (need > resizer->between_size) {
    g_free (resizer->between);
    resizer->between = g_malloc (need);
    resizer->between_size = need;
  }
  resizer->loops->horizontal (columns, src->data + begin * src->stride, src->stride, end - begin,
      resizer->between, stride);
  run_vertical (resizer->loops, rows, resizer->between, stride, begin, dst);
}

/* Weights of the outputs from (x0, y0) on, @width x @height, of a resize to @out_w x @out_h. */
static void
plan (PirlResizer *resizer, const PirlImage *src, const gfloat box[4], gint out_w, gint out_h,
    gint x0, gint y0, gint width, gint height)
{
  resizer->columns.n = resizer->rows.n = 0;
  resizer->left = x0;
  resizer->top = y0;
  if (width <= 0 || height <= 0 || src->width <= 0 || src->height <= 0)
    return;
  if (out_w != src->width || box[0] != 0 || box[2] != out_w)
    axis_compute (resizer, &resizer->columns, src->width, box[0], box[2], out_w, x0, width);
  if (out_h != src->height || box[1] != 0 || box[3] != out_h)
    axis_compute (resizer, &resizer->rows, src->height, box[1], box[3], out_h, y0, height);
}

void
pirl_resizer_plan (PirlResizer *resizer, const PirlImage *src, gint width, gint height)
{
  const gfloat box[4] = { 0, 0, src->width, src->height };

  plan (resizer, src, box, width, height, 0, 0, width, height);
}

void
pirl_resizer_render (PirlResizer *resizer, const PirlResizer *planned, const PirlImage *src,
    gint x0, gint y0, PirlImage *dst)
{
  const PirlAxis columns = axis_part (&planned->columns, x0 - planned->left, dst->width);
  const PirlAxis rows = axis_part (&planned->rows, y0 - planned->top, dst->height);

  if (dst->width <= 0 || dst->height <= 0 || src->width <= 0 || src->height <= 0)
    return;
  if (columns.n > 0 && rows.n > 0)
    run_both (resizer, &columns, &rows, src, dst);
  else if (rows.n > 0)
    run_vertical (resizer->loops, &rows, src->data + 3 * (gsize) x0, src->stride, 0, dst);
  else if (columns.n > 0)
    resizer->loops->horizontal (&columns, src->data + y0 * src->stride, src->stride, dst->height,
        dst->data, dst->stride);
  else
    copy_window (src, x0, y0, dst);
}

/* The part of a resize to out_w x out_h that starts at (x0, y0) and has the size of @dst. */
static void
resize_window (PirlResizer *resizer, const PirlImage *src, const gfloat box[4], gint out_w,
    gint out_h, gint x0, gint y0, PirlImage *dst)
{
  plan (resizer, src, box, out_w, out_h, x0, y0, dst->width, dst->height);
  pirl_resizer_render (resizer, resizer, src, x0, y0, dst);
}

void
pirl_resize (PirlResizer *resizer, const PirlImage *src, gdouble x, gdouble y, gdouble width,
    gdouble height, PirlImage *dst)
{
  /* Pillow keeps boxes in single precision; what lies outside the picture is cut off. */
  const gfloat x0 = CLAMP (x, 0, src->width), y0 = CLAMP (y, 0, src->height);
  const gfloat box[4] = { x0, y0, CLAMP (x + width, x0, src->width),
    CLAMP (y + height, y0, src->height) };

  resize_window (resizer, src, box, dst->width, dst->height, 0, 0, dst);
}

/* Python's round ((have - want) / 2.0): a half goes to the even neighbour. */
static gint
centre_offset (gint have, gint want)
{
  const gint twice = have - want, half = twice >> 1;

  return twice % 2 == 0 ? half : half + (half & 1);
}

void
pirl_place_center_crop (gint width, gint height, gint resize, gint crop, gint *scaled_width,
    gint *scaled_height, gint *left, gint *top)
{
  const gint shorter = MIN (width, height), longer = MAX (width, height);
  const gint scaled_longer = (gint) ((gdouble) ((gint64) resize * longer) / shorter);

  *scaled_width = width < height ? resize : scaled_longer;
  *scaled_height = width < height ? scaled_longer : resize;
  *left = centre_offset (*scaled_width, crop);
  *top = centre_offset (*scaled_height, crop);
}

/* The source pixels of the outputs [begin, begin + n) of an axis from @in_size to @out_size. */
static void
reach_of (gint in_size, gint out_size, gint begin, gint n, gint *first, gint *length)
{
  const gdouble scale = (gdouble) (gfloat) in_size / out_size, support = support_of (scale);
  gint last, unused;

  *first = begin;
  last = begin + n;
  if (in_size != out_size) {
    taps_of ((begin + 0.5) * scale, support, in_size, first, &unused);
    taps_of ((begin + n - 0.5) * scale, support, in_size, &unused, &last);
  }
  *length = last - *first;
}

void
pirl_center_crop_source (gint width, gint height, gint resize, gint crop, PirlBox *box)
{
  gint out_w, out_h, x0, y0;

  pirl_place_center_crop (width, height, resize, crop, &out_w, &out_h, &x0, &y0);
  reach_of (width, out_w, MAX (x0, 0), MIN (crop, out_w), &box->x, &box->width);
  reach_of (height, out_h, MAX (y0, 0), MIN (crop, out_h), &box->y, &box->height);
}

/* Moves what was planned for a whole picture to @src, a region of it. */
static void
move_plan (PirlResizer *resizer, const PirlImage *src)
{
  PirlAxis *columns = &resizer->columns, *rows = &resizer->rows;

  resizer->left -= src->x;
  resizer->top -= src->y;
  columns->in_size = src->width;
  rows->in_size = src->height;
  for (gint i = 0; i < columns->n; i++)
    columns->first[i] -= src->x;
  for (gint i = 0; i < rows->n; i++)
    rows->first[i] -= src->y;
}

void
pirl_resize_center_crop (PirlResizer *resizer, const PirlImage *src, gint resize, gint crop,
    PirlImage *dst)
{
  const gboolean part = src->whole_width > 0;
  const PirlImage whole = { part ? src->whole_width : src->width,
    part ? src->whole_height : src->height };
  const gfloat box[4] = { 0, 0, whole.width, whole.height };
  gint out_w, out_h, x0, y0;
  PirlImage window;

  pirl_place_center_crop (whole.width, whole.height, resize, crop, &out_w, &out_h, &x0, &y0);
  window = (PirlImage) { MIN (crop, out_w), MIN (crop, out_h) };

  if (!dst->data || dst->width != crop || dst->height != crop)
    pirl_image_resize_storage (dst, crop, crop);
  /* Where the crop is larger, torchvision pads with black, the smaller half first. */
  if (window.width < crop || window.height < crop)
    memset (dst->data, 0, dst->stride * crop);
  window.stride = dst->stride;
  window.data = dst->data + (crop - window.height) / 2 * dst->stride
      + 3 * (gsize) ((crop - window.width) / 2);
  plan (resizer, &whole, box, out_w, out_h, MAX (x0, 0), MAX (y0, 0), window.width, window.height);
  if (part)
    move_plan (resizer, src);
  pirl_resizer_render (resizer, resizer, src, resizer->left, resizer->top, &window);
}
