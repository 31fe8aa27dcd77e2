/* A product of square matrices of f32 as one writes it by hand: the right factor in panels as wide as the register tile, blocks of the
 * left one packed beside each other, a micro-kernel in intrinsics. What compiled products are compared with (compare_hand.py).
 *
 *   cc -O3 -march=native -pthread hand_product.c -o hand_product
 *   ./hand_product UNIT MODE N THREADS RUNS          prints the median and the least time of a run in microseconds, as JSON
 *
 * UNIT is avx2 (tiles of 6 × 16), avx512 (12 × 32) or avx512-14 (14 × 32). MODE is packed (the right factor is packed beforehand, as
 * weights are), whole (packed in each run) or peak: multiply-adds in registers alone, as many as the product has.
 * Source: Goto and van de Geijn 2008, Anatomy of high-performance matrix multiplication; Van Zee and van de Geijn 2015 (BLIS).
 */
#define _GNU_SOURCE
#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Depth of a block: a panel of the right factor (32 KiB at 32 columns) stays in the first-level cache, the left block in the second. */
enum { DEPTH = 256, ROWS = 168, MOST_RUNS = 10000, MOST_THREADS = 64 };

typedef void kernel(const float *a, const float *b, float *c, int depth, int row, int first);

/* c[MR × NR] (+)= a[depth × MR] · b[depth × NR], rows of c `row` elements apart; begins anew if first. */
#define KERNEL(name, unit, MR, vector, LANES, zero, load, store, broadcast, fma, add)                                         \
  __attribute__((target(unit))) static void name(const float *a, const float *b, float *c, int depth, int row, int first) {   \
    vector sums[MR][2];                                                                                                       \
    /* The rows of c lie far apart: asked for now, they are there when the sums are. */                                       \
    _Pragma("GCC unroll 16") for (int r = 0; r < MR; r++) {                                                                   \
      sums[r][0] = zero(), sums[r][1] = zero();                                                                               \
      _mm_prefetch((const char *)(c + (long)r * row), _MM_HINT_T0);                                                           \
      _mm_prefetch((const char *)(c + (long)r * row + 2 * LANES - 1), _MM_HINT_T0);                                           \
    }                                                                                                                         \
    for (int k = 0; k < depth; k++) {                                                                                         \
      vector left = load(b), right = load(b + LANES);                                                                         \
      _mm_prefetch((const char *)(b + 16 * LANES), _MM_HINT_T0);                                                              \
      _Pragma("GCC unroll 16") for (int r = 0; r < MR; r++) {                                                                 \
        vector one = broadcast(a[r]);                                                                                         \
        sums[r][0] = fma(one, left, sums[r][0]);                                                                              \
        sums[r][1] = fma(one, right, sums[r][1]);                                                                             \
      }                                                                                                                       \
      a += MR;                                                                                                                \
      b += 2 * LANES;                                                                                                         \
    }                                                                                                                         \
    _Pragma("GCC unroll 16") for (int r = 0; r < MR; r++) {                                                                   \
      float *to = c + (long)r * row;                                                                                          \
      store(to, first ? sums[r][0] : add(load(to), sums[r][0]));                                                              \
      store(to + LANES, first ? sums[r][1] : add(load(to + LANES), sums[r][1]));                                              \
    }                                                                                                                         \
  }

KERNEL(tile_avx2, "avx2,fma", 6, __m256, 8, _mm256_setzero_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_set1_ps, _mm256_fmadd_ps,
       _mm256_add_ps)
KERNEL(tile_avx512, "avx512f", 12, __m512, 16, _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_set1_ps, _mm512_fmadd_ps,
       _mm512_add_ps)
KERNEL(tile_avx512_14, "avx512f", 14, __m512, 16, _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_set1_ps, _mm512_fmadd_ps,
       _mm512_add_ps)

/* `turns` times 24 independent multiply-adds. */
#define PEAK(name, unit, vector, COUNT, set, add, fma, get)                            \
  __attribute__((target(unit))) static float name(long turns) {                        \
    vector sums[COUNT], x = set(0.999f), y = set(0.001f);                              \
    _Pragma("GCC unroll 32") for (int i = 0; i < COUNT; i++) sums[i] = set((float)i);  \
    for (long t = 0; t < turns; t++) {                                                 \
      _Pragma("GCC unroll 32") for (int i = 0; i < COUNT; i++) sums[i] = fma(sums[i], x, y); \
    }                                                                                  \
    _Pragma("GCC unroll 32") for (int i = 1; i < COUNT; i++) sums[0] = add(sums[0], sums[i]); \
    return get(sums[0]);                                                               \
  }

