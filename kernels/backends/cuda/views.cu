/* gst-pirl: renders views from pictures: crop, antialiased resize, colour, flip, turn, normalise,
 * pack.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The rules are those of kernels/vision/resize.c and augment.c, which give the exact pixels of
 * Pillow; followed to the bit, so that posterize, solarize and hue cannot turn a difference of one
 * level into one of many. Hence the __fmul_rn and their like: what C computes in two roundings must
 * not become one fused multiplication here.
 *
 * A block renders a view. Its pixels stay on a canvas of 8-bit RGB between passes; a pass ends
 * where the next needs its neighbours or a sum of all pixels:
 *
 *   tables    weights of the resize, in 1/2^22, per output column and row
 *   resize    and the jitter in front of contrast; sums the grey for contrast
 *   (point    the rest of the jitter, posterize)        where the next two are wanted
 *   (photo    sharpness, solarize; extremes; autocontrast, grayscale)
 *   (blur     three boxes along each axis)
 *   finish    the rest of the jitter, grayscale, flip, turn, normalise
 *
 * An output is summed over its rows from sums over columns that are rounded to 8 bits, as in two
 * passes; what is computed more than once costs less than memory for a picture between them.
 */
#include "backends/cuda/resize.cuh"
#include "backends/cuda/views.h"

#define BLOCK 512
#define LANES 8

static __device__ __forceinline__ Rgb
load_pixel (const unsigned char *canvas, int i)
{
  canvas += (size_t) 3 * i;
  return Rgb { canvas[0], canvas[1], canvas[2] };
}

/* --- resize --- */

static __device__ __forceinline__ Rgb
resized (const unsigned char *pixels, int width, const Axis &columns, const Axis &rows, int size,
    int x, int y)
{
  const int half = 1 << (FIXED_BITS - 1), n = columns.count[x];
  const unsigned char *row = pixels + (size_t) 3 * ((size_t) rows.first[y] * width
      + columns.first[x]);
  Rgb sum = { half, half, half };

  for (int ty = 0; ty < rows.count[y]; ty++, row += (size_t) 3 * width) {
    const int down = rows.weight[ty * size + y];
    Rgb across = { half, half, half };

    for (int tx = 0; tx < n; tx++) {
      const int weight = columns.weight[tx * size + x];

      across.r += weight * row[3 * tx];
      across.g += weight * row[3 * tx + 1];
      across.b += weight * row[3 * tx + 2];
    }
    sum.r += down * clip_fixed (across.r);
    sum.g += down * clip_fixed (across.g);
    sum.b += down * clip_fixed (across.b);
  }
  return Rgb { clip_fixed (sum.r), clip_fixed (sum.g), clip_fixed (sum.b) };
}

/* --- colours --- */

static __device__ __forceinline__ int
grey_of (Rgb pixel)
{
  return (pixel.r * 19595 + pixel.g * 38470 + pixel.b * 7471 + 0x8000) >> 16;
}

static __device__ __forceinline__ int
blend (int a, int b, float factor)
{
  const float value = __fadd_rn ((float) a, __fmul_rn (factor, (float) (b - a)));

  return (int) fminf (fmaxf (value, 0.0f), 255.0f);
}

static __device__ __forceinline__ Rgb
blend_all (int from, Rgb pixel, float factor)
{
  return Rgb { blend (from, pixel.r, factor), blend (from, pixel.g, factor),
    blend (from, pixel.b, factor) };
}

/* Hue, saturation and value as bytes. */
static __device__ __forceinline__ Rgb
to_hsv (Rgb p)
{
  const int most = max (p.r, max (p.g, p.b)), least = min (p.r, min (p.g, p.b));
  const float range = (float) (most - least);
  float hue;

  if (most == least)
    return Rgb { 0, 0, most };

  const float to_r = (most - p.r) / range, to_g = (most - p.g) / range,
    to_b = (most - p.b) / range;

  if (p.r == most)
    hue = to_b - to_g;
  else if (p.g == most)
    hue = (float) (2.0 + to_r - to_b);
  else
    hue = (float) (4.0 + to_g - to_r);

  const double turn = hue / 6.0 + 1.0;

  hue = (float) (turn - (int) turn);
  return Rgb { (int) (hue * 255.0), (int) (range / most * 255.0), most };
}

static __device__ __forceinline__ int
level (int value, double share)
{
  return (int) __dadd_rn (__dmul_rn ((double) value, share), 0.5);
}

