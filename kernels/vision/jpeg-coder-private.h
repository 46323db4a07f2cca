/* gst-pirl: what the files of the JPEG coder share.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "vision/dct.h"
#include "vision/jpeg-coder.h"

/* A table as a file has it: bits[l] codes of length l, values in order of their codes. */
typedef struct {
  guint8 bits[17];
  guint8 value[256];
} PirlHuffmanTable;

/* By symbol: code and room for the extra bits that follow, << 5 | length of both; 0: no code. */
typedef guint32 PirlHuffmanCodes[256];
#define PIRL_CODE_SHIFT 5
#define pirl_huffman_code_length(entry) ((entry) & ((1u << PIRL_CODE_SHIFT) - 1))

/* Of a scan, in the order of a file: DC and AC of luma, DC and AC of chroma. */
typedef enum {
  PIRL_LUMA_DC,
  PIRL_LUMA_AC,
  PIRL_CHROMA_DC,
  PIRL_CHROMA_AC,
  PIRL_N_HUFFMAN_TABLES
} PirlHuffmanSlot;

/* T.81, K.3. */
extern const PirlHuffmanTable pirl_huffman_standard[PIRL_N_HUFFMAN_TABLES];

void pirl_huffman_make_codes (const PirlHuffmanTable *table, PirlHuffmanCodes codes);
guint pirl_huffman_n_values (const PirlHuffmanTable *table);
/* The table of fewest bits for symbols that occur so often; none of its codes is all ones. */
void pirl_huffman_optimise (const guint32 count[256], PirlHuffmanTable *table);

/* Levels of one row of MCUs. Blocks that the picture does not have (beyond blocks[], or NULL) are
 * coded as the DC of the block before them. */
typedef struct {
  guint n_components;
  guint sampling;               /* of luma in both directions; 1 for grey */
  guint n_mcus;
  struct {
    const gint16 *level;
    const guint64 *mask;
    guint blocks;
  } row[4];                     /* luma's, then one of each chroma */
  gint dc[3];                   /* the last of each component */
} PirlScanRow;

typedef struct {
  guint64 bits;
  gint free;                    /* of the 64 */
  guint8 *p;
} PirlBitWriter;

#define PIRL_MAX_BLOCK_BYTES 420        /* 64 codes of 16 bits with 10 or 11 more, every byte stuffed */

/* The row's bits. There must be room for all of its blocks, PIRL_MAX_BLOCK_BYTES each. */
void pirl_scan_write (PirlScanRow *row, const PirlHuffmanCodes codes[PIRL_N_HUFFMAN_TABLES],
    PirlBitWriter *writer);
/* Ones up to a whole byte, and out with them. */
void pirl_bits_flush (PirlBitWriter *writer);
/* How often each symbol occurs, added to @count. */
void pirl_scan_count (PirlScanRow *row, guint32 count[PIRL_N_HUFFMAN_TABLES][256]);

#define PIRL_N_ACTIVITIES 2

/* Coefficients of one component, block rows one after another. */
typedef struct {
  gint width, height;           /* samples */
  guint blocks_w, blocks_h;
  gint16 *coefficient;
  gsize allocated;              /* blocks */
} PirlCoderPlane;

struct _PirlJpegCoder {
  const PirlDctLoops *loops;
  gint flat_below;              /* qualities below are of the flat tables */
  gint width, height;
  guint n_planes;
  PirlCoderPlane plane[3];
  guint8 *padded;               /* eight rows of a component, up to whole blocks */
  gint16 *level;                /* of a row of MCUs */
  guint64 *mask;
  gsize padded_allocated, level_allocated;
  guint8 *file;
  gsize file_allocated;
  PirlBasis *basis[4];          /* 1, 2, 4 and 8 pixels; made when first needed */
  guint8 *pixels[3];            /* of a preview */
  gsize pixels_allocated[3];
  /* Levels that are not 0, an MCU, at some qualities; found when sizes are first asked for. */
  gboolean activity_known;
  guint16 *activity[PIRL_N_ACTIVITIES];
  gsize activity_allocated;
  guint8 *block_activity;       /* of a row of blocks */
};

guint pirl_jpeg_coder_sampling (const PirlJpegCoder *coder);
guint pirl_jpeg_coder_mcus_across (const PirlJpegCoder *coder);
guint pirl_jpeg_coder_mcus_down (const PirlJpegCoder *coder);

/* @quality as pirl_quantiser_init() takes it. */
gint pirl_jpeg_coder_quality (const PirlJpegCoder *coder, gint quality);
void pirl_quantisers_init (PirlQuantiser quantiser[2], gint quality);
/* Everything before the scan's bits; returns where they go. */
#define PIRL_MAX_HEADER_BYTES 1024
guint8 *pirl_jpeg_coder_headers (const PirlJpegCoder *coder, guint8 *p,
    const PirlQuantiser quantiser[2], const PirlHuffmanTable *tables);

/* Levels of MCU row @y (its first @n_mcus from MCU @x on) into the coder's memory. */
void pirl_jpeg_coder_quantise (PirlJpegCoder *coder, const PirlQuantiser quantiser[2], guint x,
    guint y, guint n_mcus, PirlScanRow *row);
/* Tables fitted to a sample of MCUs, with a code for every symbol; FALSE where a picture is so small
 * that the sample would be all of it. */
gboolean pirl_jpeg_coder_fit_tables (PirlJpegCoder *coder, const PirlQuantiser quantiser[2],
    PirlHuffmanTable tables[PIRL_N_HUFFMAN_TABLES]);
