/* gst-pirl: Huffman coding of a JPEG's levels (T.81, F.1.2), and tables fitted to them (K.2).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A block's bit mask of levels that are not 0 makes the run of zeros before the next one a count of
 * trailing zeros. Symbol and extra bits leave together, at most 27 bits, without a branch; zeros are
 * put behind bytes of all ones later, when some MCUs are done.
 */
#include "config.h"
#include "vision/jpeg-coder-private.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

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
  guint32 count, symbol;
} Leaf;

/* Symbols that occur, the rarest first, of those that are as rare the highest first; returns how many.
 * Sorts by one byte of the count after another. */
static guint
sort_leaves (const guint32 count[256], Leaf *leaf)
{
  Leaf other[256], *from = leaf, *to = other;
  guint32 most = 0;
  guint n = 0;

  for (guint i = 256; i-- > 0;)
    if (count[i] > 0) {
      leaf[n++] = (Leaf) { count[i], i };
      most = MAX (most, count[i]);
    }
  for (guint shift = 0; shift < 32 && most >> shift > 0; shift += 8) {
    guint at[257] = { 0 };
    Leaf *swap = from;

    for (guint i = 0; i < n; i++)
      at[(from[i].count >> shift & 255) + 1]++;
    for (guint i = 0; i < 255; i++)
      at[i + 1] += at[i];
    for (guint i = 0; i < n; i++)
      to[at[from[i].count >> shift & 255]++] = from[i];
    from = to;
    to = swap;
  }
  if (from != leaf)
    memcpy (leaf, from, n * sizeof *leaf);
  return n;
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
  n += sort_leaves (count, leaf + 1);
  memset (table, 0, sizeof *table);
  if (n == 1)
    return;
  limited_lengths (leaf, n, length);
  /* Codes are given out by length, and leaf 0 is the last of the longest. */
  for (guint i = n - 1; i > 0; i--) {
    table->bits[length[i]]++;
    table->value[n_values++] = leaf[i].symbol;
  }
}

/* Bytes of a scan before zeros are put behind those of all ones: a few MCUs' worth stay in the cache. */
#define RAW_BYTES 4096
#define MAX_MCU_BYTES (6 * PIRL_BLOCK * (LONGEST_CODE + 11) / 8 + 8)

/* Copies @n bytes, a zero behind each of all ones; may read 15 bytes beyond them, and write as many
 * beyond the last. */
static guint8 *
stuff (const guint8 *restrict raw, gsize n, guint8 *restrict out)
{
  const guint8 *end = raw + n;

#ifdef __SSE2__
  const __m128i ones = _mm_set1_epi8 (-1);

  while (raw < end) {
    const __m128i bytes = _mm_loadu_si128 ((const __m128i *) raw);
    const guint some = MIN (end - raw, 16);
    const guint full = _mm_movemask_epi8 (_mm_cmpeq_epi8 (bytes, ones)) & 0xffff >> (16 - some);
    const guint before = full ? (guint) __builtin_ctz (full) + 1 : some;

    _mm_storeu_si128 ((__m128i *) out, bytes);
    raw += before;
    out += before;
    if (full)
      *out++ = 0;
  }
#else
  while (raw < end) {
    *out++ = *raw;
    if (*raw++ == 0xff)
      *out++ = 0;
  }
#endif
  return out;
}

/* Without a branch: 8 bytes are stored after every symbol, of which those that are whole stay. */
static inline void
put (PirlBitWriter *writer, guint32 bits, guint n)
{
  guint64 out;

  writer->bits = writer->bits << n | bits;
  writer->n += n;
  out = GUINT64_TO_BE (writer->bits << (-writer->n & 63));
  memcpy (writer->p, &out, sizeof out);
  writer->p += writer->n / 8;
  writer->n %= 8;
}

void
pirl_bits_flush (PirlBitWriter *writer)
{
  guint8 last;

  if (writer->n == 0)
    return;
  last = writer->bits << (8 - writer->n) | 0xff >> writer->n;
  *writer->p++ = last;
  if (last == 0xff)
    *writer->p++ = 0;
  writer->n = 0;
}

/* What is done with a symbol: written, counted, or counted and listed. */
typedef struct {
  PirlBitWriter writer;
  const PirlHuffmanCodes *codes;
  guint32 (*count)[256];
  guint64 (*tally)[256], one;
  PirlSymbol *list;
} Sink;

typedef enum { WRITE, COUNT, LIST } Purpose;

#define INLINE static inline __attribute__ ((always_inline))

