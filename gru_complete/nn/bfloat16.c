/* Training's inner loops in bfloat16: the default cell over a sequence, and softmax with its gradient.
 *
 * Products multiply bfloat16 and add up in float32, in AMX's tiles or in AVX-512's vectors, as the compiler's flags
 * say; everything between them, and the state, is float32. A state is rounded only where it is an operand of a product.
 * Shapes: T steps, B rows, H units, V scores; bf16 is the upper half of a float32. The units are cut into items of 32,
 * and each thread owns some of them with their weights, which stay in its cache for the whole sequence. What a thread
 * sums it sums in a fixed order, so that equal numbers of threads give equal bits.
 */
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __AMX_BF16__
#include <sys/syscall.h>
#include <unistd.h>
#endif

typedef uint16_t bf16;
enum { ITEM = 32, TILE_ROWS = 16, DEPTH = 32, TILE = TILE_ROWS * DEPTH };

/* OpenMP's own: it spins for a while and then sleeps, which on a busy machine is what the other thread needs. */
#define BARRIER _Pragma("omp barrier")
int omp_get_num_threads(void);
int omp_get_thread_num(void);

/* ------------------------------------------------------------------------------------------------ small parts */

/* The lanes that are left of a row. */
static inline __mmask16 valid_of(long after) { return after < 16 ? (__mmask16)((1u << after) - 1) : (__mmask16)0xffff; }

static inline __m512 from_bf16(const bf16 *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}

static inline __m256i rounded(__m512 x) { return (__m256i)_mm512_cvtneps_pbh(x); }

static inline void to_bf16(bf16 *p, __m512 x) { _mm256_storeu_si256((__m256i *)p, rounded(x)); }

/* e^x to about 2 units in the last place; NaN stays NaN. Cody-Waite reduction, polynomial of Cephes' expf. */
static inline __m512 exponential(__m512 x) {
    x = _mm512_min_ps(_mm512_set1_ps(89.0f), _mm512_max_ps(_mm512_set1_ps(-104.0f), x)); /* NaN as 2nd is returned */
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.9875691500e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
    p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), _mm512_add_ps(r, _mm512_set1_ps(1.0f)));
    return _mm512_scalef_ps(p, n);
}

/* 1 / (1 + e^-x); the reciprocal is an estimate of 14 bits and one step of Newton's. */
static inline __m512 sigmoid(__m512 x) {
    const __m512 one = _mm512_set1_ps(1.0f), two = _mm512_set1_ps(2.0f);
    x = _mm512_min_ps(_mm512_set1_ps(80.0f), _mm512_max_ps(_mm512_set1_ps(-80.0f), x));
    __m512 denominator = _mm512_add_ps(one, exponential(_mm512_sub_ps(_mm512_setzero_ps(), x)));
    __m512 estimate = _mm512_rcp14_ps(denominator);
    return _mm512_mul_ps(estimate, _mm512_fnmadd_ps(denominator, estimate, two));
}

static inline __m512 hyperbolic_tangent(__m512 x) {
    return _mm512_fmsub_ps(_mm512_set1_ps(2.0f), sigmoid(_mm512_add_ps(x, x)), _mm512_set1_ps(1.0f));
}

/* ---------------------------------------------------------------------------------------------------- products */

/* `packed` for out = a @ weight.T: item after item (32 rows of the weight), each a run of pairs of tiles along k. */
static void pack_transposed(bf16 *packed, const float *weight, int columns, int item) {
    const __m512i places = _mm512_mullo_epi32(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
                                              _mm512_set1_epi32(16));
    for (int n = 0; n < ITEM; n++)
        for (int k = 0; k < columns; k += DEPTH) {
            const float *row = weight + (size_t)(item * ITEM + n) * columns + k;
            bf16 *tile = packed + (size_t)item * ITEM * columns + k / DEPTH * 2 * TILE + n / 16 * TILE;
            __m512i pairs = (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(row + 16), _mm512_loadu_ps(row));
            _mm512_i32scatter_epi32(tile + n % 16 * 2, places, pairs, 4);
        }
}

