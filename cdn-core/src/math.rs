//! Sines, logarithms and powers that are the same to the last bit on every platform.
//!
//! The standard library leaves these to the platform: to a C library that takes one way on processors with fused
//! multiply-add and another way on those without, or to an instruction of the processor. A run in virtual time is to be the
//! same to the byte wherever it is played, so whatever it is made of takes these; `clippy.toml` of the pure crates forbids
//! the standard ones. What IEEE 754 rounds exactly (`+ - * /`, `sqrt`, conversions) needs none of this.

pub use libm::{
    asin, cos, erfc, exp, exp2, expm1 as exp_m1, log as ln, log1p as ln_1p, log2, pow as powf, sin, sincos as sin_cos,
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a platform gives other bits, runs of the same seed differ: these are what every one gives.
    #[test]
    fn results_are_these_bits_everywhere() {
        let bits = [sin(0.7), cos(0.7), asin(0.7), ln(0.7), ln_1p(0.7), log2(0.7), exp(0.7), exp_m1(0.7), exp2(0.7)];
        let bits = bits.into_iter().chain([powf(0.7, 1.3)]).map(|result| format!("{:016x}", result.to_bits()));
        assert_eq!(bits.collect::<Vec<_>>(), BITS);
        assert_eq!(sin_cos(0.7), (sin(0.7), cos(0.7)));
    }

    const BITS: [&str; 10] = [
        "3fe49d6e694619b8",
        "3fe87996529f9d93",
        "3fe8d00e692afd95",
        "bfd6d3c324e13f50",
        "3fe0fae81914a991",
        "bfe0776228967d13",
        "40001c2a61268987",
        "3ff03854c24d130d",
        "3ff9fdf8bcce533d",
        "3fe4207e29c0d5e4",
    ];
}
