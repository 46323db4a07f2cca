/* gst-pirl: learning-rate schedules against PyTorch's schedulers and the definition of warm-up.
 *
 * Numbers from PyTorch 2.x, learning rate .12, eta_min .00012:
 *   CosineAnnealingLR (T_max = 99), steps 0, 11, ..., 99
 *   SequentialLR ([LinearLR (1/10, 1, total_iters = 9), CosineAnnealingLR (T_max = 89)],
 *     milestones = [10]), steps 0, 9, ..., 99
 *   MultiStepLR ([60, 80], 0.1), steps 0, 20, ..., 80
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "learn/schedule.h"

#include <math.h>

static const gdouble cosine[] = { 0.12, 0.11638517568990735, 0.10597670392055152,
  0.09002999999999996, 0.07046847176935578, 0.04965152823064418, 0.030090000000000002,
  0.014143296079448456, 0.0037348243100926606, 0.00012 };
static const gdouble warm_cosine[] = { 0.012, 0.12000000000000001, 0.11762590285424612,
  0.10952792609803708, 0.09647917958427445, 0.07978558706416403, 0.06111784992974913,
  0.04234424275279689, 0.02534363562112238, 0.011817456071443777, 0.0031194095434651315,
  0.00012 };
static const gdouble steps[] = { 0.12, 0.12, 0.12, 0.012, 0.0012000000000000001 };

static void
check (const PirlSchedule *schedule, const gdouble *expected, guint n, guint64 stride)
{
  for (guint i = 0; i < n; i++)
    g_assert_cmpfloat_with_epsilon (pirl_schedule_at (schedule, i * stride), expected[i],
        1e-12);
}

static void
test_cosine (void)
{
  const PirlSchedule plain = { PIRL_SCHEDULE_COSINE, 0.12, 0.00012, 0, 100 };
  const PirlSchedule warm = { PIRL_SCHEDULE_COSINE, 0.12, 0.00012, 10, 100 };

  check (&plain, cosine, G_N_ELEMENTS (cosine), 11);
  check (&warm, warm_cosine, G_N_ELEMENTS (warm_cosine), 9);
  /* Past the end it stays. */
  g_assert_cmpfloat_with_epsilon (pirl_schedule_at (&plain, 1000000), 0.00012, 1e-15);
}

static void
test_step (void)
{
  const PirlSchedule schedule = { PIRL_SCHEDULE_STEP, 0.12, 0, 0, 100 };

  check (&schedule, steps, G_N_ELEMENTS (steps), 20);
  g_assert_cmpfloat_with_epsilon (pirl_schedule_at (&schedule, 59), 0.12, 1e-15);
  g_assert_cmpfloat_with_epsilon (pirl_schedule_at (&schedule, 79), 0.012, 1e-15);
}

static void
test_warmup_and_constant (void)
{
  const PirlSchedule camera = { PIRL_SCHEDULE_COSINE, 0.5, 0, 4, 0 };
  const PirlSchedule constant = { PIRL_SCHEDULE_CONSTANT, 0.5, 0, 4, 10 };
  const gdouble expected[] = { 0.125, 0.25, 0.375, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5 };

  check (&camera, expected, G_N_ELEMENTS (expected), 1);
  check (&constant, expected, G_N_ELEMENTS (expected), 1);
}

/* Runs shorter than their warm-up, of one step, and of none give finite rates within the base. */
static void
test_degenerate (void)
{
  for (guint64 warmup = 0; warmup < 5; warmup++)
    for (guint64 total = 0; total < 5; total++)
      for (guint kind = 0; kind < 3; kind++)
        for (guint64 step = 0; step < 8; step++) {
          const PirlSchedule schedule = { (PirlScheduleKind) kind, 0.5, 0.01, warmup, total };
          const gdouble rate = pirl_schedule_at (&schedule, step);

          g_assert_true (isfinite (rate) && rate > 0 && rate <= 0.5);
        }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/schedule/cosine", test_cosine);
  g_test_add_func ("/schedule/step", test_step);
  g_test_add_func ("/schedule/warmup-and-constant", test_warmup_and_constant);
  g_test_add_func ("/schedule/degenerate", test_degenerate);
  return g_test_run ();
}
