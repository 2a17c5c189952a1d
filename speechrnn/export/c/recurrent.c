/* ---- Recurrent stack --------------------------------------------------------------------------------------------- */

typedef struct {
    const matrix *input, *hidden;          /* weights of all gates, one gate after the other */
    const float *input_bias, *hidden_bias; /* [SPEECHRNN_GATES] */
} cell;

/* @cells@ */

/* What all gates get, from the input and from the hidden state. */
static void add_gates(speechrnn_state *state, const cell *c, const float *input, const float *hidden)
{
    float *from_input = state->scratch.network.from_input, *from_hidden = state->scratch.network.from_hidden;

    memcpy(from_input, c->input_bias, SPEECHRNN_GATES * sizeof *from_input);
    memcpy(from_hidden, c->hidden_bias, SPEECHRNN_GATES * sizeof *from_hidden);
    multiply_add(c->input, input, from_input);
    multiply_add(c->hidden, hidden, from_hidden);
}
