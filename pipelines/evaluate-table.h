/* gst-pirl: every picture at every quality: its bytes, the cloud's answer, what the agent sees.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The table is asked for once (or read from a cache); policies are then tried on it as often as one
 * likes. The last of the qualities up to the reference is the reference's; those above serve only
 * to see how steady the cloud is.
 */
#pragma once

#include "cloud/cloud.h"
#include "observe.h"

/** One way to look at the pictures: the inputs of a bandit, for the levels up to the reference. */
typedef struct {
  gchar *name;
  guint inputs;
  gfloat *phi;                  /* pictures x levels x inputs */
  gdouble milliseconds;         /* a picture */
} EvalLook;

typedef struct {
  guint n;                      /* pictures */
  GPtrArray *names;             /* gchar *, relative to the folder */
  guint levels;                 /* qualities up to and with the reference */
  guint qualities_all;          /* the above and those over it */
  gint *qualities;
  /* n x qualities_all */
  gfloat *agreement;            /* negative = not known */
  gdouble *size;                /* bytes / bytes of the reference with standard tables */
  gdouble *wire;                /* what asking about it takes / the same */
  gdouble *predicted;           /* n x levels: the sizes that an agent goes by */
  gdouble *reference;           /* n: bytes of the reference, standard tables */
  guint n_features;             /* 0 = no extractor */
  gfloat *features;             /* n x n_features: E(x) */
  GPtrArray *looks;             /* EvalLook *; the first is the one that the element has */
} EvalTable;

typedef struct {
  const gchar *folder, *cloud_uri;
  gchar **extractors;           /* NULL-terminated; the first is the agent's; may be NULL */
  AdaAgreement agreement;
  PirlHuffman huffman;
  gboolean flat;                /* flatter quantisation tables below the reference */
  const gint *qualities;        /* ascending; with those above the reference */
  guint n_qualities;
  gint reference;
  guint limit;                  /* pictures at most; 0 = all */
  gboolean views;               /* also real decoding, thumbnails, the frame itself, sizes alone */
  const gchar *device, *cache;
  guint n_threads;
} EvalTableConfig;

/** Reads @config->cache where it holds this very table, else asks (and writes it). Progress goes to
 * standard error. A picture that the cloud has nothing to say of is left out. */
EvalTable *eval_table_new (const EvalTableConfig *config, AdaCloud *cloud, GError **error);
void eval_table_free (EvalTable *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EvalTable, eval_table_free)

