/* ---- Convolutions over time and frequency ------------------------------------------------------------------------ */

/* A layer keeps its input rows in state->rows, oldest first, as many as its kernel is high: [rows][bands][inputs]. The
 * newest ones come with each block, and then it gives one row [output_bands][outputs]. Bands beyond the edge are 0. */
typedef struct {
    int inputs, outputs; /* channels */
    int rows, fresh;     /* rows it looks at; how many of them are new in each block */
    int bands, output_bands;
    int width, stride;  /* of the kernel, over bands */
    int residual;       /* is the newest input row added to the output? */
    int offset;         /* where its input rows begin in state->rows */
    const float *taps;  /* [rows][width][outputs] of the first layer; [rows][width][inputs] of the others */
    const matrix *mix;  /* from channels to channels, NULL for the first layer, which has one input channel */
    const float *bias;  /* [outputs] */
} convolution;

/* @convolutions@ */

/* The first layer: each of its inputs is a number, and adds to all output channels. */
static void convolve(const convolution *layer, const float *input, float *output)
{
    const int n = layer->outputs;

    for (int band = 0; band < layer->output_bands; band++, output += n) {
        float *restrict sum = output;
        memcpy(sum, layer->bias, (size_t)n * sizeof *sum);
        for (int row = 0; row < layer->rows; row++)
            for (int tap = 0; tap < layer->width; tap++) {
                const int at = band * layer->stride + tap - layer->width / 2;
                if (at < 0 || at >= layer->bands)
                    continue;
                const float *restrict weights = layer->taps + (row * layer->width + tap) * n;
                const float value = input[row * layer->bands + at];
                for (int channel = 0; channel < n; channel++)
                    sum[channel] += value * weights[channel];
            }
    }
}

/* The other layers: first each channel by itself over its neighbourhood, then all channels of a band are mixed. */
static void convolve_separably(const convolution *layer, const float *input, float *depthwise, float *output)
{
    const int n = layer->inputs;

    for (int band = 0; band < layer->output_bands; band++, output += layer->outputs) {
        float *restrict sum = depthwise;
        memset(sum, 0, (size_t)n * sizeof *sum);
        for (int row = 0; row < layer->rows; row++)
            for (int tap = 0; tap < layer->width; tap++) {
                const int at = band * layer->stride + tap - layer->width / 2;
                if (at < 0 || at >= layer->bands)
                    continue;
                const float *restrict weights = layer->taps + (row * layer->width + tap) * n;
                const float *restrict values = input + (row * layer->bands + at) * n;
                for (int channel = 0; channel < n; channel++)
                    sum[channel] += values[channel] * weights[channel];
            }
        memcpy(output, layer->bias, (size_t)layer->outputs * sizeof *output);
        multiply_add(layer->mix, depthwise, output);
    }
}

static void rectify(float *values, int count)
{
    for (int i = 0; i < count; i++)
        values[i] = values[i] > 0.0f ? values[i] : 0.0f;
}

/* Runs one layer, writes its row to `output`, and moves its input up to make room for the next block. */
static void run_convolution(speechrnn_state *state, const convolution *layer, float *output)
{
    const int row = layer->bands * layer->inputs, size = layer->output_bands * layer->outputs;
    float *input = state->rows + layer->offset;

    if (layer->mix)
        convolve_separably(layer, input, state->scratch.network.depthwise, output);
    else
        convolve(layer, input, output);
    if (layer->residual) {
        const float *newest = input + (layer->rows - 1) * row;
        for (int i = 0; i < size; i++)
            output[i] += newest[i];
    }
    rectify(output, size);
    memmove(input, input + layer->fresh * row, (size_t)((layer->rows - layer->fresh) * row) * sizeof *input);
}

/* Where the rows that come with a block belong in the input of a layer. */
static float *fresh_rows(speechrnn_state *state, const convolution *layer)
{
    return state->rows + layer->offset + (layer->rows - layer->fresh) * layer->bands * layer->inputs;
}
