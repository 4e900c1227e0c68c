/* Means of functions of one and of two centred Gaussians, one element after the other: the rules and the tests of
   advmf/special/gaussian_means.py, which says why they are so. An element that fails a test is REDO; NumPy computes it again,
   or says what was reached. A generated file defines before this text:

   PARAMETERS, KINKS_F, KINKS_G   the numbers of parameters and of kinks
   f, g                           functions of (z, the parameters, far)
   kinks_f, kinks_g               write the places of the kinks, given the parameters
   PAIR                           1 for the mean of a product, of the moments Q, R and P; 0 for E f of the moment Q */

typedef double Curve(double, const double *, uint64_t *);
typedef struct { Curve *curve; const double *given; double deviation; int kinks; const double *places; } Law; /* of curve(deviation z) */

#define REACH 10.0    /* deviations at which the line is cut off */
#define DIGITS 1e-12  /* the largest relative error that is accepted */
#define SETTLED 1e-14
/* The counts of points of a series are multiples of LANES, the largest is POINTS. */
enum { TERMS = 96, LEVELS = 25, POINTS = 192, LANES = 8, CENTRES = (KINKS_F ? KINKS_F : 1) + (KINKS_G ? KINKS_G : 1) };
enum { EDGES = CENTRES * (2 * LEVELS + 1) + 6 };
enum { N16, N24, N32, N48, N96, N192, N768, RULES };
static const int COUNTS[] = {16, 24, 32, 48, 96, 192, 768};

/* The nodes of a Gauss-Legendre rule, which its weights follow. After the last rule come the roots of 0, 1, ... TERMS, and one over them. */
static const double *rule(const double *rules, int which) {
    for (int i = 0; i < which; i++) rules += 2 * COUNTS[i];
    return rules;
}
INLINE double density(double z) { uint64_t far = 0; return 0.3989422804014327 * expo(-0.5 * z * z, &far); }

/* Sorted edges of panels: fixed ones, and points at distances of powers of four times each scale from each centre. */
static int panels(int count, const double *centre, const double *scale, double *edge) {
    static const double FIXED[] = {-REACH, -5.0, -2.0, 2.0, 5.0, REACH};
    double least = REACH;
    for (int i = 0; i < count; i++) least = fmin(least, scale[i]);
    int n = 0, levels = 1 + (int)fmax(1.0, ceil(log(2.0 * REACH / fmax(least, 1e-12)) / log(4.0)));
    double all[EDGES];
    for (int i = 0; i < 6; i++) all[n++] = FIXED[i];
    for (int i = 0; i < count; i++) {
        all[n++] = centre[i];
        for (int k = 0; k < levels; k++) {
            double away = ldexp(scale[i], 2 * k);
            all[n++] = centre[i] - away;
            all[n++] = centre[i] + away;
        }
    }
    int kept = 0;
    for (int i = 0; i < n; i++) {
        double x = within(all[i], -REACH, REACH);
        int at = kept;
        while (at && edge[at - 1] > x) at--;
        if (at && edge[at - 1] == x) continue;
        for (int j = kept++; j > at; j--) edge[j] = edge[j - 1];
        edge[at] = x;
    }
    return kept - 1;
}

/* Where z meets the kinks of a function of middle + deviation z; zero where it has none. */
static int centres(const Law *law, double middle, double *found) {
    int count = law->kinks ? law->kinks : 1;
    for (int i = 0; i < count; i++) {
        double place = law->kinks ? law->places[i] : 0.0;
        found[i] = within((place - middle) / law->deviation, -1e9, 1e9);
    }
    return count;
}
static int around(const Law *law, double middle, double *edge) {
    double centre[CENTRES], scale[CENTRES];
    int count = centres(law, middle, centre);
    for (int i = 0; i < count; i++) scale[i] = 1.0 / law->deviation;
    return panels(count, centre, scale, edge);
}