/* `packed` for out = a @ weight, `rows` of it: item after item (32 columns), each a run of pairs of tiles along k. */
static void pack_straight(bf16 *packed, const float *weight, int rows, int columns, int item) {
    bf16 *out = packed + (size_t)item * ITEM * rows;
    for (int k = 0; k < rows; k += DEPTH)
        for (int half = 0; half < 2; half++)
            for (int pair = 0; pair < 16; pair++, out += DEPTH) {
                const float *row = weight + (size_t)(k + 2 * pair) * columns + item * ITEM + 16 * half;
                __m512i low = _mm512_cvtepu16_epi32(rounded(_mm512_loadu_ps(row)));
                __m512i high = _mm512_cvtepu16_epi32(rounded(_mm512_loadu_ps(row + columns)));
                _mm512_storeu_si512(out, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
            }
}

/* Both kinds read `packed` in the same order. out (16 * blocks, 32) = a (16 * blocks, depth; `stride` apart) @ one item,
 * for one or two blocks of 16 rows. */
#ifdef __AMX_BF16__

/* Ask the system for the tile registers; 0 if this process has them. */
int permit_tiles(void) {
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return (int)syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA);
}

typedef struct {
    _Alignas(64) uint8_t bytes[64];
} TileConfig;

/* Eight tiles of 16 rows of 64 bytes; what was configured before is handed back for `restore_tiles`. */
static void configure_tiles(TileConfig *before) {
    TileConfig config = {{0}};
    config.bytes[0] = 1;
    for (int tile = 0; tile < 8; tile++) {
        config.bytes[16 + 2 * tile] = 64;
        config.bytes[48 + tile] = TILE_ROWS;
    }
    _tile_storeconfig(before);
    _tile_loadconfig(&config);
}

static void restore_tiles(const TileConfig *before) {
    if (before->bytes[0]) _tile_loadconfig(before);
    else _tile_release();
}

