/* gst-pirl: a labelled set of textured shapes, drawn, not downloaded.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Picture = ground, a soft shadow, and a shape (circle, square, star, clover, blob) filled with a
 * texture in two tones, all under a light that falls off in one direction, plus noise. The texture
 * alone is the class: a repeating pattern is still itself in a crop, in the pieces of a jigsaw,
 * in grey and in a mirror. Everything else is drawn anew for each picture from the stream (seed, 0,
 * index, PIRL_PURPOSE_SYNTHETIC).
 *
 * Ground and tones change their hues across the picture. Colour differs within a picture as much as
 * between two, so that what an untrained network sees first says nothing about the class,
 * and what a trained one could cheat with, the palette of a picture, is not there.
 *
 * A texture is a function of (u, v), in cells of the pattern, that gives the signed distance to
 * the edge between the tones (negative = second tone), so that one evaluation a pixel is
 * antialiased: coverage = clamp (1/2 - distance in pixels).
 */
#include "vision/synthetic.h"
#include "base/rng.h"

#include <math.h>

/* ---- textures --------------------------------------------------------------------------- */

#define NOISE_SIZE 32           /* lattice of the noise texture; a power of two */
#define SQRT3_2 0.8660254f

typedef struct {
  gfloat noise[NOISE_SIZE][NOISE_SIZE]; /* -1 .. 1 */
} TextureData;

typedef gfloat (*TextureFunc) (gfloat u, gfloat v, const TextureData *data);

/* Position within a cell, -1/2 .. 1/2. */
static inline gfloat
centred (gfloat x)
{
  return x - floorf (x) - 0.5f;
}

static inline gfloat
length (gfloat x, gfloat y)
{
  return sqrtf (x * x + y * y);
}

/* Odd rows of a brick-like lattice stand half a cell aside. */
static inline gfloat
row_shift (gfloat row)
{
  return (gint) row & 1 ? 0.5f : 0.0f;
}

static gfloat
texture_stripes (gfloat u, gfloat v, const TextureData *data)
{
  return fabsf (centred (v)) - 0.25f;
}

static gfloat
texture_checks (gfloat u, gfloat v, const TextureData *data)
{
  gfloat a = fabsf (centred (0.5f * u)) - 0.25f, b = fabsf (centred (0.5f * v)) - 0.25f;
  gfloat d = 2.0f * MIN (fabsf (a), fabsf (b));

  return (a < 0) == (b < 0) ? -d : d;
}

static gfloat
texture_dots (gfloat u, gfloat v, const TextureData *data)
{
  gfloat y = v / SQRT3_2, row = floorf (y);

  return length (centred (u + row_shift (row)), centred (y) * SQRT3_2) - 0.31f;
}

static gfloat
texture_rings (gfloat u, gfloat v, const TextureData *data)
{
  gfloat y = v / SQRT3_2, row = floorf (y);
  gfloat r = length (centred (u + row_shift (row)), centred (y) * SQRT3_2);

  return fabsf (r - 0.34f) - 0.09f;
}

/* Bricks twice as wide as high; the mortar is the second tone. */
static gfloat
texture_bricks (gfloat u, gfloat v, const TextureData *data)
{
  gfloat y = 2.0f * v, row = floorf (y);
  gfloat to_side = 0.5f - fabsf (centred (u + row_shift (row)));
  gfloat to_top = 0.5f * (0.5f - fabsf (centred (y)));

  return MIN (to_side, to_top) - 0.07f;
}

static gfloat
texture_zigzag (gfloat u, gfloat v, const TextureData *data)
{
  const gfloat slope = 1.0f, cosine = 0.7071068f;

  return (fabsf (centred (v + slope * fabsf (centred (u)))) - 0.25f) * cosine;
}

/* Thin lines along both diagonals. */
static gfloat
texture_crosshatch (gfloat u, gfloat v, const TextureData *data)
{
  const gfloat half = 0.7071068f;
  gfloat a = fabsf (centred (half * (u + v))), b = fabsf (centred (half * (u - v)));

  return MIN (a, b) - 0.12f;
}

static inline gfloat
noise_at (const TextureData *data, gint x, gint y)
{
  return data->noise[y & (NOISE_SIZE - 1)][x & (NOISE_SIZE - 1)];
}

/* Smooth noise cut at 0; its slope is about 1.5 a cell at the cut. */
static gfloat
texture_blobs (gfloat u, gfloat v, const TextureData *data)
{
  gfloat fx = floorf (u), fy = floorf (v), x = u - fx, y = v - fy;
  gint ix = (gint) fx, iy = (gint) fy;
  gfloat top, bottom;

  x = x * x * (3 - 2 * x);
  y = y * y * (3 - 2 * y);
  top = noise_at (data, ix, iy) * (1 - x) + noise_at (data, ix + 1, iy) * x;
  bottom = noise_at (data, ix, iy + 1) * (1 - x) + noise_at (data, ix + 1, iy + 1) * x;
  return (top * (1 - y) + bottom * y) / 1.5f;
}

