//! Splits the number with which a server lets its clients work for a key: a product of two primes
//! below 2^63. Pollard's rho with Brent's batches; ends after a bounded number of steps whatever it
//! is given.

use std::ops::Range;

/// What a server may send: "a product of two distinct odd prime numbers", "less than or equal to
/// 2^63-1" (<https://core.telegram.org/mtproto/auth_key>), each of about 31 bits.
const NUMBERS: Range<u64> = 1 << 32..1 << 63;
/// Steps for one polynomial. A factor p is found after about the root of p of them, which is 2^16.
const STEPS_MAX: u32 = 1 << 19;
/// Differences multiplied together before one greatest common divisor is taken.
const BATCH: u32 = 128;
/// Polynomials that are tried.
const TRIES: u64 = 4;

/// The two factors of `number`, the smaller first; `None` when no server may send it, or when it does
/// not split into two different ones.
pub(super) fn factor(number: u64) -> Option<(u64, u64)> {
    if !NUMBERS.contains(&number) || number.is_multiple_of(2) {
        return None;
    }
    let found = (1..=TRIES).find_map(|shift| rho(number, shift))?;
    let other = number / found;
    let (smaller, larger) = (found.min(other), found.max(other));
    (smaller > 1 && smaller < larger).then_some((smaller, larger))
}

fn rho(number: u64, shift: u64) -> Option<u64> {
    let step = |x: u64| (times(x, x, number) + shift % number) % number;
    let (mut slow, mut fast) = (2 % number, 2 % number);
    let mut steps = 0;
    while steps < STEPS_MAX {
        let (saved_slow, saved_fast) = (slow, fast);
        let mut product = 1;
        for _ in 0..BATCH {
            slow = step(slow);
            fast = step(step(fast));
            product = times(product, slow.abs_diff(fast), number);
        }
        steps += BATCH;
        match common(product, number) {
            1 => {}
            found if found < number => return Some(found),
            // More than one factor within the batch: look at each difference.
            _ => return one_by_one(number, saved_slow, saved_fast, step),
        }
    }
    None
}

fn one_by_one(number: u64, mut slow: u64, mut fast: u64, step: impl Fn(u64) -> u64) -> Option<u64> {
    for _ in 0..BATCH {
        slow = step(slow);
        fast = step(step(fast));
        let found = common(slow.abs_diff(fast), number);
        if found > 1 {
            return (found < number).then_some(found);
        }
    }
    None
}

fn times(a: u64, b: u64, modulus: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(modulus)) as u64
}

fn common(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_published_number_is_split() {
        assert_eq!(factor(0x17ED_4894_1A08_F981), Some((0x494C_553B, 0x5391_1073)));
    }

    #[test]
    fn what_has_no_two_factors_is_refused() {
        // Squares of primes, a prime, an even number, and one beyond the bound.
        let large = [1_000_003 * 1_000_003, 3_037_000_493 * 3_037_000_493, (1 << 61) - 1];
        let others = [2 * 4_294_967_291, 4_294_967_291 * 3_221_225_473];
        for number in (0..=10_000).chain(large).chain(others) {
            assert_eq!(factor(number), None, "{number}");
        }
    }

    fn prime() -> impl Strategy<Value = u64> {
        let is_prime =
            |n: &u64| (3..).step_by(2).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d));
        ((1_u64 << 29)..(1 << 31))
            .prop_filter_map("not prime", move |n| (n | 1..n + 200).step_by(2).find(is_prime))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn products_of_primes_are_split(p in prime(), q in prime()) {
            prop_assume!(p != q);
            prop_assert_eq!(factor(p * q), Some((p.min(q), p.max(q))));
        }

        #[test]
        fn no_number_panics_or_is_split_wrongly(number: u64) {
            if let Some((p, q)) = factor(number) {
                prop_assert_eq!(p.checked_mul(q), Some(number));
            }
        }
    }
}
