/* gst-pirl: fuzzing the safetensors reader.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Whatever the bytes: an error with a text, or tensors that lie inside the bytes, one after the
 * other, found by their names, every byte readable (the sanitizers watch).
 */
#include "base/safetensors.h"

#include "fuzz.h"

/* Walks over everything the reader hands out. */
static void
visit (const PirlSafetensors *file, const guint8 *data, gsize size)
{
  const guint8 *expected = NULL;

  for (guint i = 0; i < pirl_safetensors_count (file); i++) {
    const PirlTensor *tensor = pirl_safetensors_nth (file, i);
    const guint8 *first = tensor->data;

    g_assert_true (first >= data && first + tensor->size <= data + size);
    g_assert_true (!expected || first == expected);
    g_assert_cmpuint (tensor->size, ==,
        pirl_shape_count (&tensor->shape) * pirl_dtype_size (tensor->dtype));
    g_assert_true (pirl_safetensors_lookup (file, tensor->name) == tensor);
    if (tensor->size > 0) {
      const gsize n = pirl_shape_count (&tensor->shape);
      g_autofree gfloat *values = g_new (gfloat, n);

      pirl_to_float (tensor->dtype, tensor->data, values, n);
    }
    expected = first + tensor->size;
  }
  g_assert_true (!expected || expected == data + size);
  pirl_safetensors_metadata (file, "format");
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autoptr (GBytes) bytes = g_bytes_new_static (data, size);
  g_autoptr (GError) error = NULL;
  g_autoptr (PirlSafetensors) file = pirl_safetensors_open_bytes (bytes, "fuzz", &error);

  g_assert_true ((file == NULL) == (error != NULL));
  if (file)
    visit (file, data, size);
  else
    g_assert_true (g_utf8_validate (error->message, -1, NULL));
  return 0;
}