/* E h(middle + deviation z) and E |h|, to errors relative to the latter, or to `least` where that is larger. */
INLINE int line(Curve *h, const Law *law, double middle, double least, const double *rules, double *mean, double *size) {
    static const int STEPS[] = {N16, N24, N48, N96, N192, N768};
    double edge[EDGES], before = 0.0, worst = INFINITY, s = law->deviation;
    const double *a = law->given;
    uint64_t farthest = 0;
    int count = around(law, middle, edge);
    double ends = fmax(fabs(h(middle - s * REACH, a, &farthest)), fabs(h(middle + s * REACH, a, &farthest)));
    for (int step = 0; step < 6; step++) {
        int points = COUNTS[STEPS[step]];
        const double *node = rule(rules, STEPS[step]), *weight = node + points;
        double total = 0.0, all = 0.0;
        for (int j = 0; j < count; j++) {
            double half = (edge[j + 1] - edge[j]) / 2.0, low = edge[j];
            #pragma omp simd reduction(+:total, all) reduction(max:farthest)
            for (int i = 0; i < points; i++) {
                uint64_t far = 0;
                double z = low + half * (node[i] + 1.0), w = half * weight[i] * density(z), value = h(middle + s * z, a, &far);
                total += value * w;
                all += fabs(value) * w;
                farthest = larger(farthest, far);
            }
        }
        *mean = total;
        *size = all;
        if (step) worst = fabs(total - before) / fmax(all, least);
        if (worst <= SETTLED) break;
        before = total;
    }
    return worst <= DIGITS && ends * density(REACH) * REACH / fmax(*size, least) <= DIGITS && farthest <= FAR;
}

#if PAIR
typedef double Lanes __attribute__((vector_size(8 * LANES)));
typedef struct { int known; double deviation, given[PARAMETERS + 1], term[TERMS], left; } Series;

/* The coefficients in normalised Hermite polynomials, and the part of E h^2 that they leave: infinite where they do not settle. */
INLINE void hermite(Curve *h, const Law *law, const double *rules, Series *out) {
    static const int STEPS[] = {N48, N96, N192};
    double edge[EDGES], before[TERMS], energy = 0.0, s = law->deviation;
    const double *a = law->given;
    if (out->known && out->deviation == s && !memcmp(out->given, a, PARAMETERS * sizeof *a)) return;
    out->known = 1;
    out->deviation = s;
    memcpy(out->given, a, PARAMETERS * sizeof *a);
    out->left = INFINITY;
    const double *root = rule(rules, RULES), *inverse = root + TERMS + 1;
    uint64_t farthest = 0;
    int count = around(law, 0.0, edge), settled = 0;
    for (int step = 0; step < 3 && !settled; step++) {
        int points = COUNTS[STEPS[step]];
        const double *node = rule(rules, STEPS[step]), *weight = node + points;
        memcpy(before, out->term, sizeof before);
        Lanes sums[TERMS] = {0};
        energy = 0.0;
        for (int j = 0; j < count; j++) {
            double half = (edge[j + 1] - edge[j]) / 2.0, low = edge[j];
            Lanes z[POINTS / LANES], now[POINTS / LANES], last[POINTS / LANES] = {0};
            double *at = (double *)z, *weighted = (double *)now;
            #pragma omp simd reduction(+:energy) reduction(max:farthest)
            for (int i = 0; i < points; i++) {
                uint64_t far = 0;
                at[i] = low + half * (node[i] + 1.0);
                double value = h(s * at[i], a, &far);
                weighted[i] = value * half * weight[i] * density(at[i]);
                energy += value * weighted[i];
                farthest = larger(farthest, far);
            }
            for (int k = 0; k < TERMS; k++) {
                Lanes total = {0};
                for (int i = 0; i < points / LANES; i++) {
                    Lanes here = now[i];
                    total += here;
                    now[i] = (z[i] * here - root[k] * last[i]) * inverse[k + 1];
                    last[i] = here;
                }
                sums[k] += total;
            }
        }
        for (int k = 0; k < TERMS; k++) {
            out->term[k] = 0.0;
            for (int l = 0; l < LANES; l++) out->term[k] += sums[k][l];
        }
        double moved = 0.0;
        for (int k = 0; k < TERMS; k++) moved += (out->term[k] - before[k]) * (out->term[k] - before[k]);
        settled = step && moved <= DIGITS * DIGITS / 100.0 * energy;
    }
    double kept = 0.0;
    for (int k = 0; k < TERMS; k++) kept += out->term[k] * out->term[k];
    if (settled && farthest <= FAR) out->left = fmax(energy - kept, 1e-15 * energy);
}

static int agreed(const double *found, double size, double *value) {
    *value = found[1];
    return (size > 0.0 ? fabs(found[1] - found[0]) / size : 0.0) <= DIGITS;
}

