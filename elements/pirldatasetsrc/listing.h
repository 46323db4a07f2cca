/* gst-pirl: what a location of pirldatasetsrc holds: a folder, a list, tars, one picture or a
 * drawn set.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A listing is made once and then only read, so that any thread may use it without a lock. Names
 * lie one behind the other in one block; a sample costs its name and twelve bytes, in tars 28.
 */
#pragma once

#include <gst/gst.h>

#include "vision/image.h"

G_BEGIN_DECLS

typedef enum {
  GST_PIRL_LABELS_NONE,
  GST_PIRL_LABELS_FOLDER,
} GstPirlLabels;

typedef struct _GstPirlListing GstPirlListing;

/** Looks whether there is anything at @location at all, quickly, and says what is wrong. */
gboolean gst_pirl_listing_probe (const gchar * location, GError ** error);
/**
 * Lists @location. @cancel is looked at all the time: when set, NULL with G_IO_ERROR_CANCELLED.
 * Other errors are of GST_RESOURCE_ERROR. @warning (transfer full, may come back NULL) tells of
 * folders that could not be read, or of what in tars could not be used.
 */
GstPirlListing *gst_pirl_listing_new (const gchar * location, GstPirlLabels labels,
    gint * cancel, gchar ** warning, GError ** error);
GstPirlListing *gst_pirl_listing_ref (GstPirlListing * listing);
/** The last reference frees it. Any thread. */
void gst_pirl_listing_unref (GstPirlListing * listing);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GstPirlListing, gst_pirl_listing_unref)

guint64 gst_pirl_listing_count (const GstPirlListing * listing);
/**
 * Leaves @fraction of the samples of each class (at least one) and of those without a label, drawn
 * from @seed as pirl_probe_subset() draws; a larger fraction has all samples of a smaller one. Only
 * before any thread reads the listing, and once.
 */
gboolean gst_pirl_listing_keep (GstPirlListing * listing, gdouble fraction, guint64 seed,
    GError ** error);
/** 0 where there are no labels. */
guint gst_pirl_listing_n_classes (const GstPirlListing * listing);
/** NULL-terminated, or NULL where classes have no names (a list with numbers). */
gchar **gst_pirl_listing_class_names (const GstPirlListing * listing);
/** -1 = none. */
gint gst_pirl_listing_label (const GstPirlListing * listing, guint64 i);
/** "train", "test" or "". */
const gchar *gst_pirl_listing_split (const GstPirlListing * listing, guint64 i);
/** Relative to the location, '/'-separated; transfer full. */
gchar *gst_pirl_listing_dup_name (const GstPirlListing * listing, guint64 i);
/** Adds what identifies samples @start .. @stop - 1 (names, labels and splits, not where they
 * lie) to @sum. */
void gst_pirl_listing_update_hash (const GstPirlListing * listing, guint64 start, guint64 stop,
    GChecksum * sum);
/** How a thread loads pictures, and what it keeps from one to the next. Begin with zeros. */
typedef struct {
  PirlDecodeOptions options;    /* with storage */
  PirlImage drawn;
  guint8 *data;                 /* a file's */
  gsize room;
} GstPirlReader;

void gst_pirl_reader_clear (GstPirlReader * reader);
/** Reads or draws sample @i into @image, in the memory that reader->options.storage gives. Any
 * thread, each with a reader of its own. */
gboolean gst_pirl_listing_load (const GstPirlListing * listing, guint64 i, GstPirlReader * reader,
    PirlImage * image, PirlDecodeInfo * info, GError ** error);

/* ---- for listing.c, scan.c, listfile.c, tarlist.c and tarindex.c only ------------------------ */

typedef struct {
  guint32 name;                 /* offset in the block of names */
  gint32 label;
  guint8 split;                 /* GstPirlSplit */
} GstPirlEntry;

typedef enum { GST_PIRL_SPLIT_NONE, GST_PIRL_SPLIT_TRAIN, GST_PIRL_SPLIT_TEST } GstPirlSplit;

typedef struct _GstPirlTars GstPirlTars;

struct _GstPirlListing {
  gint ref_count;
  gchar *folder;                /* names are relative to it */
  GByteArray *names;            /* each ends with 0 */
  GArray *entries;              /* of GstPirlEntry */
  guint n_classes;
  gchar **class_names;
  GstPirlTars *tars;            /* what the samples lie in, NULL = in files */
  guint32 *kept;                /* [count] numbers of the samples that were left; NULL = all */
  /* a drawn set has no entries */
  gboolean synthetic;
  guint64 count, seed;
  gint size;
};

/** FALSE when there is no room for another name or sample. */
gboolean gst_pirl_listing_add (GstPirlListing * listing, const gchar * name, gint label,
    GstPirlSplit split, GError ** error);
/** The path relative to the location (transfer none). */
const gchar *gst_pirl_listing_name (const GstPirlListing * listing, const GstPirlEntry * entry);
/** The split that a folder or a list means by @word ("train", "val", ...). */
gboolean gst_pirl_split_from_word (const gchar * word, gsize length, GstPirlSplit * split);
/** Opens a file of @folder (AT_FDCWD = the working one) to read; -1 when it is not regular. */
gint gst_pirl_open_regular (gint folder, const gchar * name);
/** Whether files called so, "jpg" or the like, are pictures. */
gboolean gst_pirl_is_picture_extension (const gchar * extension);
/** Whether the file's first bytes are those of a JPEG or PNG. */
gboolean gst_pirl_is_picture (gint folder, const gchar * name);
/** Numbers the classes of the words (transfer none; NULL = none) of all entries by their order as
 * strings, and names them in the listing. */
void gst_pirl_listing_set_classes (GstPirlListing * listing, const gchar * const *words);
/** The same, but where all words are numbers, these are the classes, and have no names. */
void gst_pirl_listing_set_labels (GstPirlListing * listing, const gchar * const *words);
/** Whether @cancel (may be NULL) is set; then @error is G_IO_ERROR_CANCELLED. */
gboolean gst_pirl_is_cancelled (gint * cancel, GError ** error);

/** scan.c: adds all pictures below @listing->folder. */
gboolean gst_pirl_listing_scan (GstPirlListing * listing, GstPirlLabels labels, gint * cancel,
    gchar ** warning, GError ** error);
/** listfile.c: adds the lines of a text file. */
gboolean gst_pirl_listing_read_list (GstPirlListing * listing, const gchar * path, gint * cancel,
    GError ** error);

G_END_DECLS
