// Batch normalisation with what follows it. A block takes `chunk` rows; what blocks find is put together in a second kernel, in a
// fixed order and in f64.

// Mean, and sum of squared deviations from it, of the rows of each block: sums of deviations from the block's first row.
template <int N>
__device__ inline void moments_part(const MAP* x, i64 rows, int channels, i64 chunk, float* mean, float* spread) {
    __shared__ float room[THREADS * WIDE];
    Place<N> place(channels);
    i64 from = blockIdx.x * chunk, to = from + chunk < rows ? from + chunk : rows;
    float origin[N], sum[N], square[N], v[N];
    for (int k = 0; k < N; k++) origin[k] = sum[k] = square[k] = 0.0f;
    if (place.on) {
        load<N>(x + from * channels + place.channel, origin);
        for (i64 r = from + place.row; r < to; r += place.rows) {
            load<N>(x + r * channels + place.channel, v);
            for (int k = 0; k < N; k++) {
                float d = v[k] - origin[k];
                sum[k] += d;
                square[k] += d * d;
            }
        }
    }
    sum_rows<N>(place, sum, room);
    sum_rows<N>(place, square, room);
    if (place.on && place.row == 0)
        for (int k = 0; k < N; k++) {
            i64 at = (i64)blockIdx.x * channels + place.channel + k;
            float count = (float)(to - from);
            mean[at] = origin[k] + sum[k] / count;
            spread[at] = fmaxf(square[k] - sum[k] * (sum[k] / count), 0.0f);
        }
}
WIDE_AND_ONE(moments_part, (const MAP* x, i64 rows, int channels, i64 chunk, float* mean, float* spread),
             (x, rows, channels, chunk, mean, spread))

// Sum over 8 threads with the same channel, 32 apart.
__device__ inline double sum_eight(double v, double* room) {
    __syncthreads();
    room[threadIdx.x] = v;
    for (int half = THREADS / 2; half >= 32; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) room[threadIdx.x] += room[threadIdx.x + half];
    }
    __syncthreads();
    return room[threadIdx.x % 32];
}

// Mean and biased variance from those of the blocks (Chan, Golub and LeVeque, 1983). 32 channels a block.
extern "C" __global__ void moments_whole(const float* means, const float* spreads, i64 rows, int channels, i64 chunk, int chunks, float* mean, float* variance) {
    __shared__ double room[THREADS];
    int channel = blockIdx.x * 32 + threadIdx.x % 32;
    bool on = channel < channels;
    double sum = 0.0, spread = 0.0;
    for (int i = threadIdx.x / 32; on && i < chunks; i += THREADS / 32) {
        double count = (double)(i + 1 < chunks ? chunk : rows - (chunks - 1) * chunk);
        sum += count * means[(i64)i * channels + channel];
    }
    double centre = sum_eight(sum, room) / (double)rows;
    for (int i = threadIdx.x / 32; on && i < chunks; i += THREADS / 32) {
        double count = (double)(i + 1 < chunks ? chunk : rows - (chunks - 1) * chunk), d = means[(i64)i * channels + channel] - centre;
        spread += spreads[(i64)i * channels + channel] + count * d * d;
    }
    spread = sum_eight(spread, room);
    if (on && threadIdx.x < 32) {
        mean[channel] = (float)centre;
        variance[channel] = (float)(spread / (double)rows);
    }
}

// y = (x - mean) * gain + shift, gain = scale / sqrt(variance + eps).
template <int N>
struct Line {
    float mean[N], gain[N], shift[N], inverse[N];

