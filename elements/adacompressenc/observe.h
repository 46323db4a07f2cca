/* adacompressenc: what the agent sees of a frame.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * E(x): the features that a frozen network (the extractor) gives the frame. E(J(x, q)): those of
 * what quality q leaves of it, from the coder's previews, never from a real encode and decode. The
 * shift 1 - cos (E(x), E(J(x, q))) at a few probe qualities, with the predicted sizes and the
 * quality itself, makes phi(x, l), the input of the bandit, for every level l.
 */
#pragma once

#include <vision/jpeg-coder.h>

typedef enum {
  ADA_FEATURES_SHIFT,           /* phi has shifts; the extractor runs 1 + probes times a frame */
  ADA_FEATURES_FRAME,           /* phi has random projections of E(x); it runs once */
} AdaFeatures;

typedef struct {
  const gchar *extractor;       /* safetensors; NULL = no network: phi has the sizes only */
  AdaFeatures features;
  const gint *qualities;        /* ascending; the last is the reference quality */
  guint levels;
  PirlHuffman huffman;          /* of what leaves; the reference's is standard */
  const gchar *device;          /* "auto", ...: see device.h */
  guint n_threads;
} AdaObserverConfig;

/** Immutable once made; counted references, any thread. */
typedef struct {
  gatomicrefcount references;
  guint levels, inputs, n_features;
  gfloat *phi;                  /* levels x inputs; phi[l][0] = 1 */
  gfloat *features;             /* E(x); NULL without extractor */
  gdouble *sizes;               /* predicted bytes of each level / of the reference (standard Huffman) */
  gdouble reference_bytes;      /* predicted */
} AdaObservation;

/** References; the last one lost frees it. */
AdaObservation *ada_observation_ref (AdaObservation * observation);
void ada_observation_unref (AdaObservation * observation);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (AdaObservation, ada_observation_unref)

typedef struct _AdaObserver AdaObserver;
/** Loads and plans the extractor that @config names, if any; free with ada_observer_free(). */
AdaObserver *ada_observer_new (const AdaObserverConfig * config, GError ** error);
void ada_observer_free (AdaObserver * observer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (AdaObserver, ada_observer_free)
/** Length of phi[l] and of E(x): what the policies are made for. */
guint ada_observer_inputs (const AdaObserver * observer);
/** The latter; 0 without extractor. */
guint ada_observer_features (const AdaObserver * observer);
/** Name and hash of the extractor: an agent fits only the one it was trained with. */
const gchar *ada_observer_model (const AdaObserver * observer);
/** Looks at the picture that @coder holds; transfer full. */
AdaObservation *ada_observer_run (AdaObserver * observer, PirlJpegCoder * coder, GError ** error);

/** The probe qualities, ascending; returns how many (0 unless features=shift). */
guint ada_observer_probes (const AdaObserver * observer, const gint ** qualities);
/** The same as run() from pictures that the caller made, 1 + probes of them: the frame itself, and
 * what each probe leaves of it. For judging the previews, and for showing what the agent looks at. */
AdaObservation *ada_observer_run_pictures (AdaObserver * observer, PirlJpegCoder * coder,
    const PirlImage * const *pictures, GError ** error);
