/* The elementary functions of generated kernels, inlined so that the compiler vectorises the loop around them.

   A logarithm is a pair `dd` of an h and a much smaller l, whose sum has some 63 bits: a power exp(y ln x) then keeps the last digit also
   where its logarithm is large. Outside its range a function turns *bad into NaN, and overflow and underflow of the
   arithmetic raise IEEE's flags; the caller recomputes what was so flagged. Polynomials are minimax; tests/emit/test_native.py derives them again. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
static inline int flagged(void) { return (__builtin_ia32_stmxcsr() & 0x1d) != 0; } /* invalid, division by zero, overflow, underflow */
static inline void unflag(void) { __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() & ~0x3fu); }
#else
#include <fenv.h>
#define FLAGS (FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW)
static inline int flagged(void) { return fetestexcept(FLAGS) != 0; }
static inline void unflag(void) { feclearexcept(FE_ALL_EXCEPT); }
#endif

#define INLINE static inline __attribute__((always_inline))
typedef struct { double h, l; } dd;

INLINE double bits(uint64_t u) { double x; memcpy(&x, &u, 8); return x; }
INLINE uint64_t word(double x) { uint64_t u; memcpy(&u, &x, 8); return u; }
INLINE dd pair(double x) { dd r = {x, 0.0}; return r; }
INLINE dd quick_sum(double a, double b) { double s = a + b; dd r = {s, b - (s - a)}; return r; }
INLINE dd two_sum(double a, double b) { double s = a + b, t = s - a; dd r = {s, (a - (s - t)) + (b - t)}; return r; }
INLINE dd two_prod(double a, double b) { double p = a * b; dd r = {p, fma(a, b, -p)}; return r; }
INLINE dd dd_add(dd a, dd b) { dd s = two_sum(a.h, b.h); return quick_sum(s.h, s.l + (a.l + b.l)); }
INLINE dd dd_plus(dd a, double b) { dd s = two_sum(a.h, b); return quick_sum(s.h, s.l + a.l); }
INLINE dd dd_mul(dd a, dd b) { dd p = two_prod(a.h, b.h); p.l += fma(a.h, b.l, a.l * b.h); return p; }
INLINE dd dd_times(dd a, double b) { dd p = two_prod(a.h, b); p.l = fma(a.l, b, p.l); return p; }
INLINE dd dd_scale(dd a, double b) { dd r = {a.h * b, a.l * b}; return r; } /* b is a power of two */
INLINE dd dd_neg(dd a) { dd r = {-a.h, -a.l}; return r; }

/* x = 2^k m with sqrt(1/2) <= m < sqrt 2 for a positive normal x; gives m, and 2^-k. */
INLINE double split(double x, double *k, double *scale) {
    uint64_t e = (word(x) - 0x3fe6a09e667f3bcdULL + (1023ULL << 52)) >> 52;
    *k = bits(0x4330000000000000ULL | e) - 4503599627371519.0; /* 2^52 + 1023 */
    *scale = bits((2046ULL - e) << 52);
    return bits(word(x) - (e << 52) + (1023ULL << 52));
}
/* (2 atanh(s) - 2 s)/s^3 with z = s^2. */
INLINE double atanh_tail(double z) {
    double p = 0x1.08788c3e01713p-3;
    p = fma(p, z, 0x1.1018ae366a914p-3);
    p = fma(p, z, 0x1.3b18b8ee7a308p-3);
    p = fma(p, z, 0x1.745d09f06d811p-3);
    p = fma(p, z, 0x1.c71c71d7e7fc3p-3);
    p = fma(p, z, 0x1.249249248e532p-2);
    p = fma(p, z, 0x1.999999999999ep-2);
    return fma(p, z, 0x1.5555555555555p-1);
}

/* ln(x.h + x.l) for a positive x.h that is normal: k ln 2 + 2 atanh(s), s = (m - 1)/(m + 1). The error is some 2^-60 of the logarithm. */
INLINE dd dd_ln(dd x, double *bad) {
    *bad = (x.h >= 0x1p-1000) & (x.h <= 0x1p1000) ? *bad : NAN;
    double k, scale, f = split(x.h, &k, &scale) - 1.0, low = x.l * scale, t = f + 2.0, tl = f - (t - 2.0) + low;
    double inverse = 1.0 / t, s = f * inverse, sl = (fma(-s, t, f) + fma(-s, tl, low)) * inverse, z = s * s;
    dd log = quick_sum(2.0 * s, fma(s * z, atanh_tail(z), 2.0 * sl));
    dd sum = two_sum(k * 6.93147180369123816490e-01, log.h); /* the first has so few bits that the product is exact */
    return quick_sum(sum.h, sum.l + fma(k, 1.90821492927058770002e-10, log.l));
}
INLINE dd dd_ln1p(dd w, double *bad) { dd x = two_sum(1.0, w.h); x.l += w.l; return dd_ln(x, bad); }

