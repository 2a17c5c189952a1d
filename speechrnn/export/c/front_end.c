/* ---- Front end: sound to log-mel frames -------------------------------------------------------------------------- */

/* The complex Fourier transform of SPEECHRNN_FFT / 2 numbers in `from` (real and imaginary part in turn). The result is
 * in `from` or in `to`, whichever is returned. Stockham's order of radix-2 steps: it sorts while it goes, so there is
 * no bit reversal, and the inner loop runs over neighbours.
 *
 * In single precision, since microcontrollers have no unit for doubles. Its rounding shows in quiet bands beside a loud
 * tone. Against double precision, probabilities change by 2e-4 at most beside clean tones at full scale, where most of
 * it is hidden by the offset in the logarithm, and by less than 1e-5 on recorded words. */
static float *transform(float *from, float *to)
{
    const int half = SPEECHRNN_FFT / 2;

    for (int stride = 1; stride < half; stride *= 2) {
        const int pairs = half / (2 * stride);
        for (int p = 0; p < pairs; p++) {
            /* Of the whole length, hence twice: turns[k] = exp(-2 pi i k / SPEECHRNN_FFT). */
            const float cosine = turns[2 * p * stride][0], sine = turns[2 * p * stride][1];
            const float *restrict a = from + 2 * p * stride, *restrict b = a + half;
            float *restrict sum = to + 4 * p * stride, *restrict difference = sum + 2 * stride;
            for (int i = 0; i < 2 * stride; i += 2) {
                const float real = a[i] - b[i], imaginary = a[i + 1] - b[i + 1];
                sum[i] = a[i] + b[i];
                sum[i + 1] = a[i + 1] + b[i + 1];
                difference[i] = real * cosine - imaginary * sine;
                difference[i + 1] = real * sine + imaginary * cosine;
            }
        }
        float *swap = from;
        from = to;
        to = swap;
    }
    return from;
}

/* The power |X|^2 of each frequency of a real signal. Its even samples were transformed as real parts and its odd ones
 * as imaginary parts; both transforms come out of the one by symmetry, and X is their sum, the odd one turned. */
static void power_spectrum(const float *z, float *power)
{
    const int half = SPEECHRNN_FFT / 2;

    for (int k = 0; k <= half / 2; k++) {
        const float *low = z + 2 * k, *high = z + 2 * ((half - k) % half);
        const float even[2] = {0.5f * (low[0] + high[0]), 0.5f * (low[1] - high[1])};
        const float odd[2] = {0.5f * (low[1] + high[1]), 0.5f * (high[0] - low[0])};
        const float cosine = turns[k][0], sine = turns[k][1];
        const float turned[2] = {odd[0] * cosine - odd[1] * sine, odd[0] * sine + odd[1] * cosine};
        const float sum[2] = {even[0] + turned[0], even[1] + turned[1]};
        const float difference[2] = {even[0] - turned[0], even[1] - turned[1]};
        power[k] = sum[0] * sum[0] + sum[1] * sum[1];
        power[half - k] = difference[0] * difference[0] + difference[1] * difference[1];
    }
}

/* One frame from the samples that end with its hop: window, power spectrum, mel bands, logarithm, and each band brought
 * to mean 0 and variance 1 over the training data. */
static void log_mel(speechrnn_state *state, const float *samples, float *frame)
{
    float *spectrum = state->scratch.transform.spectrum, *power = state->scratch.transform.other;

    for (int i = 0; i < SPEECHRNN_WINDOW; i++)
        spectrum[i] = samples[i] * window[i];
    memset(spectrum + SPEECHRNN_WINDOW, 0, (SPEECHRNN_FFT - SPEECHRNN_WINDOW) * sizeof *spectrum);
    const float *transformed = transform(spectrum, power);
    if (transformed == power)
        power = spectrum;
    power_spectrum(transformed, power);

    const float *weight = mel_weights;
    for (int band = 0; band < SPEECHRNN_BANDS; band++) {
        float sum = 0.0f;
        for (int i = 0; i < mel_bands[band].bins; i++)
            sum += power[mel_bands[band].first + i] * *weight++;
        frame[band] = logf(sum + LOG_OFFSET) * band_scale[band] + band_bias[band];
    }
}
