//! Equality of values in Clojure: `1` and `1.0`, `\a` and `"a"`, a list and a vector with the same elements.
//!
//! Each value is hashed once, even deep in sets and keys of other maps: the hash of a collection is kept until the enclosing one is
//! done.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use crate::tree::{Kind, Node, Tag};

/// The hash of a value, the same for equal values. Each [`ValueHasher`] has its own key, so that no file can force collisions.
pub(crate) type ValueKey = u128;

/// Finds equal values.
#[derive(Default)]
pub(crate) struct ValueHasher {
    one: RandomState,
    two: RandomState,
    /// Hashes of collections, by their cell.
    known: BTreeMap<usize, ValueKey>,
    /// How many values were visited.
    #[cfg(test)]
    visited: std::cell::Cell<usize>,
}

struct HashPair<S>(S, S);

impl<S: Hasher> HashPair<S> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
        self.1.write(bytes);
    }

    fn number(&mut self, class: u8, number: u64) {
        let mut bytes = [class; 9];
        bytes[1..].copy_from_slice(&number.to_le_bytes());
        self.bytes(&bytes);
    }

    fn text(&mut self, class: u8, text: &str) {
        self.number(class, text.len() as u64);
        self.bytes(text.as_bytes());
    }

    fn identity(&mut self, identity: ValueKey) {
        self.bytes(&identity.to_le_bytes());
    }

    fn finish(&self) -> ValueKey {
        ValueKey::from(self.0.finish()) << 64 | ValueKey::from(self.1.finish())
    }
}

impl ValueHasher {
    fn hashers(&self) -> HashPair<impl Hasher + use<>> {
        HashPair(self.one.build_hasher(), self.two.build_hasher())
    }

    /// The hash of a text.
    pub(crate) fn text(&self, text: &str) -> ValueKey {
        let mut hashers = self.hashers();
        hashers.text(b'"', text);
        hashers.finish()
    }

    /// The hash of a value.
    pub(crate) fn identity(&mut self, node: Node<'_>) -> ValueKey {
        if !node.tag().is_collection() {
            let mut hashers = self.hashers();
            leaf(node, &mut hashers);
            return hashers.finish();
        }
        if let Some(known) = self.known.get(&node.at) {
            return *known;
        }
        let identity = self.collection(node);
        // The hashes of its content are no longer needed.
        let mut rest = self.known.split_off(&node.at);
        let mut after = rest.split_off(&node.next());
        self.known.append(&mut after);
        self.known.insert(node.at, identity);
        identity
    }

    // The reader bounds the depth of the tree.
    fn collection(&self, node: Node<'_>) -> ValueKey {
        if let Some(known) = self.known.get(&node.at) {
            return *known;
        }
        let mut hashers = self.hashers();
        match node.tag() {
            Tag::Set => {
                let mut sum: ValueKey = 0;
                for item in node.values() {
                    let mut one = self.hashers();
                    self.part(item, &mut one);
                    sum = sum.wrapping_add(one.finish());
                }
                hashers.number(b'#', 0);
                hashers.identity(sum);
            }
            Tag::Map => {
                let mut sum: ValueKey = 0;
                let mut values = node.values();
                while let Some(key) = values.next() {
                    let mut one = self.hashers();
                    self.part(key, &mut one);
                    if let Some(value) = values.next() {
                        self.part(value, &mut one);
                    }
                    sum = sum.wrapping_add(one.finish());
                }
                hashers.number(b'{', 0);
                hashers.identity(sum);
            }
            _ => {
                hashers.number(b'[', 0);
                for item in node.values() {
                    self.part(item, &mut hashers);
                }
            }
        }
        hashers.finish()
    }

    fn part<S: Hasher>(&self, node: Node<'_>, hashers: &mut HashPair<S>) {
        #[cfg(test)]
        self.visited.set(self.visited.get() + 1);
        if node.tag().is_collection() {
            let identity = self.collection(node);
            hashers.number(b'(', 0);
            hashers.identity(identity);
        } else {
            leaf(node, hashers);
        }
    }

    /// Forgets the cells from `at` on.
    pub(crate) fn forget(&mut self, at: usize) {
        if self
            .known
            .last_key_value()
            .is_some_and(|(last, _)| *last >= at)
        {
            self.known.split_off(&at);
        }
    }
}

