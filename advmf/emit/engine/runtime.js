// The arithmetic that formulas written in JavaScript rest on: numbers m * 2**k of any size, as advmf's kernels have them.
const { sin, cos, tan, asin, acos, atan, atan2, sinh, cosh, tanh, asinh, acosh, atanh } = Math;
const { exp, expm1, log, log1p, sqrt, abs, sign, floor, ceil, max, min, PI } = Math;
const LN2_HIGH = 6.93147180369123816490e-01, LN2_LOW = 1.90821492927058770002e-10, FAR = 2 ** 40;
const bits = new Float64Array(1), words = new Uint32Array(bits.buffer);

const clip = (x, low, high) => max(low, min(high, x));
const pow = (x, y) => (x === 1 || y === 0 ? 1 : x ** y);

/** 2**k, exactly where k is a whole number of ordinary size. */
function exp2(k) {
  if (k !== floor(k) || k < -1022 || k > 1023) return 2 ** k;
  words[0] = 0;
  words[1] = (k + 1023) << 20;
  return bits[0];
}

/** The e with m = x * 2**e and 1/2 <= |x| < 1; 0 for zero, infinity and NaN. */
function exponent(m) {
  bits[0] = m;
  const e = (words[1] >>> 20) & 2047;
  if (e === 2047 || m === 0) return 0;
  return e ? e - 1022 : exponent(m * 2 ** 54) - 54;
}

/** m * 2**-e. */
function shifted(m, e) {
  return abs(e) < 1000 ? m * exp2(-e) : m * exp2(-floor(e / 2)) * exp2(floor(e / 2) - e);
}

/** The ordinary number m * 2**k, infinite or zero where it does not fit. */
function linear(m, k) {
  const half = clip(floor(k / 2), -1022, 1023);
  return m * exp2(half) * exp2(clip(k - half, -1022, 1023));
}

/** The logarithm of |m * 2**k|, which is 1 + rest unless rest is NaN. */
function logarithm(m, k, rest) {
  if (m === 0) return -Infinity;
  if (abs(rest) < 0.5) return log1p(rest);
  const one = clip(k, 0, 1); // a number next to 1 may be 1/2 * 2**1, whose two logarithms would cancel
  return log(abs(m) * exp2(one)) + (k - one) * LN2_HIGH + (k - one) * LN2_LOW;
}

const exp_exponent = (x) => floor(clip(x / Math.LN2, -FAR, FAR));
const exp_mantissa = (x, k) => exp(x - k * LN2_HIGH - k * LN2_LOW);

/** The largest exponent of numbers m, k, m, k, ...; that of a zero counts only if all are zero. */
function top(...parts) {
  let found = -Infinity;
  for (let i = 0; i < parts.length; i += 2) found = max(found, parts[i] === 0 ? parts[i + 1] - FAR : parts[i + 1]);
  return found < -FAR / 2 ? found + FAR : found;
}

const below = (m, k) => m * exp2(clip(k, -1022, 1000));

/** ln Gamma(x), by Stirling's series. */
function lgamma(x) {
  if (!(x > 0)) return x === floor(x) ? Infinity : log(PI / abs(sin(PI * (x - 2 * floor(x / 2))))) - lgamma(1 - x);
  if (x === Infinity) return x;
  let shift = 0, y = x;
  if (x < 6) {
    shift = log(x * (x + 1) * (x + 2) * (x + 3) * (x + 4) * (x + 5));
    y = x + 6;
  }
  const i = 1 / (y * y);
  let series = 0;
  for (const c of STIRLING) series = series * i + c;
  return (y - 0.5) * log(y) - y + 0.5 * log(2 * PI) + series / y - shift;
}

/** ln Gamma(x + h) - ln Gamma(x) for h > 0, without the cancellation of large logarithms. */
function log_gamma_ratio(x, h) {
  if (x <= 20) return lgamma(x + h) - lgamma(x);
  const stirling = (y) => {
    const i = 1 / (y * y);
    return (1 / 12 - i * (1 / 360 - i * (1 / 1260 - i * (1 / 1680 - i * (1 / 1188 - (i * 691) / 360360))))) / y;
  };
  return h * log(x) + (x + h - 0.5) * log1p(h / x) - h + stirling(x + h) - stirling(x);
}