PEAK(peak_avx2, "avx2,fma", __m256, 12, _mm256_set1_ps, _mm256_add_ps, _mm256_fmadd_ps, _mm256_cvtss_f32)
PEAK(peak_avx512, "avx512f", __m512, 24, _mm512_set1_ps, _mm512_add_ps, _mm512_fmadd_ps, _mm512_cvtss_f32)

typedef struct {
  const char *name;
  kernel *tile;
  int rows, columns;
  float (*peak)(long turns);
  int per_turn; /* operations of a turn of `peak` */
} unit;

static const unit UNITS[] = {
  { "avx2", tile_avx2, 6, 16, peak_avx2, 12 * 8 * 2 },
  { "avx512", tile_avx512, 12, 32, peak_avx512, 24 * 16 * 2 },
  { "avx512-14", tile_avx512_14, 14, 32, peak_avx512, 24 * 16 * 2 },
};

static const unit *chosen;
static int n, threads, is_packed, is_peak;
static float *a, *b, *c, *panels, *blocks[MOST_THREADS];
static volatile float sink;

static void *memory(size_t bytes) {
  void *found = aligned_alloc(64, (bytes + 4096) / 64 * 64);
  if (!found) exit(1);
  return memset(found, 0, (bytes + 4096) / 64 * 64);
}

static int least(int x, int y) { return x < y ? x : y; }

/* Panels first..last of the right factor: [panel][k][column], zeros behind the last column. */
static void pack_right(int first, int last) {
  int width = chosen->columns;
  for (int p = first; p < last; p++) {
    float *to = panels + (size_t)p * n * width;
    int some = least(width, n - p * width);
    for (int k = 0; k < n; k++, to += width) memcpy(to, b + (size_t)k * n + p * width, some * sizeof(float));
  }
}

/* Rows first..first + rows of depth k..k + depth, tile by tile: [tile][k][row]. */
static void pack_left(float *to, int first, int rows, int k, int depth) {
  int high = chosen->rows;
  for (int i = 0; i < rows; i += high, to += (size_t)high * depth)
    /* Row by row: rows a power of two apart would drive each other out of the cache. */
    for (int r = 0; r < high; r++) {
      const float *from = a + (size_t)(first + i + r) * n + k;
      for (int d = 0; d < depth; d++) to[(size_t)d * high + r] = i + r < rows ? from[d] : 0.0f;
    }
}

/* Rows begin..end of the product. */
static void multiply(int thread, int begin, int end) {
  int high = chosen->rows, width = chosen->columns, most = ROWS / high * high;
  float *block = blocks[thread], edge[14 * 32] __attribute__((aligned(64)));
  for (int k = 0; k < n; k += DEPTH) {
    int depth = least(DEPTH, n - k);
    for (int i = begin; i < end; i += most) {
      int rows = least(most, end - i);
      pack_left(block, i, rows, k, depth);
      for (int j = 0; j < n; j += width) {
        const float *panel = panels + (size_t)(j / width) * n * width + (size_t)k * width;
        for (int r = 0; r < rows; r += high) {
          float *to = c + (size_t)(i + r) * n + j;
          const float *left = block + (size_t)r * depth;
          int some = least(high, rows - r), wide = least(width, n - j);
          if (some == high && wide == width) {
            chosen->tile(left, panel, to, depth, n, k == 0);
            continue;
          }
          for (int y = 0; y < some; y++) memcpy(edge + y * width, to + (size_t)y * n, wide * sizeof(float));
          chosen->tile(left, panel, edge, depth, width, k == 0);
          for (int y = 0; y < some; y++) memcpy(to + (size_t)y * n, edge + y * width, wide * sizeof(float));
        }
      }
    }
  }
}

/* Threads wait for each other by spinning, as the machine is theirs. */
static atomic_int arrived, round_number;

