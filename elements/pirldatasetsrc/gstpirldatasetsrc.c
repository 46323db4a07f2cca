/* gst-pirl: pirldatasetsrc, the pictures of a data set as video frames.
 * SPDX-License-Identifier: LGPL-2.1-or-later */

/**
 * SECTION:element-pirldatasetsrc
 * @title: pirldatasetsrc
 * @short_description: sends the pictures of a folder, a list, tars or a drawn set, in epochs
 *
 * Sends every picture of `location` as a `video/x-raw,format=RGB` frame, `epochs` times, each
 * epoch in an order of its own (`shuffle`), and then EOS. Pictures are read and decoded by
 * `n-threads` workers a few frames ahead; the order and the pixels do not depend on their
 * number.
 *
 * ## Locations
 *
 * - A folder: all JPEG and PNG files in it and below it, by their extensions, or by their
 *   first bytes where a name has none; sorted byte by byte, so that indices are the same
 *   everywhere. Names that begin with a dot are left out. When all pictures lie in folders
 *   called train, test or val, these are their splits. With `labels=folder` the (next) folder
 *   is the class.
 * - A text list: a line is `path[TAB]label[TAB]split`, paths relative to the list's folder or
 *   absolute; labels are class names, or numbers where all of them are numbers.
 * - WebDataset tars: one `.tar`, or several by braces and wildcards, as in
 *   `shard-{000000..000009}.tar` or `folder/shard-*.tar`. A sample is the entries whose paths are
 *   equal up to the first dot of the last part: the picture `7.jpg` (.jpeg, .png, ...) and its
 *   label `7.cls`, a class name, or a number where all of them are numbers (-1 = none); other
 *   entries are not read. With `labels=folder` the first folder in the tar is the class
 *   instead. Samples are in the order of the tars and of their pictures in them. When all tars are called (or
 *   lie in a folder called) train, test or val, as in `photos-train-000000.tar`, these are their
 *   splits. An index is made once and kept as `shard-000000.tar.index` beside the tar, or in
 *   the user's cache; a tar that changes gets another. Compressed tars are refused, since
 *   their samples cannot be read in any order. Links, sparse entries, names with `..` and what
 *   lies behind the end of a truncated tar are left out; one warning counts them.
 * - `synthetic:shapes?count=N&classes=C&size=S&seed=K`: a labelled set that is drawn: C <= 10
 *   classes of textures on shapes of any colour. Defaults 5000, 10, 96, 0.
 *
 * ## Sizes
 *
 * `size` scales the shorter side and crops the centre, so that all frames have one size;
 * `max-size` only shrinks what is larger. Without them every picture has the size of its file,
 * and caps change in mid-stream; put `videoconvert ! videoscale` where an element does not
 * like that.
 *
 * A JPEG file whose frame goes straight, or through queues, to a pirlembed that sends tensors, or to a
 * pirljigsaw whose pirltrainsink takes the image view only, is decoded where they will look at it
 * (`decode`): the frame shows that region, and the meta `pirl-region` says which it is. Where
 * anybody else could see the frame, be it a tee, an element between or a pad probe, it is whole.
 *
 * ## Samples
 *
 * Every buffer has the meta `pirl-sample`: `index` (uint64, the sample's number in the listing
 * from start-index on, whatever the order and the shard; `fraction` leaves others out before that),
 * `count` (uint64, samples between start-index and stop-index), `epoch` (uint, from 0), `position` (uint64, in this shard's
 * order of the epoch), `label` (int, -1 = none), `split` ("train", "test" or ""), `name` (path
 * relative to the location, in tars behind the tar's name: `shard-000000.tar/7.jpg`). Offset and position in %GST_FORMAT_DEFAULT are the sample's
 * number n in the stream, epochs one after the other; the timestamp is n / framerate. Both
 * formats can be sought in.
 *
 * Pictures that cannot be read leave a gap: the numbers of the others stay. Each is counted
 * once and the first ten are named in warnings; an epoch without a single picture is an error.
 *
 * A frame that shows a region has the meta `pirl-region`: `x`, `y`, `width`, `height` (int, what it
 * shows), `full-width`, `full-height` (int, of the picture), all in pixels of the picture, and
 * `divisor` (int, 2 = the frame is half as large as that, rounded outwards).
 *
 * ## Event, queries and messages
 *
 * - The sticky event `pirl-dataset` comes before the caps: `count` (uint64, samples an epoch
 *   of this shard has), `total` (uint64, samples of all shards, which is more than every
 *   index), `n-classes` (uint), `class-names` (array of strings), `epochs` (uint, 0 =
 *   endless), `seed` (uint64), `hash` (string, 16 digits that identify names, labels, range,
 *   order and shards, not where the files lie).
 * - Then the custom query `pirl-resume` asks downstream where to begin. An answer with another
 *   hash or seed is an error.
 * - The custom query `pirl-crop` asks before a picture is decoded what of it will be looked at:
 *   `index` (uint64), `epoch` (uint), `width`, `height` (int, of the picture upright), `max-divisor`
 *   (int) and `pad` (GstPad, who alone may answer); the answer is `x`, `y`, `crop-width`,
 *   `crop-height` (int, in pixels of the picture) and `divisor` (int). It comes on the decoders'
 *   threads.
 * - Element message `pirl-epoch` at each epoch's end: `epoch` (uint), `samples` (uint64,
 *   sent), `unreadable` (uint64, skipped).
 *
 * ## Example launch lines
 * |[
 * gst-launch-1.0 pirldatasetsrc location="synthetic:shapes?count=30&size=320" framerate=2/1 ! videoconvert ! autovideosink
 * ]| Looks at the drawn set, two pictures a second.
 * |[
 * gst-launch-1.0 -m pirldatasetsrc location=photos labels=folder size=224 epochs=2 ! fakesink
 * ]| Reads a folder twice and shows the messages.
 * |[
 * gst-launch-1.0 pirldatasetsrc location="photos-train-{000000..000009}.tar" ! fakesink
 * ]| Reads ten WebDataset tars in random order.
 * |[
 * gst-launch-1.0 pirldatasetsrc location="synthetic:shapes?count=2000&classes=10&size=96" epochs=5 ! pirljigsaw image-size=64 ! pirltrainsink arch=resnet18 batch-size=32 checkpoint-file=shapes.safetensors
 * ]| Trains.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "common.h"
#include "crop.h"
#include "decodepool.h"
#include "listjob.h"
#include "meta.h"
#include "settings.h"
#include "base/rng.h"

#include <gio/gio.h>
#include <gst/base/gstpushsrc.h>
#include <gst/video/video.h>

GST_DEBUG_CATEGORY_STATIC (pirl_dataset_src_debug);
#define GST_CAT_DEFAULT pirl_dataset_src_debug

#define LISTING_PATIENCE (G_USEC_PER_SEC / 2)        /* of a state change */
/* A region that is larger costs as much as the picture. */
#define MOST_OF_A_PICTURE 0.85
#define MAX_NAMED 10            /* unreadable pictures */
#define HASH_LENGTH 16          /* hexadecimal digits */

