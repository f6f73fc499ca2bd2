// Batch normalisation fused with the residual addition and the activation. A block reduces `chunk` rows; a second kernel reduces the
// partial results of the blocks in a fixed order and in f64.

// Computes mean and sum of squared deviations of the rows of each block, from deviations from the block's first row.
template <int N>
__device__ inline void moments_parts(const MAP* x, i64 rows, int channels, i64 chunk, float* mean, float* spread) {
    __shared__ float scratch[THREADS * WIDE];
    ThreadPosition<N> position(channels);
    i64 from = blockIdx.x * chunk, to = from + chunk < rows ? from + chunk : rows;
    float origin[N], sum[N], square[N], v[N];
    for (int k = 0; k < N; k++) origin[k] = sum[k] = square[k] = 0.0f;
    if (position.active) {
        load<N>(x + from * channels + position.channel, origin);
        for (i64 r = from + position.row; r < to; r += position.rows) {
            load<N>(x + r * channels + position.channel, v);
            for (int k = 0; k < N; k++) {
                float d = v[k] - origin[k];
                sum[k] += d;
                square[k] += d * d;
            }
        }
    }
    sum_rows<N>(position, sum, scratch);
    sum_rows<N>(position, square, scratch);
    if (position.active && position.row == 0)
        for (int k = 0; k < N; k++) {
            i64 at = (i64)blockIdx.x * channels + position.channel + k;
            float count = (float)(to - from);
            mean[at] = origin[k] + sum[k] / count;
            spread[at] = fmaxf(square[k] - sum[k] * (sum[k] / count), 0.0f);
        }
}
WIDE_AND_ONE(moments_parts, (const MAP* x, i64 rows, int channels, i64 chunk, float* mean, float* spread),
             (x, rows, channels, chunk, mean, spread))

// Sums over the 8 threads with the same channel, which are 32 apart.
__device__ inline double sum_eight(double v, double* scratch) {
    __syncthreads();
    scratch[threadIdx.x] = v;
    for (int half = THREADS / 2; half >= 32; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) scratch[threadIdx.x] += scratch[threadIdx.x + half];
    }
    __syncthreads();
    return scratch[threadIdx.x % 32];
}

// Combines the means and squared deviations of the blocks to mean and biased variance (Chan, Golub and LeVeque, 1983). 32 channels per
// block.
extern "C" __global__ void moments_reduce(const float* means, const float* spreads, i64 rows, int channels, i64 chunk, int chunks, float* mean, float* variance) {
    __shared__ double scratch[THREADS];
    int channel = blockIdx.x * 32 + threadIdx.x % 32;
    bool on = channel < channels;
    double sum = 0.0, spread = 0.0;
    for (int i = threadIdx.x / 32; on && i < chunks; i += THREADS / 32) {
        double count = (double)(i + 1 < chunks ? chunk : rows - (chunks - 1) * chunk);
        sum += count * means[(i64)i * channels + channel];
    }
    double centre = sum_eight(sum, scratch) / (double)rows;
    for (int i = threadIdx.x / 32; on && i < chunks; i += THREADS / 32) {
        double count = (double)(i + 1 < chunks ? chunk : rows - (chunks - 1) * chunk), d = means[(i64)i * channels + channel] - centre;
        spread += spreads[(i64)i * channels + channel] + count * d * d;
    }
    spread = sum_eight(spread, scratch);
    if (on && threadIdx.x < 32) {
        mean[channel] = (float)centre;
        variance[channel] = (float)(spread / (double)rows);
    }
}

// Affine map of the normalisation: y = (x - mean) * gain + shift, gain = scale / sqrt(variance + eps).
template <int N>
struct Affine {
    float mean[N], gain[N], shift[N], inverse[N];

    __device__ Affine(const float* mean_, const float* variance, const float* scale, const float* shift_, float eps, const ThreadPosition<N>& position) {
        for (int k = 0; k < N; k++) {
            int c = position.active ? position.channel + k : 0;
            mean[k] = mean_[c];
            inverse[k] = 1.0f / sqrtf(variance[c] + eps);
            gain[k] = scale[c] * inverse[k];
            shift[k] = shift_[c];
        }
    }

