/* The limit for the kernels of bench_kernels.py: their three formulas by hand, free to reorder (-O3 -march=native -ffast-math -fopenmp), with
   exp, ln and ln Gamma as inlined polynomials, without checks of domains or overflow and without a digit more than needed. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
INLINE double bits(uint64_t u) { double x; memcpy(&x, &u, 8); return x; }
INLINE uint64_t word(double x) { uint64_t u; memcpy(&u, &x, 8); return u; }

INLINE double expo(double x) {
    double shifted = x * 1.4426950408889634 + 0x1.8p52, k;
    uint64_t scale = (word(shifted) + 1023) << 52;
    k = floor(x * 1.4426950408889634 + 0.5);
    double r = x - k * 0.6931471805599453, p = 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = p * r + 1.0;
    return (p * r + 1.0) * bits(scale);
}

INLINE double ln(double x) {
    uint64_t u = word(x) - 0x3fe6a09e667f3bcdULL + (1023ULL << 52), e = u >> 52;
    double k = bits(0x4330000000000000ULL | e) - 4503599627371519.0, m = bits(word(x) - (e << 52) + (1023ULL << 52));
    double s = (m - 1.0) / (m + 1.0), z = s * s, p = 2.0 / 17;
    p = p * z + 2.0 / 15;
    p = p * z + 2.0 / 13;
    p = p * z + 2.0 / 11;
    p = p * z + 2.0 / 9;
    p = p * z + 2.0 / 7;
    p = p * z + 2.0 / 5;
    p = p * z + 2.0 / 3;
    return k * 0.6931471805599453 + s * (2.0 + z * p);
}

INLINE double ln_gamma(double x) {
    double a = x * (x + 5.0), y = x + 6.0, v = 1.0 / y, i = v * v;
    double p = (((((-691.0 / 360360 * i + 1.0 / 1188) * i - 1.0 / 1680) * i + 1.0 / 1260) * i - 1.0 / 360) * i + 1.0 / 12) * v;
    return (y - 0.5) * ln(y) - y + 0.9189385332046727 + p - ln(a * (a + 4.0) * (a + 6.0));
}

#define EACH for (long i = from; i < to; i++)
/* A function of n elements: its loop on one core, or in equal parts on all where there are many. */
#define FORMULA(name, inputs, names, statement) \
    static void name##_part(long from, long to, double *restrict y, UNPACK inputs) { _Pragma("omp simd") EACH statement } \
    void name(long n, double *restrict y, UNPACK inputs) { \
        if (n < 131072) name##_part(0, n, y, UNPACK names); \
        else { \
            _Pragma("omp parallel for schedule(static)") for (long k = 0; k < 64; k++) \
                name##_part(n * k / 64, n * (k + 1) / 64, y, UNPACK names); \
        } \
    }
#define UNPACK(...) __VA_ARGS__
#define IN const double *restrict

FORMULA(E1, (IN K, IN L, IN d, IN eps, IN sigma_w), (K, L, d, eps, sigma_w), {
    y[i] = eps[i] * (sqrt(K[i]) + 0.7978845608028654 * sqrt(d[i])) * expo(0.5 * L[i] * ln(1.0 + 0.5 * sigma_w[i] * sigma_w[i]));
})

FORMULA(E2, (IN K, IN L, IN N, IN d, IN eps, IN sigma_w, IN t), (K, L, N, d, eps, sigma_w, t), {
    double omega = 0.5 * sigma_w[i] * sigma_w[i];
    double h = 0.5 * L[i] - 1.0;
    double w = h * eps[i] * t[i] * (sqrt(K[i] / d[i]) + 1.0) * expo(h * ln(omega)) / N[i];
    y[i] = omega * expo(-ln(1.0 + w) / h);
})

FORMULA(E3, (IN K, IN d, IN p, IN q), (K, d, p, q), {
    double a = 1.0 / q[i];
    double b = 1.0 - 1.0 / p[i];
    double lK = ln(K[i]);
    double ld = ln(d[i]);
    double first = a * (lK + ln_gamma(0.5 * q[i] + 0.5) - 0.5723649429247001) + fmax(0.0, b - 0.5) * ld;
    double second = b * (ld + ln_gamma(0.5 / b + 0.5) - 0.5723649429247001) + fmax(0.0, a - 0.5) * lK;
    y[i] = 1.4142135623730951 * (expo(first) + expo(second)) / sqrt(d[i]);
})
