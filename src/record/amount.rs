//! Amounts: quantities in exact decimal arithmetic, which fails instead of rounding.

use std::fmt;

use rust_decimal::Decimal;

use super::Quantity;

/// A non-negative decimal number of at most 28 digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount(Decimal);

impl Amount {
    /// Zero.
    pub const ZERO: Self = Self(Decimal::ZERO);
    /// One.
    pub const ONE: Self = Self(Decimal::ONE);

    /// The number that a quantity writes; `None` if it has too many digits for exact arithmetic.
    pub fn of(quantity: &Quantity) -> Option<Self> {
        Decimal::from_str_exact(quantity.as_str()).ok().map(|number| Self(number.normalize()))
    }

    /// The sum; `None` if it has too many digits.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        // The result with a zero is known, whatever scale the library gives it.
        if self.0.is_zero() || other.0.is_zero() {
            return Some(if self.0.is_zero() { other } else { self });
        }
        // A sum that does not fit is rounded to fewer digits behind the point, which its scale shows.
        let sum = self.0.checked_add(other.0)?;
        (sum.scale() == self.0.scale().max(other.0.scale())).then(|| Self(sum.normalize()))
    }

    /// The product; `None` if it has too many digits.
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        if self.0.is_zero() || other.0.is_zero() {
            return Some(Self::ZERO);
        }
        let product = self.0.checked_mul(other.0)?;
        // As with sums: a rounded product has a smaller scale.
        (product.scale() == self.0.scale() + other.0.scale()).then(|| Self(product.normalize()))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn amount(text: &str) -> Option<Amount> {
        Amount::of(&text.parse().unwrap())
    }

    #[test]
    fn exact_or_nothing() {
        let shown = |amount: Option<Amount>| amount.map(|amount| amount.to_string());
        let add = |a: &str, b: &str| shown(amount(a).zip(amount(b)).and_then(|(a, b)| a.checked_add(b)));
        let mul = |a: &str, b: &str| shown(amount(a).zip(amount(b)).and_then(|(a, b)| a.checked_mul(b)));
        assert_eq!(add("0.1", "0.20"), Some("0.3".into()));
        assert_eq!(add("0.000", "7.50"), Some("7.5".into()));
        assert_eq!(add("9999999999999999999999999999", "1"), Some("10000000000000000000000000000".into()));
        assert_eq!(add("70000000000000000000000000000", "70000000000000000000000000000"), None);
        assert_eq!(add("9999999999999999999999999999", "0.1"), None, "29 digits and more are rounded, so refused");
        assert_eq!(mul("0.5", "2.0"), Some("1".into()));
        assert_eq!(mul("0.00", "3"), Some("0".into()));
        assert_eq!(mul("0.00000000000001", "0.00000000000001"), Some("0.0000000000000000000000000001".into()));
        assert_eq!(mul("0.000000000000001", "0.00000000000001"), None);
        assert_eq!(mul("1000000000000000", "100000000000000"), None);
        assert_eq!(amount("12345678901234567890123456789012"), None);
        assert_eq!(amount("0.123456789012345678901234567890"), None);
    }

    proptest! {
        #[test]
        fn as_with_whole_numbers(a in 0u64..1 << 40, b in 0u64..1 << 40, a_scale in 0u32..6, b_scale in 0u32..6) {
            let write = |number: u64, scale: u32| {
                let unit = 10u64.pow(scale);
                let width = scale as usize;
                if scale == 0 { number.to_string() } else { format!("{}.{:0width$}", number / unit, number % unit) }
            };
            let read = |number, scale| amount(&write(number, scale)).unwrap();
            let scaled = |amount: Amount, scale: u32| {
                let all = amount.0 * Decimal::from(10u64.pow(scale));
                prop_assert!(all.fract().is_zero());
                Ok(u128::try_from(all).unwrap())
            };
            let (x, y) = (read(a, a_scale), read(b, b_scale));
            let sum = u128::from(a) * 10u128.pow(6 - a_scale) + u128::from(b) * 10u128.pow(6 - b_scale);
            prop_assert_eq!(scaled(x.checked_add(y).unwrap(), 6)?, sum);
            if let Some(product) = x.checked_mul(y) {
                prop_assert_eq!(scaled(product, a_scale + b_scale)?, u128::from(a) * u128::from(b));
            }
        }
    }
}