static guint prop_stats;        /* after those of the settings */

/* What an epoch has brought so far. */
typedef struct {
  gboolean open;
  guint epoch;
  guint64 samples, unreadable;
} EpochCount;

#define GST_TYPE_PIRL_DATASET_SRC (gst_pirl_dataset_src_get_type ())
G_DECLARE_FINAL_TYPE (GstPirlDatasetSrc, gst_pirl_dataset_src, GST, PIRL_DATASET_SRC, GstPushSrc)

struct _GstPirlDatasetSrc
{
  GstPushSrc parent;

  /* with the object lock */
  GstPirlDatasetSettings settings;
  GstPirlListJob *job;
  GstPirlDecodePool *pool;
  gboolean known;               /* count and n_classes are */
  guint64 count;                /* samples an epoch of this shard has */
  guint n_classes;
  guint64 position;             /* n of the next buffer */
  guint64 n_samples, n_unreadable, n_truncated;
  guint epoch;

  gint interrupted;             /* atomic */

  /* of a run, streaming thread only */
  GstPirlDatasetSettings run;   /* copy that nobody changes */
  GstPirlListing *listing;
  guint64 total;                /* samples of all shards */
  gchar *hash;
  guint32 *order;               /* of all shards in epoch order_epoch; NULL = as listed */
  guint order_epoch;
  guint64 next;                 /* n of the next job */
  guint64 last;                 /* n of the last buffer */
  gboolean asked;               /* the resume query is done */
  gint width, height;           /* of the caps */
  EpochCount in_epoch;
  GHashTable *unreadable;       /* set of listing indices */
};

static GstStaticPadTemplate src_template = GST_STATIC_PAD_TEMPLATE ("src", GST_PAD_SRC,
    GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_VIDEO_CAPS_MAKE ("RGB")
        ", pixel-aspect-ratio=(fraction)1/1, interlace-mode=(string)progressive"));

#define gst_pirl_dataset_src_parent_class parent_class
G_DEFINE_FINAL_TYPE (GstPirlDatasetSrc, gst_pirl_dataset_src, GST_TYPE_PUSH_SRC);
GST_ELEMENT_REGISTER_DEFINE (pirldatasetsrc, "pirldatasetsrc", GST_RANK_NONE,
    GST_TYPE_PIRL_DATASET_SRC);

/* ---- order --------------------------------------------------------------------------------- */

/* The sample, counted from start-index, at @position of this shard's order in @epoch. */
static guint64
sample_in_order (GstPirlDatasetSrc * self, guint epoch, guint64 position)
{
  guint64 place = self->run.rank + position * self->run.world_size;

  if (!self->run.shuffle)
    return place;
  if (self->order == NULL || self->order_epoch != epoch) {
    PirlRng rng;

    if (self->order == NULL)
      self->order = g_new (guint32, self->total);
    pirl_rng_init (&rng, self->run.seed, epoch, 0, PIRL_PURPOSE_SHUFFLE);
    pirl_rng_permutation (&rng, self->order, self->total);
    self->order_epoch = epoch;
  }
  return self->order[place];
}

