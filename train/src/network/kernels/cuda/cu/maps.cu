// Layout conversion, elementwise operations, upsampling and concatenation of feature maps.

// Converts f32 [image][channel][pixel], or [image][pixel][channel] unless `channels_first`, to a feature map.
extern "C" __global__ void import_map(const float* from, MAP* to, int images, u32 channels, u32 pixels, int channels_first) {
    EACH(i, images * pixels * channels) {
        u32 source = i;
        if (channels_first) {
            u32 row = i / channels, channel = i % channels;
            source = (row / pixels * channels + channel) * pixels + row % pixels;
        }
        narrow(from[source], to[i]);
    }
}

// Converts a feature map to f32 in the same order.
extern "C" __global__ void export_map(const MAP* from, float* to, i64 n) {
    EACH(i, n) to[i] = widen(from[i]);
}

// Rounds weights to the type of feature maps, for the copy that convolutions read.
extern "C" __global__ void copy_weight(const float* from, MAP* to, i64 n) {
    EACH(i, n) narrow(from[i], to[i]);
}

template <int N>
__device__ inline void activate(const MAP* x, MAP* y, i64 n, int activation) {
    EACH(i, n / N) {
        float v[N];
        load<N>(x + i * N, v);
        for (int k = 0; k < N; k++) v[k] = activated(v[k], activation);
        store<N>(v, y + i * N);
    }
}
WIDE_AND_ONE(activate, (const MAP* x, MAP* y, i64 n, int activation), (x, y, n, activation))

template <int N>
__device__ inline void activate_backward(const MAP* y, const MAP* dy, MAP* dx, i64 n, int activation) {
    EACH(i, n / N) {
        float v[N], d[N];
        load<N>(y + i * N, v);
        load<N>(dy + i * N, d);
        for (int k = 0; k < N; k++) d[k] = passes(v[k], activation) ? d[k] : 0.0f;
        store<N>(d, dx + i * N);
    }
}
WIDE_AND_ONE(activate_backward, (const MAP* y, const MAP* dy, MAP* dx, i64 n, int activation), (y, dy, dx, n, activation))

template <int N>
__device__ inline void add(const MAP* a, const MAP* b, MAP* sum, i64 n) {
    EACH(i, n / N) {
        float v[N], w[N];
        load<N>(a + i * N, v);
        load<N>(b + i * N, w);
        for (int k = 0; k < N; k++) v[k] += w[k];
        store<N>(v, sum + i * N);
    }
}
WIDE_AND_ONE(add, (const MAP* a, const MAP* b, MAP* sum, i64 n), (a, b, sum, n))

// Adds the bias in place: y += bias.
extern "C" __global__ void add_bias(MAP* y, const float* bias, u32 rows, u32 channels) {
    EACH(i, rows * channels) narrow(widen(y[i]) + bias[i % channels], y[i]);
}

// Concatenates the channels of `a`, upsampled by 2 if `doubled`, and those of `b`. Height and width are those of y.
template <int N>
__device__ inline void assemble(const MAP* a, const MAP* b, MAP* y, u32 images, u32 height, u32 width, u32 in_a, u32 in_b, int doubled) {
    u32 groups = (in_a + in_b) / N;
    EACH(i, images * height * width * groups) {
        u32 channel = i % groups * N, row = i / groups;
        float v[N];
        if (channel < in_a) {
            u32 column = row % width, line = row / width, image = line / height;
            line %= height;
            u32 source = doubled ? (image * (height / 2) + line / 2) * (width / 2) + column / 2 : row;
            load<N>(a + source * in_a + channel, v);
        } else {
            load<N>(b + row * in_b + channel - in_a, v);
        }
        store<N>(v, y + row * (in_a + in_b) + channel);
    }
}
WIDE_AND_ONE(assemble, (const MAP* a, const MAP* b, MAP* y, u32 images, u32 height, u32 width, u32 in_a, u32 in_b, int doubled),
             (a, b, y, images, height, width, in_a, in_b, doubled))

// Gradient of `assemble` at `a`: sums of 2x2 blocks if `doubled`.
template <int N>
__device__ inline void assemble_backward_first(const MAP* dy, MAP* da, u32 images, u32 height, u32 width, u32 in_a, u32 in_b, int doubled) {
    u32 groups = in_a / N, all = in_a + in_b, rows = doubled ? height / 2 : height, columns = doubled ? width / 2 : width;
    EACH(i, images * rows * columns * groups) {
        u32 channel = i % groups * N, row = i / groups, column = row % columns, line = row / columns;
        float sum[N], v[N];
        if (doubled) {
            const MAP* corner = dy + (line * 2 * width + column * 2) * all + channel;
            load<N>(corner, sum);
            load<N>(corner + all, v);
            for (int k = 0; k < N; k++) sum[k] += v[k];
            load<N>(corner + width * all, v);
            for (int k = 0; k < N; k++) sum[k] += v[k];
            load<N>(corner + (width + 1) * all, v);
            for (int k = 0; k < N; k++) sum[k] += v[k];
        } else {
            load<N>(dy + row * all + channel, sum);
        }
        store<N>(sum, da + row * in_a + channel);
    }
}
WIDE_AND_ONE(assemble_backward_first, (const MAP* dy, MAP* da, u32 images, u32 height, u32 width, u32 in_a, u32 in_b, int doubled),
             (dy, da, images, height, width, in_a, in_b, doubled))

// Gradient of `assemble` at `b`.
template <int N>
__device__ inline void assemble_backward_second(const MAP* dy, MAP* db, u32 rows, u32 in_a, u32 in_b) {
    u32 groups = in_b / N;
    EACH(i, rows * groups) {
        u32 channel = i % groups * N, row = i / groups;
        float v[N];
        load<N>(dy + row * (in_a + in_b) + in_a + channel, v);
        store<N>(v, db + row * in_b + channel);
    }
}
WIDE_AND_ONE(assemble_backward_second, (const MAP* dy, MAP* db, u32 rows, u32 in_a, u32 in_b), (dy, db, rows, in_a, in_b))