static __device__ __forceinline__ Rgb
from_hsv (Rgb hsv)
{
  const double position = hsv.r * 6.0 / 255.0;
  const int sextant = (int) position, value = hsv.b;
  const float within = (float) (position - sextant), part = (float) (hsv.g / 255.0);
  const int falling = level (value, 1.0 - (double) __fmul_rn (part, within));
  const int rising = level (value, __dadd_rn (1.0, -__dmul_rn (part, 1.0 - within)));
  const int least = level (value, 1.0 - part);

  switch (sextant % 6) {
    case 0:
      return Rgb { value, rising, least };
    case 1:
      return Rgb { falling, value, least };
    case 2:
      return Rgb { least, value, rising };
    case 3:
      return Rgb { least, falling, value };
    case 4:
      return Rgb { rising, least, value };
    default:
      return Rgb { value, least, falling };
  }
}

static __device__ __forceinline__ Rgb
turn_hue (Rgb pixel, float shift)
{
  Rgb hsv = to_hsv (pixel);

  hsv.r = (hsv.r + (int) ((double) shift * 255)) & 255;
  return from_hsv (hsv);
}

/* The operations @from <= i < @to of the jitter; @mean: grey, for contrast. */
static __device__ __forceinline__ Rgb
jitter (const PirlColour &colour, int from, int to, int mean, Rgb pixel)
{
  for (int i = from; i < to; i++)
    switch (colour.order[i]) {
      case PIRL_JITTER_BRIGHTNESS:
        pixel = blend_all (0, pixel, colour.brightness);
        break;
      case PIRL_JITTER_CONTRAST:
        pixel = blend_all (mean, pixel, colour.contrast);
        break;
      case PIRL_JITTER_SATURATION:
        pixel = blend_all (grey_of (pixel), pixel, colour.saturation);
        break;
      default:
        if (colour.hue != 0.0f)
          pixel = turn_hue (pixel, colour.hue);
        break;
    }
  return pixel;
}

/* How many operations come before contrast, which needs a sum over their results; all where it
 * changes nothing. */
static __device__ __forceinline__ int
before_contrast (const PirlColour &colour)
{
  int n = 0;

  while (n < 4 && (colour.order[n] != PIRL_JITTER_CONTRAST || colour.contrast == 1.0f))
    n++;
  return n;
}

static __device__ __forceinline__ int
solarized (int value, int threshold)
{
  return value < threshold ? value : 255 - value;
}

/* --- what needs neighbours --- */

/* The 3x3 mean with weight 5 in the middle, over 13. */
static __device__ __forceinline__ int
smoothed (const unsigned char *at, int row)
{
  int sum = 4 * at[0];

  for (int dy = -row; dy <= row; dy += row)
    for (int dx = -3; dx <= 3; dx += 3)
      sum += at[dy + dx];
  return (2 * sum + 13) / 26;
}

/* Pixel @i sharpened; the outermost stay as they are. */
static __device__ __forceinline__ Rgb
sharpened (const unsigned char *canvas, int size, int i, float factor)
{
  const int x = i % size, y = i / size;
  const unsigned char *at = canvas + (size_t) 3 * i;
  const Rgb pixel = load_pixel (canvas, i);

  if (x == 0 || y == 0 || x == size - 1 || y == size - 1 || factor == 1.0f)
    return pixel;
  return Rgb { blend (smoothed (at, 3 * size), pixel.r, factor),
    blend (smoothed (at + 1, 3 * size), pixel.g, factor),
    blend (smoothed (at + 2, 3 * size), pixel.b, factor) };
}

/* Pixel @i blurred along one axis, on which it is the one at @position; neighbours are @step pixels
 * away. */
static __device__ __forceinline__ Rgb
boxed (const unsigned char *canvas, const PirlBlurBox &box, int size, int i, int position, int step)
{
  const int reach = box.radius + 1, start = i - position * step;
  unsigned r = 1u << 23, g = r, b = r;

  for (int t = -reach; t <= reach; t++) {
    const int neighbour = start + min (max (position + t, 0), size - 1) * step;
    const Rgb pixel = load_pixel (canvas, neighbour);
    const unsigned weight = t == -reach || t == reach ? box.part : box.whole;

    r += weight * pixel.r;
    g += weight * pixel.g;
    b += weight * pixel.b;
  }
  return Rgb { (int) (r >> 24), (int) (g >> 24), (int) (b >> 24) };
}

/* --- passes: all threads of the block must call; each works on its own pixels --- */

struct Extremes { int low[3], high[3]; };

/* What a block shares. */
struct Shared {
  unsigned long long grey;      /* sum */
  Extremes extremes;
};

#define FOR_PIXELS(i, size) for (int i = threadIdx.x; i < (size) * (size); i += BLOCK)

static __device__ __forceinline__ void
table_pass (const PirlGpuView &view, const Axis &columns, const Axis &rows, int size)
{
  for (int i = threadIdx.x; i < 2 * size; i += BLOCK) {
    if (i < size)
      make_weights (columns, view.crop_width, view.scaled, view.left, size, i);
    else
      make_weights (rows, view.crop_height, view.scaled, view.top, size, i - size);
  }
}