/* The mean over a of f(a) times the mean of g(b) given a. */
static int plane(const Law *first, const Law *second, double c, const double *rules, double *value) {
    double edge[EDGES], centre[CENTRES], scale[CENTRES], found[2], size = 0.0, all, unused;
    double s = first->deviation, t = second->deviation, spread = sqrt((1.0 - c) * (1.0 + c));
    const double *a = first->given;
    uint64_t far = 0;
    int own = centres(first, 0.0, centre), count = own, good = 1;
    for (int i = 0; i < own; i++) scale[i] = spread == 0.0 ? 1.0 / fmax(s, t) : 1.0 / s;
    if (c != 0.0) {
        count += centres(second, 0.0, centre + own);
        for (int i = own; i < count; i++) {
            centre[i] = spread == 0.0 ? centre[i] * c : within(centre[i] / c, -1e9, 1e9);
            scale[i] = spread == 0.0 ? 1.0 / fmax(s, t) : fmin(1.0 / t, fmax(spread / fabs(c), 1e-9));
        }
    }
    count = panels(count, centre, scale, edge);
    Law given = *second;
    given.deviation = t * spread;
    if (spread > 0.0) good = line(g, second, 0.0, 1e-300, rules, &unused, &all);
    for (int step = 0; step < 2; step++) {
        int which = spread == 0.0 ? (step ? N48 : N24) : (step ? N32 : N16), points = COUNTS[which];
        const double *node = rule(rules, which), *weight = node + points;
        found[step] = size = 0.0;
        for (int j = 0; j < count; j++) {
            double half = (edge[j + 1] - edge[j]) / 2.0;
            for (int i = 0; good && i < points; i++) {
                double z = edge[j] + half * (node[i] + 1.0), outer = f(s * z, a, &far) * half * weight[i] * density(z), inner, sum;
                if (spread == 0.0) inner = g(t * c * z, a, &far);
                else good = line(g, &given, t * c * z, all > 0.0 ? all : 1e-300, rules, &inner, &sum);
                found[step] += outer * inner;
                size += fabs(outer * inner);
            }
        }
    }
    if (spread == 0.0) size = found[1] != 0.0 ? fabs(found[1]) : 1.0;
    return good && far <= FAR && agreed(found, size, value);
}
#endif

/* The means of elements begin to end. The arrays are the moments, then the parameters. Returns how many elements are REDO. */
long run(long begin, long end, const double *rules, const double *const *in, double *out) {
    enum { MOMENTS = PAIR ? 3 : 1 };
    long redo = 0;
#if PAIR
    Series left = {0}, right = {0};
#endif
    for (long i = begin; i < end; i++) {
        double a[PARAMETERS + 1] = {0}, at[KINKS_F + 1] = {0}, value = 0.0;
        int good = 1;
        for (int j = 0; j < PARAMETERS; j++) a[j] = in[MOMENTS + j][i];
        kinks_f(a, at);
        for (int j = 0; j < KINKS_F; j++) at[j] = isfinite(at[j]) ? at[j] : 0.0;
        for (int j = 0; j < MOMENTS; j++) good &= isfinite(in[j][i]) && (j == 2 || in[j][i] > 0.0);
        if (good) {
            Law first = {f, a, sqrt(in[0][i]), KINKS_F, at};
#if PAIR
            double to[KINKS_G + 1] = {0}, size = 0.0, power = 1.0;
            kinks_g(a, to);
            for (int j = 0; j < KINKS_G; j++) to[j] = isfinite(to[j]) ? to[j] : 0.0;
            Law second = {g, a, sqrt(in[1][i]), KINKS_G, to};
            double c = within(in[2][i] / (first.deviation * second.deviation), -1.0, 1.0);
            hermite(f, &first, rules, &left);
            hermite(g, &second, rules, &right);
            for (int k = 0; k < TERMS; k++, power *= c) {
                double term = left.term[k] * right.term[k] * power;
                value += term;
                size += fabs(term);
            }
            if (!(sqrt(left.left * right.left) * fabs(power) <= DIGITS / 10.0 * size)) good = plane(&first, &second, c, rules, &value);
#else
            double size;
            good = line(f, &first, 0.0, 1e-300, rules, &value, &size);
#endif
        }
        out[i] = good ? value : bits(REDO);
        redo += !good;
    }
    return redo;
}
