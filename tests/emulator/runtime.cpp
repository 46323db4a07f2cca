/* gst-pirl: CUDA's runtime library for the emulated card: devices, streams, events, graphs.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What is queued on a stream is a function. By default it runs at once; with PIRL_EMULATED=late
 * when somebody waits for it, as late as a card may. A capturing stream collects functions in a
 * graph instead; what a card refuses meanwhile is refused here.
 *
 * One lock is held inside of every call: of all threads one at a time uses the card.
 */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

using namespace pirl_emulator;

typedef std::function<void ()> Work;
typedef std::vector<Work> Works;

struct CUgraph_st { Works nodes; };
struct CUgraphExec_st { Works nodes; };

namespace
{
struct Capture {
  cudaStream_t origin;
  cudaStreamCaptureMode mode;
  bool invalid;
  Works nodes;
  std::set<cudaStream_t> forks; /* that have work the origin has not waited for */
};
}

struct CUstream_st {
  bool blocking;                /* waits for, and is waited for by, the default stream */
  std::deque<Work> queue;
  Capture *capture;
};

struct CUevent_st {
  bool timing;
  uint64_t recorded, done;      /* how often */
  double ms;
  cudaStream_t stream;          /* of the last record */
  Capture *capture;             /* in which it was recorded, NULL = outside */
};