INLINE void
take (Sink *sink, Purpose purpose, PirlHuffmanSlot slot, guint symbol, guint32 extra)
{
  if (purpose == COUNT) {
    sink->count[slot][symbol]++;
  } else if (purpose == LIST) {
    sink->tally[slot][symbol] += sink->one;
    *sink->list++ = (slot << 8 | symbol) << PIRL_SYMBOL_SHIFT | extra;
  } else {
    const guint32 entry = sink->codes[slot][symbol];

    put (&sink->writer, entry >> PIRL_CODE_SHIFT | extra, pirl_huffman_code_length (entry));
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
take_mcu (PirlScanRow *row, Sink *sink, Purpose purpose, guint mcu)
{
  const guint luma = row->sampling;

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

INLINE void
write_row (PirlScanRow *row, Sink *out)
{
  guint8 raw[RAW_BYTES + MAX_MCU_BYTES + 16];
  Sink sink = *out;             /* bytes written could be its own, were it not local */

  sink.writer.p = raw;
  for (guint mcu = 0; mcu < row->n_mcus; mcu++) {
    take_mcu (row, &sink, WRITE, mcu);
    if (sink.writer.p - raw >= RAW_BYTES || mcu + 1 == row->n_mcus) {
      out->writer.p = stuff (raw, sink.writer.p - raw, out->writer.p);
      sink.writer.p = raw;
    }
  }
  out->writer.bits = sink.writer.bits;
  out->writer.n = sink.writer.n;
}

INLINE void
list_row (PirlScanRow *row, Sink *out)
{
  Sink sink = *out;

  for (guint mcu = 0; mcu < row->n_mcus; mcu++)
    take_mcu (row, &sink, LIST, mcu);
  *out = sink;
}

static guint
count_ones (const guint8 *bytes, gsize n)
{
  guint ones = 0;

  for (gsize i = 0; i < n; i++)
    ones += bytes[i] == 0xff;
  return ones;
}

INLINE guint
write_symbols (const PirlSymbol *symbols, guint n, const PirlHuffmanCodes *codes, guint64 *bits)
{
  const guint32 *entries = codes[0];
  guint8 raw[RAW_BYTES + 16];
  PirlBitWriter writer = { .p = raw };
  guint ones = 0;

  *bits = 0;
  for (guint i = 0; i < n; i++) {
    const guint32 entry = entries[symbols[i] >> PIRL_SYMBOL_SHIFT];
    const guint32 extra = symbols[i] & ((1 << PIRL_SYMBOL_SHIFT) - 1);

    put (&writer, entry >> PIRL_CODE_SHIFT | extra, pirl_huffman_code_length (entry));
    if (G_UNLIKELY (writer.p - raw >= RAW_BYTES) || i + 1 == n) {
      ones += count_ones (raw, writer.p - raw);
      *bits += 8 * (writer.p - raw);
      writer.p = raw;
    }
  }
  *bits += writer.n;
  return ones;
}

#define LOOPS(name, attributes) \
attributes static void \
write_##name (PirlScanRow *row, Sink *sink) \
{ \
  write_row (row, sink); \
} \
\
attributes static void \
list_##name (PirlScanRow *row, Sink *sink) \
{ \
  list_row (row, sink); \
} \
\
attributes static guint \
symbols_##name (const PirlSymbol *symbols, guint n, const PirlHuffmanCodes *codes, guint64 *bits) \
{ \
  return write_symbols (symbols, n, codes, bits); \
}

LOOPS (plain,)
#if defined (__x86_64__) && defined (__GNUC__)
/* The same with the shifts and bit counts of newer processors; those with AVX2 have them. */
LOOPS (bmi, __attribute__ ((target ("bmi,bmi2,lzcnt"))))
#define BEST(loop) (__builtin_cpu_supports ("avx2") && __builtin_cpu_supports ("bmi2") \
    ? loop##_bmi : loop##_plain)
#else
#define BEST(loop) loop##_plain
#endif

void
pirl_scan_write (PirlScanRow *row, const PirlHuffmanCodes codes[PIRL_N_HUFFMAN_TABLES],
    PirlBitWriter *writer)
{
  Sink sink = { .writer = *writer, .codes = codes };

  BEST (write) (row, &sink);
  *writer = sink.writer;
}

guint
pirl_scan_list (PirlScanRow *row, guint32 weight, PirlTally tally, PirlSymbol *symbols)
{
  Sink sink = { .tally = tally, .one = (guint64) weight << 32 | 1, .list = symbols };

  BEST (list) (row, &sink);
  return sink.list - symbols;
}

guint
pirl_symbols_write (const PirlSymbol *symbols, guint n,
    const PirlHuffmanCodes codes[PIRL_N_HUFFMAN_TABLES], guint64 *bits)
{
  return BEST (symbols) (symbols, n, codes, bits);
}

void
pirl_scan_count (PirlScanRow *row, guint32 count[PIRL_N_HUFFMAN_TABLES][256])
{
  Sink sink = { .count = count };

  for (guint mcu = 0; mcu < row->n_mcus; mcu++)
    take_mcu (row, &sink, COUNT, mcu);
}
