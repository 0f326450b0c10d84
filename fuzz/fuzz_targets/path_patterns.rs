//! Path patterns: what covers a path is what the obvious matcher says, and the path of a lookup has nothing left to normalise.
#![no_main]

use cdn_core::path_pattern::{PathPattern, normalize_for_lookup};
use libfuzzer_sys::fuzz_target;

/// Whether `pattern` covers `text`: one row per byte of the pattern, as in the textbook.
fn covers(pattern: &[u8], text: &[u8]) -> bool {
    let mut row = vec![false; text.len() + 1];
    row[0] = true;
    for byte in pattern {
        let mut next = vec![false; text.len() + 1];
        for at in 0..=text.len() {
            next[at] = match byte {
                b'*' => row[at] || at > 0 && next[at - 1],
                b'?' => at > 0 && row[at - 1],
                byte => at > 0 && row[at - 1] && text[at - 1] == *byte,
            };
        }
        row = next;
    }
    row[text.len()]
}

// The first line is the pattern, the rest is the path.
fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let (pattern, path) = text.split_once('\n').unwrap_or((text, "/"));
    let normalized = normalize_for_lookup(path);
    if path.starts_with('/') {
        assert!(normalized.starts_with('/') && !normalized.contains("//"), "{path:?}: {normalized:?}");
        assert!(!normalized.split('/').any(|segment| matches!(segment, "." | "..")), "{path:?}: {normalized:?}");
    }
    if let Ok(parsed) = PathPattern::parse(pattern) {
        let bare = |text: &str| text.strip_prefix('/').unwrap_or(text).as_bytes().to_vec();
        assert_eq!(parsed.matches(&normalized), covers(&bare(pattern), &bare(&normalized)), "{pattern:?} {normalized:?}");
    }
});
