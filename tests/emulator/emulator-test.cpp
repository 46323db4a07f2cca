/* gst-pirl: tests the emulated card itself.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What must end the process is run in a child, which has to die with the right words.
 */
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

static int failed = 0;

#define CHECK(condition) \
  do { \
    if (!(condition)) { \
      printf ("FAIL line %d: %s\n", __LINE__, #condition); \
      failed++; \
    } \
  } while (0)

/* --- kernels --- */

static __global__ void
index_kernel (int *out, int n)
{
  const int i = (int) (blockIdx.x * blockDim.x + threadIdx.x);

  if (i < n)
    out[i] = i + 1000 * (int) blockIdx.y;
}

template <typename T> __global__ void
block_sum_kernel (const T *in, T *out, int rounds)
{
  __shared__ T warps[32];
  PIRL_DYNAMIC_SHARED (T, all);
  const int t = (int) threadIdx.x;
  T sum = 0;

  for (int r = 0; r < rounds; r++) {
    T x = in[blockIdx.x * blockDim.x + threadIdx.x];

    all[t] = x;
    for (int step = 16; step > 0; step /= 2)
      x += __shfl_xor_sync (0xffffffffu, x, step);
    if (t % 32 == 0)
      warps[t / 32] = x;
    __syncthreads ();
    T total = 0, again = 0;
    for (int w = 0; w < (int) blockDim.x / 32; w++)
      total += warps[w];
    for (int i = 0; i < (int) blockDim.x; i++)
      again += all[i];
    __syncthreads ();
    sum += total == again ? total : (T) -1e6;
  }
  if (t == 0)
    out[blockIdx.x] = sum;
}

static __global__ void
lanes_kernel (unsigned int *out)
{
  const unsigned int t = threadIdx.x, all = 0xffffffffu;
  unsigned int *mine = out + t * 8;

  mine[0] = __ballot_sync (all, t % 3 == 0);
  mine[1] = __shfl_down_sync (all, t, 4);
  mine[2] = __shfl_up_sync (all, t, 4, 8);
  mine[3] = __shfl_sync (all, t, 5, 8);
  mine[4] = (unsigned int) (__any_sync (all, t == 7) + 2 * __all_sync (all, t < 32));
  if (t < 16)
    mine[5] = __shfl_xor_sync (0x0000ffffu, t, 1);
  else
    mine[5] = __ballot_sync (0xffff0000u, t % 2);
  mine[6] = (unsigned int) __syncthreads_count (t < 10);
  mine[7] = (unsigned int) (__syncthreads_or (t == 1) + 2 * __syncthreads_and (t < 31));
}

static __global__ void
ended_lanes_kernel (int *out)
{
  if (threadIdx.x >= 8)
    return;
  out[threadIdx.x] = __shfl_down_sync (0xffffffffu, (int) threadIdx.x, 1);
}

static __global__ void
atomic_kernel (float *sum, unsigned int *most)
{
  atomicAdd (sum, 0.5f);
  atomicMax (most, threadIdx.x);
}

static __global__ void
deadlock_kernel (int *out)
{
  if (threadIdx.x < 3)
    __syncthreads ();
  out[0] = 1;
}

static __global__ void
masks_kernel (int *out)
{
  out[threadIdx.x] = __shfl_xor_sync (threadIdx.x < 4 ? 0xffu : 0xffffffffu, 1, 1);
}

static __global__ void
beyond_kernel (int *out, int n)
{
  out[n] = 1;
}

static __global__ void
shared_beyond_kernel (int n)
{
  PIRL_DYNAMIC_SHARED (char, bytes);

  bytes[n] = 1;
}

/* --- tests --- */

template <typename T> static T *
card (size_t n)
{
  T *memory = nullptr;

  CHECK (cudaMalloc (&memory, n * sizeof (T)) == cudaSuccess);
  return memory;
}

template <typename T> static std::vector<T>
fetch (const T *memory, size_t n)
{
  std::vector<T> host (n);

  CHECK (cudaMemcpy (host.data (), memory, n * sizeof (T), cudaMemcpyDeviceToHost) == cudaSuccess);
  return host;
}

static void
test_index ()
{
  int *out = card<int> (100);

  PIRL_LAUNCH (index_kernel, dim3 (4, 1), 32, 0, nullptr, out, 100);
  CHECK (cudaGetLastError () == cudaSuccess);
  const auto host = fetch (out, 100);
  for (int i = 0; i < 100; i++)
    CHECK (host[i] == i);
  cudaFree (out);
}

template <typename T> static void
test_sum ()
{
  const int blocks = 3, threads = 96, rounds = 4;
  std::vector<T> host (blocks * threads);
  T *in = card<T> (host.size ()), *out = card<T> (blocks);

  for (size_t i = 0; i < host.size (); i++)
    host[i] = (T) (i % 17);
  cudaMemcpy (in, host.data (), host.size () * sizeof (T), cudaMemcpyHostToDevice);
  PIRL_LAUNCH (block_sum_kernel<T>, blocks, threads, threads * sizeof (T), nullptr, in, out,
      rounds);
  CHECK (cudaGetLastError () == cudaSuccess);
  const auto sums = fetch (out, blocks);
  for (int b = 0; b < blocks; b++) {
    T wanted = 0;

    for (int i = 0; i < threads; i++)
      wanted += host[b * threads + i];
    CHECK (sums[b] == rounds * wanted);
  }
  cudaFree (in);
  cudaFree (out);
}

static void
test_lanes ()
{
  unsigned int *out = card<unsigned int> (32 * 8);

  PIRL_LAUNCH (lanes_kernel, 1, 32, 0, nullptr, out);
  const auto host = fetch (out, 32 * 8);
  for (unsigned int t = 0; t < 32; t++) {
    const unsigned int *mine = &host[t * 8];

    CHECK (mine[0] == 0x49249249u);
    CHECK (mine[1] == (t < 28 ? t + 4 : t));
    CHECK (mine[2] == (t % 8 >= 4 ? t - 4 : t));
    CHECK (mine[3] == t / 8 * 8 + 5);
    CHECK (mine[4] == 3);
    CHECK (mine[5] == (t < 16 ? t ^ 1 : 0xaaaa0000u));
    CHECK (mine[6] == 10 && mine[7] == 1);
  }
  cudaFree (out);

  int *ended = card<int> (8);
  PIRL_LAUNCH (ended_lanes_kernel, 1, 20, 0, nullptr, ended);
  const auto values = fetch (ended, 8);
  for (int t = 0; t < 8; t++)
    CHECK (values[t] == (t < 7 ? t + 1 : -1));
  cudaFree (ended);
}

static void
test_atomics ()
{
  float *sum = card<float> (1);
  unsigned int *most = card<unsigned int> (1);

  cudaMemset (sum, 0, sizeof (*sum));
  cudaMemset (most, 0, sizeof (*most));
  PIRL_LAUNCH (atomic_kernel, 10, 50, 0, nullptr, sum, most);
  CHECK (fetch (sum, 1)[0] == 250.0f && fetch (most, 1)[0] == 49);
  cudaFree (sum);
  cudaFree (most);
}

static void
test_configurations ()
{
  int *out = card<int> (1);

  PIRL_LAUNCH (index_kernel, 1, 1025, 0, nullptr, out, 1);
  CHECK (cudaGetLastError () == cudaErrorInvalidConfiguration);
  PIRL_LAUNCH (index_kernel, 0, 32, 0, nullptr, out, 1);
  CHECK (cudaPeekAtLastError () == cudaErrorInvalidConfiguration);
  CHECK (cudaGetLastError () == cudaErrorInvalidConfiguration);
  CHECK (cudaGetLastError () == cudaSuccess);
  PIRL_LAUNCH (index_kernel, dim3 (1, 65536), 32, 0, nullptr, out, 1);
  CHECK (cudaGetLastError () == cudaErrorInvalidConfiguration);
  PIRL_LAUNCH (index_kernel, 1, 32, 60000, nullptr, out, 1);
  CHECK (cudaGetLastError () == cudaErrorInvalidConfiguration);
  CHECK (cudaFuncSetAttribute (index_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 60000)
      == cudaSuccess);
  PIRL_LAUNCH (index_kernel, 1, 32, 60000, nullptr, out, 1);
  CHECK (cudaGetLastError () == cudaSuccess);
  CHECK (cudaFuncSetAttribute (index_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 300000)
      == cudaErrorInvalidValue);
  cudaGetLastError ();
  cudaFree (out);
}

static void
count_up (void *closure)
{
  ++**static_cast<int **> (closure);
}

static void
test_graph ()
{
  int *out = card<int> (4), ran = 0, *counter = &ran;
  int *pinned = nullptr, values[4];
  cudaStream_t stream, fork;
  cudaEvent_t begin = nullptr, end = nullptr;
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  size_t nodes = 0;
  void *memory;

  CHECK (cudaMallocHost (&pinned, 4 * sizeof (int)) == cudaSuccess);
  CHECK (cudaStreamCreateWithFlags (&stream, cudaStreamNonBlocking) == cudaSuccess);
  CHECK (cudaStreamCreateWithFlags (&fork, cudaStreamNonBlocking) == cudaSuccess);
  CHECK (cudaEventCreate (&begin) == cudaSuccess && cudaEventCreate (&end) == cudaSuccess);
  cudaMemset (out, 0, 4 * sizeof (int));

  CHECK (cudaStreamBeginCapture (stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  PIRL_LAUNCH (index_kernel, 1, 4, 0, stream, out, 4);
  CHECK (pirl_emulator_run (stream, count_up, &counter, sizeof (counter)) == cudaSuccess);
  CHECK (cudaEventRecord (begin, stream) == cudaSuccess);
  CHECK (cudaStreamWaitEvent (fork, begin, 0) == cudaSuccess);
  CHECK (cudaMemcpyAsync (pinned, out, 4 * sizeof (int), cudaMemcpyDeviceToHost, fork)
      == cudaSuccess);
  CHECK (cudaEventRecord (end, fork) == cudaSuccess);
  CHECK (cudaStreamWaitEvent (stream, end, 0) == cudaSuccess);
  CHECK (cudaStreamEndCapture (stream, &graph) == cudaSuccess);
  CHECK (cudaGraphGetNodes (graph, nullptr, &nodes) == cudaSuccess && nodes == 3);
  CHECK (ran == 0 && fetch (out, 4)[3] == 0);
  CHECK (cudaGraphInstantiate (&exec, graph, 0) == cudaSuccess);
  cudaGraphDestroy (graph);
  for (int i = 1; i <= 2; i++) {
    cudaMemsetAsync (out, 0, 4 * sizeof (int), stream);
    CHECK (cudaGraphLaunch (exec, stream) == cudaSuccess);
    CHECK (cudaStreamSynchronize (stream) == cudaSuccess);
    CHECK (ran == i && pinned[3] == 3);
  }
  cudaGraphExecDestroy (exec);

  CHECK (cudaStreamBeginCapture (stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  CHECK (cudaMalloc (&memory, 4) == cudaErrorStreamCaptureUnsupported);
  CHECK (cudaStreamEndCapture (stream, &graph) == cudaErrorStreamCaptureInvalidated);
  CHECK (cudaStreamBeginCapture (stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  CHECK (cudaStreamSynchronize (fork) == cudaErrorStreamCaptureUnsupported);
  CHECK (cudaStreamEndCapture (stream, &graph) == cudaErrorStreamCaptureInvalidated);
  CHECK (cudaStreamBeginCapture (stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  CHECK (cudaThreadExchangeStreamCaptureMode (&mode) == cudaSuccess);
  CHECK (cudaStreamSynchronize (fork) == cudaSuccess);
  CHECK (cudaThreadExchangeStreamCaptureMode (&mode) == cudaSuccess);
  CHECK (mode == cudaStreamCaptureModeRelaxed);
  CHECK (cudaStreamSynchronize (stream) == cudaErrorStreamCaptureUnsupported);
  CHECK (cudaStreamEndCapture (stream, &graph) == cudaErrorStreamCaptureInvalidated);
  CHECK (cudaStreamBeginCapture (stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  CHECK (cudaMemcpyAsync (out, values, sizeof (values), cudaMemcpyHostToDevice, stream)
      == cudaErrorStreamCaptureUnsupported);
  CHECK (cudaStreamEndCapture (stream, &graph) == cudaErrorStreamCaptureInvalidated);
  CHECK (cudaStreamBeginCapture (stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  cudaEventRecord (begin, stream);
  cudaStreamWaitEvent (fork, begin, 0);
  CHECK (cudaStreamEndCapture (stream, &graph) == cudaErrorStreamCaptureUnjoined);
  cudaGetLastError ();

  cudaEventRecord (begin, stream);
  cudaEventRecord (end, stream);
  CHECK (cudaEventSynchronize (end) == cudaSuccess);
  float ms = -1;
  CHECK (cudaEventElapsedTime (&ms, begin, end) == cudaSuccess && ms >= 0);
  cudaEventDestroy (begin);
  cudaEventDestroy (end);
  cudaStreamDestroy (fork);
  cudaStreamDestroy (stream);
  cudaFreeHost (pinned);
  cudaFree (out);
}

static void
test_copies ()
{
  unsigned char *memory = card<unsigned char> (12), host[12], back[12];

  for (int i = 0; i < 12; i++)
    host[i] = (unsigned char) i;
  CHECK (fetch (memory, 12)[11] == 0xff);
  CHECK (cudaMemcpy (memory, host, 13, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK (cudaMemcpy (memory, host, 12, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK (cudaMemcpy (host, back, 12, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK (cudaGetLastError () == cudaErrorInvalidValue);
  CHECK (cudaMemcpy (memory, host, 12, cudaMemcpyHostToDevice) == cudaSuccess);
  memset (back, 0, sizeof (back));
  CHECK (cudaMemcpy2DAsync (back, 6, memory + 1, 4, 2, 2, cudaMemcpyDeviceToHost, nullptr)
      == cudaSuccess);
  CHECK (back[0] == 1 && back[1] == 2 && back[2] == 0 && back[6] == 5 && back[7] == 6);
  CHECK (cudaFree (memory + 1) == cudaErrorInvalidValue && cudaFree (memory) == cudaSuccess);
  cudaGetLastError ();
}

/* Halves against the compiler's own, where it has them. */
static void
test_halves ()
{
  for (unsigned int bits = 0; bits < 0x10000; bits++) {
    const __half h = __ushort_as_half ((unsigned short) bits);
    const __nv_bfloat16 b = __ushort_as_bfloat16 ((unsigned short) bits);
    const float x = __half2float (h), y = __bfloat162float (b);

    CHECK (x != x || __half_as_ushort (__float2half_rn (x)) == bits);
    CHECK (y != y || __bfloat16_as_ushort (__float2bfloat16_rn (y)) == bits);
  }
#ifdef __FLT16_MAX__
  uint32_t state = 1;
  for (int i = 0; i < 3000000; i++) {
    state = state * 1664525u + 1013904223u;
    const float x = __uint_as_float ((state >> 4) * 0x9e3779b1u);
    const _Float16 wanted = (_Float16) x;
    const unsigned short bits = __half_as_ushort (__float2half_rn (x));
    unsigned short wanted_bits;

    memcpy (&wanted_bits, &wanted, sizeof (wanted_bits));
    if (x == x && bits != wanted_bits) {
      CHECK (bits == wanted_bits);
      break;
    }
  }
#endif
  CHECK (__bfloat16_as_ushort (__float2bfloat16_rn (__uint_as_float (0x3f808000))) == 0x3f80);
  CHECK (__bfloat16_as_ushort (__float2bfloat16_rn (__uint_as_float (0x3f818000))) == 0x3f82);
  CHECK (__bfloat16_as_ushort (__float2bfloat16_rn (__uint_as_float (0x3f808001))) == 0x3f81);
}

/* @function has to end the process, with @words on the standard error stream. */
static void
test_death (void (*function) (), const char *words)
{
  char text[2000];
  size_t n = 0;
  ssize_t got;
  int ends[2], status;
  pid_t child;

  if (pipe (ends) != 0 || (child = fork ()) < 0) {
    CHECK (!"pipe and fork");
    return;
  }
  if (child == 0) {
    dup2 (ends[1], STDERR_FILENO);
    function ();
    _exit (0);
  }
  close (ends[1]);
  while ((got = read (ends[0], text + n, sizeof (text) - 1 - n)) > 0)
    n += (size_t) got;
  text[n] = '\0';
  close (ends[0]);
  waitpid (child, &status, 0);
  if (!WIFSIGNALED (status) || strstr (text, words) == nullptr) {
    printf ("FAIL: a child was to die saying \"%s\" and said: %s\n", words, text);
    failed++;
  }
}

static void
test_deaths ()
{
  test_death ([] {
    PIRL_LAUNCH (deadlock_kernel, 1, 64, 0, nullptr, card<int> (1));
    cudaDeviceSynchronize ();
  }, "deadlock_kernel");
  test_death ([] {
    PIRL_LAUNCH (masks_kernel, 1, 32, 0, nullptr, card<int> (32));
    cudaDeviceSynchronize ();
  }, "different operations");
  test_death ([] {
    PIRL_LAUNCH (beyond_kernel, 1, 1, 0, nullptr, card<int> (64), 64);
    cudaDeviceSynchronize ();
  }, "behind an allocation of 256 bytes");
  test_death ([] {
    int *out = card<int> (5);

    PIRL_LAUNCH (beyond_kernel, 1, 1, 0, nullptr, out, 5);
    cudaFree (out);
  }, "written beside an allocation of 20 bytes");
  test_death ([] {
    PIRL_LAUNCH (shared_beyond_kernel, 1, 1, 8, nullptr, 8);
    cudaDeviceSynchronize ();
  }, "dynamic shared memory");
  test_death ([] {
    int on_host[4];

    PIRL_LAUNCH (index_kernel, 1, 4, 0, nullptr, on_host, 4);
  }, "neither memory of the card nor pinned");
}

static void
test_locked ()
{
  test_death ([] {
    int *out = card<int> (4);

    cudaMemset (out, 0, 4 * sizeof (int));
    out[0] = 1;
  }, "the host touched");
}

static bool
in_manner (const char *word)
{
  const char *words = getenv ("PIRL_EMULATED");

  return words != nullptr && strstr (words, word) != nullptr;
}

/* What a host does too early shows when the card does everything as late as it may. */
static void
test_late ()
{
  int *out = card<int> (4), *pinned = nullptr, unpinned[4] = { 5, 6, 7, 8 };
  cudaStream_t stream, other;
  cudaEvent_t event;

  cudaMallocHost (&pinned, 4 * sizeof (int));
  cudaStreamCreateWithFlags (&stream, cudaStreamNonBlocking);
  cudaStreamCreateWithFlags (&other, cudaStreamNonBlocking);
  cudaEventCreateWithFlags (&event, cudaEventDisableTiming);
  pinned[3] = 77;
  PIRL_LAUNCH (index_kernel, 1, 4, 0, stream, out, 4);
  cudaEventRecord (event, stream);
  cudaMemsetAsync (out, 1, 4 * sizeof (int), stream);
  cudaStreamWaitEvent (other, event, 0);
  cudaMemcpyAsync (pinned, out, 4 * sizeof (int), cudaMemcpyDeviceToHost, other);
  CHECK (pinned[3] == 77 && cudaEventQuery (event) == cudaErrorNotReady);
  CHECK (cudaStreamSynchronize (other) == cudaSuccess && pinned[3] == 3);
  CHECK (cudaStreamQuery (stream) == cudaErrorNotReady);
  CHECK (cudaDeviceSynchronize () == cudaSuccess && fetch (out, 4)[3] == 0x01010101);
  cudaMemcpy (out, unpinned, sizeof (unpinned), cudaMemcpyHostToDevice);
  unpinned[3] = 0;
  cudaMemcpyAsync (pinned, out, 4 * sizeof (int), cudaMemcpyDeviceToHost, stream);
  CHECK (cudaStreamSynchronize (stream) == cudaSuccess && pinned[3] == 0x01010101);
  CHECK (fetch (out, 4)[3] == 8);
  cudaEventDestroy (event);
  cudaStreamDestroy (stream);
  cudaStreamDestroy (other);
  cudaFreeHost (pinned);
  cudaFree (out);
}

int
main ()
{
  if (in_manner ("late"))
    test_late ();
  if (in_manner ("locked"))
    test_locked ();
  test_index ();
  test_sum<float> ();
  test_sum<int> ();
  test_sum<double> ();
  test_lanes ();
  test_atomics ();
  test_configurations ();
  test_graph ();
  test_copies ();
  test_halves ();
  test_deaths ();
  printf ("%d failed\n", failed);
  return failed ? 1 : 0;
}
