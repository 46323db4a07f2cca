/* adacompressenc: where the secrets of services come from.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * From the environment, under each service's customary names, else from a credentials file:
 *
 *   [azure]
 *   key=...
 *
 * a GKeyFile with a group a service, values as they are (no escapes), readable by its owner alone.
 */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/** One secret of a kind of service. */
typedef struct {
  const gchar *key;             /* in the group of the credentials file; NULL ends the list */
  const gchar *const *variables;        /* of the environment, in order, NULL-terminated */
  gboolean required;
} AdaSecretKind;

/** The secrets of service @name into @secret, one for each of @kinds, transfer full, NULL = there
 * is none. An optional one is taken only from where the first was found: a session token of the
 * environment does not go with a key of the file. @file: NULL = what GST_PIRL_CREDENTIALS names.
 * @environment: of g_get_environ(); getenv() is for the application's thread.
 * FALSE: the file is missing, no GKeyFile, or open to others, a required secret is missing, or one
 * has characters that no header can have; the error says where and repeats nothing. */
gboolean ada_secrets_read (const gchar * name, const AdaSecretKind * kinds, const gchar * file,
    gchar ** environment, gchar ** secret, GError ** error);

G_END_DECLS
