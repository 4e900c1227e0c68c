/* The driver of a generated block: elements begin to end of a grid, flat in C order, in blocks that stay in the first cache. */

/* n elements of a strided input from the flat index `at` on. */
static void gather(const double *x, const long *stride, int ndim, const long *shape, long at, long n, double *to) {
    long place[64], offset = 0, last = ndim - 1;
    for (int a = (int)last; a >= 0; a--) {
        place[a] = at % shape[a];
        at /= shape[a];
        offset += place[a] * stride[a];
    }
    while (n > 0) {
        long run = shape[last] - place[last], step = stride[last];
        if (run > n) run = n;
        if (step) for (long i = 0; i < run; i++) to[i] = x[offset + i * step];
        else for (long i = 0; i < run; i++) to[i] = x[offset];
        to += run;
        n -= run;
        offset -= place[last] * step;
        place[last] = 0;
        for (long a = last - 1; a >= 0; a--) {
            offset += stride[a];
            if (++place[a] < shape[a]) break;
            offset -= place[a] * stride[a];
            place[a] = 0;
        }
    }
}

static long careful(long n, long size, const double *const *in, double *const *out) {
    long redo = 0;
    const double *x[INPUTS + 1];
    double *y[OUTPUTS];
    for (long i = 0; i < n; i += size) {
        long part = n - i < size ? n - i : size;
        for (int j = 0; j < INPUTS; j++) x[j] = in[j] + i;
        for (int j = 0; j < OUTPUTS; j++) y[j] = out[j] + i;
        unflag();
        if (block(part, x, y) && !flagged()) continue;
        if (size > 1) redo += careful(part, size / 4, x, y);
        else {
            for (int j = 0; j < OUTPUTS; j++) *y[j] = bits(REDO);
            redo++;
        }
    }
    return redo;
}

/* How many elements are to compute again; they hold REDO. The arrays are the inputs, then the outputs in C order. An input's kind is 0 for
   one value, 1 for C order, 2 for any other, whose strides count elements. */
long run(long begin, long end, int ndim, const long *shape, double *const *in, const long *stride, const int *kind) {
    double *const *out = in + INPUTS;
    double space[INPUTS + 1][BLOCK];
    const double *x[INPUTS + 1];
    double *y[OUTPUTS];
    long redo = 0;
    for (int j = 0; j < INPUTS; j++)
        if (kind[j] == 0) for (int i = 0; i < BLOCK; i++) space[j][i] = *in[j];
    for (long at = begin; at < end; at += BLOCK) {
        long n = end - at < BLOCK ? end - at : BLOCK;
        for (int j = 0; j < INPUTS; j++) {
            x[j] = kind[j] == 1 ? in[j] + at : space[j];
            if (kind[j] == 2) gather(in[j], stride + (long)j * ndim, ndim, shape, at, n, space[j]);
        }
        for (int j = 0; j < OUTPUTS; j++) y[j] = out[j] + at;
        redo += careful(n, BLOCK, x, y);
    }
    return redo;
}
