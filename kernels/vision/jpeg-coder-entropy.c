/* gst-pirl: Huffman coding of a JPEG's levels (T.81, F.1.2), and tables fitted to them (K.2).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A block's bit mask of levels that are not 0 makes the run of zeros before the next one a count of
 * trailing zeros. Symbol and extra bits leave together, at most 27 bits.
 */
#include "config.h"
#include "vision/jpeg-coder-private.h"

#include <stdlib.h>
#include <string.h>

#define LONGEST_CODE 16
#define END_OF_BLOCK 0x00
#define SIXTEEN_ZEROS 0xf0
#define MAX_SYMBOLS 257         /* with the one that stands for all ones */

void
pirl_huffman_make_codes (const PirlHuffmanTable *table, PirlHuffmanCodes codes)
{
  guint32 code = 0;
  guint i = 0;

  memset (codes, 0, sizeof (PirlHuffmanCodes));
  for (guint length = 1; length <= LONGEST_CODE; length++, code <<= 1)
    for (guint j = 0; j < table->bits[length]; j++, i++, code++) {
      const guint extra = table->value[i] & 15;

      codes[table->value[i]] = code << extra << PIRL_CODE_SHIFT | (length + extra);
    }
}

guint
pirl_huffman_n_values (const PirlHuffmanTable *table)
{
  guint n = 0;

  for (guint length = 1; length <= LONGEST_CODE; length++)
    n += table->bits[length];
  return n;
}

typedef struct {
  guint64 count;
  guint symbol;
} Leaf;

static int
compare_leaves (const void *a, const void *b)
{
  const Leaf *p = a, *q = b;

  if (p->count != q->count)
    return p->count < q->count ? -1 : 1;
  return p->symbol < q->symbol ? 1 : p->symbol > q->symbol ? -1 : 0;
}

/* Package-merge: lengths of at most 16 bits with the least sum of count * length. @leaf ascends. */
static void
limited_lengths (const Leaf *leaf, guint n, guint8 *length)
{
  guint64 weight[2][2 * MAX_SYMBOLS];
  guint8 is_leaf[LONGEST_CODE][2 * MAX_SYMBOLS];
  guint n_before = 0, take = 2 * n - 2;

  for (guint level = 0; level < LONGEST_CODE; level++) {
    const guint64 *before = weight[(level + 1) % 2];
    guint64 *now = weight[level % 2];
    const guint packages = n_before / 2;
    guint i = 0, j = 0;

    while (i < n || j < packages) {
      const guint64 package = j < packages ? before[2 * j] + before[2 * j + 1] : G_MAXUINT64;
      const gboolean next_is_leaf = i < n && leaf[i].count <= package;

      is_leaf[level][i + j] = next_is_leaf;
      now[i + j] = next_is_leaf ? leaf[i].count : package;
      if (next_is_leaf)
        i++;
      else
        j++;
    }
    n_before = n + packages;
  }
  memset (length, 0, n);
  for (guint level = LONGEST_CODE; level-- > 0;) {
    guint leaves = 0;

    for (guint i = 0; i < take; i++)
      leaves += is_leaf[level][i];
    for (guint i = 0; i < leaves; i++)
      length[i]++;
    take = 2 * (take - leaves);
  }
}

void
pirl_huffman_optimise (const guint32 count[256], PirlHuffmanTable *table)
{
  Leaf leaf[MAX_SYMBOLS];
  guint8 length[MAX_SYMBOLS];
  guint n = 1, n_values = 0;

  /* The code of all ones, which no symbol may have, goes to one that never occurs. */
  leaf[0] = (Leaf) { 0, 256 };
  for (guint i = 0; i < 256; i++)
    if (count[i] > 0)
      leaf[n++] = (Leaf) { count[i], i };
  memset (table, 0, sizeof *table);
  if (n == 1)
    return;
  qsort (leaf + 1, n - 1, sizeof leaf[0], compare_leaves);
  limited_lengths (leaf, n, length);
  /* Codes are given out by length, and leaf 0 is the last of the longest. */
  for (guint i = n - 1; i > 0; i--) {
    table->bits[length[i]]++;
    table->value[n_values++] = leaf[i].symbol;
  }
}

/* The 8 bytes of @bits, a zero byte after each of all ones. */
static inline guint8 *
emit (guint8 *p, guint64 bits)
{
  const guint64 high = G_GUINT64_CONSTANT (0x8080808080808080);
  const guint64 low = G_GUINT64_CONSTANT (0x0101010101010101);

  if (G_LIKELY (!(bits & high & ~(bits + low)))) {
    const guint64 out = GUINT64_TO_BE (bits);

    memcpy (p, &out, sizeof out);
    return p + sizeof out;
  }
  for (gint shift = 56; shift >= 0; shift -= 8) {
    *p++ = bits >> shift;
    if (p[-1] == 0xff)
      *p++ = 0;
  }
  return p;
}