    __device__ float at(int k, float x) const {
        return fmaf(x - mean[k], gain[k], shift[k]);
    }
};

// y = affine(x) + residual, then the activation; `residual` may be null.
template <int N>
__device__ inline void norm(const MAP* x, const MAP* residual, MAP* y, const float* mean, const float* variance, const float* scale,
                            const float* shift, float eps, int activation, i64 rows, int channels) {
    ThreadPosition<N> position(channels);
    Affine<N> affine(mean, variance, scale, shift, eps, position);
    if (!position.active) return;
    for (i64 r = blockIdx.x * (i64)position.rows + position.row; r < rows; r += (i64)gridDim.x * position.rows) {
        i64 at = r * channels + position.channel;
        float v[N], p[N];
        load<N>(x + at, v);
        for (int k = 0; k < N; k++) v[k] = affine.at(k, v[k]);
        if (residual) {
            load<N>(residual + at, p);
            for (int k = 0; k < N; k++) v[k] += p[k];
        }
        for (int k = 0; k < N; k++) v[k] = activated(v[k], activation);
        store<N>(v, y + at);
    }
}
WIDE_AND_ONE(norm,
             (const MAP* x, const MAP* residual, MAP* y, const float* mean, const float* variance, const float* scale, const float* shift,
              float eps, int activation, i64 rows, int channels),
             (x, residual, y, mean, variance, scale, shift, eps, activation, rows, channels))

// Masks the gradient d by the activation, whose output is read from y if it is given, else recomputed from x.
template <int N>
__device__ inline void mask_gradient(const Affine<N>& affine, const float (&x)[N], const MAP* y, i64 at, int activation, float (&d)[N]) {
    if (!activation) return;
    float v[N];
    if (y)
        load<N>(y + at, v);
    else
        for (int k = 0; k < N; k++) v[k] = affine.at(k, x[k]);
    for (int k = 0; k < N; k++) d[k] = passes(v[k], activation) ? d[k] : 0.0f;
}

// Sums the gradient, and the gradient times the normalised value, over the rows of each block.
template <int N>
__device__ inline void norm_sums(const MAP* x, const MAP* y, const MAP* dy, const float* mean, const float* variance, const float* scale,
                                 const float* shift, float eps, int activation, i64 rows, int channels, i64 chunk, float* sums, float* products) {
    __shared__ float scratch[THREADS * WIDE];
    ThreadPosition<N> position(channels);
    Affine<N> affine(mean, variance, scale, shift, eps, position);
    i64 from = blockIdx.x * chunk, to = from + chunk < rows ? from + chunk : rows;
    float sum[N], product[N], v[N], d[N];
    for (int k = 0; k < N; k++) sum[k] = product[k] = 0.0f;
    if (position.active)
        for (i64 r = from + position.row; r < to; r += position.rows) {
            i64 at = r * channels + position.channel;
            load<N>(x + at, v);
            load<N>(dy + at, d);
            mask_gradient<N>(affine, v, y, at, activation, d);
            for (int k = 0; k < N; k++) {
                sum[k] += d[k];
                product[k] += d[k] * ((v[k] - affine.mean[k]) * affine.inverse[k]);
            }
        }
    sum_rows<N>(position, sum, scratch);
    sum_rows<N>(position, product, scratch);
    if (position.active && position.row == 0)
        for (int k = 0; k < N; k++) {
            i64 at = (i64)blockIdx.x * channels + position.channel + k;
            sums[at] = sum[k];
            products[at] = product[k];
        }
}
WIDE_AND_ONE(norm_sums,
             (const MAP* x, const MAP* y, const MAP* dy, const float* mean, const float* variance, const float* scale, const float* shift,
              float eps, int activation, i64 rows, int channels, i64 chunk, float* sums, float* products),
             (x, y, dy, mean, variance, scale, shift, eps, activation, rows, channels, chunk, sums, products))

