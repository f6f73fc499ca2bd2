// Direct convolutions, for shapes for which cuDNN has no algorithm. x is [image][line][column][input], w is [output][tap][input], y is
// [image][row][column][output]; zero padding `side / 2`.

#define SHAPE_PARAMETERS \
    int images, int height, int width, int inputs, int outputs, int side, int stride, int rows, int columns

// Forward pass: y from x and w, one value per thread.
extern "C" __global__ void direct_forward(const MAP* x, const MAP* w, MAP* y, SHAPE_PARAMETERS) {
    EACH(i, images * rows * columns * outputs) {
        u32 output = i % outputs, pixel = i / outputs, image = pixel / columns / rows;
        int top = pixel / columns % rows * stride - side / 2, left = pixel % columns * stride - side / 2;
        float sum = 0.0f;
        for (int tap = 0; tap < side * side; tap++) {
            int line = top + tap / side, column = left + tap % side;
            if (line < 0 || line >= height || column < 0 || column >= width) continue;
            const MAP* from = x + (i64)((image * height + line) * width + column) * inputs;
            const MAP* with = w + (i64)(output * side * side + tap) * inputs;
            for (int k = 0; k < inputs; k++) sum = fmaf(widen(from[k]), widen(with[k]), sum);
        }
        narrow(sum, y[i]);
    }
}

// Data gradient: dx from w and dy, one value per thread.
extern "C" __global__ void direct_data(MAP* dx, const MAP* w, const MAP* dy, SHAPE_PARAMETERS) {
    EACH(i, images * height * width * inputs) {
        u32 input = i % inputs, pixel = i / inputs, image = pixel / width / height;
        int line = pixel / width % height + side / 2, column = pixel % width + side / 2;
        float sum = 0.0f;
        for (int tap = 0; tap < side * side; tap++) {
            int below = line - tap / side, right = column - tap % side;
            int row = below / stride, at = right / stride;
            if (below < 0 || right < 0 || below % stride || right % stride || row >= rows || at >= columns) continue;
            const MAP* from = dy + (i64)((image * rows + row) * columns + at) * outputs;
            const MAP* with = w + (i64)tap * inputs + input;
            for (int k = 0; k < outputs; k++) sum = fmaf(widen(from[k]), widen(with[(i64)k * side * side * inputs]), sum);
        }
        narrow(sum, dx[i]);
    }
}

// Filter gradient: dw from x and dy, one value per thread; each row of an image is summed in f32, the rows in f64.
extern "C" __global__ void direct_filter(const MAP* x, MAP* dw, const MAP* dy, SHAPE_PARAMETERS) {
    EACH(i, outputs * side * side * inputs) {
        u32 input = i % inputs, tap = i / inputs % (side * side), output = i / inputs / (side * side);
        int up = (int)(tap / side) - side / 2, left = (int)(tap % side) - side / 2;
        double sum = 0.0;
        for (int row = 0; row < images * rows; row++) {
            int image = row / rows, line = row % rows * stride + up;
            if (line < 0 || line >= height) continue;
            float part = 0.0f;
            for (int at = 0; at < columns; at++) {
                int column = at * stride + left;
                if (column < 0 || column >= width) continue;
                float there = widen(x[(i64)((image * height + line) * width + column) * inputs + input]);
                part = fmaf(there, widen(dy[(i64)(row * columns + at) * outputs + output]), part);
            }
            sum += part;
        }
        narrow((float)sum, dw[i]);
    }
}
