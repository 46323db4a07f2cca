/* gst-pirl: programs that tests/bench/run times in turns.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Such a program does one turn of its work untimed, prints a line, and then one turn for every line
 * that it reads, each answered by a line of JSON: items, seconds of wall and of the process's CPU
 * time, and a check that tells whether two programs did the same. It ends with its standard input.
 */
#pragma once

#include <glib.h>

typedef struct {
  guint64 items;
  gdouble check;                /* a number that others who do the same work get, too; 0 = none */
  gchar *more;                  /* more members of the line, as ", \"calls\": 7"; is freed */
} Turn;

/** One turn of the work; FALSE with an error ends the program. */
typedef gboolean (*TurnFunc) (gpointer data, Turn * turn, GError ** error);

/** The program's exit status. @name is for messages. */
int turns_serve (const gchar * name, TurnFunc func, gpointer data);