/* Asks the workers for as much as they may hold. */
static void
fill_pool (GstPirlDatasetSrc * self)
{
  guint64 length = gst_pirl_dataset_length (&self->run, self->count);

  while (self->next < length && gst_pirl_decode_pool_has_room (self->pool)) {
    GstPirlJob job = { self->next, self->next % self->count, 0, self->next / self->count };

    job.index = self->run.start + sample_in_order (self, job.epoch, job.position);
    gst_pirl_decode_pool_push (self->pool, &job);
    self->next++;
  }
}

/* ---- before the first sample ---------------------------------------------------------------- */

static gchar *
make_hash (GstPirlDatasetSrc * self)
{
  GChecksum *sum = g_checksum_new (G_CHECKSUM_SHA256);
  g_autofree gchar *head = g_strdup_printf ("pirl-dataset 1 %" G_GUINT64_FORMAT "-%"
      G_GUINT64_FORMAT " shuffle %d shards %u", self->run.start, self->run.start + self->total,
      self->run.shuffle, self->run.world_size);
  gchar *hash;

  g_checksum_update (sum, (const guchar *) head, -1);
  gst_pirl_listing_update_hash (self->listing, self->run.start, self->run.start + self->total,
      sum);
  hash = g_strndup (g_checksum_get_string (sum), HASH_LENGTH);
  g_checksum_free (sum);
  return hash;
}

/* The range and the shard must leave something to send. */
static gboolean
resolve_range (GstPirlDatasetSrc * self, GError ** error)
{
  guint64 listed = gst_pirl_listing_count (self->listing);
  guint64 stop = MIN (self->run.stop, listed);

  if (self->run.start >= stop) {
    g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
        "start-index is %" G_GUINT64_FORMAT ", but location \"%s\" has %" G_GUINT64_FORMAT
        " samples, numbered from 0", self->run.start, self->run.location, listed);
    return FALSE;
  }
  if (stop - self->run.start > G_MAXUINT32) {
    g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
        "%" G_GUINT64_FORMAT " samples are more than can be put in order; choose at most %u with "
        "start-index and stop-index", stop - self->run.start, G_MAXUINT32);
    return FALSE;
  }
  self->total = stop - self->run.start;
  if (self->total < self->run.world_size) {
    g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
        "%" G_GUINT64_FORMAT " samples are too few for world-size=%u", self->total,
        self->run.world_size);
    return FALSE;
  }
  return TRUE;
}

/* GstPirlChoose: what downstream will look at, where that costs less than the picture. */
static gboolean
choose_region (const GstPirlJob * job, gint width, gint height, PirlRegion * region, gpointer data)
{
  GstPirlDatasetSrc *self = data;
  const GstPirlCropRequest request = { job->index - self->run.start, job->epoch, width, height,
    self->run.decode == GST_PIRL_DECODE_SCALED ? 2 : 1
  };

  return gst_pirl_ask_crop (GST_BASE_SRC_PAD (self), &request, region)
      && (region->divisor > 1 || (gdouble) region->box.width * region->box.height
      < MOST_OF_A_PICTURE * width * height);
}

static void
start_pool (GstPirlDatasetSrc * self)
{
  const GstPirlDecodeSettings settings = {
    .n_threads = gst_pirl_dataset_settings_threads (&self->run),.size = self->run.size,
    .max_size = self->run.max_size,.data = self,
    .choose = self->run.decode == GST_PIRL_DECODE_WHOLE ? NULL : choose_region
  };
  GstPirlDecodePool *pool = gst_pirl_decode_pool_new (self->listing, &settings);

  GST_OBJECT_LOCK (self);
  self->pool = pool;
  self->known = TRUE;
  self->count = self->total / self->run.world_size;
  self->n_classes = gst_pirl_listing_n_classes (self->listing);
  GST_OBJECT_UNLOCK (self);
  /* An interruption between the listing and here found no pool to tell. */
  if (g_atomic_int_get (&self->interrupted))
    gst_pirl_decode_pool_set_interrupted (pool, TRUE);
}

/* Takes what the job has listed; it is done. */
static gboolean
take_listing (GstPirlDatasetSrc * self, GError ** error)
{
  g_autofree gchar *warning = NULL;

  self->listing = gst_pirl_list_job_take (self->job, &warning, error);
  if (self->listing == NULL)
    return FALSE;
  if (warning)
    GST_ELEMENT_WARNING (self, RESOURCE, OPEN_READ, ("%s", warning), (NULL));
  if ((self->run.fraction < 1 && !gst_pirl_listing_keep (self->listing, self->run.fraction,
              self->run.seed, error)) || !resolve_range (self, error)) {
    g_clear_pointer (&self->listing, gst_pirl_listing_unref);
    return FALSE;
  }
  self->hash = make_hash (self);
  start_pool (self);
  GST_INFO_OBJECT (self, "%" G_GUINT64_FORMAT " samples in %s, %" G_GUINT64_FORMAT " in an epoch, "
      "%u classes, hash %s, %u threads", gst_pirl_listing_count (self->listing),
      self->run.location, self->count, self->n_classes, self->hash,
      gst_pirl_dataset_settings_threads (&self->run));
  gst_element_post_message (GST_ELEMENT (self),
      gst_message_new_duration_changed (GST_OBJECT (self)));
  return TRUE;
}

