//! The public operation of RSA, without a copy of its secret left in freed memory.
//!
//! A signature that is wrong by a fault of the device may give the private key away, and so may each power of it. The numbers
//! of `num-bigint` are freed as they are, so the powers are computed here, in buffers that are wiped, by Montgomery's
//! multiplication (Handbook of Applied Cryptography, algorithm 14.36). Not in constant time: a fault is no secret from its
//! own server.

use num_bigint::BigUint;
use zeroize::Zeroizing;

/// Little-endian digits, wiped when dropped.
type Digits = Zeroizing<Vec<u64>>;

/// `base` to the power of `exponent`, in as many bytes as the modulus has. All numbers are big-endian. `None` if the modulus is
/// even, or `base` has more bytes than it.
pub(crate) fn power(base: &[u8], exponent: &[u8], modulus: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let modulus = modulus.iter().position(|byte| *byte != 0).map(|first| &modulus[first..])?;
    if base.len() > modulus.len() || modulus.last()? % 2 == 0 {
        return None;
    }
    let n = digits(modulus, modulus.len().div_ceil(8));
    let montgomery = Montgomery { inverse: negative_inverse(n[0]), n };
    let (one, squared) = montgomery.radix(modulus);
    let base = montgomery.times(&digits(base, one.len()), &squared);
    let mut result = one;
    for bit in (0..exponent.len() * 8).map(|bit| exponent[bit / 8] >> (7 - bit % 8) & 1) {
        result = montgomery.times(&result, &result);
        if bit == 1 {
            result = montgomery.times(&result, &base);
        }
    }
    let result = montgomery.times(&result, &digits(&[1], result.len()));
    let mut bytes = Zeroizing::new(vec![0; modulus.len()]);
    for (byte, n) in bytes.iter_mut().rev().zip(0..) {
        *byte = result[n / 8].to_le_bytes()[n % 8];
    }
    Some(bytes)
}

/// The digits of a big-endian number, `len` of them.
fn digits(bytes: &[u8], len: usize) -> Digits {
    let mut digits = Zeroizing::new(vec![0; len]);
    for (byte, n) in bytes.iter().rev().zip(0..) {
        digits[n / 8] |= u64::from(*byte) << (8 * (n % 8));
    }
    digits
}

/// `-1 / n` modulo 2^64, of an odd number (Newton's iteration doubles the number of right bits each time).
fn negative_inverse(n: u64) -> u64 {
    let right = (0..6).fold(1_u64, |x, _| x.wrapping_mul(2_u64.wrapping_sub(n.wrapping_mul(x))));
    right.wrapping_neg()
}

/// Arithmetic modulo an odd number `n`, with the radix `2^(64 * number of digits)`.
struct Montgomery {
    n: Digits,
    inverse: u64,
}

impl Montgomery {
    /// The radix and its square, modulo `n`. Of the modulus alone, which is public.
    fn radix(&self, modulus: &[u8]) -> (Digits, Digits) {
        let (modulus, bits) = (BigUint::from_bytes_be(modulus), 64 * self.n.len());
        let of = |bits: usize| {
            digits(&((BigUint::from(1_u8) << bits) % &modulus).to_bytes_be(), self.n.len())
        };
        (of(bits), of(2 * bits))
    }

    /// `a * b / radix`, below `n` if one of the two is and the other is below the radix.
    fn times(&self, a: &[u64], b: &[u64]) -> Digits {
        let len = self.n.len();
        let mut sum = Zeroizing::new(vec![0; len + 2]);
        for digit in b {
            add_product(&mut sum, a, *digit);
            let factor = sum[0].wrapping_mul(self.inverse);
            // Now the lowest digit becomes zero, and is shifted out.
            add_product(&mut sum, &self.n, factor);
            sum.copy_within(1.., 0);
            sum[len + 1] = 0;
        }
        if sum[len] != 0 || !is_below(&sum[..len], &self.n) {
            subtract(&mut sum, &self.n);
        }
        Zeroizing::new(sum[..len].to_vec())
    }
}

/// `sum += digits * factor`.
fn add_product(sum: &mut [u64], digits: &[u64], factor: u64) {
    let mut carry = 0_u128;
    for (n, place) in sum.iter_mut().enumerate() {
        let product = digits.get(n).map_or(0, |digit| u128::from(*digit) * u128::from(factor));
        let total = u128::from(*place) + product + carry;
        *place = total as u64;
        carry = total >> 64;
    }
}

fn is_below(a: &[u64], b: &[u64]) -> bool {
    a.iter().rev().lt(b.iter().rev())
}

/// `a -= b`, of which `a` is the greater.
fn subtract(a: &mut [u64], b: &[u64]) {
    let mut borrowed = false;
    for (n, place) in a.iter_mut().enumerate() {
        let (less, first) = place.overflowing_sub(b.get(n).copied().unwrap_or(0));
        let (less, second) = less.overflowing_sub(u64::from(borrowed));
        *place = less;
        borrowed = first || second;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against `num-bigint`.
        #[test]
        fn it_is_the_power_modulo_the_modulus(
            base in prop::collection::vec(any::<u8>(), 1..80), exponent in prop::collection::vec(any::<u8>(), 0..5),
            mut modulus in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xff), Just(0)], 1..80),
        ) {
            *modulus.last_mut().unwrap() |= 1;
            let significant = modulus.iter().skip_while(|byte| **byte == 0).count();
            let [b, e, n] = [&base, &exponent, &modulus].map(|bytes| BigUint::from_bytes_be(bytes));
            let result = power(&base, &exponent, &modulus);
            prop_assert_eq!(result.is_some(), base.len() <= significant);
            if let Some(result) = result {
                prop_assert_eq!(result.len(), significant);
                prop_assert_eq!(BigUint::from_bytes_be(&result), b.modpow(&e, &n));
            }
        }
    }

    #[test]
    fn an_even_modulus_or_none_is_refused() {
        assert!(power(&[3], &[3], &[8]).is_none());
        assert!(power(&[], &[3], &[0]).is_none());
        assert!(power(&[], &[3], &[]).is_none());
    }
}
