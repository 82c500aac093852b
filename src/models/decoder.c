/* What lies between the matrix products of a decoder's step and of its loss, in one pass each. `cells.py`, `attention.py`
 * and `training/objectives.py` say what is computed, in PyTorch's operations; `native.py` compiles and calls this.
 *
 * Every function is there twice, for products in single precision (..._fp32) and in bfloat16 (..._bf16): the second half
 * of this file is read once for each. Everything else is in single precision. Rows are captions of images; no row's
 * result depends on how many threads there are.
 */
#ifndef PRODUCT

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Rows of numbers that lie one behind the other; how far it is to the next image's and to the next caption's. */
typedef struct {
    intptr_t at;
    int64_t image, caption;
} rows;

#define ROW(type, of) ((type *)(of).at + image * (of).image + caption * (of).caption)
#define EACH_ROW                                                                                                       \
    _Pragma("omp parallel for collapse(2) schedule(static) num_threads(threads)")                                      \
    for (int64_t image = 0; image < images; image++)                                                                   \
        for (int64_t caption = 0; caption < captions; caption++)
#define EACH(index, count) _Pragma("omp simd") for (int64_t index = 0; index < (count); index++)

typedef uint16_t bf16;

static inline float wide_fp32(float value) { return value; }
static inline float narrow_fp32(float value) { return value; }

static inline float wide_bf16(bf16 value)
{
    uint32_t bits = (uint32_t)value << 16;
    float found;
    memcpy(&found, &bits, sizeof found);
    return found;
}

/* Rounded to the nearest, to even where there are two. */
static inline bf16 narrow_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bf16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* exp(value), cut off near 2^limit and 2^-limit, of values up to a billion. Nothing but the exponent is cut off: what is
 * no number stays none. */
