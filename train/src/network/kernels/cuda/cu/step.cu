// Losses and updates: what a step does besides the network.

// RAdam of many parameters. A block handles `share` values of one; `first` holds each parameter's first block, and one more.
// table[p]: parameter, first moment, second moment, gradient, copy in the type of maps (or 0), count, bits of rate and decay,
// flags (1 adaptive, 2 gradient in the type of maps).
extern "C" __global__ void radam(const i64* table, const u32* first, int parameters, i64 share, float keep1, float keep2, float eps) {
    int low = 0, high = parameters;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (first[middle] <= blockIdx.x) low = middle; else high = middle;
    }
    const i64* row = table + low * 8;
    float *p = (float*)row[0], *m = (float*)row[1], *v = (float*)row[2];
    MAP* copy = (MAP*)row[4];
    float rate = __uint_as_float((u32)row[6]), decay = __uint_as_float((u32)((u64)row[6] >> 32));
    bool adaptive = row[7] & 1, narrow_gradient = row[7] & 2;
    i64 from = (i64)(blockIdx.x - first[low]) * share, to = from + share < row[5] ? from + share : row[5];
    for (i64 i = from + threadIdx.x; i < to; i += blockDim.x) {
        float g = narrow_gradient ? widen(((const MAP*)row[3])[i]) : ((const float*)row[3])[i];
        float mean = keep1 * m[i] + (1.0f - keep1) * g, square = keep2 * v[i] + (1.0f - keep2) * (g * g);
        m[i] = mean;
        v[i] = square;
        float direction = adaptive ? mean / (sqrtf(square) + eps) : mean;
        float value = p[i] - (decay * p[i] + rate * direction);
        p[i] = value;
        if (copy) narrow(value, copy[i]);
    }
}

// average = keep * average + (1 - keep) * now, of many parameters; the layout of blocks as in `radam`.
// table[p]: average, now, copy of the average in the type of maps (or 0), count.
extern "C" __global__ void blend(const i64* table, const u32* first, int parameters, i64 share, float keep) {
    int low = 0, high = parameters;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (first[middle] <= blockIdx.x) low = middle; else high = middle;
    }
    const i64* row = table + low * 4;
    float* average = (float*)row[0];
    const float* now = (const float*)row[1];
    MAP* copy = (MAP*)row[2];
    i64 from = (i64)(blockIdx.x - first[low]) * share, to = from + share < row[3] ? from + share : row[3];
    for (i64 i = from + threadIdx.x; i < to; i += blockDim.x) {
        float value = keep * average[i] + (1.0f - keep) * now[i];
        average[i] = value;
        if (copy) narrow(value, copy[i]);
    }
}

// Known labels (0 or 1) of two planes in each block; the second may be absent.
extern "C" __global__ void count_labels(const u8* a, const u8* b, i64 n, double* counts) {
    __shared__ double room[THREADS];
    double in_a = 0.0, in_b = 0.0;
    EACH(i, n) {
        in_a += a[i] != IGNORE;
        if (b) in_b += b[i] != IGNORE;
    }
    in_a = sum_block(in_a, room);
    in_b = sum_block(in_b, room);
    if (threadIdx.x == 0) {
        counts[2 * blockIdx.x] = in_a;
        counts[2 * blockIdx.x + 1] = in_b;
    }
}

// Cross-entropy of two planes of labels with weights, from logits [pixel][2]: the gradient of the weighted sum, and each block's
// part of both values. `counts` are those of `blocks` blocks of `count_labels`.
extern "C" __global__ void cross_entropy(const float* logits, const u8* a, const u8* b, float weight_a, float weight_b, const double* counts,
                                         int blocks, i64 n, float* gradient, double* values) {
    __shared__ double room[THREADS];
    double in_a = 0.0, in_b = 0.0;
    for (int i = threadIdx.x; i < blocks; i += THREADS) {
        in_a += counts[2 * i];
        in_b += counts[2 * i + 1];
    }
    in_a = fmax(sum_block(in_a, room), 1.0);
    in_b = fmax(sum_block(in_b, room), 1.0);
    float share_a = (float)(weight_a / in_a), share_b = (float)(weight_b / in_b);
    double of_a = 0.0, of_b = 0.0;
    EACH(i, n) {
        float margin = logits[2 * i + 1] - logits[2 * i];
        // softplus(m) - y m = max(m, 0) - y m + log(1 + exp(-|m|)): no exponential of a positive number.
        float e = expf(-fabsf(margin)), small = log1pf(e), likely = (margin > 0.0f ? 1.0f : e) / (1.0f + e), slope = 0.0f;
        if (a[i] != IGNORE) {
            float y = a[i] == 1 ? 1.0f : 0.0f;
            of_a += fmaxf(margin, 0.0f) - y * margin + small;
            slope += share_a * (likely - y);
        }
        if (b && b[i] != IGNORE) {
            float y = b[i] == 1 ? 1.0f : 0.0f;
            of_b += fmaxf(margin, 0.0f) - y * margin + small;
            slope += share_b * (likely - y);
        }
        gradient[2 * i] = -slope;
        gradient[2 * i + 1] = slope;
    }
    of_a = sum_block(of_a, room);
    of_b = sum_block(of_b, room);
    if (threadIdx.x == 0) {
        values[2 * blockIdx.x] = of_a / in_a;
        values[2 * blockIdx.x + 1] = of_b / in_b;
    }
}

// values[k] = sum over i < n of parts[i * kinds + k], by one block.
extern "C" __global__ void sum_parts(const double* parts, i64 n, int kinds, double* values) {
    __shared__ double room[THREADS];
    for (int k = 0; k < kinds; k++) {
        double sum = 0.0;
        for (i64 i = threadIdx.x; i < n; i += THREADS) sum += parts[i * kinds + k];
        sum = sum_block(sum, room);
        if (threadIdx.x == 0) values[k] = sum;
    }
}
