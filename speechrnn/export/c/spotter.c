/* ---- Probabilities to detections: what speechrnn/decision.py does ------------------------------------------------ */

/* @labels@ */

void speechrnn_init(speechrnn_state *state)
{
    memset(state, 0, sizeof *state);
    for (int word = 0; word < SPEECHRNN_WORDS; word++) {
        state->thresholds[word] = word_thresholds[word];
        state->fallen[word] = 1;
    }
}

/* A word is detected in the block where its smoothed probability reaches its threshold; the most probable one if
 * several do. It can be detected again once it has fallen below HYSTERESIS times that, and for some time after a
 * detection (SPEECHRNN_REFRACTORY blocks) nothing is. */
int speechrnn_decide(speechrnn_state *state, const float *probabilities, speechrnn_detection *detection)
{
    const uint32_t block = state->blocks++;
    int detected = -1;

    memcpy(state->recent[block % SPEECHRNN_SMOOTHING], probabilities, sizeof state->recent[0]);
    for (int label = 0; label < SPEECHRNN_LABELS; label++) {
        float sum = 0.0f;
        for (int i = 0; i < SPEECHRNN_SMOOTHING; i++)
            sum += state->recent[i][label];
        state->smoothed[label] = sum / SPEECHRNN_SMOOTHING;
    }
    detection->probability = -1.0f;
    for (int word = 0; word < SPEECHRNN_WORDS; word++) {
        const float smoothed = state->smoothed[word_labels[word]];

        if (!state->wait && state->fallen[word] && smoothed >= state->thresholds[word] &&
            smoothed > detection->probability) {
            detection->probability = smoothed;
            detected = word;
        }
        if (smoothed < HYSTERESIS * state->thresholds[word])
            state->fallen[word] = 1;
    }
    if (detected >= 0) {
        state->fallen[detected] = 0;
        state->wait = SPEECHRNN_REFRACTORY;
        detection->label = word_labels[detected];
        detection->blocks = block + 1;
    }
    if (state->wait)
        state->wait--;
    return detected >= 0;
}
