/* gst-pirl: a CUDA driver that loads code and does nothing else.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * cuDNN's runtime-compiled engines compile a kernel for the device that a plan is made for, which
 * needs no card, and load it, which needs libcuda.so.1. This module has that name (its soname):
 * opened before cuDNN looks for a driver, it lets such plans be made completely. Every function
 * that would use a card says that there is none.
 */
#include <stddef.h>

enum { SUCCESS = 0, NO_DEVICE = 100 };

/* What cuDNN looks up and must not get far with. */
#define REFUSES(name) \
  int name (void); \
  int name (void) { return NO_DEVICE; }

#pragma GCC visibility push (default)

REFUSES (cuInit)
REFUSES (cuDriverGetVersion)
REFUSES (cuGetErrorString)
REFUSES (cuGetErrorName)
REFUSES (cuCtxGetCurrent)
REFUSES (cuCtxGetDevice)
REFUSES (cuCtxGetLimit)
REFUSES (cuCtxPopCurrent)
REFUSES (cuCtxPushCurrent)
REFUSES (cuDeviceGet)
REFUSES (cuDeviceGetAttribute)
REFUSES (cuDeviceGetCount)
REFUSES (cuDevicePrimaryCtxRelease)
REFUSES (cuDevicePrimaryCtxReset)
REFUSES (cuDevicePrimaryCtxRetain)
REFUSES (cuFuncGetAttribute)
REFUSES (cuLaunchCooperativeKernel)
REFUSES (cuLaunchKernel)
REFUSES (cuLaunchKernelEx)
REFUSES (cuLibraryLoadFromFile)
REFUSES (cuLinkAddData)
REFUSES (cuLinkAddData_v2)
REFUSES (cuLinkAddFile_v2)
REFUSES (cuLinkComplete)
REFUSES (cuLinkCreate)
REFUSES (cuLinkCreate_v2)
REFUSES (cuLinkDestroy)
REFUSES (cuMemcpyDtoH_v2)
REFUSES (cuModuleGetFunction)
REFUSES (cuModuleGetGlobal_v2)
REFUSES (cuModuleLoadData)
REFUSES (cuModuleLoadDataEx)
REFUSES (cuModuleLoadFatBinary)
REFUSES (cuModuleUnload)
REFUSES (cuOccupancyMaxActiveBlocksPerMultiprocessor)
REFUSES (cuOccupancyMaxPotentialClusterSize)
REFUSES (cuStreamGetCtx)
REFUSES (cuStreamSynchronize)
REFUSES (cuTensorMapEncodeTiled)

/* Code and kernels are addresses that nothing looks at. */
static char library, kernel, function;

int cuLibraryLoadData (void **loaded, const void *code);
int cuLibraryUnload (void *loaded);
int cuLibraryGetKernel (void **found, void *loaded, const char *name);
int cuLibraryGetGlobal (void **address, size_t *bytes, void *loaded, const char *name);
int cuKernelGetFunction (void **found, void *of);
int cuKernelSetAttribute (int attribute, int value, void *of, int device);
int cuKernelGetAttribute (int *value, int attribute, void *of, int device);
int cuFuncSetAttribute (void *of, int attribute, int value);

int
cuLibraryLoadData (void **loaded, const void *code)
{
  *loaded = &library;
  return code ? SUCCESS : NO_DEVICE;
}

int
cuLibraryUnload (void *loaded)
{
  return SUCCESS;
}

int
cuLibraryGetKernel (void **found, void *loaded, const char *name)
{
  *found = &kernel;
  return SUCCESS;
}

int
cuLibraryGetGlobal (void **address, size_t *bytes, void *loaded, const char *name)
{
  return NO_DEVICE;
}

int
cuKernelGetFunction (void **found, void *of)
{
  *found = &function;
  return SUCCESS;
}

int
cuKernelSetAttribute (int attribute, int value, void *of, int device)
{
  return SUCCESS;
}

int
cuKernelGetAttribute (int *value, int attribute, void *of, int device)
{
  *value = 0;
  return SUCCESS;
}

int
cuFuncSetAttribute (void *of, int attribute, int value)
{
  return SUCCESS;
}

#pragma GCC visibility pop
