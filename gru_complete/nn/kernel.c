/* The time loops of the default cell, forward and backward; sequence.py has the same arithmetic in torch.

   u, r = sigma(P_ur + W_ur h);  c = tanh(P_c + W_c (r*h));  h' = u*c + (1 - u)*h, with P the input products.

   All arrays are float32 and contiguous: states (steps + 1, rows, size) with the start first, products and their
   gradients (steps, rows, 3*size) in the order u, r, c, reset_states and grad_hidden (steps, rows, size), keep
   (steps, rows) or NULL. Where keep is 0 the row's state is zero before that step.

   Each thread owns a slice of the units: it lays out its share of the recurrent weights once, in the order in which
   they are read, and this share then stays in its core's cache over all steps. Threads meet twice in a step, where a
   product reads what the others have written. Every number is the work of one thread and a fixed order of additions,
   so the result does not depend on how many there are.

   Infinities and NaN pass through, as training looks for them; so no -ffast-math. */

#include <stddef.h>
#include <string.h>

#ifdef _OPENMP
int omp_get_thread_num(void);
int omp_get_num_threads(void);
#define BARRIER _Pragma("omp barrier")
#else
#define omp_get_thread_num() 0
#define omp_get_num_threads() 1
#define BARRIER
#endif

/* A tile of ROWS rows and up to WIDTH vectors of sums fills the vector registers, of which there are 32 or 16. */
#if defined(__AVX512F__)
#define LANES 16
#define ROWS 8
#elif defined(__AVX__)
#define LANES 8
#define ROWS 4
#elif defined(__aarch64__)
#define LANES 4
#define ROWS 8
#else
#define LANES 4
#define ROWS 4
#endif
#define WIDTH 3
#define AHEAD 16
#define MAX_ROWS 1024

/* GCC, tuning for AMD's processors with AVX2, would load each weight again for every row, and wait for these loads. */
#ifdef __FMA__
#define KEEP_IN_REGISTER(x) __asm__("" : "+v"(x))
#else
#define KEEP_IN_REGISTER(x)
#endif

typedef float vector __attribute__((vector_size(4 * LANES)));

/* A thread's share of the units, in whole vectors but for the end. */
typedef struct {
    long first, count; /* units */
    long vectors;
} slice;

static slice slice_of(long size, long part, long parts) {
    long all = (size + LANES - 1) / LANES;
    long first = all * part / parts, end = all * (part + 1) / parts;
    long last_unit = end * LANES < size ? end * LANES : size;
    return (slice){first * LANES, last_unit - first * LANES, end - first};
}

/* ---- products of few rows with a matrix laid out beforehand ---- */

static long panel_count(long vectors) { return (vectors + WIDTH - 1) / WIDTH; }

static long panel_start(long vectors, long panel) { return vectors * panel / panel_count(vectors); }

/* Lay out the elements (k, units of the slice), found at from[k * k_step + unit * unit_step], for `multiply`: panels
   of up to WIDTH vectors, in each of them one k after the other; zeros beyond the last unit. */
static void lay_out(const float *from, long k_step, long unit_step, long depth, slice own, float *packed) {
    for (long panel = 0; panel < panel_count(own.vectors); panel++) {
        long first = panel_start(own.vectors, panel) * LANES, end = panel_start(own.vectors, panel + 1) * LANES;
        for (long k = 0; k < depth; k++)
            for (long unit = first; unit < end; unit++)
                *packed++ = unit < own.count ? from[k * k_step + (own.first + unit) * unit_step] : 0.0f;
    }
}

static inline __attribute__((always_inline)) void multiply_tile(int width, long depth, const float *const *left,
                                                                long rows, const vector *packed, float *out,
                                                                long out_step) {
    vector sums[ROWS][WIDTH] = {0};
    for (long k = 0; k < depth; k++) {
        vector weights[WIDTH];
#pragma GCC unroll 8
        for (int j = 0; j < width; j++) {
            weights[j] = packed[k * width + j];
            KEEP_IN_REGISTER(weights[j]);
            __builtin_prefetch(packed + (k + AHEAD) * width + j); /* these come from the second cache; beyond: no harm */
        }
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 8
            for (int j = 0; j < width; j++) sums[i][j] += left[i][k] * weights[j];
    }
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++)
        if (i < rows)
#pragma GCC unroll 8
            for (int j = 0; j < width; j++) memcpy(out + i * out_step + j * LANES, &sums[i][j], sizeof(vector));
}

/* out (rows, own.vectors * LANES) = left (rows, depth) times the matrix in `packed`. The rows of `left` are given one
   by one; their list is filled up with valid addresses to a multiple of ROWS. */
