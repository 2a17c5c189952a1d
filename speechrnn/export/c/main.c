/* Spots words in raw sound on stdin (16-bit little-endian, 16 kHz, mono) and prints a line for each: the time in
 * seconds from the start to the end of the word, the word, and the probability that reached its threshold. Lines come
 * at once, while a word may still go on: how sure the network then becomes, the peak, is not known yet.
 *
 *     gcc -O3 -std=c99 -o spot main.c speechrnn.c -lm
 *     arecord -q -t raw -f S16_LE -r 16000 -c 1 | ./spot
 *     sox speech.wav -t raw -e signed -b 16 -L -r 16000 -c 1 - | ./spot 0.9
 *
 * The argument is the probability from which a word counts, for all words instead of the model's own.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "speechrnn.h"

static speechrnn_state state; /* not on the stack, which may be small */

/* Files that begin so aren't raw sound, and would be taken for noise. */
static const struct { unsigned char length; const char *bytes, *name; } headers[] = {
    {4, "RIFF", "a WAV file"}, {4, "RF64", "a WAV file"}, {4, "RIFX", "a WAV file"}, {4, "BW64", "a WAV file"},
    {4, "riff", "a W64 file"}, {4, "FORM", "an AIFF file"}, {4, ".snd", "an AU file"}, {4, "caff", "a CAF file"},
    {4, "fLaC", "a FLAC file"}, {4, "OggS", "an Ogg file"}, {3, "ID3", "an MP3 file"}, {4, "\x1a\x45\xdf\xa3", "a WebM file"},
    {3, "\x1f\x8b\x08", "gzip"}
};

static void process(const int16_t *samples)
{
    float probabilities[SPEECHRNN_LABELS];
    speechrnn_detection detection;

    speechrnn_process_int16(&state, samples, probabilities);
    if (speechrnn_decide(&state, probabilities, &detection)) {
        const double seconds = (double)detection.blocks * SPEECHRNN_BLOCK / SPEECHRNN_SAMPLE_RATE;
        printf("%9.2f s  %-8s %.3f\n", seconds, speechrnn_labels[detection.label], (double)detection.probability);
        fflush(stdout); /* a program that reads these lines wants them now */
    }
}

int main(int count, char **arguments)
{
    unsigned char bytes[2 * SPEECHRNN_BLOCK];
    int16_t samples[SPEECHRNN_BLOCK];
    size_t got;
    int first = 1;

    speechrnn_init(&state);
    if (count > 1) {
        char *end;
        const double threshold = strtod(arguments[1], &end);
        if (count > 2 || end == arguments[1] || *end || !(threshold > 0.0 && threshold <= 1.0)) {
            fprintf(stderr, "spot: give raw sound on stdin, and at most a threshold, above 0 and at most 1\n");
            return 2;
        }
        for (int word = 0; word < SPEECHRNN_WORDS; word++)
            state.thresholds[word] = (float)threshold;
    }

    do {
        got = fread(bytes, 1, sizeof bytes, stdin); /* less than a block only at the end, however the sound comes */
        for (size_t i = 0; first && i < sizeof headers / sizeof *headers; i++)
            if (got >= headers[i].length && memcmp(bytes, headers[i].bytes, headers[i].length) == 0) {
                fprintf(stderr, "spot: stdin is %s: give raw sound (16 bit, %d Hz, mono), for instance arecord -t raw "
                        "-f S16_LE -r %d\n", headers[i].name, SPEECHRNN_SAMPLE_RATE, SPEECHRNN_SAMPLE_RATE);
                return 2;
            }
        first = 0;
        for (size_t i = 0; i < SPEECHRNN_BLOCK; i++) { /* a last block that is not full ends with silence */
            const int value = 2 * i + 1 < got ? bytes[2 * i] + 256 * bytes[2 * i + 1] : 0;
            samples[i] = (int16_t)(value < 32768 ? value : value - 65536);
        }
        if (got >= 2)
            process(samples);
    } while (got == sizeof bytes);
    if (ferror(stdin)) {
        perror("spot: stdin");
        return 1;
    }

    /* A word at the very end is detected a little later: the tail of silence. */
    memset(samples, 0, sizeof samples);
    for (int block = 0; block < SPEECHRNN_TAIL_BLOCKS; block++)
        process(samples);
    return 0;
}