static void
send_dataset_event (GstPirlDatasetSrc * self)
{
  GstPirlDataset dataset = { 0 };

  dataset.count = self->count;
  dataset.total = self->total;
  dataset.n_classes = self->n_classes;
  dataset.class_names = gst_pirl_listing_class_names (self->listing);
  dataset.epochs = self->run.epochs;
  dataset.seed = self->run.seed;
  dataset.hash = self->hash;
  gst_pad_push_event (GST_BASE_SRC_PAD (self), gst_pirl_dataset_event_new (&dataset));
}

static gboolean
check_resume (GstPirlDatasetSrc * self, guint64 epoch, guint64 index, guint64 seed,
    const gchar * hash, GError ** error)
{
  if (g_strcmp0 (hash, self->hash) != 0) {
    g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
        "cannot resume: the checkpoint was made with data set %s, location \"%s\" is %s; names, "
        "labels, fraction, start-index, stop-index, shuffle and world-size must be those of that "
        "run", hash, self->run.location, self->hash);
    return FALSE;
  }
  if (seed != self->run.seed) {
    g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
        "cannot resume: the checkpoint was made with seed=%" G_GUINT64_FORMAT ", this is seed=%"
        G_GUINT64_FORMAT "; the order of the samples would be another", seed, self->run.seed);
    return FALSE;
  }
  if (index > self->count || epoch > G_MAXUINT32) {
    g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
        "cannot resume at sample %" G_GUINT64_FORMAT " of epoch %" G_GUINT64_FORMAT ": an epoch "
        "has %" G_GUINT64_FORMAT " samples", index, epoch, self->count);
    return FALSE;
  }
  return TRUE;
}

/* Goes on at sample @n: timestamps continue, running time begins at 0. */
static void
begin_at (GstPirlDatasetSrc * self, guint64 n)
{
  GstBaseSrc *src = GST_BASE_SRC (self);
  GstSegment segment;

  GST_OBJECT_LOCK (self);
  segment = src->segment;
  self->position = n;
  GST_OBJECT_UNLOCK (self);
  self->next = n;
  segment.start = segment.time = segment.position = gst_pirl_dataset_time (&self->run, n);
  gst_base_src_new_segment (src, &segment);
}

static gboolean
ask_where_to_begin (GstPirlDatasetSrc * self, GError ** error)
{
  GstQuery *query = gst_pirl_resume_query_new ();
  guint64 epoch, index, seed;
  const gchar *hash;
  gboolean ok = TRUE;

  if (gst_pad_peer_query (GST_BASE_SRC_PAD (self), query)
      && gst_pirl_resume_parse (query, &epoch, &index, &seed, &hash)) {
    ok = check_resume (self, epoch, index, seed, hash, error);
    if (ok) {
      GST_INFO_OBJECT (self, "resuming at sample %" G_GUINT64_FORMAT " of epoch %"
          G_GUINT64_FORMAT, index, epoch);
      begin_at (self, epoch * self->count + index);
    }
  }
  gst_query_unref (query);
  return ok;
}

static GstFlowReturn
prepare (GstPirlDatasetSrc * self)
{
  GError *error = NULL;

  if (self->asked)
    return GST_FLOW_OK;
  if (self->listing == NULL) {
    if (!gst_pirl_list_job_wait (self->job, -1))
      return GST_FLOW_FLUSHING;
    if (!take_listing (self, &error))
      goto failed;
  }
  send_dataset_event (self);
  /* Who has sought to another sample wants that one. */
  if (self->next == 0 && !ask_where_to_begin (self, &error))
    goto failed;
  self->asked = TRUE;
  return GST_FLOW_OK;

failed:
  gst_pirl_post_error (GST_ELEMENT (self), &error);
  return GST_FLOW_ERROR;
}

/* ---- counting ------------------------------------------------------------------------------ */

/* FALSE, with an error posted, when an epoch brought nothing at all. */
static gboolean
close_epoch (GstPirlDatasetSrc * self)
{
  EpochCount *count = &self->in_epoch;

  if (!count->open)
    return TRUE;
  count->open = FALSE;
  gst_element_post_message (GST_ELEMENT (self), gst_message_new_element (GST_OBJECT (self),
          gst_structure_new ("pirl-epoch", "epoch", G_TYPE_UINT, count->epoch,
              "samples", G_TYPE_UINT64, count->samples,
              "unreadable", G_TYPE_UINT64, count->unreadable, NULL)));
  if (count->unreadable < self->count)
    return TRUE;
  GST_ELEMENT_ERROR (self, STREAM, DECODE, ("None of the %" G_GUINT64_FORMAT " pictures of \"%s\" "
          "could be read; the warnings before this say why", self->count, self->run.location),
      (NULL));
  return FALSE;
}

static gboolean
enter_epoch (GstPirlDatasetSrc * self, guint epoch)
{
  if (self->in_epoch.open && self->in_epoch.epoch == epoch)
    return TRUE;
  if (!close_epoch (self))
    return FALSE;
  self->in_epoch = (EpochCount) { TRUE, epoch, 0, 0 };
  GST_OBJECT_LOCK (self);
  self->epoch = epoch;
  GST_OBJECT_UNLOCK (self);
  return TRUE;
}

