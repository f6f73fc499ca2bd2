// Depthwise 3x3 convolutions, zero padding 1: x is [image][line][column][channel], w is [tap][channel] in f32, y is
// [image][row][column][channel].

#define DEPTHWISE_PARAMETERS int images, int height, int width, int channels, int stride, int rows, int columns

// Forward pass: y from x and w.
template <int N>
__device__ inline void depthwise_forward(const MAP* x, const float* w, MAP* y, DEPTHWISE_PARAMETERS) {
    u32 groups = channels / N;
    EACH(i, images * rows * columns * groups) {
        u32 channel = i % groups * N, pixel = i / groups, image = pixel / columns / rows;
        int top = pixel / columns % rows * stride - 1, left = pixel % columns * stride - 1;
        float sum[N], v[N], f[N];
        for (int k = 0; k < N; k++) sum[k] = 0.0f;
        for (int tap = 0; tap < 9; tap++) {
            int line = top + tap / 3, column = left + tap % 3;
            if (line < 0 || line >= height || column < 0 || column >= width) continue;
            load<N>(x + ((image * height + line) * width + column) * channels + channel, v);
            load_floats<N>(w + tap * channels + channel, f);
            for (int k = 0; k < N; k++) sum[k] = fmaf(v[k], f[k], sum[k]);
        }
        store<N>(sum, y + pixel * channels + channel);
    }
}
WIDE_AND_ONE(depthwise_forward, (const MAP* x, const float* w, MAP* y, DEPTHWISE_PARAMETERS),
             (x, w, y, images, height, width, channels, stride, rows, columns))

// Data gradient: dx from w and dy.
template <int N>
__device__ inline void depthwise_data(MAP* dx, const float* w, const MAP* dy, DEPTHWISE_PARAMETERS) {
    u32 groups = channels / N;
    EACH(i, images * height * width * groups) {
        u32 channel = i % groups * N, pixel = i / groups, image = pixel / width / height;
        int line = pixel / width % height + 1, column = pixel % width + 1;
        float sum[N], v[N], f[N];
        for (int k = 0; k < N; k++) sum[k] = 0.0f;
        for (int tap = 0; tap < 9; tap++) {
            int below = line - tap / 3, right = column - tap % 3, row = below / stride, at = right / stride;
            if (below < 0 || right < 0 || below % stride || right % stride || row >= rows || at >= columns) continue;
            load<N>(dy + ((image * rows + row) * columns + at) * channels + channel, v);
            load_floats<N>(w + tap * channels + channel, f);
            for (int k = 0; k < N; k++) sum[k] = fmaf(v[k], f[k], sum[k]);
        }
        store<N>(sum, dx + pixel * channels + channel);
    }
}
WIDE_AND_ONE(depthwise_data, (MAP* dx, const float* w, const MAP* dy, DEPTHWISE_PARAMETERS),
             (dx, w, dy, images, height, width, channels, stride, rows, columns))

// Filter gradient: sums over the pixels of y of each block, [block][tap][channel], which `reduce_sums` adds up.
template <int N>
__device__ inline void depthwise_filter(const MAP* x, const MAP* dy, DEPTHWISE_PARAMETERS, i64 chunk, float* sums) {
    __shared__ float scratch[THREADS * WIDE];
    ThreadPosition<N> position(channels);
    i64 all = (i64)images * rows * columns, from = blockIdx.x * chunk, to = from + chunk < all ? from + chunk : all;
    float sum[9][N], v[N], d[N];
#pragma unroll
    for (int tap = 0; tap < 9; tap++)
        for (int k = 0; k < N; k++) sum[tap][k] = 0.0f;
    if (position.active)
        for (u32 pixel = from + position.row; pixel < to; pixel += position.rows) {
            u32 image = pixel / columns / rows;
            int top = pixel / columns % rows * stride - 1, left = pixel % columns * stride - 1;
            load<N>(dy + pixel * channels + position.channel, d);
#pragma unroll
            for (int tap = 0; tap < 9; tap++) {
                int line = top + tap / 3, column = left + tap % 3;
                if (line < 0 || line >= height || column < 0 || column >= width) continue;
                load<N>(x + ((image * height + line) * width + column) * channels + position.channel, v);
                for (int k = 0; k < N; k++) sum[tap][k] = fmaf(v[k], d[k], sum[tap][k]);
            }
        }
#pragma unroll
    for (int tap = 0; tap < 9; tap++) {
        sum_rows<N>(position, sum[tap], scratch);
        if (position.active && position.row == 0)
            for (int k = 0; k < N; k++) sums[((i64)blockIdx.x * 9 + tap) * channels + position.channel + k] = sum[tap][k];
    }
}
WIDE_AND_ONE(depthwise_filter, (const MAP* x, const MAP* dy, DEPTHWISE_PARAMETERS, i64 chunk, float* sums),
             (x, dy, images, height, width, channels, stride, rows, columns, chunk, sums))
