/* A CUDA driver library without a GPU, for tests: the functions that mnx calls, over host memory.
 *
 * Work put into a stream is not done until someone waits for it, and then in a random order that the streams' order and the events allow (FAKE_CUDA_SEED): a
 * missing wait shows as wrong numbers. Calls are checked as the real driver checks them, and some it does not check (memory freed while work is pending, a
 * context that is not the calling thread's). "Modules" are shared objects whose functions compute one block: as bytes for cubins, named in a comment for PTX.
 *
 * Environment: FAKE_CUDA_DEVICES (1), FAKE_CUDA_VERSION (12080), FAKE_CUDA_CC (90), FAKE_CUDA_PTX (87), FAKE_CUDA_FREE in MiB (1024), FAKE_CUDA_INIT (what cuInit
 * returns), FAKE_CUDA_SEED, FAKE_CUDA_LOG (a file that gets one line per call; LOG.fault names a kernel that fails when it runs), FAKE_CUDA_BADCUBIN (cubins do not load). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long long ptr_t;
typedef struct Context { int device, retained; } Context;
typedef struct Block { char *at; size_t bytes; int pinned; Context *context; struct Block *next; } Block;
typedef void (*Kernel)(void **, unsigned, unsigned, unsigned);
typedef struct Function { Kernel run; int params, most_shared; char name[64]; struct Function *next; } Function;
typedef struct Module { void *handle; Function *functions; } Module;
typedef struct Event { int timed; unsigned long issued, passed; double at; } Event;
enum Kind { LAUNCH, FILL, COPY, RECORD, WAIT };
typedef struct Op {
    enum Kind kind;
    Function *function;
    unsigned grid[3];
    ptr_t params[24];
    char *dst, *src;
    size_t bytes;
    unsigned char value;
    Event *event;
    unsigned long number;
    struct Op *next;
} Op;
typedef struct Graph { Op *first, *last; } Graph;
typedef struct Stream { Context *context; Op *first, *last; Graph *capture; struct Stream *next; } Stream;

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static Context contexts[16];
static __thread Context *current;
static Block *blocks;
static Stream *streams;
static int sticky, started;
static unsigned long long state;

static long setting(const char *name, long otherwise) { const char *v = getenv(name); return v ? atol(v) : otherwise; }

static void say(const char *format, ...) {
    const char *name = getenv("FAKE_CUDA_LOG");
    if (!name) return;
    FILE *f = fopen(name, "a");
    if (!f) return;
    va_list list;
    va_start(list, format);
    vfprintf(f, format, list);
    va_end(list);
    fputc('\n', f);
    fclose(f);
}

static void die(const char *why) { fprintf(stderr, "fake CUDA: %s\n", why); say("ABORT %s", why); abort(); }

#define ENTER(name) say("%s", name); pthread_mutex_lock(&lock)
#define LEAVE(code) do { int c_ = (code); pthread_mutex_unlock(&lock); return c_; } while (0)
#define NEED(condition, code) if (!(condition)) LEAVE(code)

static unsigned draw(unsigned n) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(state >> 33) % n;
}

static Block *block_of(const void *at, size_t bytes) {
    for (Block *b = blocks; b; b = b->next)
        if ((const char *)at >= b->at && (const char *)at + bytes <= b->at + b->bytes) return b;
    return 0;
}

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1e3 + t.tv_nsec * 1e-6; }

/* Whether the file beside the log, LOG.fault, names this kernel. */
static int faulty(const char *name) {
    char path[512], found[64] = "";
    const char *log = getenv("FAKE_CUDA_LOG");
    if (!log) return 0;
    snprintf(path, sizeof path, "%s.fault", log);
    FILE *f = fopen(path, "r");
    if (!f) return 0;
    if (fscanf(f, "%63s", found) != 1) found[0] = 0;
    fclose(f);
    return !strcmp(found, name);
}

