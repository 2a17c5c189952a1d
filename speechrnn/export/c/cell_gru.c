/* ---- Recurrent cell: GRU (Cho et al. 2014, arXiv:1406.1078) ------------------------------------------------------ */

/* One step. Gates are in the order update, reset, candidate. The reset gate acts on what the recurrent weights give, as
 * in cuDNN, and not on the hidden state in front of them. */
static void step(speechrnn_state *state, int layer, const float *input)
{
    float *from_input = state->scratch.network.from_input, *from_hidden = state->scratch.network.from_hidden;
    float *hidden = state->hidden[layer];

    add_gates(state, &cells[layer], input, hidden);
    for (int i = 0; i < SPEECHRNN_HIDDEN; i++) {
        const int reset_at = SPEECHRNN_HIDDEN + i, candidate_at = 2 * SPEECHRNN_HIDDEN + i;
        const float update = sigmoid(from_input[i] + from_hidden[i]);
        const float reset = sigmoid(from_input[reset_at] + from_hidden[reset_at]);
        const float candidate = tanhf(from_input[candidate_at] + reset * from_hidden[candidate_at]);
        hidden[i] = candidate + update * (hidden[i] - candidate);
    }
}
