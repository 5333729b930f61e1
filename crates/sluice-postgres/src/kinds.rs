//! What rows of a batch have in common, sent once for all of them.

use std::collections::HashMap;
use std::hash::Hash;

/// The kinds of rows of a batch, numbered from 1 as the elements of an array are. A statement reads what all rows of a kind
/// have in common as `($7::text[])[i.kind]`, which costs it less than a column of its own: nearly all rows of a batch are
/// of one kind. (Of hundreds of kinds it costs more, as Postgres walks through an array of texts.)
#[derive(Debug)]
pub(crate) struct Kinds<K> {
    numbers: HashMap<K, i32>,
    last: Option<(K, i32)>,
}

impl<K> Default for Kinds<K> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), last: None }
    }
}

impl<K: Clone + Eq + Hash> Kinds<K> {
    /// The number of `kind`, and whether it is a new one.
    pub(crate) fn number(&mut self, kind: &K) -> (i32, bool) {
        if let Some((last, number)) = &self.last
            && last == kind
        {
            return (*number, false);
        }
        // A batch has some hundred rows.
        let next = i32::try_from(self.numbers.len()).unwrap_or(i32::MAX - 1) + 1;
        let number = *self.numbers.entry(kind.clone()).or_insert(next);
        self.last = Some((kind.clone(), number));
        (number, number == next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_keeps_its_number() {
        let mut kinds = Kinds::default();
        let told = ["a", "a", "b", "a", "c", "b", "b"].map(|kind| kinds.number(&kind));
        let expected = [(1, true), (1, false), (2, true), (1, false), (3, true), (2, false), (2, false)];
        assert_eq!(told, expected);
    }
}
