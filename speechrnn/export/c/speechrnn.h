/* @heading@ */
#ifndef SPEECHRNN_H
#define SPEECHRNN_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* @interface@ */

/* Sizes of what is inside. */
/* @sizes@ */

/* Everything that changes while a sound is processed. Fill it with speechrnn_init; one for each sound. */
typedef struct {
    /* What the network remembers: the end of the sound, the rows that each convolution looks back on, and the
     * recurrent state. */
    float sound[SPEECHRNN_SOUND];
    float rows[SPEECHRNN_ROWS];
    float hidden[SPEECHRNN_LAYERS][SPEECHRNN_HIDDEN];
    /* @memory@ */

    /* What the decision remembers. `thresholds` may be changed after speechrnn_init, `smoothed` may be read. */
    float thresholds[SPEECHRNN_WORDS];
    float smoothed[SPEECHRNN_LABELS];                    /* the mean of the last SPEECHRNN_SMOOTHING probabilities */
    float recent[SPEECHRNN_SMOOTHING][SPEECHRNN_LABELS]; /* the last probabilities, a ring */
    uint32_t blocks;                                     /* decided on so far */
    uint32_t wait;                                       /* blocks until a word may be detected again */
    uint8_t fallen[SPEECHRNN_WORDS];                     /* has it been low enough since its last detection? */

    /* Nothing in here outlives a call. The transform is done when the network begins, so both share the memory. */
    union {
        struct {
            float spectrum[SPEECHRNN_FFT];
            float other[SPEECHRNN_FFT];
        } transform;
        struct {
            float depthwise[SPEECHRNN_CHANNELS];
            float last_row[SPEECHRNN_LAST_ROW];
            float features[SPEECHRNN_FEATURES];
            float from_input[SPEECHRNN_GATES];
            float from_hidden[SPEECHRNN_GATES];
        } network;
    } scratch;
} speechrnn_state;

/* A word that was detected, in the block that reached its threshold, while the word may still go on:
 * `probability` is what reached it. The peak that the probability then reaches is the highest smoothed[label] of the
 * state in SPEECHRNN_REFRACTORY blocks, this one and those that follow. */
typedef struct {
    int label;         /* its place in speechrnn_labels */
    float probability; /* smoothed[label] of the state in that block */
    uint32_t blocks;   /* from the start of the sound to the end of that block; 20 ms each */
} speechrnn_detection;

/* The names of the columns of `probabilities`. */
extern const char *const speechrnn_labels[SPEECHRNN_LABELS];

/* Set the state to that of a new sound. */
void speechrnn_init(speechrnn_state *state);

/* Processes the next SPEECHRNN_BLOCK samples (16 kHz mono, full scale 1.0) and gives the probability of each label at the
 * end of them. Samples must be finite: one that is not would stay in the state. */
void speechrnn_process(speechrnn_state *state, const float *samples, float *probabilities);

/* The same for 16-bit samples, as a microphone gives them. */
void speechrnn_process_int16(speechrnn_state *state, const int16_t *samples, float *probabilities);

/* Decides after each block, from its probabilities: 1 if a word was detected, which `detection` then names, else 0. */
int speechrnn_decide(speechrnn_state *state, const float *probabilities, speechrnn_detection *detection);

#ifdef __cplusplus
}
#endif
#endif
