//! A model of what watches of one stream must see, tried with steps at random and lines on which little
//! has room: no watch ever sees a gap, anything twice, or another order.

use std::{collections::BTreeMap, time::Duration};

use callboard::{
    command::KeyRange,
    http::v3::{
        Caller,
        pb::etcdserverpb::{PutRequest, RequestOp, TxnRequest, WatchResponse, request_op},
    },
};
use proptest::prelude::*;

use super::{
    member::{Member, Sizes},
    watch_v3::{Client, deletion, from, of},
};

/// What the model does.
#[derive(Clone, Debug)]
enum Step {
    Put(u8),
    Delete(u8, u8),
    Txn(Vec<u8>, u8),
    Compact,
    Watch {
        key: u8,
        end: u8,
        back: i64,
    },
    /// The client reads so many answers, if there are.
    Read(usize),
    Progress,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..5_u8).prop_map(Step::Put),
        2 => (0..5_u8, 0..6_u8).prop_map(|(key, end)| Step::Delete(key, end)),
        2 => (prop::collection::btree_set(0..4_u8, 1..3), 0..5_u8)
            .prop_map(|(keys, gone)| Step::Txn(keys.into_iter().collect(), gone)),
        1 => Just(Step::Compact),
        2 => (0..5_u8, 0..7_u8, 0..6_i64).prop_map(|(key, end, back)| Step::Watch { key, end, back }),
        2 => (0..4_usize).prop_map(Step::Read),
        1 => Just(Step::Progress),
    ]
}

/// The name of a key; `end` 0 means one key, 6 all that follow.
fn name(key: u8) -> String {
    char::from(b'a' + key).to_string()
}

fn end_name(end: u8) -> String {
    match end {
        0 => String::new(),
        6 => "\0".to_owned(),
        end => name(end - 1),
    }
}

/// One event: revision, whether it is a deletion, key.
type Seen = (i64, bool, String);

struct Model {
    client: Client,
    revision: i64,
    compacted: i64,
    keys: std::collections::BTreeSet<String>,
    history: Vec<Seen>,
    watches: BTreeMap<i64, Watched>,
}

struct Watched {
    keys: KeyRange,
    start: i64,
    created: bool,
    /// Where history was gone, if it was.
    lost: Option<i64>,
    seen: Vec<Seen>,
}