static void perform(Op *op) {
    switch (op->kind) {
    case LAUNCH: {
        if (faulty(op->function->name)) { sticky = 700; return; }
        void *params[24];
        for (int i = 0; i < op->function->params; ++i) params[i] = &op->params[i];
        for (unsigned z = 0; z < op->grid[2]; ++z)
            for (unsigned y = 0; y < op->grid[1]; ++y)
                for (unsigned x = 0; x < op->grid[0]; ++x) op->function->run(params, x, y, z);
        break;
    }
    case FILL: memset(op->dst, op->value, op->bytes); break;
    case COPY: memcpy(op->dst, op->src, op->bytes); break;
    case RECORD: op->event->passed = op->number; op->event->at = now(); break;
    case WAIT: break;
    }
}

/* Does one piece of work that may be done now; 0 if there is none. */
static int step(void) {
    Stream *ready[64];
    unsigned n = 0;
    for (Stream *s = streams; s; s = s->next)
        if (s->first && !(s->first->kind == WAIT && s->first->event->passed < s->first->number)) ready[n++] = s;
    if (!n) return 0;
    Stream *s = ready[draw(n)];
    Op *op = s->first;
    s->first = op->next;
    if (!s->first) s->last = 0;
    if (!sticky) perform(op);
    else if (op->kind == RECORD) op->event->passed = op->number;
    free(op);
    return 1;
}

static int drain(Stream *s) {
    while (s->first) if (!step()) die("deadlock");
    return sticky;
}

/* Of the GPU at hand: another may well be at work while this one's things go. */
static void busy_check(const char *what) {
    for (Stream *s = streams; s; s = s->next) if (s->first && s->context == current) die(what);
}

static int put(Stream *s, Op op) {
    if (sticky) return sticky;
    if (current != s->context) return 201;
    Op *o = malloc(sizeof *o);
    *o = op;
    o->next = 0;
    Op **first = s->capture ? &s->capture->first : &s->first, **last = s->capture ? &s->capture->last : &s->last;
    if (*last) (*last)->next = o; else *first = o;
    *last = o;
    return 0;
}

static int capturing(void) { for (Stream *s = streams; s; s = s->next) if (s->capture) return 1; return 0; }