/* Four sums run side by side, because a tile's product takes four times as long as the next may start after. */
static inline void multiply(float *out, const bf16 *a, int stride, int blocks, int depth, const bf16 *item) {
    const int line = ITEM * sizeof(float), step = stride * (int)sizeof(bf16);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    if (blocks == 2) {
        const bf16 *below = a + (size_t)TILE_ROWS * stride;
        for (int k = 0; k < depth; k += DEPTH, item += 2 * TILE) {
            _tile_loadd(6, item, 64);
            _tile_loadd(7, item + TILE, 64);
            _tile_loadd(4, a + k, step);
            _tile_loadd(5, below + k, step);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(0, out, line);
        _tile_stored(1, out + 16, line);
        _tile_stored(2, out + 16 * ITEM, line);
        _tile_stored(3, out + 16 * ITEM + 16, line);
        return;
    }
    int k = 0;
    for (; k + DEPTH < depth; k += 2 * DEPTH, item += 4 * TILE) {
        _tile_loadd(4, a + k, step);
        _tile_loadd(6, item, 64);
        _tile_loadd(7, item + TILE, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, a + k + DEPTH, step);
        _tile_loadd(6, item + 2 * TILE, 64);
        _tile_loadd(7, item + 3 * TILE, 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    if (k < depth) {
        _tile_loadd(4, a + k, step);
        _tile_loadd(6, item, 64);
        _tile_loadd(7, item + TILE, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
    }
    _Alignas(64) float other[TILE_ROWS * ITEM];
    _tile_stored(0, out, line);
    _tile_stored(1, out + 16, line);
    _tile_stored(2, other, line);
    _tile_stored(3, other + 16, line);
    for (int i = 0; i < TILE_ROWS * ITEM; i += 16)
        _mm512_store_ps(out + i, _mm512_add_ps(_mm512_load_ps(out + i), _mm512_load_ps(other + i)));
}

#else

int permit_tiles(void) { return 0; }

typedef char TileConfig; /* there is nothing to configure */
static void configure_tiles(TileConfig *before) { *before = 0; }
static void restore_tiles(const TileConfig *before) { (void)before; }

/* The sums of 8 rows take 16 of the 32 registers; the weights come from the second cache and are asked for ahead. */
static inline void multiply(float *out, const bf16 *a, int stride, int blocks, int depth, const bf16 *item) {
    enum { ROWS = 8 };
    for (int first = 0; first < TILE_ROWS * blocks; first += ROWS) {
        const bf16 *from = item;
        __m512 sums[ROWS][2];
#pragma GCC unroll 8
        for (int row = 0; row < ROWS; row++) sums[row][0] = sums[row][1] = _mm512_setzero_ps();
        for (int k = 0; k < depth; k += DEPTH, from += 2 * TILE)
            for (int pair = 0; pair < TILE_ROWS; pair++) {
                const __m512bh left = (__m512bh)_mm512_loadu_si512(from + pair * DEPTH);
                const __m512bh right = (__m512bh)_mm512_loadu_si512(from + TILE + pair * DEPTH);
                _mm_prefetch((const char *)(from + 2 * TILE + pair * DEPTH), _MM_HINT_T0);
                _mm_prefetch((const char *)(from + 3 * TILE + pair * DEPTH), _MM_HINT_T0);
#pragma GCC unroll 8
                for (int row = 0; row < ROWS; row++) {
                    int two; /* neighbours of the row, for all columns */
                    memcpy(&two, a + (size_t)(first + row) * stride + k + 2 * pair, sizeof two);
                    const __m512bh same = (__m512bh)_mm512_set1_epi32(two);
                    sums[row][0] = _mm512_dpbf16_ps(sums[row][0], same, left);
                    sums[row][1] = _mm512_dpbf16_ps(sums[row][1], same, right);
                }
            }
#pragma GCC unroll 8
        for (int row = 0; row < ROWS; row++) {
            _mm512_store_ps(out + (first + row) * ITEM, sums[row][0]);
            _mm512_store_ps(out + (first + row) * ITEM + 16, sums[row][1]);
        }
    }
}

#endif

/* ---------------------------------------------------------------------------------------------------- the cell */

#define EACH_VECTOR(row, unit) \
    for (int row = first_row; row < first_row + 16 * blocks; row++) \
        for (int unit = item * ITEM; unit < (item + 1) * ITEM; unit += 16)

static inline __m512 kept(const float *keep, size_t row, __m512 state) {
    return keep ? _mm512_mul_ps(state, _mm512_set1_ps(keep[row])) : state;
}

/* Forward. gates (T, B, 3H): the products of the inputs, without bias (3H), become the gates u, r, c. (Memory is what
 * the loop waits for: hence in place, and only for the way back in bfloat16.) keep (T, B) or NULL; weight_h (3H, H);
 * states (T + 1, B, H) with the start in it; seen (T, B, H): what the gates' products read, the kept state;
 * reset_states r*h (T, B, H). Scratch: packed 3H * H, updates (B, H). */
void gru_forward(long steps, long rows, long size, long num_threads, bf16 *gates, const float *bias, const float *keep,
                 const float *weight_h, float *states, bf16 *seen, bf16 *reset_states, bf16 *packed, float *updates) {
    const size_t area = (size_t)rows * size;
    const int blocks = rows % 32 == 0 ? 2 : 1, items = size / ITEM;
#pragma omp parallel num_threads(num_threads)
    {
        const int threads = omp_get_num_threads(), me = omp_get_thread_num();
        const int first_item = items * me / threads, last_item = items * (me + 1) / threads;
        _Alignas(64) float out[2][2 * TILE_ROWS * ITEM];
        TileConfig before;
        configure_tiles(&before);
        for (int gate = 0; gate < 3; gate++)
            for (int item = first_item; item < last_item; item++)
                pack_transposed(packed, weight_h, size, gate * items + item);
        for (int row = 0; row < rows; row++)
            for (int unit = first_item * ITEM; unit < last_item * ITEM; unit += 16)
                to_bf16(seen + (size_t)row * size + unit,
                        kept(keep, row, _mm512_loadu_ps(states + (size_t)row * size + unit)));
        BARRIER
        for (int step = 0; step < steps; step++) {
            const size_t past = (size_t)step * rows;
            for (int item = first_item; item < last_item; item++)
                for (int first_row = 0; first_row < rows; first_row += 16 * blocks) {
                    const bf16 *a = seen + step * area + (size_t)first_row * size;
                    multiply(out[0], a, size, blocks, size, packed + (size_t)item * ITEM * size);
                    multiply(out[1], a, size, blocks, size, packed + (size_t)(items + item) * ITEM * size);
                    EACH_VECTOR(row, unit) {
                        const int place = (row - first_row) * ITEM + unit - item * ITEM;
                        bf16 *gate = gates + (past + row) * 3 * size + unit;
                        __m512 u = _mm512_add_ps(_mm512_load_ps(out[0] + place), from_bf16(gate));
                        __m512 r = _mm512_add_ps(_mm512_load_ps(out[1] + place), from_bf16(gate + size));
                        u = sigmoid(_mm512_add_ps(u, _mm512_loadu_ps(bias + unit)));
                        r = sigmoid(_mm512_add_ps(r, _mm512_loadu_ps(bias + size + unit)));
                        to_bf16(gate, u);
                        to_bf16(gate + size, r);
                        _mm512_storeu_ps(updates + (size_t)row * size + unit, u);
                        __m512 h = kept(keep, past + row, _mm512_loadu_ps(states + (past + row) * size + unit));
                        to_bf16(reset_states + (past + row) * size + unit, _mm512_mul_ps(r, h));
                    }
                }
            BARRIER
            for (int item = first_item; item < last_item; item++)
                for (int first_row = 0; first_row < rows; first_row += 16 * blocks) {
                    multiply(out[0], reset_states + step * area + (size_t)first_row * size, size, blocks, size,
                             packed + (size_t)(2 * items + item) * ITEM * size);
                    EACH_VECTOR(row, unit) {
                        const int place = (row - first_row) * ITEM + unit - item * ITEM;
                        const size_t here = (past + row) * size + unit;
                        bf16 *gate = gates + ((past + row) * 3 + 2) * size + unit;
                        __m512 c = _mm512_add_ps(_mm512_load_ps(out[0] + place), from_bf16(gate));
                        c = hyperbolic_tangent(_mm512_add_ps(c, _mm512_loadu_ps(bias + 2 * size + unit)));
                        to_bf16(gate, c);
                        __m512 h = kept(keep, past + row, _mm512_loadu_ps(states + here));
                        __m512 u = _mm512_loadu_ps(updates + (size_t)row * size + unit);
                        h = _mm512_fmadd_ps(u, _mm512_sub_ps(c, h), h);
                        _mm512_storeu_ps(states + here + area, h);
                        if (step + 1 < steps) to_bf16(seen + here + area, kept(keep, past + rows + row, h));
                    }
                }
            BARRIER
        }
        restore_tiles(&before);
    }
}

static inline void add_to(float *sum, __m512 x) { _mm512_storeu_ps(sum, _mm512_add_ps(_mm512_loadu_ps(sum), x)); }

/* Backward. grad (T, B, H) of every output; gates, keep, weight_h, seen as `gru_forward` left them.
 * d_products (T, B, 3H) and their sums d_bias (3H), from zero; d_state (B, H), from zero: gradient of the start.
 * Scratch: packed 3H * H. */
void gru_backward(long steps, long rows, long size, long num_threads, const float *grad, const bf16 *gates,
                  const float *keep, const float *weight_h, const bf16 *seen, bf16 *d_products, float *d_bias,
                  float *d_state, bf16 *packed) {
    const int blocks = rows % 32 == 0 ? 2 : 1, items = size / ITEM, width = 3 * size;
    const __m512 one = _mm512_set1_ps(1.0f);
    bf16 *packed_candidates = packed + (size_t)2 * size * size;
#pragma omp parallel num_threads(num_threads)
    {
        const int threads = omp_get_num_threads(), me = omp_get_thread_num();
        const int first_item = items * me / threads, last_item = items * (me + 1) / threads;
        _Alignas(64) float out[2 * TILE_ROWS * ITEM];
        TileConfig before;
        configure_tiles(&before);
        for (int item = first_item; item < last_item; item++) {
            pack_straight(packed, weight_h, 2 * size, size, item);
            pack_straight(packed_candidates, weight_h + (size_t)2 * size * size, size, size, item);
        }
        for (int step = steps - 1; step >= 0; step--) {
            const size_t past = (size_t)step * rows;
            for (int item = first_item; item < last_item; item++)
                for (int first_row = 0; first_row < rows; first_row += 16 * blocks)
                    EACH_VECTOR(row, unit) {
                        const size_t here = (past + row) * size + unit;
                        const bf16 *gate = gates + (past + row) * width + unit;
                        bf16 *d_product = d_products + (past + row) * width + unit;
                        float *carry = d_state + (size_t)row * size + unit;
                        __m512 h = from_bf16(seen + here), u = from_bf16(gate), c = from_bf16(gate + 2 * size);
                        __m512 rest = _mm512_sub_ps(one, u);
                        __m512 d = _mm512_add_ps(_mm512_loadu_ps(carry), _mm512_loadu_ps(grad + here));
                        __m512 d_rest = _mm512_mul_ps(d, rest), d_written = _mm512_mul_ps(d, u);
                        __m512 d_u = _mm512_mul_ps(_mm512_mul_ps(d_rest, u), _mm512_sub_ps(c, h));
                        __m512 d_c = _mm512_fnmadd_ps(d_written, _mm512_mul_ps(c, c), d_written);
                        to_bf16(d_product, d_u);
                        to_bf16(d_product + 2 * size, d_c);
                        add_to(d_bias + unit, d_u);
                        add_to(d_bias + 2 * size + unit, d_c);
                        _mm512_storeu_ps(carry, d_rest);
                    }
            BARRIER
            for (int item = first_item; item < last_item; item++)
                for (int first_row = 0; first_row < rows; first_row += 16 * blocks) {
                    multiply(out, d_products + (past + first_row) * width + 2 * size, width, blocks, size,
                             packed_candidates + (size_t)item * ITEM * size);
                    EACH_VECTOR(row, unit) {
                        const int place = (row - first_row) * ITEM + unit - item * ITEM;
                        __m512 d = _mm512_load_ps(out + place);
                        __m512 h = from_bf16(seen + (past + row) * size + unit);
                        __m512 r = from_bf16(gates + ((past + row) * 3 + 1) * size + unit);
                        __m512 d_kept = _mm512_mul_ps(d, r);
                        __m512 d_r = _mm512_mul_ps(_mm512_mul_ps(d_kept, h), _mm512_sub_ps(one, r));
                        to_bf16(d_products + (past + row) * width + size + unit, d_r);
                        add_to(d_bias + size + unit, d_r);
                        add_to(d_state + (size_t)row * size + unit, d_kept);
                    }
                }
            BARRIER
            for (int item = first_item; item < last_item; item++)
                for (int first_row = 0; first_row < rows; first_row += 16 * blocks) {
                    multiply(out, d_products + (past + first_row) * width, width, blocks, 2 * size,
                             packed + (size_t)item * ITEM * 2 * size);
                    EACH_VECTOR(row, unit) {
                        const int place = (row - first_row) * ITEM + unit - item * ITEM;
                        float *carry = d_state + (size_t)row * size + unit;
                        __m512 d = _mm512_add_ps(_mm512_loadu_ps(carry), _mm512_load_ps(out + place));
                        _mm512_storeu_ps(carry, kept(keep, past + row, d));
                    }
                }
        }
        restore_tiles(&before);
    }
}

/* ------------------------------------------------------------------------------------------------- the softmax */

/* Turn scores without bias (N, V) into the gradient of the mean loss before the softmax, divided by `count`.
 * losses (N): -log softmax(scores + bias) at the targets; d_bias (num_threads, V), from zero: to be summed. */
void softmax_gradient(long rows, long size, long num_threads, bf16 *scores, const float *bias, const int64_t *targets,
                      float count, float *losses, float *d_bias, float *scratch) {
#pragma omp parallel num_threads(num_threads)
    {
        const int threads = omp_get_num_threads(), me = omp_get_thread_num();
        float *row = scratch + (size_t)me * size, *sums = d_bias + (size_t)me * size;
        for (long i = rows * me / threads; i < rows * (me + 1) / threads; i++) {
            bf16 *score = scores + i * size;
            __m512 highest = _mm512_set1_ps(-INFINITY), total = _mm512_setzero_ps();
            for (long k = 0; k < size; k += 16) {
                const __mmask16 mask = valid_of(size - k);
                __m512i raw = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, score + k));
                __m512 x = _mm512_castsi512_ps(_mm512_slli_epi32(raw, 16));
                x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(mask, bias + k));
                highest = _mm512_mask_max_ps(highest, mask, highest, x);
                _mm512_mask_storeu_ps(row + k, mask, x);
            }
            const float most = _mm512_reduce_max_ps(highest), at_target = row[targets[i]];
            for (long k = 0; k < size; k += 16) {
                const __mmask16 mask = valid_of(size - k);
                __m512 x = _mm512_maskz_loadu_ps(mask, row + k);
                x = exponential(_mm512_sub_ps(x, _mm512_set1_ps(most)));
                total = _mm512_mask_add_ps(total, mask, total, x);
                _mm512_mask_storeu_ps(row + k, mask, x);
            }
            const float sum = _mm512_reduce_add_ps(total), scale = 1.0f / (sum * count);
            losses[i] = logf(sum) + most - at_target;
            row[targets[i]] -= sum;
            for (long k = 0; k < size; k += 16) {
                const __mmask16 mask = valid_of(size - k);
                __m512 x = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, row + k), _mm512_set1_ps(scale));
                _mm512_mask_storeu_ps(sums + k, mask, _mm512_add_ps(_mm512_maskz_loadu_ps(mask, sums + k), x));
                _mm256_mask_storeu_epi16(score + k, mask, rounded(x));
            }
        }
    }
}

