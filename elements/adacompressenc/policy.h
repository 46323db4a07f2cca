/* adacompressenc: who picks the level: one table of functions a policy (private to the controller).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "controller.h"

G_BEGIN_DECLS

typedef struct _AdaPolicy AdaPolicy;

/* choose, trials, trained, lambda and epsilon wait for nothing that learns. */
typedef struct {
  gboolean (*trained) (AdaPolicy * policy);
  /* @explore: may do what it does not think best (while retraining). @agreement: NaN = no
   * prediction. */
  guint (*choose) (AdaPolicy * policy, const AdaObservation * observation, gboolean explore,
      gdouble * agreement);
  /* At most @n more levels that it would like to know of; NULL = none. */
  guint (*trials) (AdaPolicy * policy, const AdaObservation * observation, guint n, guint * levels);
  gboolean (*learn) (AdaPolicy * policy, const AdaObservation * observation, guint level,
      const gfloat * outcome, GError ** error);
  /* It goes on learning from estimates, outside of retraining. */
  gboolean learns_always;
  /* Another scenery: what was answered is forgotten. */
  void (*restart) (AdaPolicy * policy);
  /* The retraining may end. */
  gboolean (*settled) (AdaPolicy * policy);
  /* A frozen copy that can choose; and taking over such a one. */
  AdaPolicy *(*remember) (AdaPolicy * policy);
  void (*recall) (AdaPolicy * policy, AdaPolicy * other);
  gdouble (*lambda) (AdaPolicy * policy);
  gdouble (*epsilon) (AdaPolicy * policy);
  void (*save) (AdaPolicy * policy, PirlSafetensorsWriter * writer, const gchar * prefix,
      GPtrArray * keep);
  gboolean (*load) (AdaPolicy * policy, const PirlSafetensors * file, const gchar * prefix,
      GError ** error);
  void (*free) (AdaPolicy * policy);
} AdaPolicyClass;

struct _AdaPolicy {
  const AdaPolicyClass *class;
  gatomicrefcount references;
};

AdaPolicy *ada_policy_bandit_new (const AdaControllerConfig * config, GError ** error);
AdaPolicy *ada_policy_dqn_new (const AdaControllerConfig * config, GError ** error);
AdaPolicy *ada_policy_ref (AdaPolicy * policy);
void ada_policy_unref (AdaPolicy * policy);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (AdaPolicy, ada_policy_unref)

G_END_DECLS