static inline float exponential(float value, int32_t limit)
{
    float whole = __builtin_rintf(value * 1.44269504f), rest = value - whole * 0.693147181f;
    int32_t exponent = (int32_t)whole;
    exponent = exponent < -limit ? -limit : exponent > limit ? limit : exponent;
    uint32_t bits = (uint32_t)(exponent + 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    float sum = 1 / 720.0f;
    sum = sum * rest + 1 / 120.0f;
    sum = sum * rest + 1 / 24.0f;
    sum = sum * rest + 1 / 6.0f;
    sum = sum * rest + 0.5f;
    sum = sum * rest + 1;
    sum = sum * rest + 1;
    return sum * scale;
}

enum { FAR = 57, SMALLEST = 126 }; /* exp(2 * 20) is 2^57.7: see `attention.LIMIT` */

static inline float sigmoid(float value) { return 1 / (1 + exponential(-value, FAR)); }
static inline float tangent(float value) { return 1 - 2 / (1 + exponential(2 * value, FAR)); }

enum { SIDE = 32 };

/* given: a matrix, and where it is written transposed. `images` and `captions` are its rows and columns. */
#define TURN(name, from, to, as)                                                                                       \
    void name(const rows *given, int64_t images, int64_t captions, int threads)                                        \
    {                                                                                                                  \
        const from *old = (const from *)given[0].at;                                                                   \
        to *new = (to *)given[1].at;                                                                                   \
        _Pragma("omp parallel for collapse(2) schedule(static) num_threads(threads)")                                  \
        for (int64_t column = 0; column < captions; column += SIDE)                                                    \
            for (int64_t row = 0; row < images; row += SIDE) {                                                         \
                int64_t high = images - row < SIDE ? images - row : SIDE;                                              \
                int64_t wide = captions - column < SIDE ? captions - column : SIDE;                                    \
                from block[SIDE][SIDE] = {{0}};                                                                        \
                for (int64_t i = 0; i < high; i++)                                                                     \
                    memcpy(block[i], old + (row + i) * given[0].image + column, wide * sizeof(from));                  \
                for (int64_t j = 0; j < wide; j++)                                                                     \
                    for (int64_t i = 0; i < high; i++)                                                                 \
                        new[(column + j) * given[1].image + row + i] = as(block[i][j]);                                \
            }                                                                                                          \
    }
#define ITSELF(value) (value)
TURN(turn_bf16, bf16, bf16, ITSELF)
TURN(turn_widen_bf16, bf16, float, wide_bf16)

#define NAMED(name, kind) name##_##kind
#define PRODUCT float
#define OF(name) NAMED(name, fp32)
#include "decoder.c"
#undef PRODUCT
#undef OF
#define PRODUCT bf16
#define OF(name) NAMED(name, bf16)
#include "decoder.c"

#else

/* given: asked (units and openness), keys, v, attention, queries, openness, shares.
 * Queries become exponentials; a region's score is -2 sum of v / (1 + key query); attention is their softmax, unless it is
 * known already; shares are attention times openness. */
void OF(attend)(const rows *given, int64_t images, int64_t captions, int64_t regions, int64_t units, int known,
                int threads)
{
    const float *v = (const float *)given[2].at;
    EACH_ROW {
        const PRODUCT *asked = ROW(const PRODUCT, given[0]);
        const float *keys = (const float *)given[1].at + image * given[1].image;
        float *attention = ROW(float, given[3]), *query = ROW(float, given[4]);
        PRODUCT *shares = ROW(PRODUCT, given[6]);
        EACH(unit, units) query[unit] = exponential(2 * OF(wide)(asked[unit]), FAR);
        float open = sigmoid(OF(wide)(asked[units]));
        *ROW(float, given[5]) = open;
        if (!known) {
            float most = -1e38f, mass = 0;
            for (int64_t region = 0; region < regions; region++) {
                const float *key = keys + region * given[1].caption;
                float sum = 0;
#pragma omp simd reduction(+ : sum)
                for (int64_t unit = 0; unit < units; unit++)
                    sum += v[unit] / (1 + key[unit] * query[unit]);
                attention[region] = -2 * sum;
                most = attention[region] > most ? attention[region] : most;
            }
#pragma omp simd reduction(+ : mass)
            for (int64_t region = 0; region < regions; region++) {
                attention[region] = exponential(attention[region] - most, SMALLEST);
                mass += attention[region];
            }
            mass = 1 / mass;
            EACH(region, regions) attention[region] *= mass;
        }
        EACH(region, regions) shares[region] = OF(narrow)(attention[region] * open);
    }
}

/* given: keys, v, queries, attention, openness, gradients of shares and of attention; then, added to, gradients of keys
 * (before the exponential and without the factor 4 v) and of v (for each image); then, written, the gradient of asked. */
void OF(attend_back)(const rows *given, int64_t images, int64_t captions, int64_t regions, int64_t units, int threads)
{
    const float *v = (const float *)given[1].at;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t image = 0; image < images; image++) {
        float *by_v = (float *)given[8].at + image * given[8].image;
        for (int64_t caption = 0; caption < captions; caption++) {
            const float *query = ROW(const float, given[2]), *attention = ROW(const float, given[3]);
            const float *by_attention = ROW(const float, given[6]);
            const PRODUCT *by_shares = ROW(const PRODUCT, given[5]);
            PRODUCT *by_asked = ROW(PRODUCT, given[9]);
            float open = *ROW(const float, given[4]), by_open = 0, mean = 0;
            float by_score[regions], by_query[units];
#pragma omp simd reduction(+ : by_open, mean)
            for (int64_t region = 0; region < regions; region++) {
                float by_share = OF(wide)(by_shares[region]);
                by_open += by_share * attention[region];
                by_score[region] = by_share * open + by_attention[region];
                mean += attention[region] * by_score[region];
            }
            EACH(region, regions) by_score[region] = attention[region] * (by_score[region] - mean);
            EACH(unit, units) by_query[unit] = 0;
            for (int64_t region = 0; region < regions; region++) {
                const float *key = (const float *)given[0].at + image * given[0].image + region * given[0].caption;
                float *by_key = (float *)given[7].at + image * given[7].image + region * given[7].caption;
                float own = by_score[region];
                EACH(unit, units) {
                    float half = 1 / (1 + key[unit] * query[unit]);
                    float slope = own * (half - half * half); /* a quarter of the hyperbolic tangent's */
                    by_v[unit] -= 2 * own * half;
                    by_query[unit] += slope;
                    by_key[unit] += slope;
                }
            }
            EACH(unit, units) by_asked[unit] = OF(narrow)(by_query[unit] * 4 * v[unit]);
            by_asked[units] = OF(narrow)(by_open * open * (1 - open));
        }
    }
}

/* given: what words, context and state bring to the gates, the cell before; then, written, the gates, the cell, the
 * hidden state. */