/** exp(x**2) erfc(x) for x >= 0, by a Chebyshev series in (x - 4)/(x + 4). */
function erfcx(x) {
  const t = (2 * (x - 4)) / (x + 4);
  let b = 0, before = 0;
  for (let j = ERFCX.length - 1; j > 0; j--) [b, before] = [ERFCX[j] + t * b - before, b];
  return (ERFCX[0] + (t / 2) * b - before) / (1 + 2 * x);
}

function erfc(x) {
  if (!(x > -0.5)) return x < 0 ? 2 - erfc(-x) : NaN;
  if (x < 0.5) return 1 - erf(x);
  const high = floor(x * 16) / 16; // its square is exact
  return exp(-high * high) * exp(-(x - high) * (x + high)) * erfcx(x);
}

function erf(x) {
  if (abs(x) >= 0.5) return sign(x) * (1 - erfc(abs(x)));
  let sum = 0;
  for (let j = 17; j >= 0; j--) sum = 1 / (2 * j + 1) - (x * x * sum) / (j + 1);
  return (2 / sqrt(PI)) * x * sum;
}

/** The function, which remembers its last values. */
function kept(f, size = 512) {
  const known = new Map();
  return (...args) => {
    const key = args.join();
    if (!known.has(key)) {
      if (known.size >= size) known.clear();
      known.set(key, f(...args));
    }
    return known.get(key);
  };
}

/**
 * E f(a) of a Gaussian a of variance Q, for an f that is smooth between its kinks: Gauss's rule on panels around them,
 * or around zero, that grow by the factor four, up to ten deviations.
 */
function normal_mean(f, kinks, Q) {
  if (!(Q >= 0 && Q < Infinity)) return NaN;
  if (Q === 0) return f(0);
  const deviation = sqrt(Q), far = 10, edges = [-far, -5, -2, 2, 5, far];
  for (const kink of kinks.length ? kinks : [0]) {
    const centre = isFinite(kink) ? kink / deviation : 0;
    edges.push(centre);
    for (let step = max(1 / deviation, 1e-12); step < 2 * far; step *= 4) edges.push(centre - step, centre + step);
  }
  const ends = edges.map((z) => clip(z, -far, far)).sort((x, y) => x - y);
  let total = 0;
  for (let i = 1; i < ends.length; i++) {
    const half = (ends[i] - ends[i - 1]) / 2;
    let sum = 0;
    for (let j = 0; half > 0 && j < LEGENDRE.length; j++) {
      const z = ends[i - 1] + half * (1 + LEGENDRE[j][0]);
      sum += LEGENDRE[j][1] * f(deviation * z) * exp((-z * z) / 2);
    }
    total += half * sum;
  }
  return total / sqrt(2 * PI);
}

/** A whole number of steps, or NaN. */
const steps = (n) => (n >= 0 && n === floor(n) ? n : NaN);

/**
 * The state at the time `end` of an autonomous system, by the method of Dormand and Prince of order 8. `rates(state)` are
 * its derivatives; those of variables marked in `logs` are of their logarithms. NaN where there is no solution.
 */
