//! Words and lines of a zone file: comments, quotes, and parentheses that join lines.

use std::ops::Range;

use cdn_core::zone::Name;

use super::ZoneFileError;

/// What parentheses have made one line: words, and whether it began with white space.
#[derive(Clone, Debug)]
pub(super) struct Entry<'t> {
    pub(super) is_indented: bool,
    pub(super) words: Vec<Word<'t>>,
    /// From its first word to the end of its last.
    pub(super) span: Range<usize>,
}

/// A word as written, quotes and escapes included.
#[derive(Clone, Debug)]
pub(super) struct Word<'t> {
    pub(super) raw: &'t str,
    pub(super) span: Range<usize>,
}

/// Reads a text from its start to its end.
#[derive(Debug)]
pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    /// The next line that has words; `None` at the end.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry<'t>>, ZoneFileError> {
        let mut words: Vec<Word<'t>> = vec![];
        let mut is_indented = false;
        let mut is_line_start = true;
        let mut opened: Option<usize> = None;
        while let Some(byte) = self.peek() {
            let start = self.at;
            match byte {
                b'\n' | b'\r' => {
                    self.at += 1;
                    if opened.is_none() && !words.is_empty() {
                        break;
                    }
                    is_line_start |= opened.is_none();
                    continue;
                }
                b' ' | b'\t' => {
                    self.at += 1;
                    // Only what is before the first word, and not within parentheses, indents.
                    if is_line_start && words.is_empty() && opened.is_none() {
                        is_indented = true;
                    }
                    is_line_start = false;
                    continue;
                }
                b';' => {
                    let rest = self.text.get(self.at..).unwrap_or_default();
                    self.at += rest.find('\n').unwrap_or(rest.len());
                    continue;
                }
                b'(' if opened.is_some() => {
                    return Err(ZoneFileError::new(start..start + 1, "a parenthesis within parentheses"));
                }
                b'(' => {
                    opened = Some(start);
                    self.at += 1;
                }
                b')' if opened.is_none() => {
                    return Err(ZoneFileError::new(start..start + 1, "a closing parenthesis, and none is open"));
                }
                b')' => {
                    opened = None;
                    self.at += 1;
                }
                _ => {
                    if is_line_start && words.is_empty() {
                        is_indented = false;
                    }
                    words.push(self.word()?);
                }
            }
            is_line_start = false;
        }
        if let Some(start) = opened {
            return Err(ZoneFileError::new(start..start + 1, "this parenthesis is never closed"));
        }
        let span = match (words.first(), words.last()) {
            (Some(first), Some(last)) => first.span.start..last.span.end,
            _ => return Ok(None),
        };
        Ok(Some(Entry { is_indented, words, span }))
    }

    fn word(&mut self) -> Result<Word<'t>, ZoneFileError> {
        let start = self.at;
        let is_quoted = self.peek() == Some(b'"');
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')' => break,
                b'"' => {
                    if self.at > start && is_quoted {
                        break;
                    }
                    self.quoted()?;
                    if is_quoted {
                        break;
                    }
                }
                b'\\' => self.at += self.escaped_len(),
                _ => self.at += 1,
            }
        }
        let raw = self.text.get(start..self.at).unwrap_or_default();
        if let Some(control) = raw.bytes().position(|byte| byte.is_ascii_control() && byte != b'\t') {
            let at = start + control;
            let error = ZoneFileError::new(at..at + 1, "a control character");
            return Err(error.hint("write it as a backslash and three decimal digits"));
        }
        Ok(Word { raw, span: start..self.at })
    }

    /// Passes over a quoted string.
    fn quoted(&mut self) -> Result<(), ZoneFileError> {
        let start = self.at;
        self.at += 1;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\n' => break,
                b'\\' => self.at += self.escaped_len(),
                _ => self.at += 1,
            }
        }
        Err(ZoneFileError::new(start..start + 1, "this quote is not closed on its line"))
    }

    /// A backslash and the character after it, which stay in one line.
    fn escaped_len(&self) -> usize {
        let next = self.text.get(self.at + 1..).and_then(|rest| rest.chars().next());
        1 + next.filter(|next| *next != '\n').map_or(0, char::len_utf8)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

impl Entry<'_> {
    /// Where it ends, as something that can be shown.
    fn last_character(&self) -> Range<usize> {
        let last = self.words.last().and_then(|word| word.raw.chars().next_back());
        let end = self.span.end;
        end - last.map_or(0, char::len_utf8)..end
    }
}

impl Word<'_> {
    /// It as a name.
    pub(super) fn name(&self, origin: &Name) -> Result<Name, ZoneFileError> {
        Name::parse_within(self.raw, origin).map_err(|error| ZoneFileError::new(self.span.clone(), error.to_string()))
    }

    /// It as bytes: without its quotes, escapes resolved (RFC 1035, section 5.1).
    pub(super) fn bytes(&self) -> Result<Vec<u8>, ZoneFileError> {
        let unquoted = self.raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        unescaped(unquoted.unwrap_or(self.raw).as_bytes()).ok_or_else(|| {
            let error = ZoneFileError::new(self.span.clone(), "an escape that is none");
            error
                .hint("a backslash is followed by three decimal digits up to 255, or by one character that is no digit")
        })
    }
}

pub(super) fn unescaped(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = vec![];
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'\\', &[a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', ref after @ ..]) => {
                let number = [a, b, c].iter().fold(0u16, |number, digit| number * 10 + u16::from(digit - b'0'));
                bytes.push(u8::try_from(number).ok()?);
                rest = after;
            }
            (b'\\', &[b'0'..=b'9', ..] | &[]) => return None,
            (b'\\', &[escaped, ref after @ ..]) => {
                bytes.push(escaped);
                rest = after;
            }
            _ => bytes.push(byte),
        }
    }
    Some(bytes)
}

/// The words of a line, one after the other.
#[derive(Debug)]
pub(super) struct Words<'e, 't> {
    entry: &'e Entry<'t>,
    at: usize,
}

impl<'e, 't> Words<'e, 't> {
    pub(super) const fn new(entry: &'e Entry<'t>) -> Self {
        Self { entry, at: 0 }
    }

    pub(super) fn peek(&self) -> Option<Word<'t>> {
        self.entry.words.get(self.at).cloned()
    }

    /// The next word, which should be `what`.
    pub(super) fn next(&mut self, what: &str) -> Result<Word<'t>, ZoneFileError> {
        let word = self.peek().ok_or_else(|| {
            ZoneFileError::new(self.entry.last_character(), format!("the line ends where {what} should follow"))
        })?;
        self.at += 1;
        Ok(word)
    }

    /// Refuses what is left.
    pub(super) fn end(&self) -> Result<(), ZoneFileError> {
        match self.peek() {
            Some(word) => Err(ZoneFileError::new(word.span, format!("{:?} is a word too many", word.raw))),
            None => Ok(()),
        }
    }

    /// From the next word to the end of the line.
    pub(super) fn rest_span(&self) -> Range<usize> {
        let end = self.entry.span.end;
        self.peek().map_or_else(|| self.entry.last_character(), |word| word.span.start..end)
    }
}
