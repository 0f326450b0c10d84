//! Names of places as people type them: folding, and the nearest names to one that is misspelt.
//!
//! Decides when two spellings are the same name. Refuses to know which place a name belongs to.

use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

/// Longer names are unknown without a search: nobody misspells a city with this many bytes.
pub(crate) const NAME_BYTES_MAX: usize = 100;

/// How many names an unknown one is compared to at most in its error.
pub(crate) const SUGGESTIONS_MAX: usize = 3;

/// Lower case without diacritics and apostrophes; every run of anything but letters and digits is one hyphen:
/// `São_Paulo` is `sao-paulo`, `Xi'an` is `xian`, `St. John's` is `st-johns`.
pub(crate) fn hyphenated(name: &str) -> String {
    if name.is_ascii() { fold(name.chars()) } else { fold(name.nfkd().filter(|&letter| !is_combining_mark(letter))) }
}

fn fold(letters: impl Iterator<Item = char>) -> String {
    let mut folded = String::new();
    let mut gap = false;
    for letter in letters.filter(|&letter| !is_apostrophe(letter)) {
        if !letter.is_alphanumeric() {
            gap = true;
            continue;
        }
        if gap && !folded.is_empty() {
            folded.push('-');
        }
        gap = false;
        if letter.is_ascii() {
            folded.push(letter.to_ascii_lowercase());
        } else if let Some(ascii) = undecomposed(letter) {
            folded.push_str(ascii);
        } else {
            folded.extend(letter.to_lowercase());
        }
    }
    folded
}

/// The same without hyphens, so that `newyork`, `new york` and `New-York` are one name.
pub(crate) fn squeezed(hyphenated: &str) -> String {
    hyphenated.chars().filter(|&letter| letter != '-').collect()
}

/// How far a typed name is from a listed one (both squeezed), or `None` where nobody would take one for the other.
/// Zero is equality; the beginning of a name counts as near.
pub(crate) fn distance(typed: &str, listed: &str) -> Option<usize> {
    let length = typed.chars().count();
    let tolerance = match length {
        0..=4 => 1,
        5..=8 => 2,
        _ => 3,
    };
    if listed.len().abs_diff(typed.len()) <= tolerance + 2 {
        let edits = strsim::osa_distance(typed, listed);
        if edits <= tolerance {
            return Some(edits);
        }
    }
    (length >= 3 && listed.starts_with(typed)).then_some(2)
}

fn is_apostrophe(letter: char) -> bool {
    matches!(letter, '\'' | '’' | '‘' | 'ʻ' | 'ʼ' | '`' | '´')
}

/// Latin letters that have no decomposition into a base letter and a mark.
fn undecomposed(letter: char) -> Option<&'static str> {
    Some(match letter {
        'ß' | 'ẞ' => "ss",
        'æ' | 'Æ' => "ae",
        'œ' | 'Œ' => "oe",
        'ø' | 'Ø' => "o",
        'ł' | 'Ł' => "l",
        'đ' | 'Đ' | 'ð' | 'Ð' => "d",
        'þ' | 'Þ' => "th",
        'ħ' | 'Ħ' => "h",
        'ı' => "i",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_name_fold_alike() {
        for spelling in ["sao paulo", "sao-paulo", "São Paulo", "SAO_PAULO", "  Sa\u{303}o   Paulo. "] {
            assert_eq!(hyphenated(spelling), "sao-paulo", "{spelling:?}");
        }
        assert_eq!(hyphenated("Xi’an"), "xian");
        assert_eq!(hyphenated("Łódź"), "lodz");
        assert_eq!(hyphenated("Tromsø"), "tromso");
        assert_eq!(hyphenated("İzmir"), "izmir");
        assert_eq!(squeezed(&hyphenated("New York")), "newyork");
        assert_eq!(hyphenated(" - "), "");
    }

    #[test]
    fn near_names_are_near_and_far_ones_are_not() {
        assert_eq!(distance("tokio", "tokyo"), Some(1));
        assert_eq!(distance("johanesbrug", "johannesburg"), Some(2));
        assert_eq!(distance("frank", "frankfurt"), Some(2));
        assert_eq!(distance("tokio", "frankfurt"), None);
        assert_eq!(distance("", "fra"), None);
    }

    proptest! {
        #[test]
        fn folding_is_idempotent(name in "\\PC{0,40}") {
            let once = hyphenated(&name);
            prop_assert_eq!(hyphenated(&once), once.clone());
            prop_assert!(!once.starts_with('-') && !once.ends_with('-'));
        }
    }
}