namespace
{
constexpr int DEVICES = 1, MULTIPROCESSORS = 4, VERSION = CUDART_VERSION;

std::recursive_mutex mutex;
thread_local cudaError_t last_error = cudaSuccess;
thread_local cudaStreamCaptureMode own_mode = cudaStreamCaptureModeGlobal;
thread_local int own_captures = 0;      /* of this thread, not relaxed */
int captures = 0;                       /* global ones */
CUstream_st default_stream = { true, {}, nullptr };
std::set<cudaStream_t> streams = { &default_stream };
std::set<cudaEvent_t> events;
std::map<const void *, int> shared_limits;

typedef std::lock_guard<std::recursive_mutex> Lock;

const struct { cudaError_t error; const char *name, *text; } errors[] = {
#define ERROR(name, text) { name, #name, text }
  ERROR (cudaSuccess, "no error"),
  ERROR (cudaErrorInvalidValue, "invalid argument"),
  ERROR (cudaErrorMemoryAllocation, "out of memory"),
  ERROR (cudaErrorInitializationError, "initialization error"),
  ERROR (cudaErrorInvalidConfiguration, "invalid configuration argument"),
  ERROR (cudaErrorInvalidDevicePointer, "invalid device pointer"),
  ERROR (cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
  ERROR (cudaErrorInsufficientDriver, "the driver is too old for this runtime"),
  ERROR (cudaErrorNoDevice, "no CUDA-capable device is detected"),
  ERROR (cudaErrorInvalidDevice, "invalid device ordinal"),
  ERROR (cudaErrorInvalidResourceHandle, "invalid resource handle"),
  ERROR (cudaErrorNotReady, "not ready"),
  ERROR (cudaErrorIllegalAddress, "an illegal memory access"),
  ERROR (cudaErrorLaunchOutOfResources, "too many resources requested for launch"),
  ERROR (cudaErrorLaunchFailure, "unspecified launch failure"),
  ERROR (cudaErrorNotSupported, "operation not supported"),
  ERROR (cudaErrorStreamCaptureUnsupported, "not permitted while a stream is capturing"),
  ERROR (cudaErrorStreamCaptureInvalidated, "the capture failed because of an earlier error"),
  ERROR (cudaErrorStreamCaptureUnmatched, "the capture was not begun in this stream"),
  ERROR (cudaErrorStreamCaptureUnjoined, "the capture has forked work that was not joined"),
  ERROR (cudaErrorStreamCaptureIsolation, "a dependency out of the capture into uncaptured work"),
  ERROR (cudaErrorStreamCaptureImplicit, "an implicit dependency on the default stream"),
  ERROR (cudaErrorCapturedEvent, "the event was last recorded in a capturing stream"),
  ERROR (cudaErrorStreamCaptureWrongThread, "the capture was begun by another thread"),
  ERROR (cudaErrorUnknown, "unknown error"),
#undef ERROR
};

cudaError_t
result (cudaError_t error)
{
  if (error != cudaSuccess && error != cudaErrorNotReady)
    last_error = error;
  return error;
}

cudaStream_t
stream_of (cudaStream_t stream)
{
  return stream == nullptr || stream == cudaStreamLegacy ? &default_stream : stream;
}

bool
known (cudaStream_t stream)
{
  return streams.count (stream) > 0;
}

/* --- queues --- */

void
run_front (cudaStream_t stream)
{
  const Work work = std::move (stream->queue.front ());

  stream->queue.pop_front ();
  card_lock (false);
  work ();
  card_lock (true);
}

void
drain (cudaStream_t stream)
{
  while (!stream->queue.empty ())
    run_front (stream);
}

void
drain_all ()
{
  for (cudaStream_t stream : streams)
    drain (stream);
}

/* The default stream and those that are not cudaStreamNonBlocking wait for each other. */
void
drain_others (cudaStream_t stream)
{
  if (stream == &default_stream) {
    for (cudaStream_t other : streams)
      if (other->blocking)
        drain (other);
  } else if (stream->blocking) {
    drain (&default_stream);
  }
}

/* Queues @work, or records it. */
cudaError_t
queue (cudaStream_t stream, Work work)
{
  stream = stream_of (stream);
  if (!known (stream))
    return cudaErrorInvalidResourceHandle;
  if (stream->capture != nullptr) {
    if (stream->capture->invalid)
      return cudaErrorStreamCaptureInvalidated;
    stream->capture->nodes.push_back (std::move (work));
    if (stream != stream->capture->origin)
      stream->capture->forks.insert (stream);
    return cudaSuccess;
  }
  drain_others (stream);
  stream->queue.push_back (std::move (work));
  if (!manner ().late)
    drain (stream);
  return cudaSuccess;
}

/* --- captures --- */

void
invalidate_captures ()
{
  for (cudaStream_t stream : streams)
    if (stream->capture != nullptr)
      stream->capture->invalid = true;
}

/* What may not be called while this thread captures (or, in the global mode, any), unless it
 * relaxed its own mode. */
bool
forbidden ()
{
  const bool others = own_mode == cudaStreamCaptureModeGlobal && captures > 0;

  if (own_mode == cudaStreamCaptureModeRelaxed || (own_captures == 0 && !others))
    return false;
  invalidate_captures ();
  return true;
}

/* The default stream may not be used beside capturing streams that it would wait for. */
bool
implicit_dependency (cudaStream_t stream)
{
  if (stream_of (stream) != &default_stream)
    return false;
  for (cudaStream_t other : streams)
    if (other->capture != nullptr && other->blocking) {
      other->capture->invalid = true;
      return true;
    }
  return false;
}

/* --- memory --- */

/* What is wrong with copying there. */
cudaError_t
check_copy (Place dst, Place src, cudaMemcpyKind kind)
{
  if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault)
    return cudaErrorInvalidMemcpyDirection;
  if (dst == Place::BEYOND || src == Place::BEYOND)
    return cudaErrorInvalidValue;
  if (kind == cudaMemcpyDefault)
    return cudaSuccess;

  const bool to_card = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_card = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;

  return (dst == Place::CARD) == to_card && (src == Place::CARD) == from_card ? cudaSuccess
      : cudaErrorInvalidValue;
}

struct Copy {
  unsigned char *dst;
  const unsigned char *src;
  size_t dst_pitch, src_pitch, width, height;
};

size_t
span (size_t pitch, const Copy &copy)
{
  return copy.height == 0 || copy.width == 0 ? 0 : pitch * (copy.height - 1) + copy.width;
}

void
copy_rows (const Copy &copy)
{
  for (size_t y = 0; y < copy.height; y++)
    memmove (copy.dst + y * copy.dst_pitch, copy.src + y * copy.src_pitch, copy.width);
}

/* Memory that is not pinned is read before the call returns, and written too. */
cudaError_t
queue_copy (Copy copy, cudaMemcpyKind kind, cudaStream_t stream)
{
  const size_t dst_bytes = span (copy.dst_pitch, copy), src_bytes = span (copy.src_pitch, copy);
  const Place dst = place (copy.dst, dst_bytes), src = place (copy.src, src_bytes);
  cudaError_t error = check_copy (dst, src, kind);

  stream = stream_of (stream);
  if (error != cudaSuccess || src_bytes == 0)
    return error;
  if (copy.width > copy.dst_pitch || copy.width > copy.src_pitch)
    return cudaErrorInvalidValue;
  if (!known (stream))
    return cudaErrorInvalidResourceHandle;
  if (stream->capture != nullptr && (dst == Place::HOST || src == Place::HOST)) {
    stream->capture->invalid = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  if (src == Place::HOST) {
    auto kept = std::make_shared<std::vector<unsigned char>> (copy.src, copy.src + src_bytes);

    error = queue (stream, [copy, kept] () mutable {
      copy.src = kept->data ();
      copy_rows (copy);
    });
  } else {
    error = queue (stream, [copy] { copy_rows (copy); });
  }
  if (error == cudaSuccess && dst == Place::HOST)
    drain (stream);
  return error;
}

Copy
copy_line (void *dst, const void *src, size_t bytes)
{
  return { static_cast<unsigned char *> (dst), static_cast<const unsigned char *> (src), bytes,
    bytes, bytes, 1 };
}

cudaError_t
queue_memset (void *memory, int value, size_t bytes, cudaStream_t stream)
{
  if (bytes == 0)
    return cudaSuccess;
  if (place (memory, bytes) == Place::HOST || place (memory, bytes) == Place::BEYOND)
    return cudaErrorInvalidValue;
  return queue (stream, [memory, value, bytes] { memset (memory, value, bytes); });
}

/* --- events --- */

double
now ()
{
  timespec time;

  clock_gettime (CLOCK_MONOTONIC, &time);
  return 1e3 * (double) time.tv_sec + 1e-6 * (double) time.tv_nsec;
}

/* Until the event's record number @record is done. */
void
complete (cudaEvent_t event, uint64_t record)
{
  while (event->done < record && !event->stream->queue.empty ())
    run_front (event->stream);
}

cudaError_t
record (cudaEvent_t event, cudaStream_t stream, unsigned int flags)
{
  stream = stream_of (stream);
  if (!known (stream))
    return cudaErrorInvalidResourceHandle;
  event->stream = stream;
  event->capture = nullptr;
  if (stream->capture != nullptr && !(flags & cudaEventRecordExternal)) {
    event->capture = stream->capture;
    return stream->capture->invalid ? cudaErrorStreamCaptureInvalidated : cudaSuccess;
  }
  if (stream->capture != nullptr)
    return queue (stream, [event] {
      event->done = ++event->recorded;
      event->ms = now ();
    });
  const uint64_t number = ++event->recorded;
  return queue (stream, [event, number] {
    event->done = number;
    event->ms = now ();
  });
}

/* @event of a capture: @stream is part of it from now on, or the origin again. */
cudaError_t
wait_captured (cudaStream_t stream, cudaEvent_t event)
{
  Capture *capture = event->capture;

  if (stream->capture != nullptr && stream->capture != capture)
    return cudaErrorStreamCaptureIsolation;
  stream->capture = capture;
  if (stream == capture->origin)
    capture->forks.erase (event->stream);
  else
    capture->forks.insert (stream);
  return cudaSuccess;
}

cudaError_t
wait_event (cudaStream_t stream, cudaEvent_t event, unsigned int flags)
{
  stream = stream_of (stream);
  if (!known (stream))
    return cudaErrorInvalidResourceHandle;
  if (event->capture != nullptr)
    return wait_captured (stream, event);
  if (stream->capture != nullptr && !(flags & cudaEventWaitExternal)) {
    stream->capture->invalid = true;
    return cudaErrorStreamCaptureIsolation;
  }
  if (stream->capture != nullptr)
    return queue (stream, [event] { complete (event, event->recorded); });
  const uint64_t number = event->recorded;
  return queue (stream, [event, number] { complete (event, number); });
}

/* --- devices --- */

int
attribute (cudaDeviceAttr which)
{
  switch (which) {
    case cudaDevAttrMaxThreadsPerBlock:
      return (int) MAX_THREADS;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      return (int) SHARED_DEFAULT;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      return (int) SHARED_MOST;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      return (int) (SHARED_MOST + 1024);
    case cudaDevAttrWarpSize:
      return WARP;
    case cudaDevAttrMultiProcessorCount:
      return MULTIPROCESSORS;
    case cudaDevAttrL2CacheSize:
      return 1 << 20;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      return 2048;
    case cudaDevAttrComputeCapabilityMajor:
      return 9;
    case cudaDevAttrComputeCapabilityMinor:
      return 0;
  }
  return -1;
}

bool
fits (dim3 size, unsigned int x, unsigned int y, unsigned int z)
{
  return size.x >= 1 && size.y >= 1 && size.z >= 1 && size.x <= x && size.y <= y && size.z <= z;
}
}

/* --- launches --- */

namespace pirl_emulator
{
const Manner &
manner ()
{
  static const Manner manner = [] {
    const char *words = getenv ("PIRL_EMULATED");
    const auto has = [words] (const char *word) {
      return words != nullptr && strstr (words, word) != nullptr;
    };

    return Manner { has ("backward"), has ("late"), has ("locked") };
  } ();

  return manner;
}

bool
accepts (const Kernel &kernel, cudaStream_t stream)
{
  const Lock lock (mutex);
  const auto asked = shared_limits.find (kernel.address);
  const size_t limit = asked == shared_limits.end () ? SHARED_DEFAULT : (size_t) asked->second;
  const dim3 block = kernel.block;

  if (!known (stream_of (stream))) {
    last_error = cudaErrorInvalidResourceHandle;
    return false;
  }
  if (implicit_dependency (stream)) {
    last_error = cudaErrorStreamCaptureImplicit;
    return false;
  }
  if (!fits (kernel.grid, 0x7fffffff, 65535, 65535) || !fits (block, MAX_THREADS, MAX_THREADS, 64)
      || block.x * block.y * block.z > MAX_THREADS || kernel.shared > limit) {
    last_error = cudaErrorInvalidConfiguration;
    return false;
  }
  return true;
}

bool
reaches (const Kernel &kernel, int argument, const void *pointer)
{
  const Lock lock (mutex);

  if (pointer == nullptr || place (pointer, 0) != Place::HOST)
    return true;
  fail ("kernel %s is given %p as argument %d, which is neither memory of the card nor pinned",
      kernel.name, pointer, argument + 1);
}

void
submit (const Kernel &kernel, cudaStream_t stream)
{
  const Lock lock (mutex);

  result (queue (stream, [kernel] { run_grid (kernel); }));
}
}

cudaError_t
pirl_emulator_run (cudaStream_t stream, void (*function) (void *), const void *closure,
    size_t closure_bytes)
{
  const Lock lock (mutex);
  const unsigned char *bytes = static_cast<const unsigned char *> (closure);
  auto kept = std::make_shared<std::vector<unsigned char>> (bytes, bytes + closure_bytes);

  if (implicit_dependency (stream))
    return result (cudaErrorStreamCaptureImplicit);
  return result (queue (stream, [function, kept] {
    std::vector<unsigned char> own (*kept);

    function (own.data ());
  }));
}

int
pirl_emulator_on_card (const void *memory, size_t bytes)
{
  const Lock lock (mutex);

  return place (memory, bytes) == Place::CARD;
}

/* --- the interface: errors and devices --- */

cudaError_t
cudaGetLastError (void)
{
  const cudaError_t error = last_error;

  last_error = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError (void) { return last_error; }

const char *
cudaGetErrorName (cudaError_t error)
{
  for (const auto &known : errors)
    if (known.error == error)
      return known.name;
  return "unrecognized error code";
}

const char *
cudaGetErrorString (cudaError_t error)
{
  for (const auto &known : errors)
    if (known.error == error)
      return known.text;
  return "unrecognized error code";
}

cudaError_t
cudaRuntimeGetVersion (int *version)
{
  *version = VERSION;
  return cudaSuccess;
}

cudaError_t
cudaDriverGetVersion (int *version)
{
  *version = VERSION;
  return cudaSuccess;
}

cudaError_t
cudaGetDeviceCount (int *count)
{
  *count = DEVICES;
  return cudaSuccess;
}

cudaError_t
cudaSetDevice (int device)
{
  return result (device >= 0 && device < DEVICES ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t
cudaGetDevice (int *device)
{
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaSetDeviceFlags (unsigned int flags) { return cudaSuccess; }

cudaError_t
cudaDeviceGetAttribute (int *value, enum cudaDeviceAttr which, int device)
{
  if (device < 0 || device >= DEVICES)
    return result (cudaErrorInvalidDevice);
  *value = attribute (which);
  return result (*value < 0 ? cudaErrorInvalidValue : cudaSuccess);
}

cudaError_t
cudaGetDeviceProperties (struct cudaDeviceProp *properties, int device)
{
  if (device < 0 || device >= DEVICES)
    return result (cudaErrorInvalidDevice);
  *properties = {};
  snprintf (properties->name, sizeof (properties->name), "emulated on the CPU, for tests");
  properties->totalGlobalMem = card_bytes ();
  properties->sharedMemPerBlock = SHARED_DEFAULT;
  properties->sharedMemPerBlockOptin = SHARED_MOST;
  properties->sharedMemPerMultiprocessor = SHARED_MOST + 1024;
  properties->warpSize = WARP;
  properties->maxThreadsPerBlock = (int) MAX_THREADS;
  properties->maxThreadsPerMultiProcessor = attribute (cudaDevAttrMaxThreadsPerMultiProcessor);
  properties->multiProcessorCount = MULTIPROCESSORS;
  properties->major = 9;
  properties->l2CacheSize = attribute (cudaDevAttrL2CacheSize);
  properties->memoryBusWidth = 64;
  return cudaSuccess;
}

cudaError_t
cudaDeviceGetPCIBusId (char *id, int length, int device)
{
  if (device < 0 || device >= DEVICES)
    return result (cudaErrorInvalidDevice);
  snprintf (id, (size_t) length, "0000:00:00.0");
  return cudaSuccess;
}

cudaError_t
cudaDeviceSynchronize (void)
{
  const Lock lock (mutex);

  if (forbidden ())
    return result (cudaErrorStreamCaptureUnsupported);
  drain_all ();
  return cudaSuccess;
}

/* --- memory --- */

cudaError_t
cudaMalloc (void **memory, size_t bytes)
{
  const Lock lock (mutex);

  if (forbidden ())
    return result (cudaErrorStreamCaptureUnsupported);
  *memory = bytes > 0 ? card_alloc (bytes) : nullptr;
  return result (bytes == 0 || *memory ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t
cudaFree (void *memory)
{
  const Lock lock (mutex);

  if (memory == nullptr)
    return cudaSuccess;
  if (forbidden ())
    return result (cudaErrorStreamCaptureUnsupported);
  drain_all ();
  return result (card_free (memory) ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t
cudaHostAlloc (void **memory, size_t bytes, unsigned int flags)
{
  const Lock lock (mutex);

  if (forbidden ())
    return result (cudaErrorStreamCaptureUnsupported);
  *memory = bytes > 0 ? pinned_alloc (bytes) : nullptr;
  return result (bytes == 0 || *memory ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t
cudaMallocHost (void **memory, size_t bytes)
{
  return cudaHostAlloc (memory, bytes, cudaHostAllocDefault);
}

cudaError_t
cudaFreeHost (void *memory)
{
  const Lock lock (mutex);

  if (memory == nullptr)
    return cudaSuccess;
  if (forbidden ())
    return result (cudaErrorStreamCaptureUnsupported);
  drain_all ();
  return result (pinned_free (memory) ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t
cudaMemGetInfo (size_t *free, size_t *total)
{
  const Lock lock (mutex);

  *total = card_bytes ();
  *free = card_bytes () - card_used ();
  return cudaSuccess;
}

/* What comes from memory that is not pinned has been read, but need not have arrived: streams that
 * do not wait for the default stream may be faster. */
cudaError_t
cudaMemcpy (void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind)
{
  const Lock lock (mutex);
  cudaError_t error;

  if (forbidden () || implicit_dependency (nullptr))
    return result (cudaErrorStreamCaptureImplicit);
  error = queue_copy (copy_line (dst, src, bytes), kind, nullptr);
  if (place (src, bytes) != Place::HOST || place (dst, bytes) != Place::CARD)
    drain (&default_stream);
  return result (error);
}

cudaError_t
cudaMemcpyAsync (void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind,
    cudaStream_t stream)
{
  const Lock lock (mutex);

  if (implicit_dependency (stream))
    return result (cudaErrorStreamCaptureImplicit);
  return result (queue_copy (copy_line (dst, src, bytes), kind, stream));
}

cudaError_t
cudaMemcpy2DAsync (void *dst, size_t dst_pitch, const void *src, size_t src_pitch, size_t width,
    size_t height, enum cudaMemcpyKind kind, cudaStream_t stream)
{
  const Lock lock (mutex);

  if (implicit_dependency (stream))
    return result (cudaErrorStreamCaptureImplicit);
  return result (queue_copy ({ static_cast<unsigned char *> (dst),
        static_cast<const unsigned char *> (src), dst_pitch, src_pitch, width, height }, kind,
      stream));
}

cudaError_t
cudaMemset (void *memory, int value, size_t bytes)
{
  const Lock lock (mutex);

  if (forbidden () || implicit_dependency (nullptr))
    return result (cudaErrorStreamCaptureImplicit);
  return result (queue_memset (memory, value, bytes, nullptr));
}

cudaError_t
cudaMemsetAsync (void *memory, int value, size_t bytes, cudaStream_t stream)
{
  const Lock lock (mutex);

  if (implicit_dependency (stream))
    return result (cudaErrorStreamCaptureImplicit);
  return result (queue_memset (memory, value, bytes, stream));
}

/* --- streams --- */

cudaError_t
cudaStreamCreateWithFlags (cudaStream_t *stream, unsigned int flags)
{
  const Lock lock (mutex);

  *stream = new CUstream_st { !(flags & cudaStreamNonBlocking), {}, nullptr };
  streams.insert (*stream);
  return cudaSuccess;
}

cudaError_t
cudaStreamCreate (cudaStream_t *stream)
{
  return cudaStreamCreateWithFlags (stream, cudaStreamDefault);
}

cudaError_t
cudaStreamCreateWithPriority (cudaStream_t *stream, unsigned int flags, int priority)
{
  return cudaStreamCreateWithFlags (stream, flags);
}

cudaError_t
cudaStreamDestroy (cudaStream_t stream)
{
  const Lock lock (mutex);

  if (stream_of (stream) == &default_stream || !known (stream))
    return result (cudaErrorInvalidResourceHandle);
  drain (stream);
  streams.erase (stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t
cudaStreamSynchronize (cudaStream_t stream)
{
  const Lock lock (mutex);

  stream = stream_of (stream);
  if (!known (stream))
    return result (cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr) {
    stream->capture->invalid = true;
    return result (cudaErrorStreamCaptureUnsupported);
  }
  if (implicit_dependency (stream))
    return result (cudaErrorStreamCaptureImplicit);
  if (forbidden ())
    return result (cudaErrorStreamCaptureUnsupported);
  drain_others (stream);
  drain (stream);
  return cudaSuccess;
}

/* Who asks again and again must see it done some day: every question lets one piece of work run. */
cudaError_t
cudaStreamQuery (cudaStream_t stream)
{
  const Lock lock (mutex);

  stream = stream_of (stream);
  if (!known (stream))
    return result (cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr) {
    stream->capture->invalid = true;
    return result (cudaErrorStreamCaptureUnsupported);
  }
  if (forbidden ())
    return result (cudaErrorStreamCaptureUnsupported);
  if (stream->queue.empty ())
    return cudaSuccess;
  run_front (stream);
  return cudaErrorNotReady;
}

cudaError_t
cudaStreamWaitEvent (cudaStream_t stream, cudaEvent_t event, unsigned int flags)
{
  const Lock lock (mutex);

  return result (wait_event (stream, event, flags));
}

cudaError_t
cudaLaunchHostFunc (cudaStream_t stream, cudaHostFn_t function, void *data)
{
  const Lock lock (mutex);

  return result (queue (stream, [function, data] {
    card_lock (true);
    function (data);
    card_lock (false);
  }));
}

/* --- events --- */

cudaError_t
cudaEventCreateWithFlags (cudaEvent_t *event, unsigned int flags)
{
  const Lock lock (mutex);

  *event = new CUevent_st { !(flags & cudaEventDisableTiming), 0, 0, 0.0, nullptr, nullptr };
  events.insert (*event);
  return cudaSuccess;
}

cudaError_t
cudaEventCreate (cudaEvent_t *event)
{
  return cudaEventCreateWithFlags (event, cudaEventDefault);
}

cudaError_t
cudaEventDestroy (cudaEvent_t event)
{
  const Lock lock (mutex);

  if (events.count (event) == 0)
    return result (cudaErrorInvalidResourceHandle);
  complete (event, event->recorded);
  events.erase (event);
  delete event;
  return cudaSuccess;
}

cudaError_t
cudaEventRecordWithFlags (cudaEvent_t event, cudaStream_t stream, unsigned int flags)
{
  const Lock lock (mutex);

  return result (record (event, stream, flags));
}

cudaError_t
cudaEventRecord (cudaEvent_t event, cudaStream_t stream)
{
  return cudaEventRecordWithFlags (event, stream, cudaEventRecordDefault);
}

cudaError_t
cudaEventSynchronize (cudaEvent_t event)
{
  const Lock lock (mutex);

  if (event->capture != nullptr) {
    event->capture->invalid = true;
    return result (cudaErrorCapturedEvent);
  }
  if (forbidden ())
    return result (cudaErrorStreamCaptureUnsupported);
  complete (event, event->recorded);
  return cudaSuccess;
}

cudaError_t
cudaEventQuery (cudaEvent_t event)
{
  const Lock lock (mutex);

  if (event->capture != nullptr)
    return result (cudaErrorCapturedEvent);
  if (forbidden ())
    return result (cudaErrorStreamCaptureUnsupported);
  if (event->done == event->recorded)
    return cudaSuccess;
  run_front (event->stream);
  return cudaErrorNotReady;
}

cudaError_t
cudaEventElapsedTime (float *ms, cudaEvent_t start, cudaEvent_t end)
{
  const Lock lock (mutex);

  if (!start->timing || !end->timing || start->recorded == 0 || end->recorded == 0)
    return result (cudaErrorInvalidResourceHandle);
  if (start->done != start->recorded || end->done != end->recorded)
    return cudaErrorNotReady;
  *ms = (float) (end->ms - start->ms);
  return cudaSuccess;
}

/* --- graphs --- */

cudaError_t
cudaStreamBeginCapture (cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
  const Lock lock (mutex);

  stream = stream_of (stream);
  if (stream == &default_stream)
    return result (cudaErrorStreamCaptureUnsupported);
  if (!known (stream))
    return result (cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr)
    return result (cudaErrorInvalidValue);
  stream->capture = new Capture { stream, mode, false, {}, {} };
  own_captures += mode != cudaStreamCaptureModeRelaxed;
  captures += mode == cudaStreamCaptureModeGlobal;
  return cudaSuccess;
}

cudaError_t
cudaThreadExchangeStreamCaptureMode (enum cudaStreamCaptureMode *mode)
{
  const cudaStreamCaptureMode former = own_mode;

  own_mode = *mode;
  *mode = former;
  return cudaSuccess;
}

cudaError_t
cudaStreamEndCapture (cudaStream_t stream, cudaGraph_t *graph)
{
  const Lock lock (mutex);
  cudaError_t error = cudaSuccess;

  *graph = nullptr;
  stream = stream_of (stream);
  if (!known (stream) || stream->capture == nullptr || stream->capture->origin != stream)
    return result (cudaErrorStreamCaptureUnmatched);
  const std::unique_ptr<Capture> capture (stream->capture);
  own_captures -= capture->mode != cudaStreamCaptureModeRelaxed;
  captures -= capture->mode == cudaStreamCaptureModeGlobal;
  if (capture->invalid)
    error = cudaErrorStreamCaptureInvalidated;
  else if (!capture->forks.empty ())
    error = cudaErrorStreamCaptureUnjoined;
  for (cudaStream_t other : streams)
    if (other->capture == capture.get ())
      other->capture = nullptr;
  for (cudaEvent_t event : events)
    if (event->capture == capture.get ())
      event->capture = nullptr;
  if (error == cudaSuccess)
    *graph = new CUgraph_st { std::move (capture->nodes) };
  return result (error);
}

cudaError_t
cudaStreamIsCapturing (cudaStream_t stream, enum cudaStreamCaptureStatus *status)
{
  const Lock lock (mutex);

  stream = stream_of (stream);
  if (!known (stream))
    return result (cudaErrorInvalidResourceHandle);
  *status = stream->capture == nullptr ? cudaStreamCaptureStatusNone
      : stream->capture->invalid ? cudaStreamCaptureStatusInvalidated
      : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

/* Only how many. */
cudaError_t
cudaGraphGetNodes (cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *n_nodes)
{
  *n_nodes = graph->nodes.size ();
  return nodes == nullptr ? cudaSuccess : result (cudaErrorNotSupported);
}

cudaError_t
cudaGraphInstantiate (cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags)
{
  *exec = new CUgraphExec_st { graph->nodes };
  return cudaSuccess;
}

cudaError_t cudaGraphUpload (cudaGraphExec_t exec, cudaStream_t stream) { return cudaSuccess; }

cudaError_t
cudaGraphLaunch (cudaGraphExec_t exec, cudaStream_t stream)
{
  const Lock lock (mutex);
  cudaError_t error = cudaSuccess;

  for (const Work &node : exec->nodes)
    if (error == cudaSuccess)
      error = queue (stream, node);
  return result (error);
}

cudaError_t
cudaGraphExecDestroy (cudaGraphExec_t exec)
{
  delete exec;
  return cudaSuccess;
}

cudaError_t
cudaGraphDestroy (cudaGraph_t graph)
{
  delete graph;
  return cudaSuccess;
}

cudaError_t
cudaFuncSetAttribute (const void *function, enum cudaFuncAttribute which, int value)
{
  const Lock lock (mutex);

  if (which == cudaFuncAttributePreferredSharedMemoryCarveout)
    return cudaSuccess;
  if (which != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0
      || value > (int) SHARED_MOST)
    return result (cudaErrorInvalidValue);
  shared_limits[function] = value;
  return cudaSuccess;
}
