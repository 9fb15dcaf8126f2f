/* Floating point in SSE2 and AVX2: the results are exact, so they are compared bit by bit. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "bench.h"

/* --- matmul: 96 × 96 matrices of doubles, `size` products, each of the last and the same other. */

#define MATRIX 96

struct matrices {
  double left[MATRIX][MATRIX], right[MATRIX][MATRIX], product[MATRIX][MATRIX];
};

static void *matmul_prepare(long size) {
  (void)size;
  struct matrices *m = allocate(sizeof *m);
  uint64_t seed = 6;
  for (int i = 0; i < MATRIX; i++) {
    for (int j = 0; j < MATRIX; j++) {
      m->left[i][j] = (double)(next_random(&seed) >> 40) / 16777216.0 - 0.5;
      m->right[i][j] = ((double)(next_random(&seed) >> 40) / 16777216.0 - 0.5) / 2.83; /* spectral radius about 1 */
    }
  }
  return m;
}

static uint64_t matmul_run(void *prepared, long size) {
  struct matrices *m = prepared;
  for (long round = 0; round < size; round++) {
    for (int i = 0; i < MATRIX; i++) {
      for (int j = 0; j < MATRIX; j++) {
        double sum = 0;
        for (int k = 0; k < MATRIX; k++) sum += m->left[i][k] * m->right[k][j];
        m->product[i][j] = sum;
      }
    }
    memcpy(m->left, m->product, sizeof m->left);
  }
  return hash_bytes(m->product, sizeof m->product);
}

/* --- nbody: five bodies, `size` steps of a symplectic Euler integration. */

struct body {
  double position[3], velocity[3], mass;
};

static uint64_t nbody_run(void *prepared, long size) {
  (void)prepared;
  enum { COUNT = 5 };
  struct body bodies[COUNT];
  uint64_t seed = 7;
  for (int i = 0; i < COUNT; i++) {
    for (int d = 0; d < 3; d++) {
      bodies[i].position[d] = (double)(next_random(&seed) >> 48) / 1024.0;
      bodies[i].velocity[d] = (double)(next_random(&seed) >> 48) / 65536.0 - 0.5;
    }
    bodies[i].mass = 1.0 + i;
  }
  for (long step = 0; step < size; step++) {
    for (int i = 0; i < COUNT; i++) {
      for (int j = i + 1; j < COUNT; j++) {
        double distance[3], square = 0.01;
        for (int d = 0; d < 3; d++) {
          distance[d] = bodies[i].position[d] - bodies[j].position[d];
          square += distance[d] * distance[d];
        }
        double magnitude = 0.001 / (square * sqrt(square));
        for (int d = 0; d < 3; d++) {
          bodies[i].velocity[d] -= distance[d] * bodies[j].mass * magnitude;
          bodies[j].velocity[d] += distance[d] * bodies[i].mass * magnitude;
        }
      }
    }
    for (int i = 0; i < COUNT; i++)
      for (int d = 0; d < 3; d++) bodies[i].position[d] += 0.001 * bodies[i].velocity[d];
  }
  return hash_bytes(bodies, sizeof bodies);
}

/* --- fft: radix 2, in place, 4096 complex doubles, `size` times. */

#define FFT_POINTS 4096

struct fft {
  double real[FFT_POINTS], imaginary[FFT_POINTS], cosine[FFT_POINTS / 2], sine[FFT_POINTS / 2];
};

static void *fft_prepare(long size) {
  (void)size;
  struct fft *fft = allocate(sizeof *fft);
  uint64_t seed = 8;
  for (int i = 0; i < FFT_POINTS; i++) {
    fft->real[i] = (double)(next_random(&seed) >> 48) / 65536.0;
    fft->imaginary[i] = 0;
  }
  /* By repeated rotation, not by the C library's cos, which differs between CPUs with and without FMA. */
  double step = 0.0015339801862847655, c = 1, s = 0;
  for (int i = 0; i < FFT_POINTS / 2; i++) {
    fft->cosine[i] = c;
    fft->sine[i] = -s;
    double turned = c * (1 - step * step / 2) - s * step;
    s = s * (1 - step * step / 2) + c * step;
    c = turned;
  }
  return fft;
}

