/* ---- A block of sound to probabilities --------------------------------------------------------------------------- */

/* @matrices@ */

static void softmax(float *values, int count)
{
    float largest = values[0], sum = 0.0f;

    for (int i = 1; i < count; i++) /* which keeps exp() in range and cancels out */
        largest = values[i] > largest ? values[i] : largest;
    for (int i = 0; i < count; i++)
        sum += values[i] = expf(values[i] - largest);
    for (int i = 0; i < count; i++)
        values[i] /= sum;
}

/* The network, once the new samples stand at the end of state->sound. */
static void run_network(speechrnn_state *state, float *probabilities)
{
    const int hops = SPEECHRNN_BLOCK / SPEECHRNN_HOP;
    float *row = state->scratch.network.last_row, *features = state->scratch.network.features;

    for (int hop = 0; hop < hops; hop++)
        log_mel(state, state->sound + hop * SPEECHRNN_HOP,
                fresh_rows(state, &convolutions[0]) + hop * SPEECHRNN_BANDS);
    memmove(state->sound, state->sound + SPEECHRNN_BLOCK, (SPEECHRNN_SOUND - SPEECHRNN_BLOCK) * sizeof *state->sound);

    for (int i = 0; i < CONVOLUTIONS; i++)
        run_convolution(state, &convolutions[i],
                        i + 1 < CONVOLUTIONS ? fresh_rows(state, &convolutions[i + 1]) : row);
    memcpy(features, features_bias, sizeof features_bias);
    multiply_add(&features_matrix, row, features);
    rectify(features, SPEECHRNN_FEATURES);

    const float *input = features;
    for (int layer = 0; layer < SPEECHRNN_LAYERS; layer++) {
        step(state, layer, input);
        input = state->hidden[layer];
    }

    memcpy(probabilities, output_bias, sizeof output_bias);
    multiply_add(&output_matrix, input, probabilities);
    softmax(probabilities, SPEECHRNN_LABELS);
}

void speechrnn_process(speechrnn_state *state, const float *samples, float *probabilities)
{
    memcpy(state->sound + SPEECHRNN_SOUND - SPEECHRNN_BLOCK, samples, SPEECHRNN_BLOCK * sizeof *samples);
    run_network(state, probabilities);
}

void speechrnn_process_int16(speechrnn_state *state, const int16_t *samples, float *probabilities)
{
    float *fresh = state->sound + SPEECHRNN_SOUND - SPEECHRNN_BLOCK;

    for (int i = 0; i < SPEECHRNN_BLOCK; i++)
        fresh[i] = (float)samples[i] / 32768.0f;
    run_network(state, probabilities);
}