impl Model {
    async fn run(steps: Vec<Step>, capacity: usize) {
        let member = Member::start(Sizes { watch_capacity: capacity, ..Sizes::default() }).await;
        let client = Client::of(&member);
        let mut model = Model {
            client,
            revision: 1,
            compacted: 0,
            keys: std::collections::BTreeSet::new(),
            history: Vec::new(),
            watches: BTreeMap::new(),
        };
        for step in steps {
            model.step(step).await;
        }
        model.finish().await;
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Put(key) => {
                self.revision = self.client.put(&name(key), "v").await;
                self.put(name(key));
            }
            Step::Delete(key, end) => {
                self.revision = self.client.delete(&name(key), &end_name(end)).await;
                self.delete(&KeyRange { key: name(key).into(), range_end: end_name(end).into() });
            }
            Step::Txn(puts, gone) => {
                // Put in order, then a deletion from a key on, which may hit what was just put.
                let put = |key: &u8| {
                    let (key, value) = (name(*key).into(), "t".into());
                    request_op::Request::RequestPut(PutRequest {
                        key,
                        value,
                        ..PutRequest::default()
                    })
                };
                let delete = request_op::Request::RequestDeleteRange(deletion(&name(gone), "\0"));
                let ops = puts.iter().map(put).chain([delete]);
                let success = ops.map(|op| RequestOp { request: Some(op) }).collect();
                let txn = TxnRequest { success, ..TxnRequest::default() };
                let answer = self.client.services.txn(&Caller::default(), txn).await.unwrap();
                self.revision = answer.header.unwrap().revision;
                for key in puts {
                    self.put(name(key));
                }
                self.delete(&KeyRange { key: name(gone).into(), range_end: "\0".into() });
            }
            Step::Compact => {
                if self.revision > self.compacted.max(1) {
                    self.client.compact(self.revision).await;
                    self.compacted = self.revision;
                }
            }
            Step::Watch { key, end, back } => {
                let id = self.watches.len() as i64;
                let (key, end) = (name(key), end_name(end));
                // A little ahead, too.
                let start = (self.revision + 3 - 2 * back).max(1);
                self.client.watch(from(&key, &end, start));
                let keys = KeyRange { key: key.into(), range_end: end.into() };
                if keys.bounds().is_some() {
                    let watched =
                        Watched { keys, start, created: false, lost: None, seen: Vec::new() };
                    self.watches.insert(id, watched);
                }
            }
            Step::Read(count) => {
                for _ in 0..count {
                    let short = Duration::from_millis(1);
                    let answer = tokio::time::timeout(short, self.client.answers.recv()).await;
                    let Ok(answer) = answer else { break };
                    self.read(&answer.unwrap().unwrap());
                }
            }
            Step::Progress => self.client.ask_progress(),
        }
    }

    fn put(&mut self, key: String) {
        self.keys.insert(key.clone());
        self.history.push((self.revision, false, key));
    }

    fn delete(&mut self, range: &KeyRange) {
        let gone: Vec<String> =
            self.keys.iter().filter(|key| range.contains(key.as_bytes())).cloned().collect();
        for key in gone {
            self.keys.remove(&key);
            self.history.push((self.revision, true, key));
        }
    }

    /// Notes an answer; whether it was one to a question for progress.
    fn read(&mut self, answer: &WatchResponse) -> bool {
        let header = answer.header.as_ref().unwrap();
        if answer.watch_id == -1 {
            if answer.created {
                assert!(answer.canceled);
                return false;
            }
            // All that is said to have been told has been.
            for watched in self.watches.values().filter(|watched| watched.created) {
                watched.check(&self.history, header.revision);
            }
            return true;
        }
        let watched = self.watches.get_mut(&answer.watch_id).unwrap();
        if answer.created {
            assert!(!watched.created && answer.events.is_empty());
            watched.created = true;
        } else if answer.canceled {
            assert!(watched.created && answer.compact_revision > 0);
            watched.lost = Some(answer.compact_revision);
        } else {
            assert!(watched.created && watched.lost.is_none() && !answer.events.is_empty());
        }
        for event in &answer.events {
            let event = event.to_loose();
            let kv = event.kv.unwrap();
            let key = String::from_utf8_lossy(kv.key()).into_owned();
            watched.seen.push((kv.to_loose().mod_revision, event.r#type == 1, key));
        }
        false
    }

    /// Reads until all was told, and compares.
    async fn finish(mut self) {
        // One more watch, so that there is one, and a last question.
        self.client.watch(of("zz", ""));
        let id = self.watches.len() as i64;
        let keys = KeyRange::one("zz");
        let start = self.revision + 1;
        let watched = Watched { keys, start, created: false, lost: None, seen: Vec::new() };
        self.watches.insert(id, watched);
        while !self.watches[&id].created {
            let answer = self.client.answer().await;
            self.read(&answer);
        }
        self.client.ask_progress();
        // An older question may be answered first.
        loop {
            let answer = self.client.answer().await;
            if self.read(&answer) && answer.header.as_ref().unwrap().revision == self.revision {
                break;
            }
        }
        for watched in self.watches.values() {
            watched.check(&self.history, self.revision);
        }
    }
}

impl Watched {
    /// Compares with what happened up to `revision`.
    fn check(&self, history: &[Seen], revision: i64) {
        let all: Vec<&Seen> = history
            .iter()
            .filter(|(at, _, key)| *at >= self.start && self.keys.contains(key.as_bytes()))
            .collect();
        let expected = all.iter().filter(|(at, ..)| *at <= revision).count();
        let seen: Vec<&Seen> = self.seen.iter().collect();
        if let Some(lost) = self.lost {
            assert_eq!(seen, all[..seen.len()], "what was seen before history was gone");
            let next = all.get(seen.len()).map_or(self.start, |event| event.0);
            assert!(next < lost || self.start < lost, "it was not gone");
        } else {
            assert_eq!(seen, all[..seen.len()], "from {}", self.start);
            assert!(seen.len() >= expected, "{} of {expected} by {revision}", seen.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn each_watch_sees_each_event_once_and_in_order(
        steps in prop::collection::vec(step(), 1..80),
        capacity in 1..4_usize,
    ) {
        actix_rt::System::new().block_on(Model::run(steps, capacity));
    }
}