static inline void
put (PirlBitWriter *writer, guint32 bits, gint n)
{
  writer->free -= n;
  if (G_LIKELY (writer->free >= 0)) {
    writer->bits = writer->bits << n | bits;
    return;
  }
  writer->bits = writer->bits << (n + writer->free) | bits >> -writer->free;
  writer->p = emit (writer->p, writer->bits);
  writer->free += 64;
  writer->bits = bits;
}

void
pirl_bits_flush (PirlBitWriter *writer)
{
  while (writer->free % 8)
    put (writer, 1, 1);
  for (gint shift = 56 - writer->free; shift >= 0; shift -= 8) {
    *writer->p++ = writer->bits >> shift;
    if (writer->p[-1] == 0xff)
      *writer->p++ = 0;
  }
  writer->bits = 0;
  writer->free = 64;
}

/* What is done with a symbol: written or counted. */
typedef struct {
  PirlBitWriter writer;
  const PirlHuffmanCodes *codes;
  guint32 (*count)[256];
} Sink;

typedef enum { WRITE, COUNT } Purpose;

#define INLINE static inline __attribute__ ((always_inline))

INLINE void
take (Sink *sink, Purpose purpose, PirlHuffmanSlot slot, guint symbol, guint32 extra)
{
  if (purpose == COUNT) {
    sink->count[slot][symbol]++;
  } else {
    const guint32 entry = sink->codes[slot][symbol];
    const gint length = pirl_huffman_code_length (entry);

    put (&sink->writer, entry >> PIRL_CODE_SHIFT | extra, length);
  }
}

/* The bits that a value takes, and those bits: of value - 1 where it is negative. */
INLINE guint
magnitude (gint value, guint32 *extra)
{
  const gint sign = value >> 31;
  const guint n = 31 - __builtin_clz (2 * ((value ^ sign) - sign) | 1);

  *extra = (guint32) (value + sign) & ((1u << n) - 1);
  return n;
}

INLINE void
take_block (Sink *sink, Purpose purpose, PirlHuffmanSlot dc_slot, const gint16 *level,
    guint64 mask, gint difference)
{
  const PirlHuffmanSlot ac_slot = dc_slot + 1;
  guint32 extra;
  guint n = magnitude (difference, &extra), last = 0;

  take (sink, purpose, dc_slot, n, extra);
  for (mask &= ~G_GUINT64_CONSTANT (1); mask; mask &= mask - 1) {
    const guint k = __builtin_ctzll (mask);
    guint run = k - last - 1;

    for (; G_UNLIKELY (run > 15); run -= 16)
      take (sink, purpose, ac_slot, SIXTEEN_ZEROS, 0);
    n = magnitude (level[k], &extra);
    take (sink, purpose, ac_slot, run << 4 | n, extra);
    last = k;
  }
  if (last < PIRL_BLOCK - 1)
    take (sink, purpose, ac_slot, END_OF_BLOCK, 0);
}

INLINE void
take_row (PirlScanRow *row, Sink *out, Purpose purpose)
{
  const guint luma = row->sampling;
  Sink local = *out, *sink = &local;    /* bytes written could be its own, were it not local */

  for (guint mcu = 0; mcu < row->n_mcus; mcu++) {
    for (guint r = 0; r < luma + row->n_components - 1; r++) {
      const guint c = r < luma ? 0 : r - luma + 1;
      const guint across = c == 0 ? luma : 1;
      const PirlHuffmanSlot slot = c == 0 ? PIRL_LUMA_DC : PIRL_CHROMA_DC;

      for (guint x = mcu * across; x < (mcu + 1) * across; x++) {
        const gboolean real = x < row->row[r].blocks;
        const gint16 *level = row->row[r].level + (gsize) x * PIRL_BLOCK;
        const gint dc = real ? level[0] : row->dc[c];

        take_block (sink, purpose, slot, level, real ? row->row[r].mask[x] : 0, dc - row->dc[c]);
        row->dc[c] = dc;
      }
    }
  }
  *out = local;
}

static void
write_plain (PirlScanRow *row, Sink *sink)
{
  take_row (row, sink, WRITE);
}

#if defined (__x86_64__) && defined (__GNUC__)
/* The same with the shifts and bit counts of newer processors. */
__attribute__ ((target ("bmi,bmi2,lzcnt"))) static void
write_bmi (PirlScanRow *row, Sink *sink)
{
  take_row (row, sink, WRITE);
}

/* Processors with AVX2 have these instructions. */
static void
write_best (PirlScanRow *row, Sink *sink)
{
  if (__builtin_cpu_supports ("avx2") && __builtin_cpu_supports ("bmi2"))
    write_bmi (row, sink);
  else
    write_plain (row, sink);
}
#else
#define write_best write_plain
#endif

void
pirl_scan_write (PirlScanRow *row, const PirlHuffmanCodes codes[PIRL_N_HUFFMAN_TABLES],
    PirlBitWriter *writer)
{
  Sink sink = { .writer = *writer, .codes = codes };

  write_best (row, &sink);
  *writer = sink.writer;
}

void
pirl_scan_count (PirlScanRow *row, guint32 count[PIRL_N_HUFFMAN_TABLES][256])
{
  Sink sink = { .count = count };

  take_row (row, &sink, COUNT);
}
