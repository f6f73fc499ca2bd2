// Contrastive term over all pairs of vectors. Similarities live in registers and are never stored: memory is O(n).

// Gathers the vectors of the pixels `index`, normalises them to unit length and pads them with zeros to `width` values; `lengths` receives
// the norms.
extern "C" __global__ void unit_vectors(const float* z, const u32* index, i64 n, int channels, int width, float* units, float* lengths) {
    EACH(i, n) {
        const float* from = z + (i64)index[i] * channels;
        double square = 0.0;
        for (int c = 0; c < channels; c++) square += (double)from[c] * (double)from[c];
        float length = (float)fmax(sqrt(square), 1e-12);
        for (int c = 0; c < width; c++) units[i * width + c] = c < channels ? from[c] / length : 0.0f;
        lengths[i] = length;
    }
}

#define ROWS 128
#define TILE 32

// Each thread compares one vector with the vectors of part blockIdx.y, which pass through shared memory in tiles. The first `zeros` vectors
// are of class 0. Parameters 0, 1 and 2 belong to pairs within class 0, within class 1 and between classes: sign of the similarity, weight
// of an ordered pair's cost (between classes counted from class 0 only), and factor of the slope in the gradient. Output:
// gradients[part][vector][W], values[part][blockIdx.x].
template <int W>
__device__ inline void contrast(const float* units, int zeros, int n, int part, float inverse_tau, float sign0, float sign1, float sign2,
                                double weight0, double weight1, double weight2, float factor0, float factor1, float factor2, int skip,
                                float* gradients, double* values) {
    __shared__ float tile[TILE * W];
    __shared__ double scratch[ROWS];
    int i = blockIdx.x * ROWS + threadIdx.x, from = blockIdx.y * part, to = from + part < n ? from + part : n;
    bool active = i < n;
    int is_class1 = i >= zeros;
    float own[W], gradient[W];
#pragma unroll
    for (int k = 0; k < W; k++) {
        own[k] = active ? units[(i64)i * W + k] : 0.0f;
        gradient[k] = 0.0f;
    }
    double value = 0.0;
    for (int start = from; start < to; start += TILE) {
        int count = to - start < TILE ? to - start : TILE;
        __syncthreads();
        for (int k = threadIdx.x; k < count * W; k += ROWS) tile[k] = units[(i64)start * W + k];
        __syncthreads();
        float within = 0.0f, between = 0.0f;
        for (int t = 0; t < count; t++) {
            const float* other = tile + t * W;
            float dot = 0.0f;
#pragma unroll
            for (int k = 0; k < W; k++) dot = fmaf(own[k], other[k], dot);
            int j = start + t;
            bool same = is_class1 == (j >= zeros);
            float sign = same ? (is_class1 ? sign1 : sign0) : sign2, factor = same ? (is_class1 ? factor1 : factor0) : factor2;
            float s = sign * dot * inverse_tau, e = expf(-fabsf(s)), cost = fmaxf(s, 0.0f) + log1pf(e);
            float slope = factor * sign * ((s > 0.0f ? 1.0f : e) / (1.0f + e));
            if (skip && i == j) cost = slope = 0.0f;
            if (same) within += cost; else between += cost;
#pragma unroll
            for (int k = 0; k < W; k++) gradient[k] = fmaf(slope, other[k], gradient[k]);
        }
        if (active) value += within * (is_class1 ? weight1 : weight0) + (is_class1 ? 0.0 : between * weight2);
    }
    if (active) {
#pragma unroll
        for (int k = 0; k < W; k++) gradients[((i64)blockIdx.y * n + i) * W + k] = gradient[k];
    }
    __syncthreads();
    scratch[threadIdx.x] = value;
    for (int half = ROWS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) scratch[threadIdx.x] += scratch[threadIdx.x + half];
    }
    if (threadIdx.x == 0) values[(i64)blockIdx.y * gridDim.x + blockIdx.x] = scratch[0];
}

#define CONTRAST(W)                                                                                                                       \
    extern "C" __global__ void contrast_##W(const float* units, int zeros, int n, int part, float inverse_tau, float sign0, float sign1,  \
                                            float sign2, double weight0, double weight1, double weight2, float factor0, float factor1,    \
                                            float factor2, int skip, float* gradients, double* values) {                                 \
        contrast<W>(units, zeros, n, part, inverse_tau, sign0, sign1, sign2, weight0, weight1, weight2, factor0, factor1, factor2, skip,  \
                    gradients, values);                                                                                                   \
    }
CONTRAST(16)
CONTRAST(32)
CONTRAST(64)

// Sums the partial gradients at unit vectors and backpropagates them through the normalisation, which removes the component along the
// vector. `index` holds no pixel twice.
extern "C" __global__ void scatter_vectors(const float* units, const float* lengths, const float* gradients, int parts, const u32* index, i64 n,
                                           int channels, int width, float gradient_weight, float* dz) {
    EACH(i, n) {
        float along = 0.0f;
        for (int c = 0; c < channels; c++) {
            float sum = 0.0f;
            for (int p = 0; p < parts; p++) sum += gradients[(p * n + i) * width + c];
            dz[(i64)index[i] * channels + c] = sum;
            along = fmaf(units[i * width + c], sum, along);
        }
        for (int c = 0; c < channels; c++) {
            float* to = dz + (i64)index[i] * channels + c;
            *to = gradient_weight * (*to - units[i * width + c] * along) / lengths[i];
        }
    }
}