void OF(lstm)(const rows *given, int64_t images, int64_t captions, int64_t hidden, int threads)
{
    EACH_ROW {
        const PRODUCT *word = ROW(const PRODUCT, given[0]), *seen = ROW(const PRODUCT, given[1]);
        const PRODUCT *state = ROW(const PRODUCT, given[2]);
        const float *before = ROW(const float, given[3]);
        float *enter = ROW(float, given[4]), *forget = ROW(float, given[5]), *candidate = ROW(float, given[6]);
        float *leave = ROW(float, given[7]), *cell = ROW(float, given[8]);
        PRODUCT *after = ROW(PRODUCT, given[9]);
#define TOLD(gate) (OF(wide)(word[gate * hidden + at]) + OF(wide)(seen[gate * hidden + at]) + OF(wide)(state[gate * hidden + at]))
        EACH(at, hidden) {
            float in = sigmoid(TOLD(0)), kept = sigmoid(TOLD(1)), new = tangent(TOLD(2)), out = sigmoid(TOLD(3));
            float content = kept * before[at] + in * new;
            enter[at] = in, forget[at] = kept, candidate[at] = new, leave[at] = out, cell[at] = content;
            after[at] = OF(narrow)(out * tangent(content));
        }
    }
}

/* given: the cell before and after, the gates, gradients of the hidden state and of the cell; then, written, the gradient
 * of what words bring, twice (for an image's words, and one row behind the other), of what the state brings, of the cell
 * before. */
void OF(lstm_back)(const rows *given, int64_t images, int64_t captions, int64_t hidden, int threads)
{
    EACH_ROW {
        const float *before = ROW(const float, given[0]), *cell = ROW(const float, given[1]);
        const float *enter = ROW(const float, given[2]), *forget = ROW(const float, given[3]);
        const float *candidate = ROW(const float, given[4]), *leave = ROW(const float, given[5]);
        const float *by_hidden = ROW(const float, given[6]), *by_after = ROW(const float, given[7]);
        PRODUCT *by_word = ROW(PRODUCT, given[8]), *by_seen = ROW(PRODUCT, given[9]), *by_state = ROW(PRODUCT, given[10]);
        float *by_before = ROW(float, given[11]);
        EACH(at, hidden) {
            float squashed = tangent(cell[at]);
            float by_cell = by_after[at] + by_hidden[at] * leave[at] * (1 - squashed * squashed);
            PRODUCT in = OF(narrow)(by_cell * candidate[at] * enter[at] * (1 - enter[at]));
            PRODUCT kept = OF(narrow)(by_cell * before[at] * forget[at] * (1 - forget[at]));
            PRODUCT new = OF(narrow)(by_cell * enter[at] * (1 - candidate[at] * candidate[at]));
            PRODUCT out = OF(narrow)(by_hidden[at] * squashed * leave[at] * (1 - leave[at]));
            by_before[at] = by_cell * forget[at];
            by_word[at] = by_seen[at] = by_state[at] = in;
            by_word[hidden + at] = by_seen[hidden + at] = by_state[hidden + at] = kept;
            by_word[2 * hidden + at] = by_seen[2 * hidden + at] = by_state[2 * hidden + at] = new;
            by_word[3 * hidden + at] = by_seen[3 * hidden + at] = by_state[3 * hidden + at] = out;
        }
    }
}

/* given: what words, context and state bring to the gates, the hidden state before; then, written, the gates (the fourth
 * is the state's share of the candidate before the reset), the hidden state. */
void OF(gru)(const rows *given, int64_t images, int64_t captions, int64_t hidden, int threads)
{
    EACH_ROW {
        const PRODUCT *word = ROW(const PRODUCT, given[0]), *seen = ROW(const PRODUCT, given[1]);
        const PRODUCT *state = ROW(const PRODUCT, given[2]), *before = ROW(const PRODUCT, given[3]);
        float *reset = ROW(float, given[4]), *update = ROW(float, given[5]), *candidate = ROW(float, given[6]);
        float *recurrent = ROW(float, given[7]);
        PRODUCT *after = ROW(PRODUCT, given[8]);
        EACH(at, hidden) {
            float again = sigmoid(TOLD(0)), kept = sigmoid(TOLD(1)), own = OF(wide)(state[2 * hidden + at]);
            float new = tangent(OF(wide)(word[2 * hidden + at]) + OF(wide)(seen[2 * hidden + at]) + again * own);
            reset[at] = again, update[at] = kept, candidate[at] = new, recurrent[at] = own;
            after[at] = OF(narrow)(new + kept * (OF(wide)(before[at]) - new));
        }
    }
}