/* Takes the error of @decoded. */
static void
note_unreadable (GstPirlDatasetSrc * self, GstPirlDecoded * decoded)
{
  gboolean is_new = g_hash_table_add (self->unreadable, GSIZE_TO_POINTER (decoded->job.index));
  guint n = g_hash_table_size (self->unreadable);

  self->in_epoch.unreadable++;
  GST_OBJECT_LOCK (self);
  self->n_unreadable = n;
  GST_OBJECT_UNLOCK (self);
  GST_DEBUG_OBJECT (self, "skipping: %s", decoded->error->message);
  if (is_new && n <= MAX_NAMED) {
    g_prefix_error (&decoded->error, "picture skipped: ");
    gst_pirl_post_warning (GST_ELEMENT (self), &decoded->error);
  }
  g_clear_error (&decoded->error);
}

static GstFlowReturn
finish (GstPirlDatasetSrc * self)
{
  guint n = g_hash_table_size (self->unreadable);

  if (!close_epoch (self))
    return GST_FLOW_ERROR;
  if (n > MAX_NAMED)
    GST_ELEMENT_WARNING (self, STREAM, DECODE, ("%u of %" G_GUINT64_FORMAT " pictures could not be "
            "read and were skipped; the first %d are named above", n, self->count, MAX_NAMED),
        (NULL));
  return GST_FLOW_EOS;
}

/* ---- sending ------------------------------------------------------------------------------- */

static gboolean
ensure_caps (GstPirlDatasetSrc * self, gint width, gint height)
{
  GstVideoInfo info;
  g_autoptr (GstCaps) caps = NULL;

  if (width == self->width && height == self->height)
    return TRUE;
  gst_video_info_init (&info);
  gst_video_info_set_format (&info, GST_VIDEO_FORMAT_RGB, width, height);
  gst_video_colorimetry_from_string (&info.colorimetry, GST_VIDEO_COLORIMETRY_SRGB);
  info.fps_n = self->run.fps_n;
  info.fps_d = self->run.fps_d;
  caps = gst_video_info_to_caps (&info);
  /* Pushing a sticky event succeeds whatever downstream thinks of it. */
  if (!gst_pad_peer_query_accept_caps (GST_BASE_SRC_PAD (self), caps)
      || !gst_base_src_set_caps (GST_BASE_SRC (self), caps)) {
    if (!g_atomic_int_get (&self->interrupted))
      GST_ELEMENT_ERROR (self, STREAM, FORMAT, ("Downstream does not take RGB pictures of %d x %d; "
              "set size for pictures of one size, or add videoconvert ! videoscale", width,
              height), ("caps %" GST_PTR_FORMAT, caps));
    return FALSE;
  }
  self->width = width;
  self->height = height;
  return TRUE;
}

static void
label_buffer (GstPirlDatasetSrc * self, const GstPirlDecoded * decoded)
{
  const GstPirlJob *job = &decoded->job;
  GstBuffer *buffer = decoded->buffer;
  g_autofree gchar *name = gst_pirl_listing_dup_name (self->listing, job->index);
  GstPirlSample sample = { 0 };

  sample.index = job->index - self->run.start;
  sample.count = self->total;
  sample.epoch = job->epoch;
  sample.position = job->position;
  sample.label = gst_pirl_listing_label (self->listing, job->index);
  sample.split = gst_pirl_listing_split (self->listing, job->index);
  sample.name = name;
  gst_pirl_sample_add (buffer, &sample);
  if (decoded->is_region)
    gst_pirl_region_add (buffer, &decoded->region);
  GST_BUFFER_PTS (buffer) = gst_pirl_dataset_time (&self->run, job->n);
  GST_BUFFER_DURATION (buffer) = gst_pirl_dataset_time (&self->run, job->n + 1)
      - GST_BUFFER_PTS (buffer);
  GST_BUFFER_OFFSET (buffer) = job->n;
  GST_BUFFER_OFFSET_END (buffer) = job->n + 1;
  if (self->last == GST_PIRL_NO_SAMPLE || job->n != self->last + 1)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  GST_LOG_OBJECT (self, "sample %" G_GUINT64_FORMAT ": index %" G_GUINT64_FORMAT " of epoch %u, %s",
      job->n, sample.index, sample.epoch, name);
}

static void
count_sample (GstPirlDatasetSrc * self, const GstPirlDecoded * decoded)
{
  self->last = decoded->job.n;
  self->in_epoch.samples++;
  GST_OBJECT_LOCK (self);
  self->position = decoded->job.n + 1;
  self->n_samples++;
  self->n_truncated += decoded->truncated;
  GST_OBJECT_UNLOCK (self);
}

