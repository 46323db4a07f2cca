/* gst-pirl: runs the blocks of a kernel, every thread as a fiber.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A fiber runs threads of the block one after the other, until one must wait (for its warp or its
 * block); then another fiber goes on. So a kernel without barriers costs one function call a
 * thread. Fibers are entered by ucontext once and from then on change by _setjmp and _longjmp,
 * which, unlike swapcontext, ask nothing of the system.
 *
 * Stricter than a card: a thread that has ended never counts as arrived at __syncthreads(); lanes
 * that meet must name the same mask.
 */
#undef _FORTIFY_SOURCE          /* its longjmp takes another fiber's stack for a mistake */
#include "internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <vector>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace pirl_emulator
{
namespace
{
constexpr size_t STACK = 64 << 10;
/* Stacks end at different places of their last pages, not all in the same lines of the cache. */
constexpr size_t STAGGER = 448, STAGGERED = 16 << 10;
constexpr unsigned char POISON = 0xff;  /* no number in any of the types of floats */
constexpr size_t SHARED_GUARD = 256;

struct Fiber {
  jmp_buf where;
  ucontext_t entry;
  bool entered;
};

struct Thread {
  uint3 index;
  Fiber *fiber;
  /* What it waits for in its warp. */
  Collective what;
  unsigned int mask;
  uint64_t value, result;
  int source;
};

struct Warp {
  unsigned int lanes;           /* that exist and have not ended */
  unsigned int waiting;         /* for the others of their mask */
};

/* Threads that may go on, in this order: each is there once at most. */
class Queue
{
public:
  bool empty () const { return taken == put; }
  void push (unsigned int thread) { threads[put++ % MAX_THREADS] = (uint16_t) thread; }
  void push_first (unsigned int thread) { threads[--taken % MAX_THREADS] = (uint16_t) thread; }
  unsigned int pop () { return threads[taken++ % MAX_THREADS]; }

private:
  uint16_t threads[MAX_THREADS];
  unsigned int taken = 0, put = 0;
};

/* The block that runs. */
struct Block {
  const Kernel *kernel;
  unsigned int n_threads, started, ended;
  unsigned int arrived;         /* at the barrier */
  int true_values, barrier_result;
  Thread threads[MAX_THREADS];
  Warp warps[MAX_THREADS / WARP];
  Queue ready;
  bool backward;                /* last things first */
} block;

bool running = false;
unsigned int current;           /* thread */
Fiber *entering;                /* for the first time */
jmp_buf caller;                 /* block_run() */
std::vector<Fiber *> idle;
alignas (256) unsigned char shared_memory[SHARED_MOST + SHARED_GUARD];

void fiber_main ();

Fiber *
fiber_new ()
{
  static size_t n_fibers = 0;
  const size_t page = (size_t) sysconf (_SC_PAGESIZE);
  Fiber *fiber = new Fiber ();
  void *stack = mmap (nullptr, STACK + page, PROT_READ | PROT_WRITE,
      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

  if (stack == MAP_FAILED || mprotect (stack, page, PROT_NONE) != 0)
    fail ("no memory for the stack of a thread");
  getcontext (&fiber->entry);
  fiber->entry.uc_stack.ss_sp = static_cast<char *> (stack) + page;
  fiber->entry.uc_stack.ss_size = STACK - n_fibers++ * STAGGER % STAGGERED;
  fiber->entry.uc_link = nullptr;
  makecontext (&fiber->entry, fiber_main, 0);
  return fiber;
}

[[noreturn]] void
enter (Fiber *fiber)
{
  if (fiber->entered)
    _longjmp (fiber->where, 1);
  fiber->entered = true;
  entering = fiber;
  setcontext (&fiber->entry);
  abort ();
}

/* Returns when somebody enters what was left at @where. */
__attribute__ ((noinline)) void
change (jmp_buf where, Fiber *to)
{
  if (_setjmp (where) == 0)
    enter (to);
}

/* The same, to block_run() when @to is NULL. */
__attribute__ ((noinline)) void
change_or_return (jmp_buf where, Fiber *to)
{
  if (to != nullptr)
    change (where, to);
  else if (_setjmp (where) == 0)
    _longjmp (caller, 1);
}

Fiber *
idle_fiber ()
{
  Fiber *fiber;

  if (idle.empty ())
    return fiber_new ();
  fiber = idle.back ();
  idle.pop_back ();
  return fiber;
}

void
describe_waiting (char *text, size_t size)
{
  unsigned int in_warps = 0;

  for (unsigned int w = 0; w * WARP < block.n_threads; w++)
    in_warps += (unsigned int) __popc (block.warps[w].waiting);
  snprintf (text, size, "%u threads: %u wait at __syncthreads(), %u for others of their warp, "
      "%u have ended", block.n_threads, block.arrived, in_warps, block.ended);
}

[[noreturn]] void
deadlock ()
{
  char text[200];

  describe_waiting (text, sizeof (text));
  fail ("a barrier that not all threads reach; of %s", text);
}

/* The fiber that goes on when this one cannot; it has a thread already, or will take a new one. */
Fiber *
next_fiber ()
{
  if (!block.ready.empty ())
    return block.threads[block.ready.pop ()].fiber;
  return block.started < block.n_threads ? idle_fiber () : nullptr;
}

void
wait_for_others ()
{
  const unsigned int self = current;
  Thread &thread = block.threads[self];
  Fiber *next = next_fiber ();

  if (next == nullptr)
    deadlock ();
  change (thread.fiber->where, next);
  current = self;
  threadIdx = thread.index;
}

/* --- warps --- */

unsigned int
bits_of_true (unsigned int first, unsigned int lanes)
{
  unsigned int bits = 0;

  for (int lane = 0; lane < WARP; lane++)
    if (lanes >> lane & 1)
      bits |= (unsigned int) (block.threads[first + lane].value != 0) << lane;
  return bits;
}

/* Gives every lane of @lanes what it came for. */
void
collective_resolve (unsigned int first, unsigned int lanes)
{
  const unsigned int bits = bits_of_true (first, lanes);

  for (int lane = 0; lane < WARP; lane++) {
    if (!(lanes >> lane & 1))
      continue;

    Thread &thread = block.threads[first + lane];
    if (thread.what == SHUFFLE)
      thread.result = lanes >> thread.source & 1 ? block.threads[first + thread.source].value
          : ~(uint64_t) 0;
    else
      thread.result = bits;
  }
}

/* Whether all living lanes that @lane waits for are there. */
bool
collective_complete (unsigned int first, int lane)
{
  const Warp &warp = block.warps[first / WARP];
  const Thread &thread = block.threads[first + lane];
  const unsigned int needed = thread.mask & warp.lanes;

  for (int other = 0; other < WARP; other++)
    if (needed & warp.waiting & 1u << other) {
      const Thread &peer = block.threads[first + other];

      if (peer.mask != thread.mask || peer.what != thread.what)
        fail ("lanes %d and %d of a warp are at different operations (masks %#x and %#x)", lane,
            other, thread.mask, peer.mask);
    }
  return (needed & ~warp.waiting) == 0;
}

/* Lets those of @lanes but @self go on: after all others, or, backward, so that a warp runs ahead
 * of the others as far as it can. */
void
collective_release (unsigned int first, unsigned int lanes, unsigned int self)
{
  block.warps[first / WARP].waiting &= ~lanes;
  for (int lane = 0; lane < WARP; lane++)
    if (lanes >> lane & 1 && first + lane != self) {
      if (block.backward)
        block.ready.push_first (first + lane);
      else
        block.ready.push (first + lane);
    }
}

/* A lane less may be all that others waited for. */
void
warp_leave (unsigned int thread)
{
  const unsigned int first = thread / WARP * WARP;
  Warp &warp = block.warps[first / WARP];

  warp.lanes &= ~(1u << thread % WARP);
  for (int lane = 0; lane < WARP; lane++)
    if (warp.waiting >> lane & 1 && collective_complete (first, lane)) {
      const unsigned int lanes = block.threads[first + lane].mask & warp.lanes;

      collective_resolve (first, lanes);
      collective_release (first, lanes, thread);
    }
}

/* --- blocks --- */

void
thread_begin (Fiber *fiber)
{
  const unsigned int order = block.started++;
  Thread &thread = block.threads[current = block.backward ? block.n_threads - 1 - order : order];

  thread.fiber = fiber;
  threadIdx = thread.index;
}

void
thread_end ()
{
  block.ended++;
  warp_leave (current);
}

void
fiber_main ()
{
  Fiber *const self = entering;

  for (;;) {
    while (block.started < block.n_threads && block.ready.empty ()) {
      thread_begin (self);
      block.kernel->thread ();
      thread_end ();
    }
    idle.push_back (self);
    Fiber *next = next_fiber ();
    if (next == nullptr && block.ended < block.n_threads)
      deadlock ();
    change_or_return (self->where, next);
  }
}

void
block_prepare (const Kernel &kernel)
{
  const dim3 size = kernel.block;

  block.kernel = &kernel;
  block.backward = manner ().backward;
  block.n_threads = size.x * size.y * size.z;
  for (unsigned int t = 0; t < block.n_threads; t++)
    block.threads[t].index = { t % size.x, t / size.x % size.y, t / (size.x * size.y) };
  memset (shared_memory + kernel.shared, POISON, SHARED_GUARD);
}

void
block_run (uint3 index)
{
  blockIdx = index;
  block.started = block.ended = block.arrived = 0;
  block.true_values = 0;
  for (unsigned int first = 0; first < block.n_threads; first += WARP) {
    const unsigned int n = min (block.n_threads - first, (unsigned int) WARP);

    block.warps[first / WARP] = { n == WARP ? ~0u : (1u << n) - 1, 0 };
  }
  memset (shared_memory, POISON, block.kernel->shared);
  change (caller, idle_fiber ());
  for (size_t i = 0; i < SHARED_GUARD; i++)
    if (shared_memory[block.kernel->shared + i] != POISON)
      fail ("written beyond the %zu bytes of dynamic shared memory", block.kernel->shared);
}
}

uint64_t
collective (Collective what, unsigned int mask, uint64_t value, int source)
{
  const unsigned int self = current, first = self / WARP * WARP;
  Thread &thread = block.threads[self];
  Warp &warp = block.warps[first / WARP];

  if (!(mask >> self % WARP & 1))
    fail ("an operation of the warp with a mask (%#x) that lacks the lane itself", mask);
  thread.what = what;
  thread.mask = mask;
  thread.value = value;
  thread.source = source;
  warp.waiting |= 1u << self % WARP;
  if (!collective_complete (first, (int) (self % WARP))) {
    wait_for_others ();
  } else {
    collective_resolve (first, mask & warp.lanes);
    collective_release (first, mask & warp.lanes, self);
  }
  return thread.result;
}

int
barrier (int value)
{
  const unsigned int self = current;

  block.true_values += value != 0;
  if (++block.arrived < block.n_threads) {
    wait_for_others ();
    return block.barrier_result;
  }
  block.barrier_result = block.true_values;
  block.true_values = 0;
  block.arrived = 0;
  for (unsigned int i = 0; i < block.n_threads; i++) {
    const unsigned int t = block.backward ? block.n_threads - 1 - i : i;

    if (t != self)
      block.ready.push (t);
  }
  return block.barrier_result;
}

int
lane ()
{
  return (int) (current % WARP);
}

void *
shared ()
{
  return shared_memory;
}

void
run_grid (const Kernel &kernel)
{
  const dim3 grid = kernel.grid;
  const uint64_t n_blocks = (uint64_t) grid.x * grid.y * grid.z;

  running = true;
  blockDim = kernel.block;
  gridDim = grid;
  block_prepare (kernel);
  for (uint64_t i = 0; i < n_blocks; i++) {
    const uint64_t b = block.backward ? n_blocks - 1 - i : i;

    block_run ({ (unsigned int) (b % grid.x), (unsigned int) (b / grid.x % grid.y),
        (unsigned int) (b / grid.x / grid.y) });
  }
  running = false;
}

int
describe_fault (const void *address, char *text, size_t size)
{
  if (!running)
    return snprintf (text, size, "emulated CUDA: the host touched %p", address);
  return snprintf (text, size, "emulated CUDA: kernel %s, block (%u, %u, %u), thread (%u, %u, %u) "
      "touched %p", block.kernel->name, blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x,
      threadIdx.y, threadIdx.z, address);
}

void
fail (const char *format, ...)
{
  va_list arguments;

  fputs ("emulated CUDA: ", stderr);
  if (running)
    fprintf (stderr, "kernel %s, block (%u, %u, %u), thread (%u, %u, %u): ", block.kernel->name,
        blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
  va_start (arguments, format);
  vfprintf (stderr, format, arguments);
  va_end (arguments);
  fputc ('\n', stderr);
  abort ();
}
}
