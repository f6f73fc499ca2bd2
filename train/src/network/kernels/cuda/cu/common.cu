// What all kernels share. MAP is the type of feature maps, float or bf16; every sum is in f32 or f64.
// Maps are [row][channel], a row being a pixel of an image. No header is needed, so that a run-time compiler is enough.

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

struct bf16 {
    unsigned short bits;
};

// Values in 16 bytes.
#define WIDE (16 / (int)sizeof(MAP))
#define THREADS 256

__device__ inline float widen(float v) {
    return v;
}

__device__ inline float widen(bf16 v) {
    return __uint_as_float((u32)v.bits << 16);
}

__device__ inline void narrow(float v, float& to) {
    to = v;
}

// To the nearest, ties to even.
__device__ inline void narrow(float v, bf16& to) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to.bits) : "f"(v));
#else
    u32 bits = __float_as_uint(v);
    to.bits = (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fff : (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
#endif
}

// What follows a value: nothing (0), ReLU (1), or ReLU6 (2); and whether a gradient passes it, seen from its input or its result.
__device__ inline float activated(float v, int activation) {
    if (activation) v = fmaxf(v, 0.0f);
    return activation == 2 ? fminf(v, 6.0f) : v;
}

__device__ inline bool passes(float v, int activation) {
    return v > 0.0f && (activation != 2 || v < 6.0f);
}

template <int N>
struct alignas(N * sizeof(MAP)) Pack {
    MAP at[N];
};

template <int N>
__device__ inline void load(const MAP* from, float (&to)[N]) {
    Pack<N> pack = *reinterpret_cast<const Pack<N>*>(from);
#pragma unroll
    for (int k = 0; k < N; k++) to[k] = widen(pack.at[k]);
}

template <int N>
__device__ inline void store(const float (&from)[N], MAP* to) {
    Pack<N> pack;
#pragma unroll
    for (int k = 0; k < N; k++) narrow(from[k], pack.at[k]);
    *reinterpret_cast<Pack<N>*>(to) = pack;
}

template <int N>
__device__ inline void load_floats(const float* from, float (&to)[N]) {
#pragma unroll
    for (int k = 0; k < N; k++) to[k] = from[k];
}

// Where a thread stands among rows and groups of N channels: each keeps its channels and passes over rows.
// blockIdx.y counts tiles of at most 32 groups; results depend on shapes alone.
template <int N>
struct ThreadPosition {
    int width, channel, row, rows;
    bool active;

    __device__ ThreadPosition(int channels) {
        int groups = channels / N;
        width = groups < 32 ? groups : 32;
        int group = blockIdx.y * width + threadIdx.x % width;
        rows = THREADS / width;
        row = threadIdx.x / width;
        active = row < rows && group < groups;
        channel = group * N;
    }
};

// Sums of v over the rows of a block arrive at the threads of row 0. Shared scratch: THREADS * N values.
template <int N>
__device__ inline void sum_rows(const ThreadPosition<N>& position, float (&v)[N], float* scratch) {
    int half = 1;
    while (half < position.rows) half *= 2;
    __syncthreads();
#pragma unroll
    for (int k = 0; k < N; k++) scratch[threadIdx.x * N + k] = v[k];
    for (half /= 2; half > 0; half /= 2) {
        __syncthreads();
        if (position.row < half && position.row + half < position.rows)
            for (int k = 0; k < N; k++) scratch[threadIdx.x * N + k] += scratch[(threadIdx.x + half * position.width) * N + k];
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < N; k++) v[k] = scratch[threadIdx.x * N + k];
}

// Sum of a value over a block, at every thread. Shared scratch: THREADS values.
__device__ inline double sum_block(double v, double* scratch) {
    __syncthreads();
    scratch[threadIdx.x] = v;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) scratch[threadIdx.x] += scratch[threadIdx.x + half];
    }
    __syncthreads();
    return scratch[0];
}

// Two kernels of one body: 16 bytes at a time where the channels allow, else value by value.
#define WIDE_AND_ONE(name, parameters, arguments)                                        \
    extern "C" __global__ void name##_wide parameters { name<WIDE> arguments; } \
    extern "C" __global__ void name##_one parameters { name<1> arguments; }

// Counts stay below 2^31, so that indices are divided in 32 bits: in 64 it takes several times as long.
#define EACH(i, n) for (u32 i = blockIdx.x * blockDim.x + threadIdx.x, end_##i = (u32)(n); i < end_##i; i += gridDim.x * blockDim.x)
