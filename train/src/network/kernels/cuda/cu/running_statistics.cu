// Updates running statistics from those of the batch: r += momentum (b - r), variances unbiased; with momentum 1 the old value does not
// contribute. One block per normalisation.
//
// table[n]: batch mean, batch variance, running mean, running variance, channels, bits of the factor n / (n - 1).
extern "C" __global__ void update_running_statistics(const i64* table, float momentum) {
    const i64* row = table + blockIdx.x * 6;
    const float *mean = (const float*)row[0], *variance = (const float*)row[1];
    float *running_mean = (float*)row[2], *running_variance = (float*)row[3], factor = __uint_as_float((u32)row[5]);
    for (int c = threadIdx.x; c < row[4]; c += blockDim.x) {
        float m = mean[c], v = variance[c] * factor;
        running_mean[c] = momentum == 1.0f ? m : running_mean[c] + (m - running_mean[c]) * momentum;
        running_variance[c] = momentum == 1.0f ? v : running_variance[c] + (v - running_variance[c]) * momentum;
    }
}
