/* ---- Recurrent cell: LSTM (Gers et al. 2000), gates in the order input, output, forget, candidate ---------------- */

static void step(speechrnn_state *state, int layer, const float *input)
{
    const float *from_input = state->scratch.network.from_input, *from_hidden = state->scratch.network.from_hidden;
    float *hidden = state->hidden[layer], *memory = state->memory[layer];

    add_gates(state, &cells[layer], input, hidden);
    for (int i = 0; i < SPEECHRNN_HIDDEN; i++) {
        float gate[4];
        for (int g = 0; g < 4; g++)
            gate[g] = from_input[g * SPEECHRNN_HIDDEN + i] + from_hidden[g * SPEECHRNN_HIDDEN + i];
        memory[i] = sigmoid(gate[2]) * memory[i] + sigmoid(gate[0]) * tanhf(gate[3]);
        hidden[i] = sigmoid(gate[1]) * tanhf(memory[i]);
    }
}
