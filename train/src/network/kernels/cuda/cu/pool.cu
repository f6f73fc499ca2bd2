// Max pooling over 3x3 windows, stride 2, padding 1. The output has `(height + 1) / 2` lines and `(width + 1) / 2` columns.

template <int N>
__device__ inline void max_pool(const MAP* x, MAP* y, u32 images, int height, int width, int channels) {
    u32 groups = channels / N, lines = (height + 1) / 2, columns = (width + 1) / 2;
    EACH(i, images * lines * columns * groups) {
        u32 channel = i % groups * N, at = i / groups;
        int column = at % columns * 2, line = at / columns % lines * 2;
        const MAP* image = x + at / columns / lines * height * width * channels + channel;
        float best[N], v[N];
        load<N>(image + (line * width + column) * channels, best);
        for (int r = line > 0 ? line - 1 : 0; r <= line + 1 && r < height; r++)
            for (int c = column > 0 ? column - 1 : 0; c <= column + 1 && c < width; c++) {
                load<N>(image + (r * width + c) * channels, v);
                for (int k = 0; k < N; k++) best[k] = fmaxf(best[k], v[k]);
            }
        store<N>(best, y + i * N);
    }
}
WIDE_AND_ONE(max_pool, (const MAP* x, MAP* y, u32 images, int height, int width, int channels), (x, y, images, height, width, channels))

// Each pixel gathers the gradients of the windows in which it is the first maximum in raster order, so no atomic addition is needed.
template <int N>
__device__ inline void max_pool_backward(const MAP* x, const MAP* y, const MAP* dy, MAP* dx, u32 images, int height, int width, int channels) {
    u32 groups = channels / N, lines = (height + 1) / 2, columns = (width + 1) / 2;
    EACH(i, images * height * width * groups) {
        u32 channel = i % groups * N, at = i / groups, image = at / width / height;
        int column = at % width, line = at / width % height;
        const MAP* here = x + image * height * width * channels + channel;
        float own[N], sum[N], top[N], v[N];
        load<N>(x + i * N, own);
        for (int k = 0; k < N; k++) sum[k] = 0.0f;
        for (int wr = line / 2; wr <= (line + 1) / 2 && wr < (int)lines; wr++)
            for (int wc = column / 2; wc <= (column + 1) / 2 && wc < (int)columns; wc++) {
                u32 window = ((image * lines + wr) * columns + wc) * channels + channel;
                load<N>(y + window, top);
                bool first[N], any = false;
                for (int k = 0; k < N; k++) any |= first[k] = own[k] == top[k];
                if (!any) continue;
                for (int r = wr > 0 ? 2 * wr - 1 : 0; r <= line; r++)
                    for (int c = wc > 0 ? 2 * wc - 1 : 0; c <= 2 * wc + 1 && c < width && (r < line || c < column); c++) {
                        load<N>(here + (r * width + c) * channels, v);
                        for (int k = 0; k < N; k++) first[k] = first[k] && v[k] != top[k];
                    }
                load<N>(dy + window, v);
                for (int k = 0; k < N; k++) sum[k] += first[k] ? v[k] : 0.0f;
            }
        store<N>(sum, dx + i * N);
    }
}
WIDE_AND_ONE(max_pool_backward, (const MAP* x, const MAP* y, const MAP* dy, MAP* dx, u32 images, int height, int width, int channels),
             (x, y, dy, dx, images, height, width, channels))
