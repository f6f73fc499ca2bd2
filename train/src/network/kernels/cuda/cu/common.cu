// Definitions shared by all kernels. MAP is the element type of feature maps, float or bf16; every sum is in f32 or f64. Feature maps are
// [row][channel]; a row is a pixel of an image. No header is included, because NVRTC compiles without any.

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

struct bf16 {
    unsigned short bits;
};

// Number of feature-map values in one memory access of 16 bytes.
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

// Rounds to the nearest bf16, ties to even.
__device__ inline void narrow(float v, bf16& to) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to.bits) : "f"(v));
#else
    u32 bits = __float_as_uint(v);
    to.bits = (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fff : (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
#endif
}

// Applies the activation: none (0), ReLU (1) or ReLU6 (2).
__device__ inline float activated(float v, int activation) {
    if (activation) v = fmaxf(v, 0.0f);
    return activation == 2 ? fminf(v, 6.0f) : v;
}

// Reports whether the activation passes a gradient, given its input or its output.
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

// Position of a thread among rows and groups of N channels: it keeps its channels and strides over rows. blockIdx.y selects a tile of at
// most 32 groups; results depend on shapes alone.
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

// Sums v over the rows of a block; the threads of row 0 receive the result. `scratch` is shared memory for THREADS * N values.
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

// Sums a value over a block; every thread receives the result. `scratch` is shared memory for THREADS values.
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

// Defines two kernels with one body: `_wide` accesses 16 bytes at a time and needs channel counts that are multiples of WIDE, `_one`
// accesses single values.
#define WIDE_AND_ONE(name, parameters, arguments)                                        \
    extern "C" __global__ void name##_wide parameters { name<WIDE> arguments; } \
    extern "C" __global__ void name##_one parameters { name<1> arguments; }

// Grid-stride loop. Counts stay below 2^31, so that index arithmetic is in 32 bits; division in 64 bits takes several times as long.
#define EACH(i, n) for (u32 i = blockIdx.x * blockDim.x + threadIdx.x, end_##i = (u32)(n); i < end_##i; i += gridDim.x * blockDim.x)
