/* gst-pirl: runs one unit on one device inside guarded, poisoned buffers, for the unit tests.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Each tensor a pass touches has a *role*. On the host all roles are dense floats, whatever the
 * backend keeps; the same host values go to the tested and to the reference backend.
 */
#pragma once

#include "backends/backend.h"
#include "base/rng.h"

typedef enum {
  ROLE_INPUT,
  ROLE_RESIDUAL,
  ROLE_OUTPUT,
  ROLE_PARAM,                   /* + slot */
  ROLE_D_OUTPUT = ROLE_PARAM + PIRL_N_SLOTS,
  ROLE_D_INPUT,
  ROLE_D_RESIDUAL,
  ROLE_GRAD,                    /* + slot */
  ROLE_SAVED = ROLE_GRAD + PIRL_N_SLOTS,
  ROLE_SCRATCH,
  N_ROLES,
} Role;

/** A unit and how its passes are called. */
typedef struct {
  PirlUnitDesc unit;
  gboolean accumulate_input, accumulate_residual;
  gboolean zero_input;          /* not random */
} UnitCase;

/** Host values by role; NULL = unused, or poison where a pass must write. */
typedef struct {
  gfloat *v[N_ROLES];
  guint8 **pictures;            /* of an INPUT unit, NULL-terminated */
} UnitData;

/** How the input and the residual of a unit are kept: dense, or as the backend's own convolution
 * (pictures) or average pooling (vectors) leaves them. */
typedef enum { LAYOUT_DENSE, LAYOUT_NATIVE } Layout;

/** Plans from pictures to such a value; the last owns its format. */
#define UNITS_PRODUCERS 3

/** Device memory with a pattern behind its end. */
typedef struct {
  guint8 *memory;
  gsize bytes;
} Block;

typedef struct {
  PirlDevice *device;
  UnitCase unit_case;
  PirlUnitPlan *plan;
  PirlUnitPlan *producer[2][UNITS_PRODUCERS];   /* of input and residual */
  PirlTensorDesc desc[N_ROLES];
  PirlUnitMemory memory;
  Block block[N_ROLES];
  gboolean refused;             /* the backend has no such unit (%PIRL_ERROR_UNSUPPORTED) */
} UnitRun;

const gchar *units_role_name (Role role);
/** "conv k3 s2 p1 g1, 4x17x13x15 -> 4x24x7x8, bn+residual+relu, adds input"; transfer full. */
gchar *units_case_name (const UnitCase *unit_case);
/** Elements of a role's tensor; 0 where the case does not use it, and for SAVED and SCRATCH. */
gsize units_role_count (const UnitCase *unit_case, Role role);

void units_rng (PirlRng *rng, guint64 seed, guint32 number, Role role);
/** Whether the unit reads vectors: LINEAR, BATCHNORM, L2NORM. */
gboolean units_takes_vectors (const UnitCase *unit_case);
/** Random values for every role that is read; gradients that are added to have values, too. What a
 * backend keeps in the unit's type of activations are numbers that this type holds exactly. */
void units_data_init (UnitData *data, const UnitCase *unit_case, guint64 seed);
void units_data_clear (UnitData *data);
/** Sets the output gradient to 0 where an activation's kink is so near that float and double may
 * stand on different sides of it. */
gboolean units_data_mask_kinks (UnitData *data, const UnitCase *unit_case, PirlDevice *reference,
    GError **error);

gboolean units_block_init (Block *block, PirlDevice *device, gsize bytes, GError **error);
void units_block_clear (Block *block, PirlDevice *device);
/** Fills with NaN. */
gboolean units_block_poison (Block *block, PirlDevice *device, GError **error);
gboolean units_block_guarded (const Block *block, PirlDevice *device);

/** Dense, in @dtype (F64 on the reference). */
PirlTensorDesc units_dense (PirlDevice *device, PirlDims dims, PirlDType dtype);

gboolean units_run_init (UnitRun *run, PirlDevice *device, const UnitCase *unit_case,
    Layout layout, GError **error);
void units_run_clear (UnitRun *run);
/** Writes @data, poisons what is to be written. */
gboolean units_run_fill (UnitRun *run, const UnitData *data, GError **error);
gboolean units_run_pass (UnitRun *run, PirlPass pass, const UnitData *data,
    gboolean update_statistics, GError **error);
/** Reads a role as dense floats; transfer full. */
gfloat *units_run_read (UnitRun *run, Role role, GError **error);
/** The first role that was written beyond its end; N_ROLES = none. */
Role units_run_overrun (UnitRun *run);

/** sum (a - b)^2 / sum b^2; infinite when a value is not finite. */
gdouble units_nmse (const gfloat *a, const gfloat *b, gsize n);