/* Equilateral triangles, those that point up in one tone. */
static gfloat
texture_triangles (gfloat u, gfloat v, const TextureData *data)
{
  gfloat y = v / SQRT3_2, x = u - 0.5f * y, d;

  y -= floorf (y);
  x -= floorf (x);
  if (x + y < 1)
    d = MIN (MIN (x, y), 1 - x - y);
  else
    d = -MIN (MIN (1 - x, 1 - y), x + y - 1);
  return d * SQRT3_2;
}

/* Overlapping round scales with a broad rim: a lower row lies over the one above it. */
static gfloat
texture_scales (gfloat u, gfloat v, const TextureData *data)
{
  gfloat y = 4.0f * v, row = floorf (y), down = 0.25f * (y - row);
  gfloat r = length (centred (u + row_shift (row)), down);

  if (r > 0.5f)
    r = length (centred (u + row_shift (row + 1)), down + 0.25f);
  return MIN (0.5f - r, fabsf (r - 0.2f)) - 0.09f;
}

typedef struct {
  const gchar *name;
  TextureFunc distance;
  gfloat cell;                  /* size of a cell, so that all look about equally fine */
} Texture;

static const Texture textures[PIRL_SYNTHETIC_MAX_CLASSES] = {
  {"stripes", texture_stripes, 1.0f},
  {"checks", texture_checks, 0.7f},
  {"dots", texture_dots, 1.0f},
  {"zigzag", texture_zigzag, 1.2f},
  {"bricks", texture_bricks, 1.7f},
  {"rings", texture_rings, 1.5f},
  {"blobs", texture_blobs, 0.7f},
  {"triangles", texture_triangles, 1.4f},
  {"crosshatch", texture_crosshatch, 1.0f},
  {"scales", texture_scales, 2.6f},
};

const gchar *
pirl_synthetic_class_name (gint label)
{
  g_return_val_if_fail (label >= 0 && label < PIRL_SYNTHETIC_MAX_CLASSES, NULL);
  return textures[label].name;
}

gint
pirl_synthetic_label (guint64 index, gint classes)
{
  return (gint) (index % (guint64) classes);
}

/* ---- what is drawn for one picture --------------------------------------------------------- */

typedef struct {
  gfloat r, g, b;               /* 0 .. 1 */
} Colour;

#define FIELD_SIZE 3

/* Colours at the crossings of a coarse grid over the picture, blended between them. */
typedef struct {
  Colour at[FIELD_SIZE][FIELD_SIZE];
} Field;

/* In units of the picture's size, seen from its centre. */
typedef struct {
  gfloat x, y, radius;
  gfloat cosine, sine;          /* of its rotation */
  gfloat lobes[7];              /* outline: radius * (1 + sum of lobes[k] cos (k angle)) */
  gboolean square;
} Shape;

typedef struct {
  const Texture *texture;
  TextureData data;
  gfloat cell;                  /* in pixels */
  gfloat cosine, sine, u, v;    /* rotation and origin of the pattern */
  Field tones[2], ground;
  gfloat light_x, light_y, shadow;
  Shape shape;
} Picture;

/* The brightness that a grey copy of the picture shows. */
static gfloat
luma (const Colour *c)
{
  return 0.299f * c->r + 0.587f * c->g + 0.114f * c->b;
}

static gfloat
hue_channel (gfloat hue, gfloat shift)
{
  gfloat x = hue + shift;

  x = 6.0f * (x - floorf (x));
  return CLAMP (fabsf (x - 3.0f) - 1.0f, 0.0f, 1.0f);
}

static gfloat
with_luma (gfloat chroma, gfloat full, gfloat target)
{
  return CLAMP (target + chroma * full, 0.0f, 1.0f);
}

/* Any hue, any saturation, of brightness @target. */
static void
draw_colour (PirlRng *rng, gfloat target, Colour *c)
{
  gfloat hue = pirl_rng_uniform (rng), chroma = pirl_rng_range (rng, 0.0f, 0.9f), grey;

  c->r = hue_channel (hue, 0.0f);
  c->g = hue_channel (hue, 2.0f / 3.0f);
  c->b = hue_channel (hue, 1.0f / 3.0f);
  grey = luma (c);
  c->r = with_luma (chroma, c->r - grey, target);
  c->g = with_luma (chroma, c->g - grey, target);
  c->b = with_luma (chroma, c->b - grey, target);
}

