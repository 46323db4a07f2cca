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
  guint64 bits;                 /* the last n of them are no whole byte yet */
  guint n;
  guint8 *p;
} PirlBitWriter;

#define PIRL_MAX_BLOCK_BYTES 420        /* 64 codes of 16 bits with 10 or 11 more, every byte stuffed */
#define PIRL_SPARE_BYTES 16

/* The row's bits. There must be room for all of its blocks, PIRL_MAX_BLOCK_BYTES each, and
 * PIRL_SPARE_BYTES more. */
void pirl_scan_write (PirlScanRow *row, const PirlHuffmanCodes codes[PIRL_N_HUFFMAN_TABLES],
    PirlBitWriter *writer);
/* Ones up to a whole byte, and out with them. */
void pirl_bits_flush (PirlBitWriter *writer);
/* A symbol, its table (PirlHuffmanSlot) and the bits behind it: slot << 24 | symbol << 16 | bits. */
typedef guint32 PirlSymbol;
#define PIRL_SYMBOL_SHIFT 16
#define PIRL_MAX_MCU_SYMBOLS (6 * PIRL_BLOCK)

/* How often each symbol occurs, in the lower half; in the upper one, that weighted by its MCU. */
typedef guint64 PirlTally[PIRL_N_HUFFMAN_TABLES][256];
#define pirl_tally_count(entry) ((guint32) (entry))
#define pirl_tally_weight(entry) ((guint32) ((entry) >> 32))

/* Lists the symbols of one row, PIRL_BLOCK a block at most, and adds them to @tally; returns how many. */
guint pirl_scan_list (PirlScanRow *row, guint32 weight, PirlTally tally, PirlSymbol *symbols);
/* The bits that @n symbols take; returns how many whole bytes among them are all ones. */
guint pirl_symbols_write (const PirlSymbol *symbols, guint n,
    const PirlHuffmanCodes codes[PIRL_N_HUFFMAN_TABLES], guint64 *bits);
/* How often each symbol occurs, added to @count. */
void pirl_scan_count (PirlScanRow *row, guint32 count[PIRL_N_HUFFMAN_TABLES][256]);

/* Coefficients of one component, block rows one after another. */
typedef struct {
  gint width, height;           /* samples */
  guint blocks_w, blocks_h;
  gint16 *coefficient;
  gsize allocated;              /* blocks */
} PirlCoderPlane;

/* What is read from all coefficients at once. */
typedef struct {
  gboolean known, wanted;       /* wanted: while pictures are loaded, else when it is first asked for */
  PirlThresholds thresholds[2];
  guint16 *activity[PIRL_N_ACTIVITIES]; /* of an MCU: levels that are not 0 at some qualities */
  gint16 *dc;                   /* of luma's blocks */
  gint16 *low[2];               /* PIRL_LOW of each block of chroma */
  gsize activity_allocated[PIRL_N_ACTIVITIES], dc_allocated, low_allocated[2];
} PirlSurvey;

/* MCUs here and there, when first asked for. */
typedef struct {
  gboolean known;
  guint step;                   /* one of so many; 1: all */
  guint n;
  guint *mcu;                   /* where each comes in the file */
  guint8 (*blocks)[4];          /* real ones in its rows, as in PirlScanRow */
  gint16 (*dc)[3];              /* coefficients of the MCU before */
  gint16 *coefficient[2];       /* luma's blocks, chroma's */
  gsize allocated;              /* MCUs */
  /* At some quality: the symbols of all of them, and, one after another, those of some. */
  PirlTally tally;
  PirlSymbol *symbol;
  gsize n_symbols;
} PirlSample;

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
  gsize file_allocated, file_size;      /* 0: no file of this picture */
  gint file_quality;
  PirlHuffman file_huffman;
  PirlBasis *basis[4];          /* [log2 (size)]; made when first needed */
  guint8 *pixels[3];            /* of a preview */
  gsize pixels_allocated[3];
  PirlSurvey survey;
  PirlSample sample;
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

/* Makes room in coder->survey for a picture of the planes' sizes; FALSE without memory. */
gboolean pirl_jpeg_coder_survey_fit (PirlJpegCoder *coder);
/* Fills coder->survey, once a picture. */
void pirl_jpeg_coder_survey (PirlJpegCoder *coder);
/* The same in steps: before the first row of blocks, and each row. */
void pirl_jpeg_coder_survey_begin (PirlJpegCoder *coder);
void pirl_jpeg_coder_survey_row (PirlJpegCoder *coder, guint c, guint y);
void pirl_survey_clear (PirlSurvey *survey);
void pirl_sample_clear (PirlSample *sample);

/* Levels of MCU row @y (its first @n_mcus from MCU @x on) into the coder's memory. */
void pirl_jpeg_coder_quantise (PirlJpegCoder *coder, const PirlQuantiser quantiser[2], guint x,
    guint y, guint n_mcus, PirlScanRow *row);
/* Tables fitted to a sample of MCUs, with a code for every symbol; FALSE where a picture is so small
 * that the sample would be all of it. */
gboolean pirl_jpeg_coder_fit_tables (PirlJpegCoder *coder, const PirlQuantiser quantiser[2],
    PirlHuffmanTable tables[PIRL_N_HUFFMAN_TABLES]);