/* Returns the mean grey of the canvas in front of contrast. */
static __device__ __forceinline__ int
resize_pass (const PirlGpuView &view, const unsigned char *pixels, const Axis &columns,
    const Axis &rows, int size, int n_ops, unsigned char *canvas, Shared &shared)
{
  unsigned long long sum = 0;

  FOR_PIXELS (i, size) {
    const Rgb pixel = jitter (view.colour, 0, n_ops, 0,
        resized (pixels, view.crop_width, columns, rows, size, i % size, i / size));

    store_pixel (canvas, i, pixel);
    sum += grey_of (pixel);
  }
  for (int step = PIRL_WARP / 2; step > 0; step /= 2)
    sum += __shfl_xor_sync (0xffffffffu, sum, step);
  if (threadIdx.x % PIRL_WARP == 0)
    atomicAdd (&shared.grey, sum);      /* of whole numbers: the order does not matter */
  __syncthreads ();
  return (int) ((double) shared.grey / ((double) size * size) + 0.5);
}

static __device__ __forceinline__ void
point_pass (const PirlColour &colour, int from, int mean, int size, unsigned char *canvas)
{
  const int mask = colour.photometric ? 0xff00 >> min (max (colour.posterize_bits, 0), 8) : 0xff;

  FOR_PIXELS (i, size) {
    Rgb pixel = jitter (colour, from, 4, mean, load_pixel (canvas, i));

    store_pixel (canvas, i, Rgb { pixel.r & mask & 255, pixel.g & mask & 255,
      pixel.b & mask & 255 });
  }
  __syncthreads ();
}

static __device__ __forceinline__ void
note_extremes (Extremes &extremes, Rgb low, Rgb high)
{
  atomicMin (&extremes.low[0], low.r);
  atomicMin (&extremes.low[1], low.g);
  atomicMin (&extremes.low[2], low.b);
  atomicMax (&extremes.high[0], high.r);
  atomicMax (&extremes.high[1], high.g);
  atomicMax (&extremes.high[2], high.b);
}

static __device__ __forceinline__ void
sharpen_pass (const PirlColour &colour, int size, const unsigned char *canvas,
    unsigned char *result, Shared &shared)
{
  const float factor = size < 3 ? 1.0f : colour.sharpness;
  const int threshold = colour.solarize_threshold;
  Rgb low = { 255, 255, 255 }, high = { 0, 0, 0 };

  FOR_PIXELS (i, size) {
    Rgb pixel = sharpened (canvas, size, i, factor);

    pixel = Rgb { solarized (pixel.r, threshold), solarized (pixel.g, threshold),
      solarized (pixel.b, threshold) };
    store_pixel (result, i, pixel);
    low = Rgb { min (low.r, pixel.r), min (low.g, pixel.g), min (low.b, pixel.b) };
    high = Rgb { max (high.r, pixel.r), max (high.g, pixel.g), max (high.b, pixel.b) };
  }
  note_extremes (shared.extremes, low, high);
  __syncthreads ();
}

/* @value stretched so that its channel reaches from 0 to 255. */
static __device__ __forceinline__ int
stretched (int value, const Extremes &extremes, int channel)
{
  const int low = extremes.low[channel], high = extremes.high[channel];

  if (high <= low)
    return value;

  const double scale = 255.0 / (high - low);
  const double result = __dadd_rn (__dmul_rn ((double) value, scale),
      __dmul_rn ((double) -low, scale));

  return (int) fmin (fmax (result, 0.0), 255.0);
}

/* Autocontrast, where there is the photometric block, and grayscale. */
static __device__ __forceinline__ void
tone_pass (const PirlColour &colour, int size, unsigned char *canvas, const Shared &shared)
{
  FOR_PIXELS (i, size) {
    Rgb pixel = load_pixel (canvas, i);

    if (colour.photometric)
      pixel = Rgb { stretched (pixel.r, shared.extremes, 0),
        stretched (pixel.g, shared.extremes, 1), stretched (pixel.b, shared.extremes, 2) };
    if (colour.grayscale)
      pixel.r = pixel.g = pixel.b = grey_of (pixel);
    store_pixel (canvas, i, pixel);
  }
  __syncthreads ();
}

static __device__ __forceinline__ void
blur_pass (const PirlBlurBox &box, int size, bool down, const unsigned char *canvas,
    unsigned char *result)
{
  FOR_PIXELS (i, size)
    store_pixel (result, i, down ? boxed (canvas, box, size, i, i / size, size)
        : boxed (canvas, box, size, i, i % size, 1));
  __syncthreads ();
}

