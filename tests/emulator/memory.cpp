/* gst-pirl: the emulated card's memory, and pinned memory of the host.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * An allocation ends, rounded up to ALIGNMENT, in front of a page that nobody may touch; the bytes
 * that rounding leaves are looked at when it is freed. All of it is poisoned with 0xff, which is no
 * number in any type of floats.
 */
#include "internal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>

namespace pirl_emulator
{
namespace
{
constexpr size_t ALIGNMENT = 256;       /* what cudaMalloc() gives */
constexpr size_t CARD_BYTES = (size_t) 8 << 30;
constexpr size_t POISONED = 2 << 20;    /* at both ends of a large allocation */
constexpr unsigned char POISON = 0xff;

struct Area {
  size_t bytes;                 /* asked for */
  size_t mapped;                /* without the page behind */
  unsigned char *mapping;
  bool pinned;                  /* the host's */
};

std::map<uintptr_t, Area> areas;
size_t used = 0;
bool locked = false;
struct sigaction former_handler;

size_t
round_up (size_t bytes, size_t to)
{
  return (bytes + to - 1) / to * to;
}

const Area *
find (const void *pointer, size_t bytes)
{
  const uintptr_t at = (uintptr_t) pointer;
  auto next = areas.upper_bound (at);

  if (next == areas.begin ())
    return nullptr;
  --next;
  return at <= next->first + next->second.bytes && bytes <= next->first + next->second.bytes - at
      ? &next->second : nullptr;
}

/* Where somebody went that had no business there; says so and leaves it to who was asked before. */
void
on_fault (int signal, siginfo_t *info, void *context)
{
  char text[400];
  int n = describe_fault (info->si_addr, text, sizeof (text));

  for (auto &area : areas) {
    const uintptr_t at = (uintptr_t) info->si_addr, begin = (uintptr_t) area.second.mapping;

    if (at >= begin && at < begin + area.second.mapped + (size_t) sysconf (_SC_PAGESIZE))
      n += snprintf (text + n, sizeof (text) - (size_t) n, ": %s an allocation of %zu bytes\n",
          at < begin + area.second.mapped ? "inside of" : "behind", area.second.bytes);
  }
  if (write (STDERR_FILENO, text, (size_t) n) < 0)
    _exit (1);
  sigaction (signal, &former_handler, nullptr);
}

void
watch_faults ()
{
  static bool watched = false;
  struct sigaction handler = {};

  if (watched)
    return;
  watched = true;
  handler.sa_sigaction = on_fault;
  handler.sa_flags = SA_SIGINFO;
  sigaction (SIGSEGV, &handler, &former_handler);
}

void
poison (unsigned char *mapping, size_t bytes)
{
  const size_t end = min (bytes, POISONED);

  memset (mapping, POISON, end);
  memset (mapping + bytes - end, POISON, end);
}

void *
area_new (size_t bytes, bool pinned)
{
  const size_t page = (size_t) sysconf (_SC_PAGESIZE);
  const size_t rounded = round_up (bytes, ALIGNMENT), mapped = round_up (rounded, page);
  void *mapping = mmap (nullptr, mapped + page, PROT_READ | PROT_WRITE,
      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  unsigned char *memory;

  if (mapping == MAP_FAILED)
    return nullptr;
  mprotect (static_cast<char *> (mapping) + mapped, page, PROT_NONE);
  poison (static_cast<unsigned char *> (mapping), mapped);
  memory = static_cast<unsigned char *> (mapping) + mapped - rounded;
  areas[(uintptr_t) memory] = { bytes, mapped, static_cast<unsigned char *> (mapping), pinned };
  if (locked && !pinned)
    mprotect (mapping, mapped, PROT_NONE);
  watch_faults ();
  return memory;
}

bool
untouched (const unsigned char *from, const unsigned char *to)
{
  for (; from < to; from++)
    if (*from != POISON)
      return false;
  return true;
}

bool
area_free (void *memory, bool pinned)
{
  const size_t page = (size_t) sysconf (_SC_PAGESIZE);
  auto found = areas.find ((uintptr_t) memory);

  if (found == areas.end () || found->second.pinned != pinned)
    return false;

  const Area area = found->second;
  const unsigned char *begin = static_cast<unsigned char *> (memory);
  mprotect (area.mapping, area.mapped, PROT_READ | PROT_WRITE);
  if (!untouched (area.mapping, begin)
      || !untouched (begin + area.bytes, area.mapping + area.mapped))
    fail ("written beside an allocation of %zu bytes (%p)", area.bytes, memory);
  areas.erase (found);
  munmap (area.mapping, area.mapped + page);
  used -= pinned ? 0 : area.bytes;
  return true;
}
}

Place
place (const void *pointer, size_t bytes)
{
  const Area *area = find (pointer, bytes);

  if (area != nullptr)
    return area->pinned ? Place::PINNED : Place::CARD;
  /* Begins in an allocation, but ends elsewhere. */
  return find (pointer, 0) != nullptr ? Place::BEYOND : Place::HOST;
}

void
card_lock (bool lock)
{
  if (!manner ().locked || locked == lock)
    return;
  locked = lock;
  for (auto &area : areas)
    if (!area.second.pinned)
      mprotect (area.second.mapping, area.second.mapped, lock ? PROT_NONE
          : PROT_READ | PROT_WRITE);
}

void *
card_alloc (size_t bytes)
{
  void *memory;

  card_lock (true);
  if (bytes > CARD_BYTES - used)
    return nullptr;
  memory = area_new (bytes, false);
  used += memory != nullptr ? bytes : 0;
  return memory;
}

bool card_free (void *memory) { return area_free (memory, false); }
size_t card_bytes () { return CARD_BYTES; }
size_t card_used () { return used; }
void *pinned_alloc (size_t bytes) { return area_new (bytes, true); }
bool pinned_free (void *memory) { return area_free (memory, true); }
}