static void meet(void) {
  int round = atomic_load(&round_number);
  if (atomic_fetch_add(&arrived, 1) + 1 == threads) {
    atomic_store(&arrived, 0);
    atomic_fetch_add(&round_number, 1);
  } else {
    while (atomic_load(&round_number) == round) _mm_pause();
  }
}

static void work(int thread) {
  if (is_peak) {
    sink = chosen->peak(2L * n * n * n / chosen->per_turn / threads);
    return;
  }
  int columns = (n + chosen->columns - 1) / chosen->columns;
  if (!is_packed) {
    pack_right(columns * thread / threads, columns * (thread + 1) / threads);
    meet();
  }
  /* Whole tiles to each thread. */
  int tiles = (n + chosen->rows - 1) / chosen->rows;
  multiply(thread, tiles * thread / threads * chosen->rows, least(n, tiles * (thread + 1) / threads * chosen->rows));
}

static int runs;

static void *other_thread(void *thread) {
  for (int run = 0; run < runs; run++) {
    meet();
    work((int)(long)thread);
    meet();
  }
  return 0;
}

static int ascending(const void *x, const void *y) {
  double d = *(const double *)x - *(const double *)y;
  return (d > 0) - (d < 0);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

/* A few elements against sums in f64. */
static void check(void) {
  for (int at = 0; at < 50; at++) {
    int i = (int)((at * 7919L + n - 1) % n), j = (int)((at * 104729L + n - 1) % n);
    double sum = 0, size = 0;
    for (int k = 0; k < n; k++) {
      double term = (double)a[(size_t)i * n + k] * b[(size_t)k * n + j];
      sum += term;
      size += term < 0 ? -term : term;
    }
    double apart = sum - c[(size_t)i * n + j];
    if ((apart < 0 ? -apart : apart) > 1e-5 * size) {
      fprintf(stderr, "hand_product: element %d, %d is %g, not %g\n", i, j, c[(size_t)i * n + j], sum);
      exit(1);
    }
  }
}

int main(int argc, char **argv) {
  static double times[MOST_RUNS];
  pthread_t others[MOST_THREADS];
  if (argc != 6) return fprintf(stderr, "usage: hand_product UNIT packed|whole|peak N THREADS RUNS\n"), 2;
  for (size_t at = 0; at < sizeof UNITS / sizeof *UNITS; at++)
    if (!strcmp(argv[1], UNITS[at].name)) chosen = &UNITS[at];
  is_packed = !strcmp(argv[2], "packed");
  is_peak = !strcmp(argv[2], "peak");
  n = atoi(argv[3]);
  threads = atoi(argv[4]);
  runs = atoi(argv[5]);
  if (!chosen || n < 1 || threads < 1 || threads > MOST_THREADS || runs < 1 || runs > MOST_RUNS) return fprintf(stderr, "hand_product: wrong arguments\n"), 2;
  size_t bytes = (size_t)n * n * sizeof(float);
  a = memory(bytes), b = memory(bytes), c = memory(bytes), panels = memory((size_t)n * (n + chosen->columns) * sizeof(float));
  for (int t = 0; t < threads; t++) blocks[t] = memory((size_t)(ROWS + chosen->rows) * DEPTH * sizeof(float));
  for (size_t at = 0; at < (size_t)n * n; at++) {
    a[at] = (float)((at * 2654435761u >> 8) & 0xffff) / 65536.0f - 0.5f;
    b[at] = (float)((at * 2246822519u >> 8) & 0xffff) / 65536.0f - 0.5f;
  }
  pack_right(0, (n + chosen->columns - 1) / chosen->columns);
  for (long t = 1; t < threads; t++) pthread_create(&others[t], 0, other_thread, (void *)t);
  for (int run = 0; run < runs; run++) {
    double begin = now();
    meet();
    work(0);
    meet();
    times[run] = now() - begin;
  }
  for (int t = 1; t < threads; t++) pthread_join(others[t], 0);
  if (!is_peak) check();
  qsort(times, runs, sizeof *times, ascending);
  printf("{\"median_us\": %.1f, \"min_us\": %.1f, \"gflops\": %.1f}\n", times[runs / 2], times[0], 2.0 * n * n * n / times[runs / 2] / 1e3);
  return 0;
}
