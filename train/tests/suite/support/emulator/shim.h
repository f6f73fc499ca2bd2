// Runs the CUDA kernels of train/src/network/kernels/cuda/cu as plain C++. The threads of a block run one after another; each is a
// fibre that yields at __syncthreads() until all other threads have reached the barrier.
#include <ucontext.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__ static

struct Three {
    unsigned x, y, z;
};
static Three threadIdx, blockIdx, blockDim, gridDim;

static inline unsigned __float_as_uint(float v) {
    unsigned bits;
    memcpy(&bits, &v, 4);
    return bits;
}

static inline float __uint_as_float(unsigned bits) {
    float v;
    memcpy(&v, &bits, 4);
    return v;
}

struct Fibre {
    ucontext_t context;
    std::vector<char> stack;
    bool done;
};
static std::vector<Fibre*> fibres;
static ucontext_t scheduler;
static unsigned current;
static void (*body)(void**);
static void** values;

// If no thread of the first block reached a barrier, the kernel has none, and threads of the other blocks run as plain calls.
static bool direct, rested;

static void __syncthreads() {
    if (direct) {
        fprintf(stderr, "a barrier is reached that no thread of the first block reached\n");
        abort();
    }
    rested = true;
    swapcontext(&fibres[current]->context, &scheduler);
}

static void enter() {
    body(values);
    fibres[current]->done = true;
}

static void prepare(unsigned threads) {
    while (fibres.size() < threads) {
        fibres.push_back(new Fibre());
        fibres.back()->stack.resize(1 << 16);
    }
    for (unsigned t = 0; t < threads; t++) {
        Fibre& fibre = *fibres[t];
        getcontext(&fibre.context);
        fibre.context.uc_stack.ss_sp = fibre.stack.data();
        fibre.context.uc_stack.ss_size = fibre.stack.size();
        fibre.context.uc_link = &scheduler;
        fibre.done = false;
        makecontext(&fibre.context, enter, 0);
    }
}

// Runs all threads of a block to their end, barrier by barrier. The reverse order of threads reveals missing barriers.
static void run_block(unsigned threads, bool backwards) {
    if (direct) {
        for (unsigned i = 0; i < threads; i++) {
            threadIdx.x = backwards ? threads - 1 - i : i;
            body(values);
        }
        return;
    }
    prepare(threads);
    for (unsigned live = threads; live > 0;) {
        unsigned ended = 0;
        for (unsigned i = 0; i < threads; i++) {
            current = backwards ? threads - 1 - i : i;
            if (fibres[current]->done) continue;
            threadIdx.x = current;
            swapcontext(&scheduler, &fibres[current]->context);
            ended += fibres[current]->done;
        }
        if (ended != 0 && ended != live) {
            fprintf(stderr, "some threads of a block never reach a barrier\n");
            abort();
        }
        live -= ended;
    }
}

static void run_grid(const unsigned* grid, unsigned threads, bool backwards, void (*function)(void**), void** arguments) {
    gridDim = {grid[0], grid[1], 1};
    blockDim = {threads, 1, 1};
    threadIdx = {0, 0, 0};
    body = function;
    values = arguments;
    direct = rested = false;
    for (unsigned y = 0; y < grid[1]; y++)
        for (unsigned x = 0; x < grid[0]; x++) {
            blockIdx = {x, y, 0};
            run_block(threads, backwards);
            direct = !rested;
        }
}

// Calls a function with the values that the pointers refer to.
template <class... A, std::size_t... I>
static void call(void (*function)(A...), void** values, std::index_sequence<I...>) {
    function(*static_cast<A*>(values[I])...);
}

template <class... A>
static void call_all(void (*function)(A...), void** values) {
    call(function, values, std::index_sequence_for<A...>{});
}

#define EXPORT(name)                                                                                                 \
    extern "C" void run_##name(const unsigned* grid, unsigned threads, bool backwards, void** arguments) {           \
        run_grid(grid, threads, backwards, [](void** values) { call_all(name, values); }, arguments);                \
    }