static GstFlowReturn
gst_pirl_dataset_src_create (GstPushSrc * push_src, GstBuffer ** buffer)
{
  GstPirlDatasetSrc *self = GST_PIRL_DATASET_SRC (push_src);
  GstFlowReturn ret = prepare (self);

  if (ret != GST_FLOW_OK)
    return ret;
  while (TRUE) {
    GstPirlDecoded decoded;

    fill_pool (self);
    if (gst_pirl_decode_pool_is_empty (self->pool))
      return finish (self);
    if (!gst_pirl_decode_pool_pop (self->pool, &decoded))
      return GST_FLOW_FLUSHING;
    if (!enter_epoch (self, decoded.job.epoch)) {
      gst_pirl_decoded_clear (&decoded);
      return GST_FLOW_ERROR;
    }
    if (decoded.buffer == NULL) {
      note_unreadable (self, &decoded);
      continue;
    }
    if (!ensure_caps (self, decoded.width, decoded.height)) {
      gst_pirl_decoded_clear (&decoded);
      return g_atomic_int_get (&self->interrupted) ? GST_FLOW_FLUSHING : GST_FLOW_ERROR;
    }
    label_buffer (self, &decoded);
    count_sample (self, &decoded);
    *buffer = decoded.buffer;
    return GST_FLOW_OK;
  }
}

/* Caps are set with each picture, in create(). */
static gboolean
gst_pirl_dataset_src_negotiate (GstBaseSrc * src)
{
  return TRUE;
}

/* ---- seeking and queries -------------------------------------------------------------------- */

static gboolean
gst_pirl_dataset_src_is_seekable (GstBaseSrc * src)
{
  return TRUE;
}

/* Samples only go forward. A seek that do_seek() refuses has already flushed, and the stream would go
 * on without a segment. */
static gboolean
gst_pirl_dataset_src_event (GstBaseSrc * src, GstEvent * event)
{
  gdouble rate;

  if (GST_EVENT_TYPE (event) == GST_EVENT_SEEK) {
    gst_event_parse_seek (event, &rate, NULL, NULL, NULL, NULL, NULL, NULL);
    if (rate < 0)
      return FALSE;
  }
  return GST_BASE_SRC_CLASS (parent_class)->event (src, event);
}

/* The streaming thread does not run. */
static gboolean
gst_pirl_dataset_src_do_seek (GstBaseSrc * src, GstSegment * segment)
{
  GstPirlDatasetSrc *self = GST_PIRL_DATASET_SRC (src);

  segment->time = segment->position = segment->start;
  self->next = gst_pirl_dataset_sample (&self->run, segment->start);
  self->last = GST_PIRL_NO_SAMPLE;
  self->in_epoch.open = FALSE;
  if (self->pool)
    gst_pirl_decode_pool_flush (self->pool);
  GST_OBJECT_LOCK (self);
  self->position = self->next;
  GST_OBJECT_UNLOCK (self);
  GST_DEBUG_OBJECT (self, "next is sample %" G_GUINT64_FORMAT, self->next);
  return TRUE;
}

/* GST_PIRL_NO_SAMPLE when the length is not known yet, or there is none. */
static guint64
length_now (GstPirlDatasetSrc * self, GstPirlDatasetSettings * settings)
{
  guint64 length;

  GST_OBJECT_LOCK (self);
  *settings = self->settings;
  settings->location = NULL;
  length = self->known ? gst_pirl_dataset_length (settings, self->count) : GST_PIRL_NO_SAMPLE;
  GST_OBJECT_UNLOCK (self);
  return length;
}

static gboolean
answer_duration (GstPirlDatasetSrc * self, GstQuery * query)
{
  GstPirlDatasetSettings settings;
  guint64 length = length_now (self, &settings);
  GstFormat format;

  gst_query_parse_duration (query, &format, NULL);
  if (length == GST_PIRL_NO_SAMPLE || (format != GST_FORMAT_TIME && format != GST_FORMAT_DEFAULT))
    return FALSE;
  gst_query_set_duration (query, format,
      format == GST_FORMAT_TIME ? gst_pirl_dataset_time (&settings, length) : length);
  return TRUE;
}

static gboolean
answer_position (GstPirlDatasetSrc * self, GstQuery * query)
{
  GST_OBJECT_LOCK (self);
  gst_query_set_position (query, GST_FORMAT_DEFAULT, self->position);
  GST_OBJECT_UNLOCK (self);
  return TRUE;
}

static gboolean
answer_seeking (GstPirlDatasetSrc * self, GstQuery * query)
{
  GstPirlDatasetSettings settings;
  guint64 length = length_now (self, &settings);
  GstFormat format;
  gint64 end = -1;

  gst_query_parse_seeking (query, &format, NULL, NULL, NULL);
  if (format != GST_FORMAT_TIME && format != GST_FORMAT_DEFAULT)
    return FALSE;
  if (length != GST_PIRL_NO_SAMPLE)
    end = format == GST_FORMAT_TIME ? gst_pirl_dataset_time (&settings, length) : length;
  gst_query_set_seeking (query, format, TRUE, 0, end);
  return TRUE;
}

static gboolean
answer_convert (GstPirlDatasetSrc * self, GstQuery * query)
{
  GstPirlDatasetSettings settings;
  GstFormat from, to;
  gint64 value, converted;

  length_now (self, &settings);
  gst_query_parse_convert (query, &from, &value, &to, NULL);
  if (from == to || value == -1)
    converted = value;
  else if (from == GST_FORMAT_DEFAULT && to == GST_FORMAT_TIME)
    converted = gst_pirl_dataset_time (&settings, value);
  else if (from == GST_FORMAT_TIME && to == GST_FORMAT_DEFAULT)
    converted = gst_pirl_dataset_sample (&settings, value);
  else
    return FALSE;
  gst_query_set_convert (query, from, value, to, converted);
  return TRUE;
}