// Sums the gradient over the rows of each block: partial gradients of a bias.
template <int N>
__device__ inline void bias_sums(const MAP* dy, i64 rows, int channels, i64 chunk, float* sums) {
    __shared__ float scratch[THREADS * WIDE];
    ThreadPosition<N> position(channels);
    i64 from = blockIdx.x * chunk, to = from + chunk < rows ? from + chunk : rows;
    float sum[N], d[N];
    for (int k = 0; k < N; k++) sum[k] = 0.0f;
    if (position.active)
        for (i64 r = from + position.row; r < to; r += position.rows) {
            load<N>(dy + r * channels + position.channel, d);
            for (int k = 0; k < N; k++) sum[k] += d[k];
        }
    sum_rows<N>(position, sum, scratch);
    if (position.active && position.row == 0)
        for (int k = 0; k < N; k++) sums[(i64)blockIdx.x * channels + position.channel + k] = sum[k];
}
WIDE_AND_ONE(bias_sums, (const MAP* dy, i64 rows, int channels, i64 chunk, float* sums), (dy, rows, channels, chunk, sums))

// Reduces the partial sums of the blocks; the second set may be null. 32 channels per block.
extern "C" __global__ void reduce_sums(const float* sums, const float* products, int channels, int chunks, float* sum, float* product) {
    __shared__ double scratch[THREADS];
    int channel = blockIdx.x * 32 + threadIdx.x % 32;
    bool on = channel < channels;
    double a = 0.0, b = 0.0;
    for (int i = threadIdx.x / 32; on && i < chunks; i += THREADS / 32) {
        a += sums[(i64)i * channels + channel];
        if (products) b += products[(i64)i * channels + channel];
    }
    a = sum_eight(a, scratch);
    b = sum_eight(b, scratch);
    if (on && threadIdx.x < 32) {
        sum[channel] = (float)a;
        if (products) product[channel] = (float)b;
    }
}

// dx = gain * (d - dshift / rows - unit * dscale / rows) with batch statistics (`own_moments`), or gain * d with running ones; `dresidual`
// receives d unless it is null.
template <int N>
__device__ inline void norm_backward(const MAP* x, const MAP* y, const MAP* dy, const float* mean, const float* variance, const float* scale,
                                     const float* shift, float eps, int activation, const float* dshift, const float* dscale, int own_moments,
                                     i64 rows, int channels, MAP* dx, MAP* dresidual) {
    ThreadPosition<N> position(channels);
    Affine<N> affine(mean, variance, scale, shift, eps, position);
    if (!position.active) return;
    float level[N], slope[N];
    for (int k = 0; k < N; k++) {
        level[k] = own_moments ? dshift[position.channel + k] / (float)rows : 0.0f;
        slope[k] = own_moments ? dscale[position.channel + k] / (float)rows : 0.0f;
    }
    for (i64 r = blockIdx.x * (i64)position.rows + position.row; r < rows; r += (i64)gridDim.x * position.rows) {
        i64 at = r * channels + position.channel;
        float v[N], d[N];
        load<N>(x + at, v);
        load<N>(dy + at, d);
        mask_gradient<N>(affine, v, y, at, activation, d);
        if (dresidual) store<N>(d, dresidual + at);
        for (int k = 0; k < N; k++) d[k] = affine.gain[k] * (d[k] - level[k] - (v[k] - affine.mean[k]) * affine.inverse[k] * slope[k]);
        store<N>(d, dx + at);
    }
}
WIDE_AND_ONE(norm_backward,
             (const MAP* x, const MAP* y, const MAP* dy, const float* mean, const float* variance, const float* scale, const float* shift,
              float eps, int activation, const float* dshift, const float* dscale, int own_moments, i64 rows, int channels, MAP* dx, MAP* dresidual),
             (x, y, dy, mean, variance, scale, shift, eps, activation, dshift, dscale, own_moments, rows, channels, dx, dresidual))