static void
draw_shape (PirlRng *rng, Shape *shape)
{
  gfloat angle = pirl_rng_range (rng, 0.0f, (gfloat) (2 * G_PI));

  shape->radius = pirl_rng_range (rng, 0.72f, 0.86f);
  shape->x = pirl_rng_range (rng, -0.12f, 0.12f);
  shape->y = pirl_rng_range (rng, -0.12f, 0.12f);
  shape->cosine = cosf (angle);
  shape->sine = sinf (angle);
  shape->square = FALSE;
  for (guint k = 0; k < G_N_ELEMENTS (shape->lobes); k++)
    shape->lobes[k] = 0.0f;
  switch (pirl_rng_below (rng, 5)) {
    case 0:                    /* circle */
      break;
    case 1:
      shape->square = TRUE;
      break;
    case 2:                    /* star or flower */
      shape->lobes[5] = pirl_rng_range (rng, 0.10f, 0.18f);
      break;
    case 3:                    /* clover */
      shape->lobes[3 + pirl_rng_below (rng, 2)] = pirl_rng_range (rng, 0.10f, 0.18f);
      break;
    default:                   /* blob */
      shape->lobes[2] = pirl_rng_range (rng, 0.05f, 0.16f);
      shape->lobes[3] = pirl_rng_range (rng, 0.03f, 0.12f);
  }
}

static void
draw_tones (PirlRng *rng, Picture *p)
{
  /* Enough contrast to see the pattern in grey, either tone the brighter one. */
  gfloat contrast = pirl_rng_range (rng, 0.38f, 0.55f);
  gfloat low = pirl_rng_range (rng, 0.08f, 0.92f - contrast);
  guint dark = pirl_rng_below (rng, 2);

  for (guint y = 0; y < FIELD_SIZE; y++) {
    for (guint x = 0; x < FIELD_SIZE; x++) {
      draw_colour (rng, low, &p->tones[dark].at[y][x]);
      draw_colour (rng, low + contrast, &p->tones[1 - dark].at[y][x]);
      draw_colour (rng, pirl_rng_range (rng, 0.1f, 0.9f), &p->ground.at[y][x]);
    }
  }
}

static void
draw_direction (PirlRng *rng, gfloat strength, gfloat *x, gfloat *y)
{
  gfloat angle = pirl_rng_range (rng, 0.0f, (gfloat) (2 * G_PI));

  *x = strength * cosf (angle);
  *y = strength * sinf (angle);
}

static void
draw_picture (PirlRng *rng, gint label, gint size, Picture *p)
{
  const gfloat fineness = 0.115f, most_tilt = (gfloat) (8 * G_PI / 180);
  gfloat tilt = pirl_rng_range (rng, -most_tilt, most_tilt);
  gfloat scale = expf (pirl_rng_range (rng, logf (0.9f), logf (1.12f)));

  p->texture = &textures[label];
  p->cell = fineness * (gfloat) size * p->texture->cell * scale;
  p->cosine = cosf (tilt);
  p->sine = sinf (tilt);
  p->u = pirl_rng_range (rng, 0.0f, (gfloat) NOISE_SIZE);
  p->v = pirl_rng_range (rng, 0.0f, (gfloat) NOISE_SIZE);
  draw_shape (rng, &p->shape);
  draw_tones (rng, p);
  draw_direction (rng, pirl_rng_range (rng, 0.0f, 0.3f), &p->light_x, &p->light_y);
  p->shadow = pirl_rng_range (rng, 0.0f, 0.5f);
  for (gint y = 0; y < NOISE_SIZE && p->texture->distance == texture_blobs; y++)
    for (gint x = 0; x < NOISE_SIZE; x++)
      p->data.noise[y][x] = pirl_rng_range (rng, -1.0f, 1.0f);
}

/* ---- pixels ------------------------------------------------------------------------------- */

/* Distance to the outline (negative inside), near enough for edges and shadows. */
static gfloat
shape_distance (const Shape *shape, gfloat px, gfloat py)
{
  gfloat x = px - shape->x, y = py - shape->y, r, re, im, sum = 1.0f;
  gfloat rx = x * shape->cosine + y * shape->sine, ry = y * shape->cosine - x * shape->sine;

  if (shape->square)
    return MAX (fabsf (rx), fabsf (ry)) - 0.85f * shape->radius;
  r = length (rx, ry);
  if (r < 1e-6f)
    return -shape->radius;
  /* cos (k angle) = the real part of the k-th power of the direction */
  rx /= r;
  ry /= r;
  re = rx;
  im = ry;
  for (guint k = 2; k < G_N_ELEMENTS (shape->lobes); k++) {
    gfloat next = re * rx - im * ry;

    im = re * ry + im * rx;
    re = next;
    sum += shape->lobes[k] * re;
  }
  return r - shape->radius * sum;
}

