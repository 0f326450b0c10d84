//! Places on Earth as words (RFC 1876, section 3).

use super::{
    ZoneFileError,
    data::not,
    lexer::{Word, Words},
};

/// Where the equator and the prime meridian are: values are thousandths of a second of arc beside them.
const MERIDIAN: i64 = 1 << 31;
/// The altitude that is 0 on the wire, in centimetres.
const LOWEST_CM: i64 = -10_000_000;

/// Reads latitude, longitude, altitude and, where they are there, size and precisions.
pub(super) fn read(words: &mut Words<'_, '_>, out: &mut Vec<u8>) -> Result<(), ZoneFileError> {
    let latitude = angle(words, "latitude", ["N", "S"], 90)?;
    let longitude = angle(words, "longitude", ["E", "W"], 180)?;
    let word = words.next("an altitude in metres")?;
    let altitude = centimetres(&word)?
        .checked_sub(LOWEST_CM)
        .and_then(|above| u32::try_from(above).ok())
        .ok_or_else(|| not(&word, "an altitude from -100000 to 42849672.95 m"))?;
    // Defaults of RFC 1876, section 3: 1 m, 10 km, 10 m.
    let mut precisions = [0x12, 0x16, 0x13];
    for precision in &mut precisions {
        if words.peek().is_some() {
            let word = words.next("a size in metres")?;
            *precision = scaled(centimetres(&word)?).ok_or_else(|| not(&word, "a size from 0 to 90000000 m"))?;
        }
    }
    out.push(0);
    out.extend_from_slice(&precisions);
    for number in [latitude, longitude, altitude] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    Ok(())
}

/// Degrees, and where they are there minutes and seconds, then the direction.
fn angle(
    words: &mut Words<'_, '_>,
    what: &str,
    [positive, negative]: [&str; 2],
    degrees_max: i64,
) -> Result<u32, ZoneFileError> {
    let mut milliseconds = 0;
    for (unit, most) in [(3_600_000, degrees_max * 1000), (60_000, 59_000), (1000, 59_999)] {
        let word = words.next(what)?;
        if unit != 3_600_000 && [positive, negative].iter().any(|way| way.eq_ignore_ascii_case(word.raw)) {
            return signed(&word, milliseconds, positive, degrees_max);
        }
        // Only seconds have a fraction.
        let value =
            thousandths(word.raw).filter(|value| (0..=most).contains(value) && (unit == 1000 || value % 1000 == 0));
        milliseconds += value.ok_or_else(|| not(&word, &format!("a part of a {what}")))? * unit / 1000;
    }
    let word = words.next("a direction")?;
    if ![positive, negative].iter().any(|way| way.eq_ignore_ascii_case(word.raw)) {
        return Err(not(&word, &format!("{positive} or {negative}")));
    }
    signed(&word, milliseconds, positive, degrees_max)
}

fn signed(word: &Word<'_>, milliseconds: i64, positive: &str, degrees_max: i64) -> Result<u32, ZoneFileError> {
    let sign = if positive.eq_ignore_ascii_case(word.raw) { 1 } else { -1 };
    let fits = milliseconds <= degrees_max * 3_600_000;
    let number = u32::try_from(MERIDIAN + sign * milliseconds).ok().filter(|_| fits);
    number.ok_or_else(|| ZoneFileError::new(word.span.clone(), format!("more than {degrees_max} degrees")))
}

fn centimetres(word: &Word<'_>) -> Result<i64, ZoneFileError> {
    let metres = word.raw.strip_suffix(['m', 'M']).unwrap_or(word.raw);
    thousandths(metres)
        .filter(|value| value % 10 == 0)
        .map(|value| value / 10)
        .ok_or_else(|| not(word, "metres, as 12.34m"))
}

/// A decimal number with at most three places, in thousandths.
fn thousandths(text: &str) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 12 || fraction.len() > 3 || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<3}").parse().ok()?;
    Some(sign * (whole.parse::<i64>().ok()? * 1000 + fraction))
}

/// A digit and a power of ten in one byte.
fn scaled(mut centimetres: i64) -> Option<u8> {
    let mut power = 0;
    while centimetres > 9 {
        centimetres /= 10;
        power += 1;
    }
    (power <= 9 && centimetres >= 0).then_some((centimetres as u8) << 4 | power)
}