/* given: the hidden state before, the gates, the gradient of the hidden state; then, written, the gradient of what words
 * bring, twice (see `lstm_back`), of what the state brings, and the hidden state's own share of the one before. */
void OF(gru_back)(const rows *given, int64_t images, int64_t captions, int64_t hidden, int threads)
{
    EACH_ROW {
        const PRODUCT *before = ROW(const PRODUCT, given[0]);
        const float *reset = ROW(const float, given[1]), *update = ROW(const float, given[2]);
        const float *candidate = ROW(const float, given[3]), *recurrent = ROW(const float, given[4]);
        const float *by_hidden = ROW(const float, given[5]);
        PRODUCT *by_word = ROW(PRODUCT, given[6]), *by_seen = ROW(PRODUCT, given[7]), *by_state = ROW(PRODUCT, given[8]);
        float *by_before = ROW(float, given[9]);
        EACH(at, hidden) {
            float by_new = by_hidden[at] * (1 - update[at]) * (1 - candidate[at] * candidate[at]);
            float by_kept = by_hidden[at] * (OF(wide)(before[at]) - candidate[at]) * update[at] * (1 - update[at]);
            PRODUCT again = OF(narrow)(by_new * recurrent[at] * reset[at] * (1 - reset[at]));
            PRODUCT kept = OF(narrow)(by_kept), new = OF(narrow)(by_new);
            by_before[at] = by_hidden[at] * update[at];
            by_word[at] = by_seen[at] = by_state[at] = again;
            by_word[hidden + at] = by_seen[hidden + at] = by_state[hidden + at] = kept;
            by_word[2 * hidden + at] = by_seen[2 * hidden + at] = new;
            by_state[2 * hidden + at] = OF(narrow)(by_new * reset[at]);
        }
    }
}
#undef TOLD

/* given: numbers and a random byte for each; then, written, the numbers times `scale` where the byte is `threshold` or
 * more, else 0. A row is an image's. */
void OF(drop)(const rows *given, int64_t images, int64_t numbers, int64_t threshold, float scale, int threads)
{
    const int64_t caption = 0;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t image = 0; image < images; image++) {
        const PRODUCT *value = ROW(const PRODUCT, given[0]);
        const uint8_t *random = ROW(const uint8_t, given[1]);
        PRODUCT *kept = ROW(PRODUCT, given[2]);
        EACH(at, numbers) kept[at] = OF(narrow)(random[at] >= threshold ? OF(wide)(value[at]) * scale : 0);
    }
}

/* given: targets and shares; then, written, logits, which become their gradients, and the losses. A row is a word. */
void OF(errors)(const rows *given, int64_t images, int64_t words, float smoothing, int threads)
{
    const int64_t caption = 0;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t image = 0; image < images; image++) {
        PRODUCT *logits = ROW(PRODUCT, given[2]);
        int64_t target = *ROW(const int64_t, given[0]);
        float share = *ROW(const float, given[1]), said = OF(wide)(logits[target]);
        float most = OF(wide)(logits[0]), mass = 0, all = 0;
#pragma omp simd reduction(max : most)
        for (int64_t word = 0; word < words; word++)
            most = OF(wide)(logits[word]) > most ? OF(wide)(logits[word]) : most;
#pragma omp simd reduction(+ : mass, all)
        for (int64_t word = 0; word < words; word++) {
            mass += exponential(OF(wide)(logits[word]) - most, SMALLEST);
            all += OF(wide)(logits[word]) - most;
        }
        float each = share / mass, even = share * smoothing / words;
        EACH(word, words) logits[word] = OF(narrow)(exponential(OF(wide)(logits[word]) - most, SMALLEST) * each - even);
        logits[target] = OF(narrow)(exponential(said - most, SMALLEST) * each - even - share * (1 - smoothing));
        *ROW(float, given[3]) = share * (logf(mass) - (1 - smoothing) * (said - most) - smoothing * all / words);
    }
}

#endif
