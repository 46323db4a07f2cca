/* gst-pirl: what amx.c does with tiles and vectors: products and the packing of their operands.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A tile is 16 rows of 64 bytes. C[16][16] floats += A[16][32] B[32][16], A and B in bf16, B with
 * two neighbours of the depth side by side: [16][16][2].
 */
#pragma once

#include <glib.h>

#define TILE 16                 /* rows, and floats of a row */
#define DEPTH 32                /* of one product of tiles */
#define TILE_HALVES (TILE * DEPTH)      /* bf16 of a tile of A or B */
#define TILE_FLOATS (TILE * TILE)

/** The processor and the system have what is below. */
gboolean pirl_tiles_work (void);

/** Sets the calling thread's tiles up, and gives them up: while they are in use, the system saves
 * 8 kB more with each switch of threads. */
void pirl_tiles_begin (void);
void pirl_tiles_end (void);

/** Where a run of products begins. */
typedef struct {
  const guint16 *a, *b;
} PirlTileRun;

/** Up to 2 x 2 tiles of C and the runs of products that make them; distances in elements. */
typedef struct {
  gsize a_rows;                 /* from one row of A to the next */
  gsize a_second, b_second;     /* to the second tile of rows, of columns; 0: there is none */
  gsize a_step, b_step;         /* to a run's next product */
  gint steps;                   /* products of a run */
  gboolean add;                 /* to what is in C */
} PirlTileProduct;

/** @c: [2][2][16][16]; what belongs to absent second rows and columns is undefined. */
void pirl_tiles_multiply (const PirlTileProduct *product, const PirlTileRun *runs, gint n_runs,
    gfloat *c);

/* Places: where 16 channels of 32 places lie; NULL for zeros. */

/** Rows of 32 channels; @second: from a place's 16 channels to the next 16; 0: there are none. */
void pirl_pack_rows (const gfloat *const places[DEPTH], gsize second, guint16 *to);
/** 16 channels of neighbours, [16][16][2]. */
void pirl_pack_pairs (const gfloat *const places[DEPTH], guint16 *to);
/** Transposed: 16 rows of 32, @stride apart. */
void pirl_pack_transposed (const gfloat *const places[DEPTH], guint16 *to, gsize stride);
/** The other way, from C of 2 x 2 tiles to places (NULL: nowhere), or added to what is there;
 * @second as above. */
void pirl_store_places (const gfloat *c, gfloat *const places[DEPTH], gsize second, gboolean add);
/** to += from, 16 floats. */
void pirl_add_row (const gfloat *from, gfloat *to);
/** A tile of B from a matrix of floats, B[d][c] = from[d * depth_step + c * column_step]; with
 * rows of the depth beyond @depth zero. */
void pirl_pack_weights (const gfloat *from, gsize depth_step, gsize column_step, gint depth,
    guint16 *to);
