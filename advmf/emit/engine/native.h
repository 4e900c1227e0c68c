/* The elementary functions of generated kernels, inlined so that the compiler vectorises the loop around them.

   A logarithm is a pair `dd` of an h and a much smaller l, whose sum has some 57 bits: a power exp(y ln x) then keeps the last digit also
   where its logarithm is large. What is out of a function's range makes *far larger than FAR, and overflow and underflow of the
   arithmetic raise IEEE's flags; the caller recomputes what was so marked. Polynomials are minimax; tests/emit/test_native.py derives them again.
   There are few divisions, as a processor does a dozen other operations in the time of one. */
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
INLINE uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }
INLINE dd quick_sum(double a, double b) { double s = a + b; dd r = {s, b - (s - a)}; return r; }
INLINE dd two_sum(double a, double b) { double s = a + b, t = s - a; dd r = {s, (a - (s - t)) + (b - t)}; return r; }
INLINE dd two_prod(double a, double b) { double p = a * b; dd r = {p, fma(a, b, -p)}; return r; }
INLINE dd dd_add(dd a, dd b) { dd s = two_sum(a.h, b.h); return quick_sum(s.h, s.l + (a.l + b.l)); }
INLINE dd dd_plus(dd a, double b) { dd s = two_sum(a.h, b); return quick_sum(s.h, s.l + a.l); }
INLINE dd dd_mul(dd a, dd b) { dd p = two_prod(a.h, b.h); p.l += fma(a.h, b.l, a.l * b.h); return p; }
INLINE dd dd_times(dd a, double b) { dd p = two_prod(a.h, b); p.l = fma(a.l, b, p.l); return p; }
INLINE dd dd_scale(dd a, double b) { dd r = {a.h * b, a.l * b}; return r; } /* b is a power of two */
INLINE dd dd_neg(dd a) { dd r = {-a.h, -a.l}; return r; }

/* For a normal x between 2^-515 and 2^516: m with x = 2^k m and sqrt(1/2) <= m < sqrt 2, and s = (m - 1)/(m + 1). */
static const uint64_t FAR = 0x4086200000000000ULL; /* the bits of 708.0 */
typedef struct { double k, f, s; } Split; /* f = m - 1 */
INLINE Split split(double x, uint64_t *far) {
    *far = larger(*far, word(x) - ((1023ULL - 515) << 52));
    uint64_t u = word(x) - (0x3fe6a09e667f3bcdULL - (1023ULL << 52));
    double f = bits((u & 0xfffffffffffffULL) + 0x3fe6a09e667f3bcdULL) - 1.0, t = f + 2.0;
    /* 1/t to 2^-9.6, then with the cube of this error; what s = f/t still lacks is put right at the end. */
    double r = fma(fma(0x1.deab9f5bac12fp-4, f, -0x1.051cc46487751p-2), f, 0x1.0029d8480f162p-1), e = fma(-t, r, 1.0);
    r = fma(r, fma(e, e, e), r);
    double s = f * r;
    Split found = {bits(0x4330000000000000ULL | u >> 52) - 4503599627371519.0 /* 2^52 + 1023 */, f, fma(fma(-t, s, f), r, s)};
    return found;
}
/* (2 atanh(s) - 2 s)/s^3 with z = s^2. */
INLINE double atanh_tail(double z) {
    double y = z * z;
    double a = fma(0x1.08788c3e01713p-3, z, 0x1.1018ae366a914p-3), b = fma(0x1.3b18b8ee7a308p-3, z, 0x1.745d09f06d811p-3);
    double c = fma(0x1.c71c71d7e7fc3p-3, z, 0x1.249249248e532p-2), d = fma(0x1.999999999999ep-2, z, 0x1.5555555555555p-1);
    return fma(y * y, fma(a, y, b), fma(c, y, d));
}
#define LN2_HIGH 6.93147180369123816490e-01 /* with so few bits that its product with k is exact */
#define LN2_LOW 1.90821492927058770002e-10

/* ln(x + low) = k ln 2 + f - s (f - s^2 tail), where `low` is what rounding lost of x, if anything. */
INLINE double ln_of(double x, double low, int has_low, uint64_t *far) {
    Split m = split(x, far);
    double z = m.s * m.s, rest = m.k * LN2_LOW;
    if (has_low) rest += low / x;
    return fma(m.k, LN2_HIGH, m.f - fma(m.s, fma(-z, atanh_tail(z), m.f), -rest));
}
INLINE double ln(double x, uint64_t *far) { return ln_of(x, 0.0, 0, far); }
INLINE double ln1p(double w, uint64_t *far) { dd x = two_sum(1.0, w); return ln_of(x.h, x.l, 1, far); }

/* The same as a pair: the first three terms without rounding. The error is some 2^-57 of the logarithm. */
INLINE dd dd_ln(dd x, uint64_t *far) {
    Split m = split(x.h, far);
    double z = m.s * m.s, half = 0.5 * m.f, square = half * m.f, high = m.k * LN2_HIGH, low = fma(m.k, LN2_LOW, x.l / x.h);
    double a = high + m.f, b = a - square, lost = (m.f - (a - high)) + ((a - b) - square) - fma(half, m.f, -square);
    return quick_sum(b, fma(m.s, fma(z, atanh_tail(z), square), lost + low));
}
INLINE dd dd_ln1p(dd w, uint64_t *far) { dd x = two_sum(1.0, w.h); x.l += w.l; return dd_ln(x, far); }

