/**
 * Shamir's secret sharing (1979) over GF(2^8), byte by byte, with the polynomial 0x11b. No tables:
 * what is looked up in memory would depend on secrets.
 */

/** A share of a secret, and where its polynomials were evaluated: 1 to 255. */
export interface SecretShare {
  readonly x: number;
  readonly bytes: Uint8Array;
}

/** a b in GF(2^8). */
function times(a: number, b: number): number {
  let product = 0;
  for (let bit = 0; bit < 8; bit++) {
    product ^= a & -((b >> bit) & 1);
    a = (a << 1) ^ (0x11b & -(a >> 7));
  }
  return product;
}

/** 1 / a = a^254. */
function inverse(a: number): number {
  let power = a;
  for (let i = 0; i < 6; i++) power = times(times(power, power), a);
  return times(power, power);
}

/**
 * The share of a secret at x: secret + c_1 x + c_2 x^2 + ...; as many shares as there are
 * coefficients and one more give the secret back, fewer say nothing of it.
 * @param coefficients each as long as the secret, and uniformly random, 0 as likely as any
 */
export function shareAt(secret: Uint8Array, coefficients: readonly Uint8Array[], x: number) {
  const bytes = new Uint8Array(secret.length);
  for (const part of [...coefficients].reverse())
    bytes.forEach((byte, i) => (bytes[i] = times(byte ^ part[i], x)));
  secret.forEach((byte, i) => (bytes[i] ^= byte));
  return { x, bytes };
}

/** The secret of these shares: Lagrange's polynomial at 0. Their places must differ. */
export function secretOf(shares: readonly SecretShare[]): Uint8Array {
  const secret = new Uint8Array(shares[0].bytes.length);
  for (const { x, bytes } of shares) {
    let above = 1;
    let below = 1;
    for (const other of shares)
      if (other.x !== x) {
        above = times(above, other.x);
        below = times(below, other.x ^ x);
      }
    const weight = times(above, inverse(below));
    bytes.forEach((byte, i) => (secret[i] ^= times(byte, weight)));
  }
  return secret;
}
