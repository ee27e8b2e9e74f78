/* A libnvidia-ml.so.1 for machines without a GPU: answers NVML's questions about pretend devices.
 *
 * NVML_SHIM_GPUS=N (default 2) devices, all named NVML_SHIM_MODEL (default "NVIDIA A100-SXM4-80GB").
 * Signatures and structures follow NVIDIA's nvml.h. A function missing here is reported by pynvml as
 * FunctionNotFound, as an old driver's would be.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int nvmlReturn_t;
typedef struct device { unsigned index; } *nvmlDevice_t;
typedef struct { unsigned long long total, free, used; } nvmlMemory_t;
typedef struct { unsigned gpu, memory; } nvmlUtilization_t;

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, INSUFFICIENT_SIZE = 7 };
enum { MOST = 16 };
static struct device devices[MOST];

static unsigned count(void) {
    const char *wanted = getenv("NVML_SHIM_GPUS");
    int n = wanted ? atoi(wanted) : 2;
    return n < 0 ? 0 : n > MOST ? MOST : (unsigned)n;
}

static nvmlReturn_t text(char *out, unsigned length, const char *value) {
    if (strlen(value) + 1 > length) return INSUFFICIENT_SIZE;
    strcpy(out, value);
    return SUCCESS;
}

nvmlReturn_t nvmlInit_v2(void) { return SUCCESS; }
nvmlReturn_t nvmlInitWithFlags(unsigned flags) { (void)flags; return SUCCESS; }
nvmlReturn_t nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(nvmlReturn_t code) { return code == SUCCESS ? "Success" : "Error"; }
nvmlReturn_t nvmlSystemGetDriverVersion(char *out, unsigned length) { return text(out, length, "550.00"); }
nvmlReturn_t nvmlSystemGetNVMLVersion(char *out, unsigned length) { return text(out, length, "12.550.00"); }

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *n) { *n = count(); return SUCCESS; }

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *device) {
    if (index >= count()) return INVALID_ARGUMENT;
    devices[index].index = index;
    *device = &devices[index];
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned *index) { *index = device->index; return SUCCESS; }
nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t device, unsigned *minor) { *minor = device->index; return SUCCESS; }

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *out, unsigned length) {
    (void)device;
    const char *model = getenv("NVML_SHIM_MODEL");
    return text(out, length, model ? model : "NVIDIA A100-SXM4-80GB");
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *out, unsigned length) {
    char uuid[64];
    snprintf(uuid, sizeof uuid, "GPU-00000000-0000-0000-0000-%012u", device->index);
    return text(out, length, uuid);
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    (void)device;
    memory->total = 80ULL << 30;
    memory->used = 1ULL << 30;
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *rates) {
    (void)device;
    rates->gpu = 0;
    rates->memory = 1;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, int sensor, unsigned *celsius) {
    (void)device, (void)sensor;
    *celsius = 40;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned *milliwatts) {
    (void)device;
    *milliwatts = 60000;
    return SUCCESS;
}