/* Where the pixel at (x, y) goes when the view is turned, counter-clockwise. */
static __device__ __forceinline__ int
turned (int x, int y, int size, int turns)
{
  const int right = size - 1 - x, below = size - 1 - y;

  switch (turns) {
    case 0:
      return y * size + x;
    case 1:
      return right * size + y;
    case 2:
      return below * size + right;
    default:
      return x * size + below;
  }
}

template <typename T> static __device__ __forceinline__ void
finish_pass (const PirlColour &colour, int turns, int from, int mean, bool toned,
    const PirlGpuNormalise &normalise, int size, int stored, const unsigned char *canvas, T *out)
{
  FOR_PIXELS (i, size) {
    const int x = i % size, to = turned (colour.flip ? size - 1 - x : x, i / size, size, turns);
    Rgb pixel = jitter (colour, from, 4, mean, load_pixel (canvas, i));
    float value[LANES] = { 0 };

    if (colour.grayscale && !toned)
      pixel.r = pixel.g = pixel.b = grey_of (pixel);
    value[0] = pixel.r * normalise.scale[0] + normalise.shift[0];
    value[1] = pixel.g * normalise.scale[1] + normalise.shift[1];
    value[2] = pixel.b * normalise.scale[2] + normalise.shift[2];
    store8 (out + (size_t) to * stored, value);
    value[0] = value[1] = value[2] = 0.0f;
    for (int c = LANES; c < stored; c += LANES)
      store8 (out + (size_t) to * stored + c, value);
  }
}

/* --- the kernel --- */

static __device__ __forceinline__ void
clear_shared (Shared &shared)
{
  if (threadIdx.x == 0)
    shared.grey = 0;
  if (threadIdx.x < 3) {
    shared.extremes.low[threadIdx.x] = 255;
    shared.extremes.high[threadIdx.x] = 0;
  }
}

template <typename T> __global__ void __launch_bounds__ (BLOCK)
render_kernel (unsigned char *const *batch, int size, int stored, PirlGpuNormalise normalise,
    unsigned char *canvases, T *out)
{
  __shared__ Shared shared;
  const PirlGpuView &view = reinterpret_cast<const PirlGpuView *> (*batch)[blockIdx.x];
  const PirlColour &colour = view.colour;
  const size_t pixels = (size_t) size * size;
  unsigned char *canvas = canvases + 6 * pixels * blockIdx.x, *other = canvas + 3 * pixels;
  const Axis columns = axis_at (*batch + view.columns, size);
  const Axis rows = axis_at (*batch + view.rows, size);
  const bool blurs = colour.blur_radius > 0.0f, toned = colour.photometric || blurs;
  int done = before_contrast (colour);

  clear_shared (shared);
  table_pass (view, columns, rows, size);
  __syncthreads ();

  const int mean = resize_pass (view, *batch + view.pixels, columns, rows, size, done, canvas,
      shared);

  if (toned) {
    point_pass (colour, done, mean, size, canvas);
    done = 4;
    if (colour.photometric) {
      sharpen_pass (colour, size, canvas, other, shared);
      unsigned char *swap = canvas;

      canvas = other;
      other = swap;
    }
    tone_pass (colour, size, canvas, shared);
    for (int pass = 0; blurs && pass < 2 * PIRL_BLUR_PASSES; pass++) {
      blur_pass (view.blur, size, pass >= PIRL_BLUR_PASSES, canvas, other);
      unsigned char *swap = canvas;

      canvas = other;
      other = swap;
    }
  }
  finish_pass (colour, view.turns, done, mean, toned, normalise, size, stored, canvas,
      out + pixels * blockIdx.x * stored);
}

template <typename T> static void
render_launch (guint8 *const *batch, gint n, gint size, gint stored,
    const PirlGpuNormalise *normalise, guint8 *canvas, gpointer out, cudaStream_t stream)
{
  PIRL_LAUNCH (render_kernel<T>, (unsigned) n, BLOCK, 0, stream, batch, size, stored, *normalise,
      canvas, (T *) out);
}

extern "C" void
pirl_gpu_render_views (guint8 *const *batch, gint n, gint size, gint stored,
    const PirlGpuNormalise *normalise, PirlDType dtype, guint8 *canvas, gpointer out,
    cudaStream_t stream)
{
  if (dtype == PIRL_DTYPE_F32)
    render_launch<float> (batch, n, size, stored, normalise, canvas, out, stream);
  else if (dtype == PIRL_DTYPE_F16)
    render_launch<__half> (batch, n, size, stored, normalise, canvas, out, stream);
  else
    render_launch<__nv_bfloat16> (batch, n, size, stored, normalise, canvas, out, stream);
}