int cuGetErrorName(int code, const char **name) {
    switch (code) {
    case 1: *name = "CUDA_ERROR_INVALID_VALUE"; return 0;
    case 2: *name = "CUDA_ERROR_OUT_OF_MEMORY"; return 0;
    case 209: *name = "CUDA_ERROR_NO_BINARY_FOR_GPU"; return 0;
    case 218: *name = "CUDA_ERROR_INVALID_PTX"; return 0;
    case 222: *name = "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"; return 0;
    case 500: *name = "CUDA_ERROR_NOT_FOUND"; return 0;
    case 700: *name = "CUDA_ERROR_ILLEGAL_ADDRESS"; return 0;
    case 803: *name = "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"; return 0;
    }
    *name = 0;
    return 1;
}
int cuGetErrorString(int code, const char **text) { *text = code == 700 ? "an illegal memory access was encountered" : "words of the fake driver"; return 0; }
int cuInit(unsigned flags) { say("cuInit"); started = 1; state = setting("FAKE_CUDA_SEED", 1); (void)flags; return (int)setting("FAKE_CUDA_INIT", 0); }
int cuDriverGetVersion(int *v) { *v = (int)setting("FAKE_CUDA_VERSION", 12080); return 0; }
int cuDeviceGetCount(int *n) { if (!started) return 3; *n = (int)setting("FAKE_CUDA_DEVICES", 1); return 0; }
int cuDeviceGet(int *d, int i) { if (i >= setting("FAKE_CUDA_DEVICES", 1)) return 101; *d = i; return 0; }
int cuDeviceGetName(char *name, int length, int d) { snprintf(name, length, "Fake GPU %d", d); return 0; }
int cuDeviceGetAttribute(int *v, unsigned which, int d) {
    long cc = setting("FAKE_CUDA_CC", 90);
    (void)d;
    switch (which) {
    case 75: *v = (int)(cc / 10); return 0;
    case 76: *v = (int)(cc % 10); return 0;
    case 16: *v = 4; return 0;
    case 13: *v = 1000000; return 0;
    case 97: *v = 232448; return 0;
    case 38: *v = 1 << 20; return 0;
    }
    return 1;
}
static size_t total(void) { return (size_t)setting("FAKE_CUDA_FREE", 1024) << 20; }
int cuDeviceTotalMem_v2(size_t *bytes, int d) { (void)d; *bytes = total() * 2; return 0; }
int cuDevicePrimaryCtxRetain(Context **c, int d) { ENTER("cuDevicePrimaryCtxRetain"); contexts[d].device = d; contexts[d].retained++; *c = &contexts[d]; LEAVE(0); }
int cuDevicePrimaryCtxRelease_v2(int d) { ENTER("cuDevicePrimaryCtxRelease"); NEED(contexts[d].retained > 0, 201); contexts[d].retained--; LEAVE(0); }
int cuCtxSetCurrent(Context *c) { current = c; return c && c->retained ? 0 : 201; }
int cuMemGetInfo_v2(size_t *free_bytes, size_t *all) {
    pthread_mutex_lock(&lock);
    size_t used = 0;
    for (Block *b = blocks; b; b = b->next) if (!b->pinned && b->context == current) used += b->bytes;
    *free_bytes = total() > used ? total() - used : 0;
    *all = total() * 2;
    LEAVE(current ? 0 : 201);
}
static int allocate(char **at, size_t bytes, int pinned) {
    if (!current) return 201;
    if (!bytes) return 1;
    if (capturing()) return 900;
    size_t free_bytes, all;
    cuMemGetInfo_v2(&free_bytes, &all);
    if (!pinned && bytes > free_bytes) return 2;
    Block *b = malloc(sizeof *b);
    if (posix_memalign((void **)&b->at, 256, bytes)) return 2;
    memset(b->at, 0xa5, bytes);
    b->bytes = bytes; b->pinned = pinned; b->context = current; b->next = blocks;
    blocks = b;
    *at = b->at;
    return 0;
}
static int release(char *at, int pinned) {
    for (Block **p = &blocks; *p; p = &(*p)->next)
        if ((*p)->at == at && (*p)->pinned == pinned) {
            busy_check("memory freed while work is pending");
            Block *b = *p;
            *p = b->next;
            free(b->at);
            free(b);
            return 0;
        }
    die("free of what was not allocated");
    return 1;
}
int cuMemAlloc_v2(ptr_t *at, size_t bytes) { ENTER("cuMemAlloc"); char *p = 0; int c = allocate(&p, bytes, 0); *at = (ptr_t)p; LEAVE(c); }
int cuMemFree_v2(ptr_t at) { ENTER("cuMemFree"); LEAVE(release((char *)at, 0)); }
int cuMemAllocHost_v2(void **at, size_t bytes) { ENTER("cuMemAllocHost"); LEAVE(allocate((char **)at, bytes, 1)); }
int cuMemFreeHost(void *at) { ENTER("cuMemFreeHost"); LEAVE(release(at, 1)); }

static int copy(Stream *s, char *dst, char *src, size_t bytes, int dst_device, int src_device) {
    Block *d = block_of(dst, bytes), *f = block_of(src, bytes);
    if ((dst_device && (!d || d->pinned)) || (src_device && (!f || f->pinned))) return 1;
    if (!d || !f) { /* Pageable host memory: the driver goes through memory of its own and returns when the caller's is free again. */
        if (s->capture) return 900;
        int c = drain(s);
        if (!c) memcpy(dst, src, bytes);
        return c;
    }
    return put(s, (Op){.kind = COPY, .dst = dst, .src = src, .bytes = bytes});
}
int cuMemcpyHtoDAsync_v2(ptr_t d, const void *h, size_t n, Stream *s) { ENTER("cuMemcpyHtoDAsync"); LEAVE(copy(s, (char *)d, (char *)h, n, 1, 0)); }
int cuMemcpyDtoHAsync_v2(void *h, ptr_t d, size_t n, Stream *s) { ENTER("cuMemcpyDtoHAsync"); LEAVE(copy(s, h, (char *)d, n, 0, 1)); }
int cuMemcpyDtoDAsync_v2(ptr_t d, ptr_t f, size_t n, Stream *s) { ENTER("cuMemcpyDtoDAsync"); NEED(n, 1); LEAVE(copy(s, (char *)d, (char *)f, n, 1, 1)); }
int cuMemsetD8Async(ptr_t d, unsigned char v, size_t n, Stream *s) {
    ENTER("cuMemsetD8Async");
    Block *b = block_of((char *)d, n);
    NEED(n && b && !b->pinned, 1);
    LEAVE(put(s, (Op){.kind = FILL, .dst = (char *)d, .value = v, .bytes = n}));
}

