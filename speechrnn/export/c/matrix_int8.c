/* ---- Matrices: 8-bit integers, a scale for each output ----------------------------------------------------------- */

typedef struct {
    int inputs, outputs;
    const int8_t *weights; /* [outputs][inputs] */
    const float *scales;   /* [outputs]: weight = scale * integer */
} matrix;

/* Writes x as integers and returns the step between them. 16 bits lose nothing that matters beside 8-bit weights. The
 * largest integer is such that the sum of all products stays within 32 bits. */
static float quantise(const float *restrict x, int count, int16_t *restrict q)
{
    const int32_t bound = INT32_MAX / (128 * count);
    const float levels = bound < INT16_MAX ? (float)bound : (float)INT16_MAX;
    float largest = 0.0f;

    for (int i = 0; i < count; i++) {
        const float size = fabsf(x[i]);
        largest = size > largest ? size : largest;
    }
    if (!(largest > FLT_MIN * INT16_MAX)) { /* as good as nothing; and 1 / step below must be finite */
        memset(q, 0, (size_t)count * sizeof *q);
        return 0.0f;
    }
    const float per_step = levels / largest;
    for (int i = 0; i < count; i++) {
        const float steps = x[i] * per_step;
        q[i] = (int16_t)(steps < 0.0f ? steps - 0.5f : steps + 0.5f);
    }
    return largest / levels;
}

/* y += W x, in integers. They may be added in any order, so the compiler may use vector instructions along a row; a
 * processor without a floating point unit has less work too. */
static void multiply_add(const matrix *m, const float *restrict x, float *restrict y)
{
    int16_t q[SPEECHRNN_WIDEST];
    const float step = quantise(x, m->inputs, q);
    const int8_t *restrict w = m->weights;

    for (int o = 0; o < m->outputs; o++, w += m->inputs) {
        int32_t sum = 0;
        for (int i = 0; i < m->inputs; i++)
            sum += (int32_t)w[i] * q[i];
        y[o] += m->scales[o] * step * (float)sum;
    }
}
