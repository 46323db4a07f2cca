/* gst-pirl: tests of random streams, element types and shapes.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Expected numbers: the known-answer vectors of Random123 (Philox), tests/golden/philox.py (streams
 * and draws) and tests/golden/make-dtypes.py (digests of numpy's and PyTorch's conversions).
 */
#include <math.h>
#include <string.h>

#include "base/base.h"
#include "base/rng.h"

#define STREAM G_GUINT64_CONSTANT (0x123456789ABCDEF0), 3, \
    G_GUINT64_CONSTANT (0xAABBCCDDEEFF11), PIRL_PURPOSE_TEST

static void
test_philox_gives_the_published_vectors (void)
{
  static const struct {
    guint32 counter[4], key[2], expected[4];
  } vectors[] = {
    { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
    { { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff }, { 0xffffffff, 0xffffffff },
        { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
    { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 }, { 0xa4093822, 0x299f31d0 },
        { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
  };

  for (guint v = 0; v < G_N_ELEMENTS (vectors); v++) {
    PirlRng rng = { .used = 4 };

    memcpy (rng.counter, vectors[v].counter, sizeof rng.counter);
    memcpy (rng.key, vectors[v].key, sizeof rng.key);
    for (guint i = 0; i < 4; i++)
      g_assert_cmphex (pirl_rng_u32 (&rng), ==, vectors[v].expected[i]);
  }
}

static void
test_a_stream_is_named_by_its_four_numbers (void)
{
  static const guint32 expected[] = {
    0xc47c2d48, 0x441e5132, 0x837f8280, 0x120facc2, 0xe3c4ae1d, 0xd04e4420
  };
  static const struct {
    guint64 seed;
    guint32 epoch;
    guint64 index;
    PirlPurpose purpose;
  } names[] = {
    { 1, 0, 0, PIRL_PURPOSE_TEST }, { G_GUINT64_CONSTANT (1) << 32, 0, 0, PIRL_PURPOSE_TEST },
    { 0, 1, 0, PIRL_PURPOSE_TEST }, { 0, 0, 1, PIRL_PURPOSE_TEST },
    { 0, 0, G_GUINT64_CONSTANT (1) << 32, PIRL_PURPOSE_TEST },
    { 0, 0, G_GUINT64_CONSTANT (1) << 55, PIRL_PURPOSE_TEST }, { 0, 0, 0, PIRL_PURPOSE_VIEW },
  };
  guint32 first[G_N_ELEMENTS (names)];
  PirlRng rng;

  pirl_rng_init (&rng, STREAM);
  for (guint i = 0; i < G_N_ELEMENTS (expected); i++)
    g_assert_cmphex (pirl_rng_u32 (&rng), ==, expected[i]);

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    pirl_rng_init (&rng, names[i].seed, names[i].epoch, names[i].index, names[i].purpose);
    first[i] = pirl_rng_u32 (&rng);
    for (guint j = 0; j < i; j++)
      g_assert_cmphex (first[i], !=, first[j]);
  }
}

/* From any place in a block, of any length, and over the end of the block counter. */
static void
test_words_in_bulk_are_the_words_one_by_one (void)
{
  enum { MAX_WORDS = 150 };
  static const guint32 first_blocks[] = { 0, 0xfffffff3u };
  guint32 bulk[MAX_WORDS + 1];

  for (guint f = 0; f < G_N_ELEMENTS (first_blocks); f++) {
    for (guint before = 0; before < 6; before++) {
      for (guint n = 0; n <= MAX_WORDS; n++) {
        PirlRng single;

        pirl_rng_init (&single, STREAM);
        single.counter[0] = first_blocks[f];
        for (guint i = 0; i < before; i++)
          pirl_rng_u32 (&single);
        PirlRng rng = single;
        bulk[n] = 0xabcdef01;
        pirl_rng_fill_u32 (&rng, bulk, n);
        for (guint i = 0; i < n; i++)
          g_assert_cmphex (bulk[i], ==, pirl_rng_u32 (&single));
        g_assert_cmphex (bulk[n], ==, 0xabcdef01);
        g_assert_cmphex (pirl_rng_u32 (&rng), ==, pirl_rng_u32 (&single));
      }
    }
  }
}

static void
test_draws_agree_with_the_twin_in_numpy (void)
{
  static const gfloat normals[] = { -0.172371835f, 1.08465946f, 0.818120718f, -1.81590283f };
  static const gfloat ranges[] = { 0.46751976f, -0.0339124203f, 0.213664353f, -0.229448378f };
  static const guint32 below_7[] = { 5, 1, 3, 0, 6, 5, 6, 4, 0, 2, 6, 0 };
  /* A bound that rejects 30 words in 100. */
  static const guint32 below_3e9[] = { 2302559366, 798262809, 1540993183, 2669159551,
    2441082738, 1791116997, 343722693, 1156221050 };
  PirlRng rng;

  pirl_rng_init (&rng, STREAM);
  for (guint i = 0; i < G_N_ELEMENTS (normals); i++)
    g_assert_cmpfloat_with_epsilon (pirl_rng_normal (&rng), normals[i], 2e-7);
  pirl_rng_init (&rng, STREAM);
  for (guint i = 0; i < G_N_ELEMENTS (ranges); i++)
    g_assert_cmpfloat (pirl_rng_range (&rng, -0.3f, 0.7f), ==, ranges[i]);
  pirl_rng_init (&rng, STREAM);
  for (guint i = 0; i < G_N_ELEMENTS (below_7); i++)
    g_assert_cmpuint (pirl_rng_below (&rng, 7), ==, below_7[i]);
  pirl_rng_init (&rng, STREAM);
  for (guint i = 0; i < G_N_ELEMENTS (below_3e9); i++)
    g_assert_cmpuint (pirl_rng_below (&rng, 3000000000u), ==, below_3e9[i]);
}

/* Sum of (seen - expected)^2 / expected over cells that should be equally full. */
static gdouble
chi_square (const guint *seen, guint cells, guint draws)
{
  const gdouble expected = (gdouble) draws / cells;
  gdouble sum = 0;

  for (guint i = 0; i < cells; i++)
    sum += (seen[i] - expected) * (seen[i] - expected) / expected;
  return sum;
}

/* 99.99 % quantile of chi square with @cells - 1 degrees of freedom (Wilson-Hilferty). */
static gdouble
chi_square_limit (guint cells)
{
  const gdouble k = cells - 1, a = 2 / (9 * k);

  return k * pow (1 - a + 3.719 * sqrt (a), 3);
}

static void
test_draws_are_spread_evenly (void)
{
  enum { DRAWS = 200000, CELLS = 100 };
  static const guint32 bounds[] = { 1, 2, 3, 10, 97 };
  guint seen[CELLS] = { 0 };
  gdouble sum = 0, squares = 0;
  PirlRng rng;

  pirl_rng_init (&rng, STREAM);
  for (guint i = 0; i < DRAWS; i++) {
    const gfloat u = pirl_rng_uniform (&rng);

    g_assert_true (u >= 0 && u < 1);
    seen[(guint) (u * CELLS)]++;
  }
  g_assert_cmpfloat (chi_square (seen, CELLS, DRAWS), <, chi_square_limit (CELLS));

  for (guint b = 0; b < G_N_ELEMENTS (bounds); b++) {
    memset (seen, 0, sizeof seen);
    for (guint i = 0; i < DRAWS; i++) {
      const guint32 drawn = pirl_rng_below (&rng, bounds[b]);

      g_assert_cmpuint (drawn, <, bounds[b]);
      seen[drawn]++;
    }
    if (bounds[b] > 1)
      g_assert_cmpfloat (chi_square (seen, bounds[b], DRAWS), <, chi_square_limit (bounds[b]));
  }

  for (guint i = 0; i < DRAWS; i++) {
    const gdouble x = pirl_rng_normal (&rng);

    g_assert_true (isfinite (x));
    sum += x;
    squares += x * x;
  }
  g_assert_cmpfloat (fabs (sum / DRAWS), <, 4 / sqrt (DRAWS));
  g_assert_cmpfloat (fabs (squares / DRAWS - 1), <, 4 * sqrt (2.0 / DRAWS));
}

static void
test_chance_has_its_probability (void)
{
  enum { DRAWS = 100000 };
  static const gfloat probabilities[] = { 0, 0.1f, 0.5f, 0.9f, 1 };
  PirlRng rng;

  pirl_rng_init (&rng, STREAM);
  for (guint i = 0; i < G_N_ELEMENTS (probabilities); i++) {
    const gdouble p = probabilities[i];
    guint hits = 0;

    for (guint d = 0; d < DRAWS; d++)
      hits += pirl_rng_chance (&rng, probabilities[i]);
    g_assert_cmpfloat (fabs ((gdouble) hits / DRAWS - p), <=, 4 * sqrt (p * (1 - p) / DRAWS));
  }
}

/* All 24 permutations of four, equally often; and large ones hold every number once. */
static void
test_permutations_are_unbiased (void)
{
  enum { DRAWS = 120000, LARGE = 1000 };
  guint seen[24] = { 0 };
  guint32 order[LARGE];
  gboolean met[LARGE] = { FALSE };
  PirlRng rng;

  pirl_rng_init (&rng, STREAM);
  for (guint d = 0; d < DRAWS; d++) {
    guint rank = 0;

    pirl_rng_permutation (&rng, order, 4);
    for (guint i = 0; i < 4; i++) {     /* Lehmer code */
      guint smaller = 0;

      for (guint j = i + 1; j < 4; j++)
        smaller += order[j] < order[i];
      rank = rank * (4 - i) + smaller;
    }
    g_assert_cmpuint (rank, <, 24);
    seen[rank]++;
  }
  g_assert_cmpfloat (chi_square (seen, 24, DRAWS), <, chi_square_limit (24));

  pirl_rng_permutation (&rng, order, LARGE);
  for (guint i = 0; i < LARGE; i++) {
    g_assert_cmpuint (order[i], <, LARGE);
    g_assert_false (met[order[i]]);
    met[order[i]] = TRUE;
  }
}

static void
assert_digest (gconstpointer data, gsize size, const gchar *expected)
{
  g_autofree gchar *digest = g_compute_checksum_for_data (G_CHECKSUM_SHA256, data, size);

  g_assert_cmpstr (digest, ==, expected);
}

/* Every half, to float and back; not through gfloat variables, which may quieten a NaN. */
static void
test_every_16_bit_float_survives_a_round_trip (void)
{
  static const PirlDType types[] = { PIRL_DTYPE_F16, PIRL_DTYPE_BF16 };
  static const guint32 exponents[] = { 0x7c00, 0x7f80 };
  g_autofree gfloat *floats = g_new (gfloat, 65536);
  g_autofree guint16 *halves = g_new (guint16, 65536), *back = g_new (guint16, 65536);

  for (guint i = 0; i < 65536; i++)
    halves[i] = (guint16) i;
  for (guint t = 0; t < G_N_ELEMENTS (types); t++) {
    pirl_to_float (types[t], halves, floats, 65536);
    pirl_from_float (types[t], floats, back, 65536);
    g_assert_cmpmem (halves, 131072, back, 131072);
    for (guint i = 0; i < 65536; i++) {
      const gboolean nan = (i & 0x7fff) > exponents[t];

      g_assert_cmpint (!!isnan (floats[i]), ==, nan);
      g_assert_cmpint (!!signbit (floats[i]), ==, i >> 15);
    }
  }
}

static void
test_half_floats_have_the_values_of_numpy (void)
{
  g_autofree gfloat *floats = g_new (gfloat, 65536);
  guint n = 0;

  for (guint i = 0; i < 65536; i++) {
    const guint16 half = (guint16) i;

    if ((i & 0x7fff) <= 0x7c00)
      pirl_to_float (PIRL_DTYPE_F16, &half, &floats[n++], 1);
  }
  assert_digest (floats, n * sizeof *floats,
      "680bbc22915f61aa1bbfc7265bc3882a6aa42d299bfd2c571807196e5544de2e");
}

/* Fills @floats with 2^16 floats of all exponents that are not NaN; returns how many. */
static guint
spread_floats (guint32 *floats)
{
  guint n = 0;

  for (guint64 i = 0; i < 65536; i++) {
    const guint32 bits = (guint32) (i * 65521);

    if ((bits & 0x7fffffff) <= 0x7f800000)
      floats[n++] = bits;
  }
  return n;
}

/* The halves between which ties lie are taken from the conversion that the test above proved. */
static guint
half_ties (guint32 *ties)
{
  gfloat *values = (gfloat *) ties;

  for (guint i = 0; i + 1 < 0x7c00; i++) {
    const guint16 pair[2] = { (guint16) i, (guint16) (i + 1) };
    gfloat both[2];

    pirl_to_float (PIRL_DTYPE_F16, pair, both, 2);
    values[i] = (both[0] + both[1]) / 2;
  }
  return 0x7c00 - 1;
}

static guint
bfloat_ties (guint32 *ties)
{
  guint n = 0;

  for (guint32 i = 0; i < 65536; i++) {
    const guint32 bits = i << 16 | 0x8000;

    if ((bits & 0x7fffffff) <= 0x7f800000)
      ties[n++] = bits;
  }
  return n;
}

static void
test_rounding_is_that_of_numpy_and_pytorch (void)
{
  static const struct {
    PirlDType type;
    guint (*floats) (guint32 *);
    const gchar *digest;
  } cases[] = {
    { PIRL_DTYPE_F16, spread_floats,
        "bd3bad246c8b489f923bbd69ec3f196c97fbfef1085621edae00d24ae23b20be" },
    { PIRL_DTYPE_F16, half_ties,
        "f7b2f62f4d1e4020acd921bf12e004f2d91dfbde045ff0262ebf68e4a5ec8a3c" },
    { PIRL_DTYPE_BF16, spread_floats,
        "7b36b3272b2940caadb4b90020f640cd8169ba5f1766f9e6909262d2d0abdd57" },
    { PIRL_DTYPE_BF16, bfloat_ties,
        "90c2b7b4a582effab6d227fc5e5d33565892575d964e6acfbb66ccad52b67666" },
  };
  g_autofree guint32 *floats = g_new (guint32, 65536);
  g_autofree guint16 *rounded = g_new (guint16, 65536);

  for (guint c = 0; c < G_N_ELEMENTS (cases); c++) {
    const guint n = cases[c].floats (floats);

    pirl_from_float (cases[c].type, (const gfloat *) floats, rounded, n);
    assert_digest (rounded, n * sizeof *rounded, cases[c].digest);
  }
}

static void
test_conversions_take_unaligned_data (void)
{
  static const gfloat values[] = { 1.5f, -0.25f, 1024, 0 };
  static const PirlDType types[] = { PIRL_DTYPE_F64, PIRL_DTYPE_F32, PIRL_DTYPE_F16,
    PIRL_DTYPE_BF16 };
  guint8 memory[8 * G_N_ELEMENTS (values) + 8];
  gfloat back[G_N_ELEMENTS (values)];

  for (guint t = 0; t < G_N_ELEMENTS (types); t++) {
    for (guint offset = 0; offset < 8; offset++) {
      pirl_from_float (types[t], values, memory + offset, G_N_ELEMENTS (values));
      pirl_to_float (types[t], memory + offset, back, G_N_ELEMENTS (values));
      g_assert_cmpmem (values, sizeof values, back, sizeof back);
    }
  }
}

static void
test_dtypes_are_known_by_name (void)
{
  /* safetensors, README "Format". */
  static const struct {
    const gchar *name;
    gsize size;
  } known[] = {
    { "F64", 8 }, { "F32", 4 }, { "F16", 2 }, { "BF16", 2 }, { "I64", 8 }, { "I32", 4 },
    { "I16", 2 }, { "I8", 1 }, { "U8", 1 }, { "U16", 2 }, { "U32", 4 }, { "U64", 8 }, { "BOOL", 1 },
  };
  PirlDType type;

  g_assert_cmpuint (G_N_ELEMENTS (known), ==, PIRL_N_DTYPES);
  for (guint i = 0; i < G_N_ELEMENTS (known); i++) {
    g_assert_true (pirl_dtype_from_name (known[i].name, &type));
    g_assert_cmpstr (pirl_dtype_name (type), ==, known[i].name);
    g_assert_cmpuint (pirl_dtype_size (type), ==, known[i].size);
  }
  g_assert_false (pirl_dtype_from_name ("F8_E4M3", &type));
  g_assert_false (pirl_dtype_from_name ("f32", &type));
  g_assert_false (pirl_dtype_from_name ("", &type));
}

static void
test_shapes_count_compare_and_print (void)
{
  const PirlShape conv = { 4, { 64, 3, 7, 7 } }, scalar = { 0, { 0 } }, empty = { 2, { 5, 0 } };
  const PirlShape prefix = { 3, { 64, 3, 7 } }, other = { 4, { 64, 3, 7, 1 } };
  g_autofree gchar *conv_text = pirl_shape_to_string (&conv);
  g_autofree gchar *scalar_text = pirl_shape_to_string (&scalar);

  g_assert_cmpuint (pirl_shape_count (&conv), ==, 9408);
  g_assert_cmpuint (pirl_shape_count (&scalar), ==, 1);
  g_assert_cmpuint (pirl_shape_count (&empty), ==, 0);
  g_assert_true (pirl_shape_equal (&conv, &conv));
  g_assert_false (pirl_shape_equal (&conv, &prefix));
  g_assert_false (pirl_shape_equal (&conv, &other));
  g_assert_cmpstr (conv_text, ==, "[64,3,7,7]");
  g_assert_cmpstr (scalar_text, ==, "[]");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/rng/philox-vectors", test_philox_gives_the_published_vectors);
  g_test_add_func ("/rng/stream-names", test_a_stream_is_named_by_its_four_numbers);
  g_test_add_func ("/rng/bulk", test_words_in_bulk_are_the_words_one_by_one);
  g_test_add_func ("/rng/twin", test_draws_agree_with_the_twin_in_numpy);
  g_test_add_func ("/rng/spread", test_draws_are_spread_evenly);
  g_test_add_func ("/rng/chance", test_chance_has_its_probability);
  g_test_add_func ("/rng/permutations", test_permutations_are_unbiased);
  g_test_add_func ("/dtype/round-trip", test_every_16_bit_float_survives_a_round_trip);
  g_test_add_func ("/dtype/values", test_half_floats_have_the_values_of_numpy);
  g_test_add_func ("/dtype/rounding", test_rounding_is_that_of_numpy_and_pytorch);
  g_test_add_func ("/dtype/unaligned", test_conversions_take_unaligned_data);
  g_test_add_func ("/dtype/names", test_dtypes_are_known_by_name);
  g_test_add_func ("/shape", test_shapes_count_compare_and_print);
  return g_test_run ();
}