int cuStreamCreate(Stream **s, unsigned flags) {
    ENTER("cuStreamCreate");
    (void)flags;
    *s = calloc(1, sizeof **s);
    (*s)->context = current;
    (*s)->next = streams;
    streams = *s;
    LEAVE(current ? 0 : 201);
}
int cuStreamDestroy_v2(Stream *s) {
    ENTER("cuStreamDestroy");
    if (s->first && !sticky) die("stream destroyed with work in it");
    for (Stream **p = &streams; *p; p = &(*p)->next) if (*p == s) { *p = s->next; break; }
    free(s);
    LEAVE(0);
}
int cuStreamSynchronize(Stream *s) { ENTER("cuStreamSynchronize"); NEED(!s->capture, 900); LEAVE(drain(s)); }
int cuStreamWaitEvent(Stream *s, Event *e, unsigned flags) { ENTER("cuStreamWaitEvent"); (void)flags; LEAVE(put(s, (Op){.kind = WAIT, .event = e, .number = e->issued})); }
int cuStreamBeginCapture_v2(Stream *s, unsigned mode) {
    ENTER("cuStreamBeginCapture");
    NEED(!s->capture && mode == 1, 1);
    s->capture = calloc(1, sizeof(Graph));
    LEAVE(0);
}
int cuStreamEndCapture(Stream *s, Graph **g) { ENTER("cuStreamEndCapture"); NEED(s->capture, 901); *g = s->capture; s->capture = 0; LEAVE(0); }
static Graph *duplicate(Graph *g) {
    Graph *n = calloc(1, sizeof *n);
    for (Op *o = g->first; o; o = o->next) {
        Op *c = malloc(sizeof *c);
        *c = *o;
        c->next = 0;
        if (n->last) n->last->next = c; else n->first = c;
        n->last = c;
    }
    return n;
}
int cuGraphInstantiateWithFlags(Graph **exec, Graph *g, unsigned long long flags) { ENTER("cuGraphInstantiate"); (void)flags; *exec = duplicate(g); LEAVE(0); }
static int scrap(Graph *g) {
    for (Op *o = g->first; o;) { Op *n = o->next; free(o); o = n; }
    free(g);
    return 0;
}
int cuGraphDestroy(Graph *g) { ENTER("cuGraphDestroy"); LEAVE(scrap(g)); }
int cuGraphExecDestroy(Graph *g) { ENTER("cuGraphExecDestroy"); busy_check("graph destroyed while work is pending"); LEAVE(scrap(g)); }
int cuGraphLaunch(Graph *g, Stream *s) {
    ENTER("cuGraphLaunch");
    NEED(!s->capture, 900);
    int code = 0;
    for (Op *o = g->first; o && !code; o = o->next) code = put(s, *o);
    LEAVE(code);
}

int cuEventCreate(Event **e, unsigned flags) { ENTER("cuEventCreate"); *e = calloc(1, sizeof **e); (*e)->timed = !(flags & 2); LEAVE(current ? 0 : 201); }
int cuEventDestroy_v2(Event *e) { ENTER("cuEventDestroy"); if (e->passed < e->issued && !sticky) die("event destroyed before it passed"); free(e); LEAVE(0); }
int cuEventRecord(Event *e, Stream *s) { ENTER("cuEventRecord"); LEAVE(put(s, (Op){.kind = RECORD, .event = e, .number = ++e->issued})); }
int cuEventSynchronize(Event *e) {
    ENTER("cuEventSynchronize");
    unsigned long want = e->issued;
    while (e->passed < want) if (!step()) die("deadlock at an event");
    LEAVE(sticky);
}
int cuEventElapsedTime(float *ms, Event *a, Event *b) {
    ENTER("cuEventElapsedTime");
    NEED(a->timed && b->timed, 400);
    NEED(a->passed == a->issued && b->passed == b->issued, 600);
    *ms = (float)(b->at - a->at);
    LEAVE(sticky);
}