static uint64_t fft_run(void *prepared, long size) {
  struct fft *fft = prepared;
  for (long round = 0; round < size; round++) {
    for (int i = 1, j = 0; i < FFT_POINTS; i++) {
      int bit = FFT_POINTS >> 1;
      for (; j & bit; bit >>= 1) j ^= bit;
      j ^= bit;
      if (i < j) {
        double real = fft->real[i], imaginary = fft->imaginary[i];
        fft->real[i] = fft->real[j], fft->imaginary[i] = fft->imaginary[j];
        fft->real[j] = real, fft->imaginary[j] = imaginary;
      }
    }
    for (int half = 1; half < FFT_POINTS; half *= 2) {
      int stride = FFT_POINTS / 2 / half;
      for (int start = 0; start < FFT_POINTS; start += 2 * half) {
        for (int k = 0; k < half; k++) {
          double c = fft->cosine[k * stride], s = fft->sine[k * stride];
          int low = start + k, high = low + half;
          double real = fft->real[high] * c - fft->imaginary[high] * s;
          double imaginary = fft->real[high] * s + fft->imaginary[high] * c;
          fft->real[high] = fft->real[low] - real;
          fft->imaginary[high] = fft->imaginary[low] - imaginary;
          fft->real[low] += real;
          fft->imaginary[low] += imaginary;
        }
      }
    }
    for (int i = 0; i < FFT_POINTS; i++) {
      fft->real[i] *= 1.0 / 64;
      fft->imaginary[i] *= 1.0 / 64;
    }
  }
  return hash_bytes(fft->real, sizeof fft->real) ^ hash_bytes(fft->imaginary, sizeof fft->imaginary);
}

/* --- mandelbrot: `size` rows of 256 points, two at a time in SSE2, four in AVX2. */

#define ITERATIONS 64
#define COLUMNS 256

static uint64_t mandelbrot_sse2_run(void *prepared, long size) {
  (void)prepared;
  const __m128d four = _mm_set1_pd(4);
  uint64_t sum = 0;
  for (long y = 0; y < size; y++) {
    __m128d ci = _mm_set1_pd(-1.25 + 2.5 * (double)y / (double)size);
    for (long x = 0; x < COLUMNS; x += 2) {
      __m128d cr = _mm_set_pd(-2 + 2.5 * (double)(x + 1) / COLUMNS, -2 + 2.5 * (double)x / COLUMNS);
      __m128d zr = _mm_setzero_pd(), zi = zr;
      __m128i count = _mm_setzero_si128();
      for (int i = 0; i < ITERATIONS; i++) {
        __m128d rr = _mm_mul_pd(zr, zr), ii = _mm_mul_pd(zi, zi);
        __m128d inside = _mm_cmplt_pd(_mm_add_pd(rr, ii), four);
        if (_mm_movemask_pd(inside) == 0) break;
        count = _mm_sub_epi64(count, _mm_castpd_si128(inside));
        __m128d product = _mm_mul_pd(zr, zi);
        zi = _mm_add_pd(_mm_add_pd(product, product), ci);
        zr = _mm_add_pd(_mm_sub_pd(rr, ii), cr);
      }
      uint64_t counts[2];
      memcpy(counts, &count, sizeof counts);
      sum += (counts[0] * 3 + counts[1]) * (uint64_t)(y + x + 1);
    }
  }
  return sum;
}

__attribute__((target("avx2"))) static uint64_t mandelbrot_avx2_run(void *prepared, long size) {
  (void)prepared;
  if (!__builtin_cpu_supports("avx2")) fail("this CPU has no AVX2");
  const __m256d four = _mm256_set1_pd(4), step = _mm256_set_pd(3, 2, 1, 0);
  uint64_t sum = 0;
  for (long y = 0; y < size; y++) {
    __m256d ci = _mm256_set1_pd(-1.25 + 2.5 * (double)y / (double)size);
    for (long x = 0; x < COLUMNS; x += 4) {
      __m256d column = _mm256_add_pd(_mm256_set1_pd((double)x), step);
      __m256d cr = _mm256_sub_pd(_mm256_mul_pd(column, _mm256_set1_pd(2.5 / COLUMNS)), _mm256_set1_pd(2));
      __m256d zr = _mm256_setzero_pd(), zi = zr;
      __m256i count = _mm256_setzero_si256();
      for (int i = 0; i < ITERATIONS; i++) {
        __m256d rr = _mm256_mul_pd(zr, zr), ii = _mm256_mul_pd(zi, zi);
        __m256d inside = _mm256_cmp_pd(_mm256_add_pd(rr, ii), four, _CMP_LT_OQ);
        if (_mm256_movemask_pd(inside) == 0) break;
        count = _mm256_sub_epi64(count, _mm256_castpd_si256(inside));
        __m256d product = _mm256_mul_pd(zr, zi);
        zi = _mm256_add_pd(_mm256_add_pd(product, product), ci);
        zr = _mm256_add_pd(_mm256_sub_pd(rr, ii), cr);
      }
      uint64_t counts[4];
      memcpy(counts, &count, sizeof counts);
      sum += (counts[0] * 7 + counts[1] * 5 + counts[2] * 3 + counts[3]) * (uint64_t)(y + x + 1);
    }
  }
  return sum;
}

const struct kernel float_kernels[] = {{"matmul", matmul_prepare, matmul_run},
                                       {"nbody", NULL, nbody_run},
                                       {"fft", fft_prepare, fft_run},
                                       {"mandelbrot-sse2", NULL, mandelbrot_sse2_run},
                                       {"mandelbrot-avx2", NULL, mandelbrot_avx2_run},
                                       {NULL, NULL, NULL}};