function flow(rates, end, start, logs) {
  const size = start.length, lost = start.map(() => NaN), { A, B, C, E3, E5 } = DOP853;
  if (!isFinite(end) || !start.every((x, i) => isFinite(x) && (x > 0 || !logs[i]))) return lost;
  if (end === 0) return start;
  const v = max(...rates(start).map((r, i) => abs(r) / (logs[i] ? 1 : 1 + abs(start[i]))), 1e-300);
  const u = log1p(abs(end) * v), pace = (sign(end) * u) / v;
  const state = [...start];
  const slope = (s, y) => {
    for (let i = 0; i < size; i++) state[i] = logs[i] ? exp(y[i]) : y[i];
    const found = rates(state), speed = pace * exp(s * u);
    for (let i = 0; i < size; i++) found[i] *= speed;
    return found;
  };
  /** y + h (weights . stages) */
  const along = (y, weights, count, stages, h) => {
    const found = [];
    for (let i = 0; i < size; i++) {
      let sum = 0;
      for (let j = 0; j < count; j++) sum += weights[j] * stages[j][i];
      found.push(y[i] + h * sum);
    }
    return found;
  };
  const norm = (x, scale) => sqrt(x.reduce((sum, value, i) => sum + (value / scale[i]) ** 2, 0) / size);
  let y = start.map((x, i) => (logs[i] ? log(x) : x)), f = slope(0, y);
  if (!f.every(isFinite)) return lost;
  const tolerance = 1e-15, floors = f.map((r, i) => tolerance * (logs[i] ? 1 : abs(r) + 1e-300));
  const scale = floors.map((a, i) => a + abs(y[i]) * tolerance);
  const d0 = norm(y, scale), d1 = norm(f, scale), h0 = min(d0 < 1e-5 || d1 < 1e-5 ? 1e-6 : (0.01 * d0) / d1, 1);
  const ahead = slope(h0, along(y, [1], 1, [f], h0));
  const d2 = norm(ahead.map((r, i) => r - f[i]), scale) / h0;
  let h = min(100 * h0, d1 <= 1e-15 && d2 <= 1e-15 ? max(1e-6, h0 * 1e-3) : (0.01 / max(d1, d2)) ** 0.125, 1);
  for (let s = 0, rejected = false, count = 0; s < 1; count++) {
    if (count > 20000 || !(h > 1e-15)) return diverged(slope(1, y), y, floors, tolerance, logs);
    const next = min(s + h, 1), stages = [f];
    h = next - s;
    for (let j = 1; j < 12; j++) stages.push(slope(s + C[j] * h, along(y, A[j], j, stages, h)));
    const after = along(y, B, 12, stages, h);
    stages.push(slope(next, after));
    let n5 = 0, n3 = 0;
    for (let i = 0; i < size; i++) {
      const unit = floors[i] + max(abs(y[i]), abs(after[i])) * tolerance;
      let e5 = 0, e3 = 0;
      for (let j = 0; j < 13; j++) {
        e5 += stages[j][i] * E5[j];
        e3 += stages[j][i] * E3[j];
      }
      n5 += (e5 / unit) ** 2;
      n3 += (e3 / unit) ** 2;
    }
    const error = n5 === 0 && n3 === 0 ? 0 : (h * n5) / sqrt((n5 + 0.01 * n3) * size);
    if (error < 1) {
      const factor = error === 0 ? 10 : min(10, 0.9 * error ** -0.125);
      [s, y, f, h, rejected] = [next, after, stages[12], h * (rejected ? min(1, factor) : factor), false];
    } else {
      h *= error >= 1 ? max(0.2, 0.9 * error ** -0.125) : 0.2;
      rejected = true;
    }
  }
  return y.map((x, i) => (logs[i] ? exp(x) : x));
}

/** The state where the solver stops: variables that diverge are infinite. */
function diverged(last, y, floors, tolerance, logs) {
  return y.map((x, i) => {
    const blown = !logs[i] && abs(last[i]) > 1e8 * (abs(x) + floors[i] / tolerance);
    return blown ? sign(last[i]) * Infinity : NaN;
  });
}

/**
 * A function of an object of numbers by name. `scaled(...)` takes them in the order of `names` and gives [m, k], the
 * number m * 2**k; `at(...)` gives it as a number, and `log({...})` its logarithm, which has no bounds.
 */
function formula(names, scaled) {
  const at = (...values) => linear(...scaled(...values));
  const given = (values) => names.map((name) => Number(values[name]));
  const f = (values) => at(...given(values));
  return Object.assign(f, { names, scaled, at, log: (values) => logarithm(...scaled(...given(values)), NaN) });
}