static void multiply(const float *const *left, long rows, long depth, const float *packed, slice own, float *out) {
    long step = own.vectors * LANES;
    for (long panel = 0; panel < panel_count(own.vectors); panel++) {
        long first = panel_start(own.vectors, panel), width = panel_start(own.vectors, panel + 1) - first;
        const vector *weights = (const vector *)packed + first * depth;
        for (long row = 0; row < rows; row += ROWS) {
            float *to = out + row * step + first * LANES;
            if (width == 3) multiply_tile(3, depth, left + row, rows - row, weights, to, step);
            else if (width == 2) multiply_tile(2, depth, left + row, rows - row, weights, to, step);
            else multiply_tile(1, depth, left + row, rows - row, weights, to, step);
        }
    }
}

static void list_rows(const float *matrix, long row_step, long rows, const float *keep, const float *zeros,
                      const float **list) {
    for (long row = 0; row < rows + ROWS; row++) {
        long there = row < rows ? row : rows - 1;
        list[row] = keep && !keep[there] ? zeros : matrix + there * row_step;
    }
}

/* ---- gates ---- */

/* e^x to 2 units in the last place; x is cut to where the result is a normal number, NaN stays. */
static inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    float shifted = x * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: the last bits hold the rounded exponent of 2 */
    float whole = shifted - 12582912.0f;
    float rest = (x - whole * 0.693359375f) - whole * -2.12194440e-4f; /* ln 2 in two parts (Cody and Waite) */
    /* Coefficients of Cephes, expf. */
    float series = 1.9875691500e-4f;
    series = series * rest + 1.3981999507e-3f;
    series = series * rest + 8.3334519073e-3f;
    series = series * rest + 4.1665795894e-2f;
    series = series * rest + 1.6666665459e-1f;
    series = series * rest + 5.0000001201e-1f;
    series = series * (rest * rest) + rest + 1.0f;
    union { float number; unsigned bits; } power = {shifted};
    power.bits = (power.bits << 23) + 0x3f800000u;
    return series * power.number;
}

static inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

static inline float hyperbolic_tangent(float x) { return 2.0f / (1.0f + exponential(-2.0f * x)) - 1.0f; }

/* ---- the loops ---- */

/* Floats of the working memory for either loop, to be aligned to 64 bytes. */
long gru_workspace(long rows, long size) {
    long padded = (size + LANES - 1) / LANES * LANES;
    return 3 * size * padded + 2 * rows * padded + size;
}

long gru_max_rows(void) { return MAX_ROWS; }

int gru_has_threads(void) {
#ifdef _OPENMP
    return 1;
#else
    return 0;
#endif
}

/* states[0] and products are read, products turned into the gates and candidates; the rest is written. */
void gru_forward(long steps, long rows, long size, int threads, const float *weight, const float *keep, float *states,
                 float *products, float *reset_states, float *workspace) {
    long padded = (size + LANES - 1) / LANES * LANES;
    float *zeros = workspace + 3 * size * padded + 2 * rows * padded;
    memset(zeros, 0, size * sizeof(float));
#pragma omp parallel num_threads(threads)
    {
        slice own = slice_of(size, omp_get_thread_num(), omp_get_num_threads());
        float *packed = workspace + 3 * size * own.first;
        long share = size * own.vectors * LANES, wide = own.vectors * LANES;
        float *recurrent_u = workspace + 3 * size * padded + 2 * rows * own.first, *recurrent_r = recurrent_u + rows * wide;
        const float *previous[MAX_ROWS + ROWS], *reset[MAX_ROWS + ROWS];
        for (int gate = 0; gate < 3; gate++)
            lay_out(weight + gate * size * size, 1, size, size, own, packed + gate * share);

        for (long t = 0; t < steps; t++) {
            float *following = states + (t + 1) * rows * size, *reset_state = reset_states + t * rows * size;
            list_rows(states + t * rows * size, size, rows, keep ? keep + t * rows : NULL, zeros, previous);
            list_rows(reset_state, size, rows, NULL, NULL, reset);
            multiply(previous, rows, size, packed, own, recurrent_u);
            multiply(previous, rows, size, packed + share, own, recurrent_r);
            for (long row = 0; row < rows; row++) {
                float *u = products + (t * rows + row) * 3 * size + own.first, *r = u + size;
                float *restrict reset_h = reset_state + row * size + own.first;
                const float *h = previous[row] + own.first, *add_u = recurrent_u + row * wide,
                            *add_r = recurrent_r + row * wide;
#pragma omp simd
                for (long unit = 0; unit < own.count; unit++) {
                    u[unit] = sigmoid(u[unit] + add_u[unit]);
                    float open = sigmoid(r[unit] + add_r[unit]);
                    r[unit] = open;
                    reset_h[unit] = open * h[unit];
                }
            }
            BARRIER
            multiply(reset, rows, size, packed + 2 * share, own, recurrent_u);
            for (long row = 0; row < rows; row++) {
                float *u = products + (t * rows + row) * 3 * size + own.first, *c = u + 2 * size;
                float *next = following + row * size + own.first;
                const float *h = previous[row] + own.first, *add = recurrent_u + row * wide;
#pragma omp simd
                for (long unit = 0; unit < own.count; unit++) {
                    float candidate = hyperbolic_tangent(c[unit] + add[unit]);
                    c[unit] = candidate;
                    next[unit] = h[unit] + u[unit] * (candidate - h[unit]);
                }
            }
            BARRIER
        }
    }
}

