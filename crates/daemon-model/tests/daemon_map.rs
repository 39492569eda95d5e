//! A map by daemon behaves like a `BTreeMap`, and finds the differences between two versions.

mod common;

use std::collections::BTreeMap;

use daemon_model::{DaemonId, DaemonMap};
use proptest::prelude::*;

fn id(n: u16) -> DaemonId {
    common::id(&format!("d{n:04}"))
}

/// Each entry sets a value or, without one, removes it.
fn edits(most: usize) -> impl Strategy<Value = Vec<(u16, Option<u8>)>> {
    prop::collection::vec((0..1000u16, prop::option::weighted(0.7, 0..3u8)), 0..most)
}

fn edit(edits: &[(u16, Option<u8>)], map: &mut DaemonMap<u8>, model: &mut BTreeMap<DaemonId, u8>) {
    for (n, value) in edits {
        let before = match value {
            Some(value) => {
                assert_eq!(map.insert(id(*n), *value), model.insert(id(*n), *value));
                continue;
            }
            None => model.remove(&id(*n)),
        };
        assert_eq!(map.remove(&id(*n)), before);
    }
}

fn of(map: &BTreeMap<DaemonId, u8>) -> Vec<(&DaemonId, &u8)> {
    map.iter().collect()
}

proptest! {
    #[test]
    fn it_is_a_map_and_finds_differences(first in edits(1500), second in edits(20)) {
        let (mut map, mut model) = (DaemonMap::default(), BTreeMap::new());
        edit(&first, &mut map, &mut model);
        let (before, model_before) = (map.clone(), model.clone());
        edit(&second, &mut map, &mut model);
        prop_assert_eq!(map.iter().collect::<Vec<_>>(), of(&model));
        prop_assert_eq!(map.len(), model.len());
        prop_assert_eq!(before.iter().collect::<Vec<_>>(), of(&model_before), "a copy stays as it was");

        let all = model.keys().chain(model_before.keys());
        let mut expected: Vec<&DaemonId> = all.filter(|id| model.get(id) != model_before.get(id)).collect();
        expected.sort_unstable();
        expected.dedup();
        prop_assert_eq!(before.differences(&map, PartialEq::eq), expected.clone());
        prop_assert_eq!(map.differences(&before, PartialEq::eq), expected.clone());
        prop_assert_eq!(before == map, expected.is_empty());

        // Without anything in common.
        let built: DaemonMap<u8> = model.iter().map(|(id, value)| (id.clone(), *value)).collect();
        prop_assert_eq!(&built, &map);
        prop_assert_eq!(before.differences(&built, PartialEq::eq), expected);
    }
}
