//! Texts, each kept once and told by number.
//!
//! A hundred thousand networks share some thousand names; where they do not, a name costs its letters and eight bytes, and
//! no allocation of its own.

use hashbrown::HashTable;

use super::id;
use crate::geo::map::hash;

/// Texts by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    text: String,
    /// Where each ends.
    ends: Vec<u32>,
}

/// Texts that are still being gathered.
#[derive(Debug, Default)]
pub(super) struct WordsBuilder {
    words: Words,
    known: HashTable<u32>,
}

impl Words {
    /// The text `number`; empty where there is none.
    pub(super) fn text(&self, number: u32) -> &str {
        let at = number as usize;
        let begin = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(at).copied().unwrap_or(begin);
        self.text.get(begin as usize..end as usize).unwrap_or_default()
    }
}

impl Words {
    /// About how many bytes they take.
    pub(super) fn bytes(&self) -> usize {
        self.text.len() + size_of_val(&*self.ends)
    }
}

impl WordsBuilder {
    /// The number of `text`.
    pub(super) fn number(&mut self, text: &str) -> u32 {
        let Self { words, known } = self;
        if let Some(&number) = known.find(hash(text), |&number| words.text(number) == text) {
            return number;
        }
        let number = id(words.ends.len());
        words.text.push_str(text);
        words.ends.push(id(words.text.len()));
        known.insert_unique(hash(text), number, |&number| hash(words.text(number)));
        number
    }

    pub(super) fn build(self) -> Words {
        let Words { mut text, mut ends } = self.words;
        text.shrink_to_fit();
        ends.shrink_to_fit();
        Words { text, ends }
    }
}