int cuModuleLoadDataEx(Module **m, const void *image, unsigned n, unsigned *options, void **values) {
    ENTER("cuModuleLoadDataEx");
    char *log = 0;
    size_t room = 0;
    for (unsigned i = 0; i < n; ++i) {
        if (options[i] == 5) log = values[i];
        if (options[i] == 6) room = (size_t)values[i];
    }
    NEED(log && room > 100, 1);
    long cc = setting("FAKE_CUDA_CC", 90);
    void *handle = 0;
    if (!memcmp(image, "\177ELF", 4)) {
        /* The length of an ELF file stands in it: the section table is its end. */
        const unsigned char *h = image;
        unsigned long table = 0;
        for (int i = 7; i >= 0; --i) table = table << 8 | h[40 + i];
        size_t bytes = table + (h[58] | h[59] << 8) * (size_t)(h[60] | h[61] << 8);
        int f = memfd_create("cubin", 0);
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", f);
        NEED(write(f, image, bytes) == (ssize_t)bytes, 200);
        handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        int *arch = handle ? dlsym(handle, "cubin_arch") : 0;
        NEED(arch && *arch == cc && !getenv("FAKE_CUDA_BADCUBIN"), 209);
    } else {
        const char *text = image, *version = strstr(text, ".version "), *target = strstr(text, ".target sm_"), *object = strstr(text, "// object: ");
        int major = 0, minor = 0;
        if (!version || sscanf(version, ".version %d.%d", &major, &minor) != 2 || !target || !object) {
            snprintf(log, room, "ptxas application ptx input, line 1; fatal   : Missing .version directive\n");
            LEAVE(218);
        }
        if (major * 10 + minor > setting("FAKE_CUDA_PTX", 87)) {
            snprintf(log, room, "ptxas application ptx input, line 1; fatal   : Unsupported .version %d.%d\n", major, minor);
            LEAVE(222);
        }
        NEED(atol(target + 11) <= cc, 209);
        char path[512];
        sscanf(object, "// object: %511s", path);
        handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    NEED(handle, 200);
    *m = calloc(1, sizeof **m);
    (*m)->handle = handle;
    LEAVE(0);
}
int cuModuleUnload(Module *m) { ENTER("cuModuleUnload"); busy_check("module unloaded while work is pending"); free(m); LEAVE(0); }
int cuModuleGetFunction(Function **f, Module *m, const char *name) {
    ENTER("cuModuleGetFunction");
    char count[80];
    snprintf(count, sizeof count, "%s_params", name);
    void *run = dlsym(m->handle, name);
    int *params = dlsym(m->handle, count);
    NEED(run && params, 500);
    *f = calloc(1, sizeof **f);
    (*f)->run = (Kernel)run;
    (*f)->params = *params;
    (*f)->most_shared = 48 << 10;
    snprintf((*f)->name, sizeof (*f)->name, "%s", name);
    LEAVE(0);
}
int cuFuncSetAttribute(Function *f, unsigned which, int value) {
    ENTER("cuFuncSetAttribute");
    NEED(which == 8 && value > 0 && value <= 232448, 1);
    f->most_shared = value;
    LEAVE(0);
}
int cuLaunchKernel(Function *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, Stream *s, void **params,
                   void **extra) {
    say("cuLaunchKernel %s grid %u %u %u block %u %u %u shared %u%s", f->name, gx, gy, gz, bx, by, bz, shared, s->capture ? " captured" : "");
    pthread_mutex_lock(&lock);
    NEED(!extra && gx && gy && gz && bx && by && bz && bx * by * bz <= 1024 && (int)shared <= f->most_shared, 1);
    Op op = {.kind = LAUNCH, .function = f, .grid = {gx, gy, gz}};
    for (int i = 0; i < f->params; ++i) {
        op.params[i] = *(ptr_t *)params[i];
        Block *b = block_of((char *)op.params[i], 1);
        NEED(b && !b->pinned, 1);
    }
    LEAVE(put(s, op));
}