static inline void
blend (Colour *c, const Colour *over, gfloat alpha)
{
  c->r += alpha * (over->r - c->r);
  c->g += alpha * (over->g - c->g);
  c->b += alpha * (over->b - c->b);
}

static inline gfloat
coverage (gfloat distance_in_pixels)
{
  return CLAMP (0.5f - distance_in_pixels, 0.0f, 1.0f);
}

static Colour
field_at (const Field *field, gfloat x, gfloat y)
{
  gfloat fx = (x + 0.5f) * (FIELD_SIZE - 1), fy = (y + 0.5f) * (FIELD_SIZE - 1);
  gint ix = CLAMP ((gint) fx, 0, FIELD_SIZE - 2), iy = CLAMP ((gint) fy, 0, FIELD_SIZE - 2);
  Colour top, bottom;

  fx -= ix;
  fy -= iy;
  fx = fx * fx * (3 - 2 * fx);
  fy = fy * fy * (3 - 2 * fy);
  top = field->at[iy][ix];
  blend (&top, &field->at[iy][ix + 1], fx);
  bottom = field->at[iy + 1][ix];
  blend (&bottom, &field->at[iy + 1][ix + 1], fx);
  blend (&top, &bottom, fy);
  return top;
}

/* The colour of the texture at (x, y), which is (px, py) in cells. */
static Colour
texture_at (const Picture *p, gfloat px, gfloat py, gfloat x, gfloat y)
{
  gfloat u = p->u + px * p->cosine + py * p->sine, v = p->v + py * p->cosine - px * p->sine;
  gfloat second = coverage (p->texture->distance (u, v, &p->data) * p->cell);
  Colour fill, other;

  if (second == 1.0f)
    return field_at (&p->tones[1], x, y);
  fill = field_at (&p->tones[0], x, y);
  if (second > 0.0f) {
    other = field_at (&p->tones[1], x, y);
    blend (&fill, &other, second);
  }
  return fill;
}

/* The colour at (x, y), both -1/2 .. 1/2. */
static Colour
shade (const Picture *p, gfloat x, gfloat y, gint size)
{
  const gfloat shadow_width = 0.06f;
  gfloat inside = coverage (shape_distance (&p->shape, x, y) * size);
  gfloat light = 1.0f + x * p->light_x + y * p->light_y;
  Colour c = { 0, 0, 0 }, black = { 0, 0, 0 };

  if (inside < 1.0f)
    c = field_at (&p->ground, x, y);
  if (inside < 1.0f) {
    gfloat d = shape_distance (&p->shape, x - 0.02f, y - 0.03f);

    blend (&c, &black, p->shadow * CLAMP (0.5f - d / shadow_width, 0.0f, 1.0f));
  }
  if (inside > 0.0f) {
    Colour fill = texture_at (p, x * size / p->cell, y * size / p->cell, x, y);

    blend (&c, &fill, inside);
  }
  c.r *= light;
  c.g *= light;
  c.b *= light;
  return c;
}

static inline guint8
to_byte (gfloat value, gfloat noise)
{
  return (guint8) CLAMP (255.0f * value + noise + 0.5f, 0.0f, 255.0f);
}

void
pirl_synthetic_draw (guint64 index, gint classes, gint size, guint64 seed, PirlImage *image)
{
  const gfloat noise_scale = 12.0f / 255.0f;
  PirlRng rng;
  Picture p;

  g_return_if_fail (classes >= 1 && classes <= PIRL_SYNTHETIC_MAX_CLASSES && size >= 1);

  pirl_rng_init (&rng, seed, 0, index, PIRL_PURPOSE_SYNTHETIC);
  draw_picture (&rng, pirl_synthetic_label (index, classes), size, &p);
  pirl_image_resize_storage (image, size, size);
  for (gint y = 0; y < size; y++) {
    guint8 *row = image->data + (gsize) y * image->stride;

    for (gint x = 0; x < size; x++) {
      Colour c = shade (&p, (x + 0.5f) / size - 0.5f, (y + 0.5f) / size - 0.5f, size);
      guint32 bits = pirl_rng_u32 (&rng);

      /* Three bytes of one word: noise of about 3.5 levels in each channel. */
      for (guint channel = 0; channel < 3; channel++) {
        gfloat noise = ((gfloat) ((bits >> (8 * channel)) & 255) - 127.5f) * noise_scale;

        row[3 * x + channel] = to_byte (channel == 0 ? c.r : channel == 1 ? c.g : c.b, noise);
      }
    }
  }
}