/* ------------------------------------------------------------------------------------------------- the dropout */

/* Which of 64 features stay: those whose byte is at least `limit`. The bytes are a function of the seed and the place,
 * so that no memory holds them (SplitMix64: Steele, Lea and Flood 2014). */
static inline uint64_t staying(long seed, long place, long limit) {
    const __m512i lanes = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
    __m512i z = _mm512_add_epi64(_mm512_set1_epi64(place / 8 + 1), lanes);
    z = _mm512_add_epi64(_mm512_set1_epi64(seed), _mm512_mullo_epi64(z, _mm512_set1_epi64(0x9e3779b97f4a7c15)));
    z = _mm512_xor_si512(z, _mm512_srli_epi64(z, 30));
    z = _mm512_mullo_epi64(z, _mm512_set1_epi64(0xbf58476d1ce4e5b9));
    z = _mm512_xor_si512(z, _mm512_srli_epi64(z, 27));
    z = _mm512_mullo_epi64(z, _mm512_set1_epi64(0x94d049bb133111eb));
    z = _mm512_xor_si512(z, _mm512_srli_epi64(z, 31));
    return _mm512_cmpge_epu8_mask(z, _mm512_set1_epi8((char)limit));
}

/* dropped (count) = features * scale where they stay, else 0; the way back does the same with the gradient. */
void drop(long count, long num_threads, long seed, long limit, float scale, const float *features, bf16 *dropped) {
#pragma omp parallel for num_threads(num_threads) schedule(static)
    for (long start = 0; start < count; start += 64) {
        uint64_t stays = staying(seed, start, limit);
        for (long i = start; i < start + 64 && i < count; i += 16, stays >>= 16) {
            const __mmask16 valid = valid_of(count - i);
            __m512 factor = _mm512_maskz_mov_ps((__mmask16)stays, _mm512_set1_ps(scale));
            __m512 x = _mm512_mul_ps(_mm512_maskz_loadu_ps(valid, features + i), factor);
            _mm256_mask_storeu_epi16(dropped + i, valid, rounded(x));
        }
    }
}

void drop_backward(long count, long num_threads, long seed, long limit, float scale, const bf16 *grad,
                   float *d_features) {
#pragma omp parallel for num_threads(num_threads) schedule(static)
    for (long start = 0; start < count; start += 64) {
        uint64_t stays = staying(seed, start, limit);
        for (long i = start; i < start + 64 && i < count; i += 16, stays >>= 16) {
            const __mmask16 valid = valid_of(count - i);
            __m512 factor = _mm512_maskz_mov_ps((__mmask16)stays, _mm512_set1_ps(scale));
            __m512i raw = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(valid, grad + i));
            __m512 x = _mm512_castsi512_ps(_mm512_slli_epi32(raw, 16));
            _mm512_mask_storeu_ps(d_features + i, valid, _mm512_mul_ps(x, factor));
        }
    }
}
