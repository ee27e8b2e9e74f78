/* A libnvidia-ml.so.1 for machines without a GPU: answers NVML's questions about pretend devices.
 *
 * NVML_SHIM_GPUS=N (default 2) devices, all named NVML_SHIM_MODEL (default "NVIDIA A100-SXM4-80GB"); a line `* gpus N` or
 * `* model NVIDIA_H100_80GB` (with _ for blanks) of the state file where they are not set.
 * NVML_SHIM_STATE=FILE (default STATE_FOLDER/<SLURMD_NODENAME> where the build names a folder) is read at every question, so that a test changes what a GPU does while it is watched: lines
 * `DEVICE KEY VALUE`, DEVICE being `0`, or `0:1` for a MIG instance, or `*`; a later line wins. Keys (default):
 *   utilisation (0) memory_utilisation (1) in percent; memory_used (1 GiB) memory_reserved (0) memory_total (80 GiB)
 *   power (60000) power_limit (400000) in mW; temperature (40); sm_clock (1410) memory_clock (1593);
 *   throttle (1) bits; pcie_rx pcie_tx (0) KiB/s; nvlink_rx nvlink_tx counters in KiB (not supported);
 *   gpm (0) 1 where GPM counts; gpm_1, gpm_2, … counters whose difference between two samples is that metric's value;
 *   mig (0) how many instances; process PID:BYTES, may repeat; lost (0) 1 after the GPU fell off the bus;
 *   without NAME, may repeat: the call nvmlDeviceNAME is not supported.
 * Signatures and structures follow NVIDIA's nvml.h. A function missing here is reported by pynvml as
 * FunctionNotFound, as an old driver's would be.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int nvmlReturn_t;
typedef struct device { unsigned index; int instance; /* -1: the whole GPU */ } *nvmlDevice_t;
typedef struct { unsigned long long total, free, used; } nvmlMemory_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } nvmlMemory_v2_t;
typedef struct { unsigned gpu, memory; } nvmlUtilization_t;
typedef struct { unsigned pid; unsigned long long memory; unsigned gpu_instance, compute_instance; } nvmlProcessInfo_t;
typedef union { double d; unsigned ui; unsigned long ul; unsigned long long ull; long long sll; } nvmlValue_t;
typedef struct {
    unsigned field, scope;
    long long timestamp, latency;
    int type, result;
    nvmlValue_t value;
} nvmlFieldValue_t;
typedef struct gpm_sample { unsigned long long counters[256]; } *nvmlGpmSample_t;
typedef struct { unsigned version, supported; } nvmlGpmSupport_t;
typedef struct {
    unsigned id;
    int result;
    double value;
    struct { char *short_name, *long_name, *unit; } info;
} nvmlGpmMetric_t;
typedef struct {
    unsigned version, count;
    nvmlGpmSample_t first, second;
    nvmlGpmMetric_t metrics[];
} nvmlGpmMetricsGet_t;

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, LOST = 15 };
enum { MOST = 16, MOST_INSTANCES = 7, NVLINK_TX = 138, NVLINK_RX = 139, UNSIGNED_LONG_LONG = 3 };
static struct device devices[MOST], instances[MOST][MOST_INSTANCES];

static FILE *open_state(void) {
    const char *path = getenv("NVML_SHIM_STATE");
#ifdef STATE_FOLDER
    const char *node = getenv("SLURMD_NODENAME");
    char named[512];
    if (!path && node && !strchr(node, '/')) {
        snprintf(named, sizeof named, "%s/%s", STATE_FOLDER, node);
        path = named;
    }
#endif
    return path ? fopen(path, "r") : NULL;
}

/* Calls `found` with each value the state file has for a key of a device. */
static void each(nvmlDevice_t device, const char *key, void (*found)(const char *value, void *to), void *to) {
    FILE *file = open_state();
    if (!file) return;
    char name[16], line_device[16], line_key[64], value[128];
    if (device->instance < 0) snprintf(name, sizeof name, "%u", device->index);
    else snprintf(name, sizeof name, "%u:%d", device->index, device->instance);
    while (fscanf(file, "%15s %63s %127s", line_device, line_key, value) == 3)
        if (!strcmp(line_key, key) && (!strcmp(line_device, "*") || !strcmp(line_device, name))) found(value, to);
    fclose(file);
}

static void number(const char *value, void *to) { *(unsigned long long *)to = strtoull(value, NULL, 0); }

static unsigned long long state(nvmlDevice_t device, const char *key, unsigned long long otherwise) {
    each(device, key, number, &otherwise);
    return otherwise;
}

