//! What a selection of a policy takes from headers, cookies and query strings.
//!
//! Decides, for one name at a time, whether it is in the cache key and whether it travels to the origin (the union rule
//! of cache policy and origin request policy). Knows cookies and query strings only as lists of pairs.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{distribution::Selection, path_pattern::glob};

impl Selection {
    /// Whether a cookie or query parameter of this name is taken; case-sensitive.
    pub fn takes(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::Only(names) => names.iter().any(|listed| listed == name),
            Self::Like(patterns) => patterns.iter().any(|pattern| glob(pattern.as_bytes(), name.as_bytes())),
            Self::AllExcept(names) => names.iter().all(|listed| listed != name),
            Self::All => true,
        }
    }

    /// Whether a header of this name is taken; names compare without case.
    pub fn takes_header(&self, name: &HeaderName) -> bool {
        let listed = |names: &[String]| names.iter().any(|listed| listed.eq_ignore_ascii_case(name.as_str()));
        match self {
            Self::None => false,
            Self::Only(names) => listed(names),
            Self::Like(_) => self.takes(name.as_str()),
            Self::AllExcept(names) => !listed(names),
            Self::All => true,
        }
    }

    /// Whether nothing can ever be taken.
    pub fn is_none(&self) -> bool {
        match self {
            Self::None => true,
            Self::Only(names) | Self::Like(names) => names.is_empty(),
            Self::AllExcept(_) | Self::All => false,
        }
    }
}

/// What travels to the origin: what the cache policy or the origin request policy takes. Two block lists are the one
/// exception of the table: only what neither names.
#[derive(Clone, Copy, Debug)]
pub struct Union<'a> {
    /// The cache policy's selection.
    pub key: &'a Selection,
    /// The origin request policy's selection.
    pub beyond: &'a Selection,
}

impl Union<'_> {
    /// Whether a cookie or query parameter of this name travels.
    pub fn takes(&self, name: &str) -> bool {
        let (key, beyond) = (self.key.takes(name), self.beyond.takes(name));
        if self.both_block() { key && beyond } else { key || beyond }
    }

    /// Whether everything travels, so that the raw text can.
    pub fn is_all(&self) -> bool {
        *self.key == Selection::All || *self.beyond == Selection::All
    }

    /// Whether nothing can ever travel.
    pub fn is_none(&self) -> bool {
        self.key.is_none() && self.beyond.is_none()
    }

    const fn both_block(&self) -> bool {
        matches!((self.key, self.beyond), (Selection::AllExcept(_), Selection::AllExcept(_)))
    }
}

/// The cookies of a request as `name=value` texts, over all `Cookie` lines (HTTP/2 may split them, RFC 9113 section
/// 8.2.3). Lines that are not visible ASCII or UTF-8 are skipped: such cookies can be neither keyed nor selected.
pub fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| str::from_utf8(line.as_bytes()).ok())
        .flat_map(|line| line.split(';'))
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| (pair.split_once('=').map_or(pair, |(name, _)| name), pair))
}

/// Takes the cookies of some names off a request; the others stay as they are.
pub fn remove_cookies(headers: &mut HeaderMap, goes: impl Fn(&str) -> bool) {
    if !cookies(headers).any(|(name, _)| goes(name)) {
        return;
    }
    let kept: Vec<&str> = cookies(headers).filter(|(name, _)| !goes(name)).map(|(_, pair)| pair).collect();
    // What was a line of visible characters stays one.
    match HeaderValue::try_from(kept.join("; ")) {
        Ok(line) if !line.is_empty() => drop(headers.insert(header::COOKIE, line)),
        _ => drop(headers.remove(header::COOKIE)),
    }
}

/// The parameters of a raw query string as `(name, name=value)`; the only delimiter is `&`.
pub fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| (pair.split_once('=').map_or(pair, |(name, _)| name), pair))
}

/// The selected part of a raw query string in the viewer's order, without the question mark; the raw string where
/// everything is taken.
pub fn select_query(query: &str, all: bool, takes: impl Fn(&str) -> bool) -> String {
    if all {
        return query.to_owned();
    }
    let mut selected = String::new();
    for (_, pair) in parameters(query).filter(|(name, _)| takes(name)) {
        if !selected.is_empty() {
            selected.push('&');
        }
        selected.push_str(pair);
    }
    selected
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(names: &[&str]) -> Selection {
        Selection::Only(names.iter().map(|&name| name.to_owned()).collect())
    }

    fn except(names: &[&str]) -> Selection {
        Selection::AllExcept(names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn union_follows_the_table() {
        // Names: c in the cache policy's list, a in the origin request policy's, x in neither.
        let rows = [
            (Selection::None, Selection::None, ""),
            (Selection::None, Selection::All, "cax"),
            (Selection::None, only(&["a"]), "a"),
            (Selection::None, except(&["a"]), "cx"),
            (Selection::All, Selection::None, "cax"),
            (Selection::All, except(&["a"]), "cax"),
            (only(&["c"]), Selection::None, "c"),
            (only(&["c"]), Selection::All, "cax"),
            (only(&["c"]), only(&["a"]), "ca"),
            (only(&["c"]), except(&["a"]), "cx"),
            (only(&["c"]), except(&["c"]), "cax"),
            (except(&["c"]), Selection::None, "ax"),
            (except(&["c"]), Selection::All, "cax"),
            (except(&["c"]), only(&["c"]), "cax"),
            (except(&["c"]), except(&["a"]), "x"),
        ];
        for (key, beyond, expected) in rows {
            let union = Union { key: &key, beyond: &beyond };
            let taken: String = ["c", "a", "x"].into_iter().filter(|name| union.takes(name)).collect();
            assert_eq!(taken, expected, "{key:?} with {beyond:?}");
        }
    }

    #[test]
    fn header_names_compare_without_case_and_cookie_names_with() {
        assert!(only(&["Accept-Language"]).takes_header(&header::ACCEPT_LANGUAGE));
        assert!(!only(&["Session"]).takes("session"));
    }

    #[test]
    fn patterns_take_the_names_that_they_cover_and_an_asterisk_in_a_list_is_one() {
        let like = Selection::Like(vec!["sid*".to_owned(), "u?".to_owned()]);
        let taken: Vec<_> = ["sid", "sid-7", "u1", "u", "SID"].into_iter().filter(|name| like.takes(name)).collect();
        assert_eq!(taken, ["sid", "sid-7", "u1"]);
        assert!(!only(&["sid*"]).takes("sid-7") && only(&["sid*"]).takes("sid*"));
    }

    #[test]
    fn selected_parameters_keep_the_viewers_order_and_repetitions() {
        let rule = only(&["a", "b"]);
        assert_eq!(select_query("b=2&x=1&a=1&b=&b&&a=3", false, |name| rule.takes(name)), "b=2&a=1&b=&b&a=3");
        assert_eq!(select_query("b&&a", true, |_| false), "b&&a");
    }

    #[test]
    fn cookies_are_read_over_several_lines() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "a=1; b=x=y;; c".parse().unwrap());
        headers.append(header::COOKIE, "d=4".parse().unwrap());
        let read: Vec<_> = cookies(&headers).collect();
        assert_eq!(read, [("a", "a=1"), ("b", "b=x=y"), ("c", "c"), ("d", "d=4")]);
    }
}
