//! Maps by daemon whose copies share what they have in common.

use std::fmt;

use immutable_chunkmap::map::{Map, NodeRef};
use rustc_hash::FxHashSet;

use crate::DaemonId;

/// How many entries are copied when one changes.
const CHUNK: usize = 64;

/// A map by daemon, sorted by ID.
///
/// A copy costs nothing: it shares its entries, and a change copies only the few next to it. So two versions of a map are compared at
/// the cost of what changed between them.
#[derive(Clone)]
pub struct DaemonMap<V: Clone>(Map<DaemonId, V, CHUNK>);

type Node<'a, V> = NodeRef<'a, DaemonId, V, CHUNK>;

impl<V: Clone> DaemonMap<V> {
    /// The value of a daemon.
    #[must_use]
    pub fn get(&self, id: &DaemonId) -> Option<&V> {
        self.0.get(id)
    }

    /// The value of a daemon, to be changed. Copies it first if another map shares it.
    pub fn get_mut(&mut self, id: &DaemonId) -> Option<&mut V> {
        self.0.get_mut_cow(id)
    }

    /// The entry of a daemon.
    #[must_use]
    pub fn get_key_value(&self, id: &DaemonId) -> Option<(&DaemonId, &V)> {
        self.0.get_full(id)
    }

    /// Whether the daemon has a value.
    #[must_use]
    pub fn contains_key(&self, id: &DaemonId) -> bool {
        self.get(id).is_some()
    }

    /// Sets the value of a daemon, and returns the one it had.
    pub fn insert(&mut self, id: DaemonId, value: V) -> Option<V> {
        self.0.insert_cow(id, value)
    }

    /// Removes the value of a daemon, and returns it.
    pub fn remove(&mut self, id: &DaemonId) -> Option<V> {
        self.0.remove_cow(id)
    }

    /// Removes all values.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many daemons have a value.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no daemon has a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The daemons and their values, sorted by ID.
    pub fn iter(&self) -> impl Iterator<Item = (&DaemonId, &V)> {
        self.into_iter()
    }

    /// The daemons, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &DaemonId> {
        self.iter().map(|(id, _)| id)
    }

    /// The values, sorted by ID.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// Whether these are the very same entries, shared.
    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        let root = |map: &Self| map.0.root().map(|node| node.identity());
        root(self) == root(other)
    }

    /// The daemons that have a value in only one of the maps, or values that are not the same; sorted.
    pub fn differences<'a>(
        &'a self,
        other: &'a Self,
        is_same: impl Fn(&V, &V) -> bool,
    ) -> Vec<&'a DaemonId> {
        let mut nodes = FxHashSet::default();
        walk(self.0.root(), &mut |node| nodes.insert(node.identity()));
        let mut shared = FxHashSet::default();
        let mut differing = Vec::new();
        walk(other.0.root(), &mut |node| {
            if nodes.contains(&node.identity()) {
                shared.insert(node.identity());
                return false;
            }
            differing.extend(node.pairs().filter_map(|(id, now)| {
                let is_same = self.get(id).is_some_and(|before| is_same(before, now));
                (!is_same).then_some(id)
            }));
            true
        });
        walk(self.0.root(), &mut |node| {
            let is_shared = shared.contains(&node.identity());
            if !is_shared {
                let ids = node.pairs().map(|(id, _)| id);
                differing.extend(ids.filter(|id| !other.contains_key(id)));
            }
            !is_shared
        });
        differing.sort_unstable();
        differing
    }
}

/// Visits nodes from the root; those below a node only if `enter` asks for them.
fn walk<'a, V: Clone>(node: Option<Node<'a, V>>, enter: &mut impl FnMut(&Node<'a, V>) -> bool) {
    if let Some(node) = node.filter(|node| enter(node)) {
        walk(node.left(), enter);
        walk(node.right(), enter);
    }
}

impl<V: Clone> Default for DaemonMap<V> {
    fn default() -> Self {
        Self(Map::default())
    }
}

impl<V: Clone + PartialEq> PartialEq for DaemonMap<V> {
    fn eq(&self, other: &Self) -> bool {
        self.differences(other, PartialEq::eq).is_empty()
    }
}

impl<V: Clone + fmt::Debug> fmt::Debug for DaemonMap<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<'a, V: Clone> IntoIterator for &'a DaemonMap<V> {
    type Item = (&'a DaemonId, &'a V);
    type IntoIter = <&'a Map<DaemonId, V, CHUNK> as IntoIterator>::IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        (&self.0).into_iter()
    }
}

impl<V: Clone> Extend<(DaemonId, V)> for DaemonMap<V> {
    fn extend<I: IntoIterator<Item = (DaemonId, V)>>(&mut self, entries: I) {
        self.0 = self.0.insert_many(entries);
    }
}

impl<V: Clone> FromIterator<(DaemonId, V)> for DaemonMap<V> {
    fn from_iter<I: IntoIterator<Item = (DaemonId, V)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl<V: Clone, const N: usize> From<[(DaemonId, V); N]> for DaemonMap<V> {
    fn from(entries: [(DaemonId, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<V: Clone> std::ops::Index<&DaemonId> for DaemonMap<V> {
    type Output = V;

    /// # Panics
    /// When the daemon has no value.
    fn index(&self, id: &DaemonId) -> &V {
        &self.0[id]
    }
}
