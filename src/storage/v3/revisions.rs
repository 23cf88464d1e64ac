//! The keyspace as etcd's table of revisions has it: one row for each version of a key and each deletion
//! that compaction has left, by revision and place in it. Its hash tells members apart.

use super::{V3Error, View, past};
use crate::{
    command::KeyRange,
    storage::mvcc::{State, record::KeyRecord},
    types::Revision,
};

/// One row.
#[derive(Debug)]
pub struct Revised<'a> {
    /// When.
    pub revision: Revision,
    /// Its place among the changes of that revision.
    pub sub: u32,
    /// The version that was written, or the one that was deleted.
    pub record: &'a KeyRecord,
    /// Which of both.
    pub deleted: bool,
}

/// Calls `visit` with every row up to `revision`, in order; 0 is the current one. Answers which it was.
///
/// Of what compaction reaches, etcd's hash counts what is still current at `revision`, and if nothing is,
/// what was at the compacted revision.
pub fn revisions(
    state: &State,
    revision: i64,
    mut visit: impl FnMut(Revised<'_>),
) -> Result<i64, V3Error> {
    if revision < 0 {
        return Ok(revision); // etcd finds nothing there, and no fault with it
    }
    let at = past::revision_of(state, revision)?;
    for record in compacted_rows(state, at) {
        let (revision, sub) = (record.mod_revision, record.sub());
        visit(Revised { revision, sub, record: &record, deleted: false });
    }
    for made in state.history_from(Revision(0)).take_while(|made| made.revision <= at) {
        for (sub, change) in made.changes.iter().enumerate() {
            let Some(record) = change.after.as_ref().or(change.before.as_ref()) else { continue };
            let (revision, sub) = (made.revision, sub as u32);
            visit(Revised { revision, sub, record, deleted: change.after.is_none() });
        }
    }
    Ok(at.0 as i64)
}

fn compacted_rows(state: &State, at: Revision) -> Vec<KeyRecord> {
    let all = KeyRange { key: "".into(), range_end: "\0".into() };
    let mut any = false;
    let mut rows = Vec::new();
    for record in View::new(state, &all, at).iter(state, None) {
        any = true;
        if record.mod_revision <= state.compacted {
            rows.push(record.clone());
        }
    }
    if !any && state.compacted.0 > 0 {
        rows.extend(View::new(state, &all, state.compacted).iter(state, None).cloned());
    }
    rows.sort_unstable_by_key(|record| (record.mod_revision, record.sub()));
    rows
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::{
        command::{V3Command, V3DeleteRange, V3Op, V3Put, V3RequestOp, V3Txn},
        storage::{mvcc::codec, v3::apply},
        types::{Term, UnixNanos},
    };

    fn put(key: &str) -> V3Put {
        V3Put { key: key.to_owned().into(), value: "v".into(), ..V3Put::default() }
    }

    fn rows(state: &State, revision: i64) -> String {
        let mut rows = String::new();
        let at = revisions(state, revision, |row| {
            let key = row.record.key().escape_ascii();
            let deleted = if row.deleted { "-" } else { "" };
            _ = write!(rows, "{}.{}{deleted}{key} ", row.revision, row.sub);
        });
        at.map_or_else(|error| error.to_string(), |at| format!("{rows}@{at}"))
    }

    #[test]
    fn compaction_leaves_what_is_current() {
        let mut state = State::new(Vec::new());
        let run = |op: V3Op, state: &mut State| {
            let command = V3Command { caller: None, op };
            apply(state, Term(1), UnixNanos(1), &command).applied.result.unwrap();
        };
        let puts = |keys: &[&str]| {
            let success = keys.iter().map(|key| V3RequestOp::Put(put(key))).collect();
            V3Op::Txn(V3Txn { success, ..V3Txn::default() })
        };
        let delete = |key: &str, end: &str| {
            let keys = KeyRange { key: key.to_owned().into(), range_end: end.to_owned().into() };
            V3Op::DeleteRange(V3DeleteRange { keys, prev_kv: false })
        };
        run(puts(&["c", "a", "b"]), &mut state);
        run(V3Op::Put(put("a")), &mut state);
        run(delete("b", ""), &mut state);
        assert_eq!(rows(&state, 0), "2.0c 2.1a 2.2b 3.0a 4.0-b @4");
        assert_eq!(rows(&state, 2), "2.0c 2.1a 2.2b @2");
        assert_eq!(rows(&state, -1), "@-1");
        run(V3Op::Compact { revision: 2 }, &mut state);
        assert_eq!(rows(&state, 0), "2.0c 3.0a 4.0-b @4");
        assert_eq!(rows(&state, 2), "2.0c 2.1a 2.2b @2", "the place is kept without the record");
        assert_eq!(rows(&state, 1), "required revision has been compacted");
        assert_eq!(rows(&state, 5), "required revision is a future revision");
        state.free_compacted(100);
        let mut loader = codec::Loader::default();
        codec::encode(&state, |record| loader.push(record)).unwrap();
        let loaded = loader.finish().unwrap();
        assert_eq!(rows(&loaded, 2), "2.0c 2.1a 2.2b @2", "and by a snapshot");
        run(delete("a", "z"), &mut state);
        assert_eq!(rows(&state, 0), "2.0c 2.1a 2.2b 3.0a 4.0-b 5.0-a 5.1-c @5");
    }
}
