//! Path patterns of rules and faults: `*` is any run of characters, `/` included; `?` is exactly one character.
//!
//! Matching is case-sensitive and linear enough for hostile paths: no recursion, at most length(pattern) × length(path)
//! steps. Knows nothing of queries: callers pass the path alone.

use std::fmt;

/// A pattern over paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathGlob(Box<str>);

impl PathGlob {
    /// A pattern; every text is one.
    pub fn new(pattern: &str) -> Self {
        Self(pattern.into())
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole of `path` matches.
    pub fn matches(&self, path: &str) -> bool {
        let (pattern, path) = (self.0.as_bytes(), path.as_bytes());
        let (mut at_pattern, mut at_path) = (0, 0);
        // Where to go on when a later character does not fit: the last `*`, swallowing one character more.
        let mut retry: Option<(usize, usize)> = None;
        while let Some(&byte) = path.get(at_path) {
            match pattern.get(at_pattern) {
                Some(b'*') => {
                    retry = Some((at_pattern + 1, at_path));
                    at_pattern += 1;
                }
                Some(&wanted) if wanted == b'?' || wanted == byte => {
                    at_pattern += 1;
                    at_path += 1;
                }
                _ => {
                    let Some((after_star, swallowed)) = retry else { return false };
                    retry = Some((after_star, swallowed + 1));
                    at_pattern = after_star;
                    at_path = swallowed + 1;
                }
            }
        }
        pattern.get(at_pattern..).is_some_and(|rest| rest.iter().all(|&byte| byte == b'*'))
    }
}

impl fmt::Display for PathGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, matching: &[&str], other: &[&str]) {
        let glob = PathGlob::new(pattern);
        for path in matching {
            assert!(glob.matches(path), "{pattern} should match {path}");
        }
        for path in other {
            assert!(!glob.matches(path), "{pattern} should not match {path}");
        }
    }

    #[test]
    fn stars_and_question_marks_match_as_documented() {
        check("/a", &["/a"], &["", "/", "/ab", "/A"]);
        check("*", &["", "/", "/a/b"], &[]);
        check("/img/*", &["/img/", "/img/a/b.png"], &["/img", "/x/img/"]);
        check("*.png", &["/a.png", "/a.png.png"], &["/a.pngx"]);
        check("/?/*/z", &["/a/b/z", "/a/b/c/z/z"], &["/a/z", "/ab/c/z"]);
        check("", &[""], &["/"]);
    }

    #[test]
    fn many_stars_do_not_explode() {
        let path = format!("/{}", "a".repeat(8000));
        assert!(!PathGlob::new("*a*a*a*a*a*a*a*b").matches(&path));
    }
}