static gboolean
gst_pirl_dataset_src_query (GstBaseSrc * src, GstQuery * query)
{
  GstPirlDatasetSrc *self = GST_PIRL_DATASET_SRC (src);
  GstFormat format;

  switch (GST_QUERY_TYPE (query)) {
    case GST_QUERY_DURATION:
      return answer_duration (self, query);
    case GST_QUERY_SEEKING:
      return answer_seeking (self, query);
    case GST_QUERY_CONVERT:
      return answer_convert (self, query);
    case GST_QUERY_POSITION:
      gst_query_parse_position (query, &format, NULL);
      if (format == GST_FORMAT_DEFAULT)
        return answer_position (self, query);
      break;
    default:
      break;
  }
  return GST_BASE_SRC_CLASS (parent_class)->query (src, query);
}

/* ---- states -------------------------------------------------------------------------------- */

static void
set_interrupted (GstPirlDatasetSrc * self, gboolean interrupted)
{
  g_atomic_int_set (&self->interrupted, interrupted);
  GST_OBJECT_LOCK (self);
  if (self->job)
    gst_pirl_list_job_set_interrupted (self->job, interrupted);
  if (self->pool)
    gst_pirl_decode_pool_set_interrupted (self->pool, interrupted);
  GST_OBJECT_UNLOCK (self);
}

static gboolean
gst_pirl_dataset_src_unlock (GstBaseSrc * src)
{
  set_interrupted (GST_PIRL_DATASET_SRC (src), TRUE);
  return TRUE;
}

static gboolean
gst_pirl_dataset_src_unlock_stop (GstBaseSrc * src)
{
  set_interrupted (GST_PIRL_DATASET_SRC (src), FALSE);
  return TRUE;
}

static void
forget_run (GstPirlDatasetSrc * self)
{
  GstPirlDecodePool *pool;
  GstPirlListJob *job;

  GST_OBJECT_LOCK (self);
  pool = g_steal_pointer (&self->pool);
  job = g_steal_pointer (&self->job);
  self->known = FALSE;
  GST_OBJECT_UNLOCK (self);
  g_clear_pointer (&job, gst_pirl_list_job_free);
  g_clear_pointer (&pool, gst_pirl_decode_pool_free);
  g_clear_pointer (&self->listing, gst_pirl_listing_unref);
  g_clear_pointer (&self->hash, g_free);
  g_clear_pointer (&self->order, g_free);
  g_clear_pointer (&self->unreadable, g_hash_table_unref);
  g_clear_pointer (&self->run.location, g_free);
}

static void
begin_run (GstPirlDatasetSrc * self)
{
  GST_OBJECT_LOCK (self);
  self->run = self->settings;
  self->run.location = g_strdup (self->settings.location);
  self->n_samples = self->n_unreadable = self->n_truncated = 0;
  self->position = 0;
  self->epoch = 0;
  GST_OBJECT_UNLOCK (self);
  self->next = 0;
  self->last = GST_PIRL_NO_SAMPLE;
  self->asked = FALSE;
  self->width = self->height = 0;
  self->in_epoch.open = FALSE;
  self->unreadable = g_hash_table_new (NULL, NULL);
}

static gboolean
start (GstPirlDatasetSrc * self)
{
  GError *error = NULL;
  GstPirlListJob *job;

  begin_run (self);
  if (!gst_pirl_dataset_settings_check (&self->run, &error))
    goto failed;
  job = gst_pirl_list_job_new (self->run.location, self->run.labels);
  GST_OBJECT_LOCK (self);
  self->job = job;
  GST_OBJECT_UNLOCK (self);
  /* What is listed at once can fail at once; the rest is waited for in the streaming thread. */
  if (gst_pirl_list_job_wait (job, LISTING_PATIENCE) && !take_listing (self, &error))
    goto failed;
  return TRUE;

failed:
  gst_pirl_post_error (GST_ELEMENT (self), &error);
  forget_run (self);
  return FALSE;
}

/* Where this fails, the base class posts another error, which says that nobody gave a reason; so the
 * state change has begun the run already. */
static gboolean
gst_pirl_dataset_src_start (GstBaseSrc * src)
{
  GstPirlDatasetSrc *self = GST_PIRL_DATASET_SRC (src);

  return self->job != NULL || start (self);
}

static gboolean
gst_pirl_dataset_src_stop (GstBaseSrc * src)
{
  forget_run (GST_PIRL_DATASET_SRC (src));
  return TRUE;
}

static GstStateChangeReturn
gst_pirl_dataset_src_change_state (GstElement * element, GstStateChange transition)
{
  GstPirlDatasetSrc *self = GST_PIRL_DATASET_SRC (element);
  GstStateChangeReturn ret;

  if (transition == GST_STATE_CHANGE_READY_TO_PAUSED && !start (self))
    return GST_STATE_CHANGE_FAILURE;
  ret = GST_ELEMENT_CLASS (parent_class)->change_state (element, transition);
  if (transition == GST_STATE_CHANGE_READY_TO_PAUSED && ret == GST_STATE_CHANGE_FAILURE)
    forget_run (self);
  return ret;
}