static unsigned count(void) {
    const char *wanted = getenv("NVML_SHIM_GPUS");
    static struct device any = {~0U, -1};
#ifdef STATE_FOLDER
    unsigned long long n = wanted ? (unsigned long long)atoi(wanted) : state(&any, "gpus", 0);
#else
    unsigned long long n = wanted ? (unsigned long long)atoi(wanted) : state(&any, "gpus", 2);
#endif
    return n > MOST ? MOST : (unsigned)n;
}

static void word(const char *value, void *to) {
    char *out = to;
    snprintf(out, 80, "%s", value);
    for (; *out; out++) if (*out == '_') *out = ' ';
}

struct refusal { const char *call; int refused; };
static void refuse(const char *value, void *to) {
    struct refusal *asked = to;
    if (!strcmp(value, asked->call)) asked->refused = 1;
}

/* What every call begins with: is the GPU there, and does it know the call? */
static nvmlReturn_t answers(nvmlDevice_t device, const char *call) {
    struct refusal asked = {call, 0};
    if (state(&devices[device->index], "lost", 0)) return LOST;
    each(device, "without", refuse, &asked);
    return asked.refused ? NOT_SUPPORTED : SUCCESS;
}

#define ANSWERS(device, call) do { nvmlReturn_t r = answers(device, call); if (r) return r; } while (0)
#define WHOLE(device) do { if ((device)->instance >= 0) return NOT_SUPPORTED; } while (0)

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
    devices[index].instance = -1;
    *device = &devices[index];
    return answers(*device, "GetHandleByIndex");
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned *index) { *index = device->index; return SUCCESS; }
nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t device, unsigned *minor) { *minor = device->index; return SUCCESS; }

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *out, unsigned length) {
    const char *set = getenv("NVML_SHIM_MODEL");
    char model[80], name[96];
    snprintf(model, sizeof model, "%s", set ? set : "NVIDIA A100-SXM4-80GB");
    if (!set) each(&devices[device->index], "model", word, model);
    snprintf(name, sizeof name, "%s%s", model, device->instance < 0 ? "" : " MIG 1g.10gb");
    return text(out, length, name);
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *out, unsigned length) {
    char uuid[64];
    if (device->instance < 0) snprintf(uuid, sizeof uuid, "GPU-00000000-0000-0000-0000-%012u", device->index);
    else snprintf(uuid, sizeof uuid, "MIG-00000000-0000-0000-%04d-%012u", device->instance, device->index);
    return text(out, length, uuid);
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    ANSWERS(device, "GetMemoryInfo");
    memory->total = state(device, "memory_total", 80ULL << 30);
    memory->used = state(device, "memory_used", 1ULL << 30) + state(device, "memory_reserved", 0);
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory) {
    ANSWERS(device, "GetMemoryInfo_v2");
    memory->total = state(device, "memory_total", 80ULL << 30);
    memory->used = state(device, "memory_used", 1ULL << 30);
    memory->reserved = state(device, "memory_reserved", 0);
    memory->free = memory->total - memory->used - memory->reserved;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *rates) {
    ANSWERS(device, "GetUtilizationRates");
    WHOLE(device);
    if (state(device, "mig", 0)) return NOT_SUPPORTED;
    rates->gpu = (unsigned)state(device, "utilisation", 0);
    rates->memory = (unsigned)state(device, "memory_utilisation", 1);
    return SUCCESS;
}

static nvmlReturn_t whole(nvmlDevice_t device, const char *call, const char *key, unsigned otherwise, unsigned *out) {
    ANSWERS(device, call);
    WHOLE(device);
    *out = (unsigned)state(device, key, otherwise);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, int sensor, unsigned *celsius) {
    (void)sensor;
    return whole(device, "GetTemperature", "temperature", 40, celsius);
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned *milliwatts) {
    return whole(device, "GetPowerUsage", "power", 60000, milliwatts);
}

nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t device, unsigned *milliwatts) {
    return whole(device, "GetEnforcedPowerLimit", "power_limit", 400000, milliwatts);
}

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, int clock, unsigned *mhz) {
    return clock == 2 ? whole(device, "GetClockInfo", "memory_clock", 1593, mhz)
                      : whole(device, "GetClockInfo", "sm_clock", 1410, mhz);
}

nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t device, unsigned long long *bits) {
    unsigned low;
    nvmlReturn_t result = whole(device, "GetCurrentClocksThrottleReasons", "throttle", 1, &low);
    *bits = low;
    return result;
}

