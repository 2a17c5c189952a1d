/* ---- Matrices: 32-bit floats ------------------------------------------------------------------------------------- */

typedef struct {
    int inputs, outputs;
    const float *weights; /* [inputs][outputs] */
} matrix;

/* y += W x. The weights lie input by input, so that the inner loop runs over outputs, which are independent sums: the
 * compiler may use vector instructions without changing the order of any addition. Four inputs at a time, so that y is
 * fetched and stored a quarter as often. */
static void multiply_add(const matrix *m, const float *restrict x, float *restrict y)
{
    const int n = m->outputs;
    const float *restrict w = m->weights;
    int i = 0;

    for (; i + 4 <= m->inputs; i += 4, w += 4 * n) {
        const float x0 = x[i], x1 = x[i + 1], x2 = x[i + 2], x3 = x[i + 3];
        for (int o = 0; o < n; o++)
            y[o] += (x0 * w[o] + x1 * w[n + o]) + (x2 * w[2 * n + o] + x3 * w[3 * n + o]);
    }
    for (; i < m->inputs; i++, w += n)
        for (int o = 0; o < n; o++)
            y[o] += x[i] * w[o];
}