/* The same in one number: ln(x + low), where `low` is what rounding lost of x, if anything. */
INLINE double ln_of(double x, double low, int has_low, double *bad) {
    *bad = (x >= 0x1p-1000) & (x <= 0x1p1000) ? *bad : NAN;
    double k, scale, f = split(x, &k, &scale) - 1.0;
    if (has_low) f = fma(low, scale, f);
    double s = f / (f + 2.0), z = s * s, half = 0.5 * f * f;
    double tail = fma(s, fma(z, atanh_tail(z), half), k * 1.90821492927058770002e-10);
    return fma(k, 6.93147180369123816490e-01, f - (half - tail));
}
INLINE double ln(double x, double *bad) { return ln_of(x, 0.0, 0, bad); }
INLINE double ln1p(double w, double *bad) { dd x = two_sum(1.0, w); return ln_of(x.h, x.l, 1, bad); }

/* x = k ln 2 + r with |r| <= (ln 2)/2; then (exp(r) - 1 - r)/r^2. */
INLINE double reduce(double x, double *k) {
    *k = fma(x, 1.4426950408889634, 0x1.8p52) - 0x1.8p52;
    return fma(-*k, 6.93147180369123816490e-01, x);
}
INLINE double exp_tail(double r) {
    double p = 0x1.af38a9b0ec855p-26;
    p = fma(p, r, 0x1.289185613a3d6p-22);
    p = fma(p, r, 0x1.71de0dae63bb3p-19);
    p = fma(p, r, 0x1.a019b90d2ae7ap-16);
    p = fma(p, r, 0x1.a01a01a7c41d5p-13);
    p = fma(p, r, 0x1.6c16c1788bd90p-10);
    p = fma(p, r, 0x1.11111111109b3p-7);
    p = fma(p, r, 0x1.5555555553d63p-5);
    p = fma(p, r, 0x1.5555555555556p-3);
    return fma(p, r, 0.5);
}
INLINE double two_to(double k) { return bits((word(k + 0x1.8p52) + 1023) << 52); }
INLINE double expo(double x, double *bad) {
    *bad = fabs(x) <= 708.0 ? *bad : NAN;
    double k, r = reduce(x, &k);
    r = fma(-k, 1.90821492927058770002e-10, r);
    return (1.0 + fma(r * r, exp_tail(r), r)) * two_to(k);
}
INLINE double dd_exp(dd x, double *bad) {
    *bad = fabs(x.h) <= 708.0 ? *bad : NAN;
    double k, high = reduce(x.h, &k), r = fma(-k, 1.90821492927058770002e-10, high);
    double low = fma(-k, 1.90821492927058770002e-10, high - r) + x.l;
    return (1.0 + (r + (r * r * exp_tail(r) + fma(low, r, low)))) * two_to(k);
}
INLINE double dd_expm1(dd x, double *bad) {
    *bad = fabs(x.h) <= 708.0 ? *bad : NAN;
    double k, high = reduce(x.h, &k), r = fma(-k, 1.90821492927058770002e-10, high), scale = two_to(k);
    double low = fma(-k, 1.90821492927058770002e-10, high - r) + x.l;
    double q = r * r * exp_tail(r) + fma(low, r, low);
    dd one = two_sum(scale - 1.0, scale * r);
    return one.h + (one.l + scale * q);
}
INLINE double expo_minus_one(double x, double *bad) { return dd_expm1(pair(x), bad); }

/* ln Gamma(x) for x > 0: Stirling's series at x or x + 6, less the logarithm of x (x + 1) ... (x + 5). */
INLINE double ln_gamma(double x, double *bad) {
    double y = x < 6.0 ? x + 6.0 : x, low = x < 6.0 ? x : 6.0, a = low * (low + 5.0);
    double shift = ln(a * (a + 4.0) * (a + 6.0), bad), v = 1.0 / y, i = v * v, p = 0x1.19b316dd154d5p-8;
    *bad = x > 0.0 ? *bad : NAN;
    p = fma(p, i, -0x1.e3a7d2251545cp-10);
    p = fma(p, i, 0x1.b8a296ee4c83cp-11);
    p = fma(p, i, -0x1.3811d8c21b009p-11);
    p = fma(p, i, 0x1.a019ffb0c2950p-11);
    p = fma(p, i, -0x1.6c16c16be0245p-9);
    p = fma(p, i, 0x1.5555555555553p-4);
    dd product = two_prod(y - 0.5, ln(y, bad));
    shift = x < 6.0 ? shift : 0.0;
    return ((product.h - y) - shift) + (product.l + fma(p, v, 0x1.d67f1c864beb5p-1));
}

/* What a generated file goes on with: INPUTS, OUTPUTS, and `block`, which computes n elements and says whether all are good. */
enum { BLOCK = 512 };
static const uint64_t REDO = 0x7ff80000a11dead0ULL; /* a NaN that marks an element to compute again */
