// 3x3 convolutions of a feature map upsampled by 2 (nearest neighbour), computed on the small feature map as a sub-pixel convolution. After
// upsampling, the three lines under a filter are copies of two lines of the small feature map: for outputs on even lines (phase 0) the
// previous line and its own, for odd lines (phase 1) its own line and the next. Each of the 2x2 output phases is therefore a 2x2
// convolution of the small feature map, whose filters are sums of taps of the 3x3 filter. All four phases form one convolution with 4 *
// outputs channels, one line and one column larger than the small feature map because zero padding is 1: z[image][r][c][phase][output]
// belongs to line 2 r - phase / 2 and column 2 c - phase % 2 of the output, which may lie outside of it.

// Returns the line of the small feature map (0 or 1) under tap 0, 1 or 2 of the 3x3 filter.
__device__ inline int small_tap(int phase, int tap) {
    return phase ? tap == 2 : tap != 0;
}

// Returns the tap of the 2x2 filter of a phase (0 to 3) to which a tap of the 3x3 filter contributes.
__device__ inline int small_tap_2d(int phase, int tap) {
    return small_tap(phase / 2, tap / 3) * 2 + small_tap(phase % 2, tap % 3);
}

// Splits w, [output][9][inputs, then skip_inputs], into the filters of the phases, [phase][output][4][inputs], and the filter of the skip
// connection, [output][9][skip_inputs].
extern "C" __global__ void phase_filters(const float* w, MAP* phases, MAP* skip_filter, u32 outputs, u32 inputs, u32 skip_inputs) {
    u32 all = inputs + skip_inputs;
    EACH(i, outputs * all) {
        u32 input = i % all, output = i / all;
        const float* from = w + output * 9 * all + input;
        if (input >= inputs) {
            for (int tap = 0; tap < 9; tap++) narrow(from[tap * all], skip_filter[(output * 9 + tap) * skip_inputs + input - inputs]);
            continue;
        }
        for (int phase = 0; phase < 4; phase++) {
            float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
            for (int tap = 0; tap < 9; tap++) sums[small_tap_2d(phase, tap)] += from[tap * all];
            for (int k = 0; k < 4; k++) narrow(sums[k], phases[((phase * outputs + output) * 4 + k) * inputs + input]);
        }
    }
}

// Gradient of `phase_filters` at w.
extern "C" __global__ void phase_filters_backward(const MAP* dphases, const MAP* dskip_filter, MAP* dw, u32 outputs, u32 inputs, u32 skip_inputs) {
    u32 all = inputs + skip_inputs;
    EACH(i, outputs * all) {
        u32 input = i % all, output = i / all;
        MAP* to = dw + output * 9 * all + input;
        for (int tap = 0; tap < 9; tap++) {
            if (input >= inputs) {
                to[tap * all] = dskip_filter[(output * 9 + tap) * skip_inputs + input - inputs];
                continue;
            }
            float sum = 0.0f;
            for (int phase = 0; phase < 4; phase++)
                sum += widen(dphases[((phase * outputs + output) * 4 + small_tap_2d(phase, tap)) * inputs + input]);
            narrow(sum, to[tap * all]);
        }
    }
}

// Interleaves the phases z to y[image][line][column][output] (pixel shuffle), and adds them to the values of y if `accumulate`. Height and
// width are those of y.
template <int N>
__device__ inline void interleave_phases(const MAP* z, MAP* y, u32 images, u32 height, u32 width, u32 outputs, int accumulate) {
    u32 groups = outputs / N;
    EACH(i, images * height * width * groups) {
        u32 output = i % groups * N, row = i / groups, column = row % width, line = row / width % height, image = row / width / height;
        u32 phase = line % 2 * 2 + column % 2, r = (line + 1) / 2, c = (column + 1) / 2;
        float sum[N], there[N];
        load<N>(z + (((image * (height / 2 + 1) + r) * (width / 2 + 1) + c) * 4 + phase) * outputs + output, sum);
        if (accumulate) {
            load<N>(y + row * outputs + output, there);
            for (int k = 0; k < N; k++) sum[k] += there[k];
        }
        store<N>(sum, y + row * outputs + output);
    }
}
WIDE_AND_ONE(interleave_phases, (const MAP* z, MAP* y, u32 images, u32 height, u32 width, u32 outputs, int accumulate),
             (z, y, images, height, width, outputs, accumulate))

// Gradient of `interleave_phases` at z; 0 for values of z outside of y.
template <int N>
__device__ inline void split_phases(const MAP* dy, MAP* dz, u32 images, u32 height, u32 width, u32 outputs) {
    u32 groups = outputs / N, rows = height / 2 + 1, columns = width / 2 + 1;
    EACH(i, images * rows * columns * 4 * groups) {
        u32 output = i % groups * N, rest = i / groups, phase = rest % 4;
        rest /= 4;
        u32 c = rest % columns, r = rest / columns % rows, image = rest / columns / rows;
        // Negative coordinates wrap to large unsigned numbers, which are outside too.
        u32 line = 2 * r - phase / 2, column = 2 * c - phase % 2;
        float v[N];
        for (int k = 0; k < N; k++) v[k] = 0.0f;
        if (line < height && column < width) load<N>(dy + ((image * height + line) * width + column) * outputs + output, v);
        store<N>(v, dz + i * N);
    }
}
WIDE_AND_ONE(split_phases, (const MAP* dy, MAP* dz, u32 images, u32 height, u32 width, u32 outputs), (dy, dz, images, height, width, outputs))
