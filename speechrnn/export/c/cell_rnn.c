/* ---- Recurrent cell: the simple one (Elman 1990) ----------------------------------------------------------------- */

static void step(speechrnn_state *state, int layer, const float *input)
{
    const float *from_input = state->scratch.network.from_input, *from_hidden = state->scratch.network.from_hidden;
    float *hidden = state->hidden[layer];

    add_gates(state, &cells[layer], input, hidden);
    for (int i = 0; i < SPEECHRNN_HIDDEN; i++)
        hidden[i] = tanhf(from_input[i] + from_hidden[i]);
}