/* ---- properties ----------------------------------------------------------------------------- */

static GstStructure *
get_stats (GstPirlDatasetSrc * self)
{
  GstStructure *stats;

  GST_OBJECT_LOCK (self);
  stats = gst_structure_new ("application/x-pirldatasetsrc-stats",
      "count", G_TYPE_UINT64, self->known ? self->count : 0,
      "n-classes", G_TYPE_UINT, self->known ? self->n_classes : 0,
      "epoch", G_TYPE_UINT, self->epoch, "samples", G_TYPE_UINT64, self->n_samples,
      "unreadable", G_TYPE_UINT64, self->n_unreadable,
      "truncated", G_TYPE_UINT64, self->n_truncated, NULL);
  GST_OBJECT_UNLOCK (self);
  return stats;
}

static void
gst_pirl_dataset_src_set_property (GObject * object, guint id, const GValue * value,
    GParamSpec * pspec)
{
  gst_pirl_properties_set (&gst_pirl_dataset_properties, object,
      &GST_PIRL_DATASET_SRC (object)->settings, id, value, pspec);
}

static void
gst_pirl_dataset_src_get_property (GObject * object, guint id, GValue * value, GParamSpec * pspec)
{
  GstPirlDatasetSrc *self = GST_PIRL_DATASET_SRC (object);

  if (id == prop_stats)
    g_value_take_boxed (value, get_stats (self));
  else
    gst_pirl_properties_get (&gst_pirl_dataset_properties, object, &self->settings, id, value,
        pspec);
}

static void
gst_pirl_dataset_src_finalize (GObject * object)
{
  GstPirlDatasetSrc *self = GST_PIRL_DATASET_SRC (object);

  gst_pirl_properties_clear (&gst_pirl_dataset_properties, &self->settings);
  G_OBJECT_CLASS (parent_class)->finalize (object);
}

static void
gst_pirl_dataset_src_init (GstPirlDatasetSrc * self)
{
  gst_pirl_properties_init (&gst_pirl_dataset_properties, &self->settings);
  gst_base_src_set_format (GST_BASE_SRC (self), GST_FORMAT_TIME);
}

/* ---- class --------------------------------------------------------------------------------- */

static void
gst_pirl_dataset_src_class_init (GstPirlDatasetSrcClass * klass)
{
  GObjectClass *gobject_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);
  GstBaseSrcClass *base_class = GST_BASE_SRC_CLASS (klass);
  GstPushSrcClass *push_class = GST_PUSH_SRC_CLASS (klass);

  GST_DEBUG_CATEGORY_INIT (pirl_dataset_src_debug, "pirldatasetsrc", 0, "pictures of a data set");
  gobject_class->set_property = gst_pirl_dataset_src_set_property;
  gobject_class->get_property = gst_pirl_dataset_src_get_property;
  gobject_class->finalize = gst_pirl_dataset_src_finalize;
  prop_stats = gst_pirl_properties_install (&gst_pirl_dataset_properties, gobject_class);
  /**
   * GstPirlDatasetSrc:stats:
   *
   * `application/x-pirldatasetsrc-stats`: `count` (uint64, samples in an epoch, 0 = not known yet),
   * `n-classes` (uint), `epoch` (uint, of the last sample), `samples` (uint64, sent in this run),
   * `unreadable` (uint64, different pictures skipped), `truncated` (uint64, samples sent whose file
   * was damaged; the missing part is grey).
   */
  g_object_class_install_property (gobject_class, prop_stats,
      g_param_spec_boxed ("stats", "Statistics", "What has been sent and skipped",
          GST_TYPE_STRUCTURE, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS));

  gst_element_class_set_static_metadata (element_class, "Data set source", "Source/File/Image",
      "Sends the pictures of a folder, a list, tars or a drawn set, epoch after epoch",
      "The gst-pirl developers");
  gst_element_class_add_static_pad_template (element_class, &src_template);
  element_class->change_state = GST_DEBUG_FUNCPTR (gst_pirl_dataset_src_change_state);

  base_class->start = GST_DEBUG_FUNCPTR (gst_pirl_dataset_src_start);
  base_class->stop = GST_DEBUG_FUNCPTR (gst_pirl_dataset_src_stop);
  base_class->unlock = GST_DEBUG_FUNCPTR (gst_pirl_dataset_src_unlock);
  base_class->unlock_stop = GST_DEBUG_FUNCPTR (gst_pirl_dataset_src_unlock_stop);
  base_class->negotiate = GST_DEBUG_FUNCPTR (gst_pirl_dataset_src_negotiate);
  base_class->is_seekable = GST_DEBUG_FUNCPTR (gst_pirl_dataset_src_is_seekable);
  base_class->event = GST_DEBUG_FUNCPTR (gst_pirl_dataset_src_event);
  base_class->do_seek = GST_DEBUG_FUNCPTR (gst_pirl_dataset_src_do_seek);
  base_class->query = GST_DEBUG_FUNCPTR (gst_pirl_dataset_src_query);
  push_class->create = GST_DEBUG_FUNCPTR (gst_pirl_dataset_src_create);
}
