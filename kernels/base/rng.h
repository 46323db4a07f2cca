/* gst-pirl: counter-based random numbers.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). A stream
 * is named by (seed, epoch, index, purpose) and nothing else, so a draw never depends on what was
 * drawn before it, on threads, or on where a run was resumed.
 *
 *   key     = { seed low, seed high }
 *   counter = { block number, epoch, index low, (index high 24 bits) | purpose << 24 }
 *
 * The four words of a block are used in order.
 */
#pragma once

#include "base/base.h"

/** What a stream is drawn for; one number a use, never reused. */
typedef enum {
  PIRL_PURPOSE_SHUFFLE = 1,     /* order of the samples of an epoch */
  PIRL_PURPOSE_VIEW = 2,        /* crop, colour and flip of the image view */
  PIRL_PURPOSE_PRETEXT = 3,     /* crop, permutation, offsets, colours of the pretext view */
  PIRL_PURPOSE_NEGATIVES = 4,   /* bank rows of the negatives, image term */
  PIRL_PURPOSE_NEGATIVES_PRETEXT = 5,   /* the same, patch term */
  PIRL_PURPOSE_BANK = 6,        /* rows of the memory bank before training */
  PIRL_PURPOSE_WEIGHTS = 7,     /* initial weights; index = CRC-32 of the parameter's name */
  PIRL_PURPOSE_SYNTHETIC = 8,   /* procedural pictures */
  PIRL_PURPOSE_PERMUTATIONS = 9,        /* the set of permutations */
  PIRL_PURPOSE_SCENES = 10,     /* noise of a drawn film's nights */
  PIRL_PURPOSE_AGENT = 11,      /* exploration, replay, folds of adacompressenc's agents */
  PIRL_PURPOSE_ESTIMATE = 12,   /* frames that are asked about; index = frames */
  PIRL_PURPOSE_REPLAY = 13,     /* transitions of a batch of the DQN; index = learnings */
  PIRL_PURPOSE_EXPLORE = 14,    /* actions of the DQN; index = choices */
  PIRL_PURPOSE_PROBE_ORDER = 20,        /* samples of a probe's epoch; index = epoch */
  PIRL_PURPOSE_PROBE_BOOTSTRAP = 21,    /* test samples of a draw; index = draws */
  PIRL_PURPOSE_PROBE_SUBSET = 22,       /* samples of a class that a subset keeps; index = class */
  PIRL_PURPOSE_TEST = 255,
} PirlPurpose;

typedef struct {
  guint32 key[2];
  guint32 counter[4];
  guint32 block[4];
  guint used;                   /* words of @block already given out; 4 = none left */
} PirlRng;

/** Starts the stream (seed, epoch, index, purpose). @index uses its low 56 bits. */
PIRL_API void pirl_rng_init (PirlRng *rng, guint64 seed, guint32 epoch, guint64 index,
    PirlPurpose purpose);
/** The next 32 random bits. */
PIRL_API guint32 pirl_rng_u32 (PirlRng *rng);
/** The next @n words, the same as @n times pirl_rng_u32(), several times as fast. */
PIRL_API void pirl_rng_fill_u32 (PirlRng *rng, guint32 *dst, gsize n);
/** Uniform integer in [0, n), unbiased (rejection of Lemire, 2019); n >= 1. */
PIRL_API guint32 pirl_rng_below (PirlRng *rng, guint32 n);
/** Uniform in [0, 1): the top 24 bits of a word, times 2^-24; exact in float. */
PIRL_API gfloat pirl_rng_uniform (PirlRng *rng);
/** lo + (hi - lo) * uniform. */
PIRL_API gfloat pirl_rng_range (PirlRng *rng, gfloat lo, gfloat hi);
/** TRUE with probability @p. */
PIRL_API gboolean pirl_rng_chance (PirlRng *rng, gfloat p);
/** Standard normal (Box-Muller, two words a draw, cosine branch). */
PIRL_API gfloat pirl_rng_normal (PirlRng *rng);
/** Fills @order with a uniform permutation of 0..n-1 (Fisher-Yates from the end). */
PIRL_API void pirl_rng_permutation (PirlRng *rng, guint32 *order, guint32 n);
