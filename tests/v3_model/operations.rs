//! Random operations.

use bytes::Bytes;
use callboard::command::{
    CompareResult, CompareTarget, KeyRange, SortOrder, SortTarget, V2Compare, V2Op, V2Write,
    V3Compare, V3DeleteRange, V3Op, V3Put, V3Range, V3RequestOp, V3Txn,
};
use callboard::types::LeaseId;
use proptest::{option, prelude::*};

/// A few keys that meet each other, some of which v2 can see.
const KEYS: [&str; 8] = ["a", "ab", "b", "/a", "/a/b", "/a/c", "/b", "c"];
const V2_KEYS: [&str; 4] = ["/a/b", "/a/c", "/b", "/a"];
const ENDS: [&str; 6] = ["", "\0", "b", "/b", "0", "\0\0"];

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Operation {
    V3(V3Op),
    /// What v2 does with a path.
    V2(&'static str, V2Op),
    /// A share of the history that there is, in percent, is forgotten.
    Compact(u64),
    /// A share of what is forgotten is freed.
    Free(usize),
}

fn key() -> impl Strategy<Value = Bytes> {
    prop::sample::select(&KEYS[..]).prop_map(|key| Bytes::from_static(key.as_bytes()))
}

fn keys() -> impl Strategy<Value = KeyRange> {
    let end = prop::sample::select(&ENDS[..]).prop_map(|end| Bytes::from_static(end.as_bytes()));
    let key = prop_oneof![4 => key(), 1 => Just(Bytes::from_static(b"\0"))];
    (key, end).prop_map(|(key, range_end)| KeyRange { key, range_end })
}

fn value() -> impl Strategy<Value = Bytes> {
    prop::sample::select(&["", "x", "yy", "zzz"][..]).prop_map(|v| Bytes::from_static(v.as_bytes()))
}

fn lease() -> impl Strategy<Value = LeaseId> {
    prop_oneof![3 => Just(0_i64), 2 => 1..4_i64].prop_map(LeaseId)
}

fn put() -> impl Strategy<Value = V3Put> {
    let flags = (any::<bool>(), prop::bool::weighted(0.1), prop::bool::weighted(0.1));
    (key(), value(), lease(), flags).prop_map(|(key, value, lease, flags)| {
        let (prev_kv, ignore_value, ignore_lease) = flags;
        V3Put { key, value, lease, prev_kv, ignore_value, ignore_lease }
    })
}

fn delete() -> impl Strategy<Value = V3DeleteRange> {
    (keys(), any::<bool>()).prop_map(|(keys, prev_kv)| V3DeleteRange { keys, prev_kv })
}

/// A range at a revision of which some exist.
pub fn range() -> impl Strategy<Value = V3Range> {
    let revision = prop_oneof![3 => Just(0_i64), 4 => 1..40_i64, 1 => -2..0_i64];
    let order = prop::sample::select(&[SortOrder::None, SortOrder::Ascend, SortOrder::Descend][..]);
    let target = prop::sample::select(
        &[
            SortTarget::Key,
            SortTarget::Key,
            SortTarget::Version,
            SortTarget::Create,
            SortTarget::Mod,
            SortTarget::Value,
        ][..],
    );
    let bound = || prop_oneof![6 => Just(0_i64), 1 => 1..20_i64];
    let bounds = (bound(), bound(), bound(), bound());
    let count_only = prop::bool::weighted(0.15);
    (keys(), -1..5_i64, revision, (order, target), bounds, count_only).prop_map(
        |(keys, limit, revision, (sort_order, sort_target), bounds, count_only)| V3Range {
            keys,
            limit,
            revision,
            sort_order,
            sort_target,
            keys_only: false,
            count_only,
            min_mod_revision: bounds.0,
            max_mod_revision: bounds.1,
            min_create_revision: bounds.2,
            max_create_revision: bounds.3,
        },
    )
}

fn compare() -> impl Strategy<Value = V3Compare> {
    use CompareResult::{Equal, Greater, Less, NotEqual};
    let result = prop::sample::select(&[Equal, Greater, Less, NotEqual][..]);
    let target = prop_oneof![
        (0..3_i64).prop_map(CompareTarget::Version),
        (0..12_i64).prop_map(CompareTarget::Create),
        (0..12_i64).prop_map(CompareTarget::Mod),
        (0..3_i64).prop_map(CompareTarget::Lease),
        value().prop_map(CompareTarget::Value),
    ];
    (keys(), result, target).prop_map(|(keys, result, target)| V3Compare { keys, result, target })
}

/// Some that the door would refuse, too: what a member applies must not depend on the door.
fn txn() -> impl Strategy<Value = V3Txn> {
    let op = prop_oneof![
        3 => put().prop_map(V3RequestOp::Put),
        2 => delete().prop_map(V3RequestOp::DeleteRange),
        2 => range().prop_map(V3RequestOp::Range),
    ];
    let flat = of_ops(op.clone().boxed());
    let inner = prop_oneof![4 => op, 1 => flat.prop_map(V3RequestOp::Txn)];
    of_ops(inner.boxed())
}

fn of_ops(op: BoxedStrategy<V3RequestOp>) -> impl Strategy<Value = V3Txn> + Clone {
    let ops = prop::collection::vec(op, 0..4);
    (prop::collection::vec(compare().boxed(), 0..3), ops.clone(), ops)
        .prop_map(|(compare, success, failure)| V3Txn { compare, success, failure })
        .boxed()
}

fn v2() -> impl Strategy<Value = Operation> {
    let write = (value(), option::weighted(0.4, 1..100_u64), prop::bool::weighted(0.2))
        .prop_map(|(value, ttl, dir)| V2Write { dir, value, ttl, refresh: false })
        .boxed();
    let op = prop_oneof![
        4 => write.clone().prop_map(V2Op::Set),
        1 => write.clone().prop_map(V2Op::CreateInOrder),
        2 => (value(), write).prop_map(|(value, write)| V2Op::CompareAndSwap {
            compare: V2Compare { prev_value: value.to_vec(), prev_index: 0 },
            write,
        }),
        2 => any::<bool>().prop_map(|recursive| V2Op::Delete { dir: recursive, recursive }),
    ];
    (prop::sample::select(&V2_KEYS[..]), op).prop_map(|(path, op)| Operation::V2(path, op))
}

pub fn operation() -> impl Strategy<Value = Operation> {
    let id = || (1..4_i64).prop_map(LeaseId);
    prop_oneof![
        6 => put().prop_map(|put| Operation::V3(V3Op::Put(put))),
        3 => delete().prop_map(|delete| Operation::V3(V3Op::DeleteRange(delete))),
        6 => txn().prop_map(|txn| Operation::V3(V3Op::Txn(txn))),
        2 => id().prop_map(|id| Operation::V3(V3Op::LeaseGrant { id, ttl: 60 })),
        1 => id().prop_map(|id| Operation::V3(V3Op::LeaseRevoke { id })),
        1 => (-1..30_i64).prop_map(|revision| Operation::V3(V3Op::Compact { revision })),
        1 => (0..=100_u64).prop_map(Operation::Compact),
        1 => (0..10_usize).prop_map(Operation::Free),
        4 => v2(),
    ]
}