/* gates (u, r, c) and states are those of gru_forward; d_products and the start's gradient d_state are written. */
void gru_backward(long steps, long rows, long size, int threads, const float *weight, const float *keep,
                  const float *states, const float *gates, const float *grad_hidden, float *d_products, float *d_state,
                  float *workspace) {
    long padded = (size + LANES - 1) / LANES * LANES;
    float *zeros = workspace + 3 * size * padded + 2 * rows * padded;
    memset(zeros, 0, size * sizeof(float));
    memset(d_state, 0, rows * size * sizeof(float));
#pragma omp parallel num_threads(threads)
    {
        slice own = slice_of(size, omp_get_thread_num(), omp_get_num_threads());
        float *packed = workspace + 3 * size * own.first;
        long share = size * own.vectors * LANES, wide = own.vectors * LANES;
        float *through_c = workspace + 3 * size * padded + 2 * rows * own.first, *through_u = through_c + rows * wide;
        const float *previous[MAX_ROWS + ROWS], *d_u_rows[MAX_ROWS + ROWS], *d_r_rows[MAX_ROWS + ROWS],
            *d_c_rows[MAX_ROWS + ROWS];
        for (int gate = 0; gate < 3; gate++)
            lay_out(weight + gate * size * size, size, 1, size, own, packed + gate * share);

        for (long t = steps - 1; t >= 0; t--) {
            float *d_step = d_products + t * rows * 3 * size;
            const float *kept = keep ? keep + t * rows : NULL;
            list_rows(states + t * rows * size, size, rows, kept, zeros, previous);
            list_rows(d_step, 3 * size, rows, NULL, NULL, d_u_rows);
            list_rows(d_step + size, 3 * size, rows, NULL, NULL, d_r_rows);
            list_rows(d_step + 2 * size, 3 * size, rows, NULL, NULL, d_c_rows);
            for (long row = 0; row < rows; row++) {
                const float *u = gates + (t * rows + row) * 3 * size + own.first, *c = u + 2 * size;
                const float *h = previous[row] + own.first, *grad = grad_hidden + (t * rows + row) * size + own.first;
                float *d = d_state + row * size + own.first, *d_u = d_step + row * 3 * size + own.first,
                      *d_c = d_u + 2 * size;
#pragma omp simd
                for (long unit = 0; unit < own.count; unit++) {
                    float whole = d[unit] + grad[unit];
                    d[unit] = whole;
                    d_u[unit] = whole * (c[unit] - h[unit]) * u[unit] * (1.0f - u[unit]);
                    d_c[unit] = whole * u[unit] * (1.0f - c[unit] * c[unit]);
                }
            }
            BARRIER
            multiply(d_c_rows, rows, size, packed + 2 * share, own, through_c);
            multiply(d_u_rows, rows, size, packed, own, through_u);
            for (long row = 0; row < rows; row++) {
                const float *u = gates + (t * rows + row) * 3 * size + own.first, *r = u + size;
                const float *h = previous[row] + own.first, *from_c = through_c + row * wide,
                            *from_u = through_u + row * wide;
                float *d = d_state + row * size + own.first, *d_r = d_step + row * 3 * size + size + own.first;
#pragma omp simd
                for (long unit = 0; unit < own.count; unit++) {
                    d_r[unit] = from_c[unit] * h[unit] * r[unit] * (1.0f - r[unit]);
                    d[unit] = d[unit] * (1.0f - u[unit]) + from_c[unit] * r[unit] + from_u[unit];
                }
            }
            BARRIER
            multiply(d_r_rows, rows, size, packed + share, own, through_c);
            for (long row = 0; row < rows; row++) {
                float *d = d_state + row * size + own.first;
                const float *from_r = through_c + row * wide;
                int interrupted = kept && !kept[row];
                for (long unit = 0; unit < own.count; unit++) d[unit] = interrupted ? 0.0f : d[unit] + from_r[unit];
            }
        }
    }
}
