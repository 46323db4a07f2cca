/* gst-pirl: what block.cpp and runtime.cpp share.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "emulator.h"

namespace pirl_emulator
{
constexpr int WARP = 32;
constexpr unsigned int MAX_THREADS = 1024;      /* of a block */
constexpr size_t SHARED_DEFAULT = 48 << 10;     /* a kernel may have without asking */
constexpr size_t SHARED_MOST = 227 << 10;       /* when it asked */

/** How the emulator is to differ from its plainest order, from the environment: PIRL_EMULATED is a
 * list of these words. */
struct Manner {
  bool backward;                /* the last block and thread first, and warps run ahead */
  bool late;                    /* streams do nothing before somebody waits for them */
  bool locked;                  /* device memory is out of the host's reach between launches */
};

const Manner &manner ();

/** What @bytes from a pointer on are: memory of the card, of the host that the card can reach, the
 * rest of the host's, or the end of an allocation and what is behind it. */
enum class Place { CARD, PINNED, HOST, BEYOND };
Place place (const void *pointer, size_t bytes);

/* memory.cpp: NULL, or false, when that cannot be. */
void *card_alloc (size_t bytes);
bool card_free (void *memory);
void *pinned_alloc (size_t bytes);
bool pinned_free (void *memory);
size_t card_bytes ();
size_t card_used ();
/** Puts the card's memory out of the host's reach, where manner () asks for that. */
void card_lock (bool lock);

/** Runs all blocks of @kernel. Only one thread of the process may at a time. */
void run_grid (const Kernel &kernel);

/** In words who touched @address; returns the text's length. */
int describe_fault (const void *address, char *text, size_t size);

/** Says on the standard error stream what is wrong, where, and ends the process. */
[[noreturn]] void fail (const char *format, ...) __attribute__ ((format (printf, 1, 2)));
}