nvmlReturn_t nvmlDeviceGetPcieThroughput(nvmlDevice_t device, int counter, unsigned *kib) {
    return whole(device, "GetPcieThroughput", counter == 0 ? "pcie_tx" : "pcie_rx", 0, kib);
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int n, nvmlFieldValue_t *values) {
    ANSWERS(device, "GetFieldValues");
    for (int i = 0; i < n; i++) {
        const char *key = values[i].field == NVLINK_TX ? "nvlink_tx" : values[i].field == NVLINK_RX ? "nvlink_rx" : "";
        values[i].type = UNSIGNED_LONG_LONG;
        values[i].value.ull = state(device, key, ~0ULL);
        values[i].result = values[i].value.ull == ~0ULL ? NOT_SUPPORTED : SUCCESS;
    }
    return SUCCESS;
}

struct processes { nvmlProcessInfo_t *out; unsigned room, n; };
static void add_process(const char *value, void *to) {
    struct processes *list = to;
    char *colon;
    unsigned pid = (unsigned)strtoul(value, &colon, 10);
    if (list->out && list->n < list->room)
        list->out[list->n] = (nvmlProcessInfo_t){pid, *colon ? strtoull(colon + 1, NULL, 10) : ~0ULL, ~0U, ~0U};
    list->n++;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned *n, nvmlProcessInfo_t *out) {
    ANSWERS(device, "GetComputeRunningProcesses");
    struct processes list = {out, *n, 0};
    each(device, "process", add_process, &list);
    *n = list.n;
    return list.n > list.room ? INSUFFICIENT_SIZE : SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t device, unsigned *n, nvmlProcessInfo_t *out) {
    (void)out;
    ANSWERS(device, "GetGraphicsRunningProcesses");
    *n = 0;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned *current, unsigned *pending) {
    ANSWERS(device, "GetMigMode");
    WHOLE(device);
    *current = *pending = state(device, "mig", 0) > 0;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned *n) {
    ANSWERS(device, "GetMaxMigDeviceCount");
    *n = MOST_INSTANCES;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned index, nvmlDevice_t *instance) {
    ANSWERS(device, "GetMigDeviceHandleByIndex");
    if (index >= state(device, "mig", 0) || index >= MOST_INSTANCES) return NOT_FOUND;
    instances[device->index][index].index = device->index;
    instances[device->index][index].instance = (int)index;
    *instance = &instances[device->index][index];
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t device, unsigned *id) {
    ANSWERS(device, "GetGpuInstanceId");
    *id = (unsigned)device->instance;
    return SUCCESS;
}

nvmlReturn_t nvmlGpmQueryDeviceSupport(nvmlDevice_t device, nvmlGpmSupport_t *support) {
    ANSWERS(device, "GpmQueryDeviceSupport");
    support->supported = state(device, "gpm", 0) > 0;
    return SUCCESS;
}

nvmlReturn_t nvmlGpmSampleAlloc(nvmlGpmSample_t *sample) {
    *sample = calloc(1, sizeof **sample);
    return SUCCESS;
}

nvmlReturn_t nvmlGpmSampleFree(nvmlGpmSample_t sample) { free(sample); return SUCCESS; }

nvmlReturn_t nvmlGpmSampleGet(nvmlDevice_t device, nvmlGpmSample_t sample) {
    ANSWERS(device, "GpmSampleGet");
    for (unsigned id = 0; id < 256; id++) {
        char key[16];
        snprintf(key, sizeof key, "gpm_%u", id);
        if (id <= 13 || id == 20 || id == 21 || id == 60 || id == 61) sample->counters[id] = state(device, key, ~0ULL);
    }
    return SUCCESS;
}

nvmlReturn_t nvmlGpmMigSampleGet(nvmlDevice_t device, unsigned instance, nvmlGpmSample_t sample) {
    return instance < MOST_INSTANCES ? nvmlGpmSampleGet(&instances[device->index][instance], sample) : INVALID_ARGUMENT;
}

nvmlReturn_t nvmlGpmMetricsGet(nvmlGpmMetricsGet_t *asked) {
    for (unsigned i = 0; i < asked->count; i++) {
        unsigned id = asked->metrics[i].id;
        unsigned long long first = asked->first->counters[id], second = asked->second->counters[id];
        asked->metrics[i].result = first == ~0ULL || second == ~0ULL ? NOT_SUPPORTED : SUCCESS;
        asked->metrics[i].value = (double)second - (double)first;
    }
    return SUCCESS;
}