fn leaf<S: Hasher>(node: Node<'_>, hashers: &mut HashPair<S>) {
    match node.kind() {
        Kind::Nil => hashers.number(b'n', 0),
        Kind::Bool(value) => hashers.number(b'b', value.into()),
        // Zero has two signs, but is one number.
        Kind::Number(number) => hashers.number(b'0', (number + 0.0).to_bits()),
        Kind::Text(text) => hashers.text(b'"', &text),
        Kind::Instant(text) => hashers.text(b'i', text),
        Kind::Keyword(name) => hashers.text(b':', name.full),
        Kind::Symbol(name) => hashers.text(b'\'', name.full),
        Kind::Uuid => hashers.text(b'u', node.written()),
        // Its content is unknown, so it equals only itself.
        _ => hashers.number(b'?', node.at as u64),
    }
}

/// Up to this many values are compared pairwise.
const FEW: usize = 8;

/// Finds duplicates in `hashes`: calls `found` with the index of the first and of the later one.
pub(crate) fn repeated(hashes: &[ValueKey], mut found: impl FnMut(usize, usize)) {
    if hashes.len() <= FEW {
        for (later, hash) in hashes.iter().enumerate() {
            if let Some(first) = hashes[..later].iter().position(|known| known == hash) {
                found(first, later);
            }
        }
        return;
    }
    // The hashes are keyed, so their own bits spread them over the table.
    let size = (hashes.len() * 2).next_power_of_two();
    let mut table = vec![u32::MAX; size];
    for (later, hash) in hashes.iter().enumerate() {
        let low = u64::try_from(hash & ValueKey::from(u64::MAX)).unwrap_or_default();
        let mut slot = usize::try_from(low).unwrap_or_default() & (size - 1);
        loop {
            let Some(known) = hashes.get(table[slot] as usize) else {
                table[slot] = u32::try_from(later).unwrap_or(u32::MAX);
                break;
            };
            if known == hash {
                found(table[slot] as usize, later);
                break;
            }
            slot = (slot + 1) & (size - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::findings::Findings;
    use crate::tree::Tree;

    fn tree(text: &str) -> Tree {
        crate::reader::read(&Arc::from(text), &mut Findings::default()).unwrap()
    }

    #[test]
    fn equal_values_come_to_the_same() {
        let tree = tree(
            r#"[[1 1.0] [-0.0 0] [\a "a"] [[1 2] (1 2)] [#{1 2} #{2 1}] [{:a 1 :b 2} {:b 2 :a 1}]
                [1 "1"] [:a a] [:a/b :b] ["ab" "a"] [[] #{}] [{} []] [[1 [2]] [[1] 2]] [{1 2} [1 2]] [nil false]]"#,
        );
        let mut same = ValueHasher::default();
        for (n, pair) in tree.root().values().enumerate() {
            let both: Vec<ValueKey> = pair.values().map(|value| same.identity(value)).collect();
            assert_eq!(both[0] == both[1], n < 6, "{}", pair.written());
        }
    }

    #[test]
    fn duplicates_are_found_among_few_and_many() {
        for length in [3_u128, 8, 9, 1000] {
            let mut hashes: Vec<ValueKey> = (0..length).map(|n| n << 3).collect();
            hashes.extend([0, 16, 16]);
            let mut found = Vec::new();
            repeated(&hashes, |first, later| found.push((first, later)));
            let end = usize::try_from(length).unwrap();
            assert_eq!(found, [(0, end), (2, end + 1), (2, end + 2)]);
        }
    }

    /// How many values are hashed until a value nested in this many collections is known to be unique.
    fn visited(open: &str, close: &str, depth: usize) -> usize {
        let text = format!(
            "{}[{}]{}",
            open.repeat(depth),
            "1 ".repeat(1000),
            close.repeat(depth)
        );
        let tree = tree(&text);
        let mut same = ValueHasher::default();
        // From the inside out, as the reader closes them.
        let mut chain = vec![tree.root()];
        while let Some(inner) = chain.last().and_then(|last| last.values().next())
            && inner.tag().is_collection()
        {
            chain.push(inner);
        }
        assert_eq!(chain.len(), depth + 1);
        for value in chain.into_iter().rev() {
            same.identity(value);
        }
        same.visited.get()
    }

    #[test]
    fn deeply_nested_values_are_visited_once() {
        for (open, close) in [("#{", "}"), ("{", " 1}")] {
            assert!(visited(open, close, 400) <= 1000 + 2 * 400, "{open}");
        }
    }
}