/* (exp(r) - 1 - r)/r^2, x = k ln 2 + r. */
INLINE double exp_tail(double r) {
    double y = r * r, w = y * y;
    double a = fma(0x1.af38a9b0ec855p-26, r, 0x1.289185613a3d6p-22), b = fma(0x1.71de0dae63bb3p-19, r, 0x1.a019b90d2ae7ap-16);
    double c = fma(0x1.a01a01a7c41d5p-13, r, 0x1.6c16c1788bd90p-10), d = fma(0x1.11111111109b3p-7, r, 0x1.5555555553d63p-5);
    double e = fma(0x1.5555555555556p-3, r, 0.5);
    return fma(w, fma(w, a, fma(b, y, c)), fma(d, y, e));
}
/* For |x| <= 708 the k of x = k ln 2 + r with |r| <= (ln 2)/2, plus 1.5 2^52, so that it stands in the last bits. */
INLINE double shifted(double x, uint64_t *far) {
    *far = larger(*far, word(fabs(x)));
    return fma(x, 1.4426950408889634, 0x1.8p52);
}
INLINE double expo_of(double x, double low, int has_low, uint64_t *far) {
    double k = shifted(x, far), n = k - 0x1.8p52, r = fma(-n, LN2_HIGH, x);
    r = fma(-n, LN2_LOW, has_low ? r + low : r);
    return bits(word(1.0 + fma(r * r, exp_tail(r), r)) + (word(k) << 52));
}
INLINE double expo(double x, uint64_t *far) { return expo_of(x, 0.0, 0, far); }
INLINE double dd_exp(dd x, uint64_t *far) { return expo_of(x.h, x.l, 1, far); }
INLINE double dd_expm1(dd x, uint64_t *far) {
    double k = shifted(x.h, far), n = k - 0x1.8p52, high = fma(-n, LN2_HIGH, x.h), r = fma(-n, LN2_LOW, high);
    double low = fma(-n, LN2_LOW, high - r) + x.l, scale = bits((word(k) + 1023) << 52);
    double q = r * r * exp_tail(r) + fma(low, r, low);
    dd one = two_sum(scale - 1.0, scale * r);
    return one.h + (one.l + scale * q);
}
INLINE double expo_minus_one(double x, uint64_t *far) { return dd_expm1(pair(x), far); }

/* ln Gamma(x) for x > 0: Stirling's series at x or x + 6, less the logarithm of x (x + 1) ... (x + 5). */
INLINE double ln_gamma(double x, uint64_t *far) {
    int near = x < 6.0;
    double y = near ? x + 6.0 : x, low = near ? x : 1.0, a = low * (low + 5.0), v = 1.0 / y, i = v * v, j = i * i;
    double shift = ln(a * (a + 4.0) * (a + 6.0), far);
    *far = x > 0.0 ? *far : ~0ULL;
    double p = fma(fma(0x1.19b316dd154d5p-8, i, -0x1.e3a7d2251545cp-10), j, fma(0x1.b8a296ee4c83cp-11, i, -0x1.3811d8c21b009p-11));
    p = fma(p, j, fma(0x1.a019ffb0c2950p-11, i, -0x1.6c16c16be0245p-9));
    p = fma(fma(p, i, 0x1.5555555555553p-4), v, 0x1.d67f1c864beb5p-1);
    dd product = two_prod(y - 0.5, ln(y, far));
    return ((product.h - y) - (near ? shift : 0.0)) + (product.l + p);
}

/* Functions of any argument: what leaves the range of floats is 0 or infinite, and subnormal numbers are 0. (The calls fmin and fmax would
   keep the compiler from vectorising.) */
INLINE double within(double x, double low, double high) { double y = x > low ? x : low; return y < high ? y : high; }
INLINE double wide_exp(double x) {
    uint64_t far = 0;
    double y = expo(within(x, -708.0, 708.0), &far);
    return x > 708.0 ? INFINITY : x < -708.0 ? 0.0 : x == x ? y : x;
}
INLINE double wide_expm1(double x) {
    uint64_t far = 0;
    double y = expo_minus_one(within(x, -50.0, 708.0), &far);
    return x > 708.0 ? INFINITY : x == x ? y : x;
}
INLINE double wide_tanh(double x) {
    double e = wide_expm1(-2.0 * fabs(x));
    return copysign(-e / (2.0 + e), x);
}
INLINE double ln_one_plus_exp(double x) { uint64_t far = 0; return (x < 0.0 ? 0.0 : x) + ln1p(wide_exp(-fabs(x)), &far); }

/* What a generated file goes on with: INPUTS, OUTPUTS, and `block`, which computes n elements and says whether all are good. */
enum { BLOCK = 256 }; /* a power of 4 */
static const uint64_t REDO = 0x7ff80000a11dead0ULL; /* a NaN that marks an element to compute again */
