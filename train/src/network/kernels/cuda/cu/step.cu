// Cross-entropy, RAdam and weight averaging: the operations of an optimiser step outside the network.

// RAdam step of many parameters. A block updates `values_per_block` values of one parameter; `first_block` holds the first block of each
// parameter, followed by the number of blocks.
//
// table[p]: parameter, first moment, second moment, gradient, copy in the type of feature maps (or 0), count, bits of rate and decay, flags
// (1 adaptive, 2 gradient in the type of feature maps).
extern "C" __global__ void radam(const i64* table, const u32* first_block, int parameters, i64 values_per_block, float beta1, float beta2, float eps) {
    int low = 0, high = parameters;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (first_block[middle] <= blockIdx.x) low = middle; else high = middle;
    }
    const i64* row = table + low * 8;
    float *p = (float*)row[0], *m = (float*)row[1], *v = (float*)row[2];
    MAP* copy = (MAP*)row[4];
    float rate = __uint_as_float((u32)row[6]), decay = __uint_as_float((u32)((u64)row[6] >> 32));
    bool adaptive = row[7] & 1, narrow_gradient = row[7] & 2;
    i64 from = (i64)(blockIdx.x - first_block[low]) * values_per_block, to = from + values_per_block < row[5] ? from + values_per_block : row[5];
    for (i64 i = from + threadIdx.x; i < to; i += blockDim.x) {
        float g = narrow_gradient ? widen(((const MAP*)row[3])[i]) : ((const float*)row[3])[i];
        float mean = beta1 * m[i] + (1.0f - beta1) * g, square = beta2 * v[i] + (1.0f - beta2) * (g * g);
        m[i] = mean;
        v[i] = square;
        float direction = adaptive ? mean / (sqrtf(square) + eps) : mean;
        float value = p[i] - (decay * p[i] + rate * direction);
        p[i] = value;
        if (copy) narrow(value, copy[i]);
    }
}

// Exponential moving average of many parameters: average = decay * average + (1 - decay) * now; blocks are assigned as in `radam`.
//
// table[p]: average, current parameter, copy of the average in the type of feature maps (or 0), count.
extern "C" __global__ void update_averages(const i64* table, const u32* first_block, int parameters, i64 values_per_block, float decay) {
    int low = 0, high = parameters;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (first_block[middle] <= blockIdx.x) low = middle; else high = middle;
    }
    const i64* row = table + low * 4;
    float* average = (float*)row[0];
    const float* now = (const float*)row[1];
    MAP* copy = (MAP*)row[2];
    i64 from = (i64)(blockIdx.x - first_block[low]) * values_per_block, to = from + values_per_block < row[3] ? from + values_per_block : row[3];
    for (i64 i = from + threadIdx.x; i < to; i += blockDim.x) {
        float value = decay * average[i] + (1.0f - decay) * now[i];
        average[i] = value;
        if (copy) narrow(value, copy[i]);
    }
}

// Counts the labelled pixels (0 or 1) of two label planes in each block; the second plane may be null.
extern "C" __global__ void count_labels(const u8* a, const u8* b, i64 n, double* counts) {
    __shared__ double scratch[THREADS];
    double count_a = 0.0, count_b = 0.0;
    EACH(i, n) {
        count_a += a[i] != IGNORE;
        if (b) count_b += b[i] != IGNORE;
    }
    count_a = sum_block(count_a, scratch);
    count_b = sum_block(count_b, scratch);
    if (threadIdx.x == 0) {
        counts[2 * blockIdx.x] = count_a;
        counts[2 * blockIdx.x + 1] = count_b;
    }
}

// Cross-entropy of logits [pixel][2] with two weighted label planes: the gradient of the weighted sum, and each block's part of both
// values. `counts` are the results of `blocks` blocks of `count_labels`.
extern "C" __global__ void cross_entropy(const float* logits, const u8* a, const u8* b, float weight_a, float weight_b, const double* counts,
                                         int blocks, i64 n, float* gradient, double* values) {
    __shared__ double scratch[THREADS];
    double count_a = 0.0, count_b = 0.0;
    for (int i = threadIdx.x; i < blocks; i += THREADS) {
        count_a += counts[2 * i];
        count_b += counts[2 * i + 1];
    }
    count_a = fmax(sum_block(count_a, scratch), 1.0);
    count_b = fmax(sum_block(count_b, scratch), 1.0);
    float scale_a = (float)(weight_a / count_a), scale_b = (float)(weight_b / count_b);
    double sum_a = 0.0, sum_b = 0.0;
    EACH(i, n) {
        float margin = logits[2 * i + 1] - logits[2 * i];
        // softplus(m) - y m = max(m, 0) - y m + log(1 + exp(-|m|)), which takes no exponential of a positive number.
        float e = expf(-fabsf(margin)), small = log1pf(e), probability = (margin > 0.0f ? 1.0f : e) / (1.0f + e), slope = 0.0f;
        if (a[i] != IGNORE) {
            float y = a[i] == 1 ? 1.0f : 0.0f;
            sum_a += fmaxf(margin, 0.0f) - y * margin + small;
            slope += scale_a * (probability - y);
        }
        if (b && b[i] != IGNORE) {
            float y = b[i] == 1 ? 1.0f : 0.0f;
            sum_b += fmaxf(margin, 0.0f) - y * margin + small;
            slope += scale_b * (probability - y);
        }
        gradient[2 * i] = -slope;
        gradient[2 * i + 1] = slope;
    }
    sum_a = sum_block(sum_a, scratch);
    sum_b = sum_block(sum_b, scratch);
    if (threadIdx.x == 0) {
        values[2 * blockIdx.x] = sum_a / count_a;
        values[2 * blockIdx.x + 1] = sum_b / count_b;
    }
}

// Reduction by one block: values[k] = sum over i < n of parts[i * kinds + k].
extern "C" __global__ void sum_parts(const double* parts, i64 n, int kinds, double* values) {
    __shared__ double scratch[THREADS];
    for (int k = 0; k < kinds; k++) {
        double sum = 0.0;
        for (i64 i = threadIdx.x; i < n; i += THREADS) sum += parts[i * kinds + k];
        sum = sum_block(sum, scratch);
        if (threadIdx.x == 0) values[k] = sum;
    }
}
