//! Random ranges that come and go, against a look at each of them.

use proptest::prelude::*;
use smallvec::SmallVec;

use super::*;
use crate::{
    storage::mvcc::record::{Action, Change, KeyHead, KeyRecord},
    types::UnixNanos,
};

fn record(revision: u64, keys: &[&[u8]]) -> RevisionRecord {
    let change = |key: &&[u8]| Change {
        before: None,
        after: Some(KeyRecord::new(key, b"", KeyHead::default())),
    };
    RevisionRecord {
        revision: Revision(revision),
        time: UnixNanos(1),
        action: Action::Txn,
        refresh: false,
        changes: keys.iter().map(change).collect::<SmallVec<_>>(),
        dir: None,
    }
}

fn depth(link: &Link) -> usize {
    link.as_ref().map_or(0, |node| 1 + depth(&node.left).max(depth(&node.right)))
}

/// Answers how many nodes there are.
fn check(link: &Link) -> usize {
    let Some(node) = link else { return 0 };
    let mut farthest = &node.end;
    for (below, before) in [(&node.left, true), (&node.right, false)] {
        let Some(below) = below else { continue };
        assert!(below.weight <= node.weight);
        assert_eq!((&below.start, &below.end) < (&node.start, &node.end), before);
        farthest = farthest.max(&below.farthest);
    }
    assert_eq!(&node.farthest, farthest);
    assert!(!node.watchers.is_empty());
    1 + check(&node.left) + check(&node.right)
}

#[test]
fn neighbours_in_a_row_make_no_deep_tree() {
    let mut hub = RangeHub::default();
    for number in 0..10_000_u64 {
        let (key, end) = (format!("/{number:05}/"), format!("/{number:05}0"));
        let keys = KeyRange { key: key.into(), range_end: end.into() };
        hub.add(SubscriptionId(number), keys, Revision(1));
    }
    assert_eq!(check(&hub.ranges), 10_000);
    assert!(depth(&hub.ranges) < 60, "{}", depth(&hub.ranges));
    assert_eq!(hub.notify(&record(2, &[b"/00777/x", b"elsewhere"])), [SubscriptionId(777)]);
    for number in 0..10_000 {
        hub.remove(SubscriptionId(number));
    }
    assert!(hub.is_empty() && hub.ranges.is_none());
}

fn key() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(0_u8..3, 0..3).prop_map(Bytes::from)
}

fn range() -> impl Strategy<Value = KeyRange> {
    (key(), key()).prop_map(|(key, range_end)| KeyRange { key, range_end })
}

proptest! {
    #[test]
    fn tells_whom_the_ranges_say(
        ranges in prop::collection::vec((range(), 1_u64..6), 1..40),
        gone in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        changes in prop::collection::vec(prop::collection::vec(key(), 1..6), 1..8),
        many in any::<bool>(),
    ) {
        let mut hub = RangeHub::default();
        let mut plain = BTreeMap::new();
        for (id, (keys, after)) in ranges.iter().enumerate() {
            let id = SubscriptionId(id as u64);
            hub.add(id, keys.clone(), Revision(*after));
            plain.insert(id, (keys.clone(), Revision(*after)));
        }
        for gone in gone {
            let id = SubscriptionId(gone.index(ranges.len()) as u64);
            hub.remove(id);
            plain.remove(&id);
            check(&hub.ranges);
        }
        prop_assert_eq!(hub.len(), plain.len());
        for (at, changed) in changes.iter().enumerate() {
            let revision = at as u64 + 2;
            let others: Vec<[u8; 2]> = (0..if many { 300_u16 } else { 0 })
                .map(|number| [200 + (number >> 8) as u8, number as u8])
                .collect();
            let mut keys: Vec<&[u8]> = changed.iter().map(Bytes::as_ref).collect();
            keys.extend(others.iter().map(|key| &key[..]));
            let record = record(revision, &keys);
            let mut told = hub.notify(&record);
            told.sort_unstable();
            let expected = plain.iter().filter(|(_, (range, after))| {
                record.revision > *after && keys.iter().any(|key| range.contains(key))
            });
            prop_assert_eq!(told, expected.map(|(id, _)| *id).collect::<Vec<_>>());
        }
        prop_assert_eq!(hub.clear(), plain.into_keys().collect::<Vec<_>>());
        prop_assert!(hub.is_empty());
    }
}