    __device__ Line(const float* mean_, const float* variance, const float* scale, const float* shift_, float eps, const Place<N>& place) {
        for (int k = 0; k < N; k++) {
            int c = place.on ? place.channel + k : 0;
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

// y = line(x) + plus, then the activation; `plus` may be absent.
template <int N>
__device__ inline void norm(const MAP* x, const MAP* plus, MAP* y, const float* mean, const float* variance, const float* scale,
                            const float* shift, float eps, int activation, i64 rows, int channels) {
    Place<N> place(channels);
    Line<N> line(mean, variance, scale, shift, eps, place);
    if (!place.on) return;
    for (i64 r = blockIdx.x * (i64)place.rows + place.row; r < rows; r += (i64)gridDim.x * place.rows) {
        i64 at = r * channels + place.channel;
        float v[N], p[N];
        load<N>(x + at, v);
        for (int k = 0; k < N; k++) v[k] = line.at(k, v[k]);
        if (plus) {
            load<N>(plus + at, p);
            for (int k = 0; k < N; k++) v[k] += p[k];
        }
        for (int k = 0; k < N; k++) v[k] = activated(v[k], activation);
        store<N>(v, y + at);
    }
}
WIDE_AND_ONE(norm,
             (const MAP* x, const MAP* plus, MAP* y, const float* mean, const float* variance, const float* scale, const float* shift,
              float eps, int activation, i64 rows, int channels),
             (x, plus, y, mean, variance, scale, shift, eps, activation, rows, channels))

// The gradient behind the activation: what it let pass is seen from its result where that is given, else computed again.
template <int N>
__device__ inline void gate(const Line<N>& line, const float (&x)[N], const MAP* y, i64 at, int activation, float (&d)[N]) {
    if (!activation) return;
    float v[N];
    if (y)
        load<N>(y + at, v);
    else
        for (int k = 0; k < N; k++) v[k] = line.at(k, x[k]);
    for (int k = 0; k < N; k++) d[k] = passes(v[k], activation) ? d[k] : 0.0f;
}

// Sums of the gradient, and of it times the normalised value, over the rows of each block.
template <int N>
__device__ inline void norm_sums(const MAP* x, const MAP* y, const MAP* dy, const float* mean, const float* variance, const float* scale,
                                 const float* shift, float eps, int activation, i64 rows, int channels, i64 chunk, float* sums, float* products) {
    __shared__ float room[THREADS * WIDE];
    Place<N> place(channels);
    Line<N> line(mean, variance, scale, shift, eps, place);
    i64 from = blockIdx.x * chunk, to = from + chunk < rows ? from + chunk : rows;
    float sum[N], product[N], v[N], d[N];
    for (int k = 0; k < N; k++) sum[k] = product[k] = 0.0f;
    if (place.on)
        for (i64 r = from + place.row; r < to; r += place.rows) {
            i64 at = r * channels + place.channel;
            load<N>(x + at, v);
            load<N>(dy + at, d);
            gate<N>(line, v, y, at, activation, d);
            for (int k = 0; k < N; k++) {
                sum[k] += d[k];
                product[k] += d[k] * ((v[k] - line.mean[k]) * line.inverse[k]);
            }
        }
    sum_rows<N>(place, sum, room);
    sum_rows<N>(place, product, room);
    if (place.on && place.row == 0)
        for (int k = 0; k < N; k++) {
            i64 at = (i64)blockIdx.x * channels + place.channel + k;
            sums[at] = sum[k];
            products[at] = product[k];
        }
}
WIDE_AND_ONE(norm_sums,
             (const MAP* x, const MAP* y, const MAP* dy, const float* mean, const float* variance, const float* scale, const float* shift,
              float eps, int activation, i64 rows, int channels, i64 chunk, float* sums, float* products),
             (x, y, dy, mean, variance, scale, shift, eps, activation, rows, channels, chunk, sums, products))

// Sums of the gradient over the rows of each block: of a bias.
template <int N>
__device__ inline void bias_sums(const MAP* dy, i64 rows, int channels, i64 chunk, float* sums) {
    __shared__ float room[THREADS * WIDE];
    Place<N> place(channels);
    i64 from = blockIdx.x * chunk, to = from + chunk < rows ? from + chunk : rows;
    float sum[N], d[N];
    for (int k = 0; k < N; k++) sum[k] = 0.0f;
    if (place.on)
        for (i64 r = from + place.row; r < to; r += place.rows) {
            load<N>(dy + r * channels + place.channel, d);
            for (int k = 0; k < N; k++) sum[k] += d[k];
        }
    sum_rows<N>(place, sum, room);
    if (place.on && place.row == 0)
        for (int k = 0; k < N; k++) sums[(i64)blockIdx.x * channels + place.channel + k] = sum[k];
}
WIDE_AND_ONE(bias_sums, (const MAP* dy, i64 rows, int channels, i64 chunk, float* sums), (dy, rows, channels, chunk, sums))

// Sums over blocks; the second kind may be absent. 32 channels a block.
extern "C" __global__ void whole_sums(const float* sums, const float* products, int channels, int chunks, float* sum, float* product) {
    __shared__ double room[THREADS];
    int channel = blockIdx.x * 32 + threadIdx.x % 32;
    bool on = channel < channels;
    double a = 0.0, b = 0.0;
    for (int i = threadIdx.x / 32; on && i < chunks; i += THREADS / 32) {
        a += sums[(i64)i * channels + channel];
        if (products) b += products[(i64)i * channels + channel];
    }
    a = sum_eight(a, room);
    b = sum_eight(b, room);
    if (on && threadIdx.x < 32) {
        sum[channel] = (float)a;
        if (products) product[channel] = (float)b;
    }
}

// dx = gain * (d - dshift / rows - unit * dscale / rows), or gain * d where the moments were given; d goes to `dplus` if it is asked for.
template <int N>
__device__ inline void norm_backward(const MAP* x, const MAP* y, const MAP* dy, const float* mean, const float* variance, const float* scale,
                                     const float* shift, float eps, int activation, const float* dshift, const float* dscale, int own_moments,
                                     i64 rows, int channels, MAP* dx, MAP* dplus) {
    Place<N> place(channels);
    Line<N> line(mean, variance, scale, shift, eps, place);
    if (!place.on) return;
    float level[N], slope[N];
    for (int k = 0; k < N; k++) {
        level[k] = own_moments ? dshift[place.channel + k] / (float)rows : 0.0f;
        slope[k] = own_moments ? dscale[place.channel + k] / (float)rows : 0.0f;
    }
    for (i64 r = blockIdx.x * (i64)place.rows + place.row; r < rows; r += (i64)gridDim.x * place.rows) {
        i64 at = r * channels + place.channel;
        float v[N], d[N];
        load<N>(x + at, v);
        load<N>(dy + at, d);
        gate<N>(line, v, y, at, activation, d);
        if (dplus) store<N>(d, dplus + at);
        for (int k = 0; k < N; k++) d[k] = line.gain[k] * (d[k] - level[k] - (v[k] - line.mean[k]) * line.inverse[k] * slope[k]);
        store<N>(d, dx + at);
    }
}
WIDE_AND_ONE(norm_backward,
             (const MAP* x, const MAP* y, const MAP* dy, const float* mean, const float* variance, const float* scale, const float* shift,
              float eps, int activation, const float* dshift, const float* dscale, int own_moments, i64 rows, int channels, MAP* dx, MAP* dplus),
             (x, y, dy, mean, variance, scale, shift, eps, activation, dshift, dscale, own_moments, rows, channels, dx, dplus))
