//! The clocks: ticks come to the actors as messages from outside, for an actor drains its mailbox
//! before its own timers. Each clock sends its next tick only when the last was taken, so that a slow
//! actor finds one tick, not a heap of them.

use std::{sync::Arc, time::Duration};

use actix::{Addr, Handler, Message, dev::ToEnvelope};
use crossbeam_channel::Sender;
use tokio::{task::JoinHandle, time::MissedTickBehavior};

use crate::actors::{
    mailbox::Gauge,
    raft_node::host::{self as raft_node, RaftNode},
    snapshotter::{Order, Ordered},
    store::{
        TICKS_PER_SECOND,
        host::{self as store, Store},
    },
};

/// The running clocks.
pub struct Clocks(Vec<JoinHandle<()>>);

impl Clocks {
    /// Starts them on the current runtime.
    pub fn start(
        heartbeat: Duration,
        raft_node: Addr<RaftNode>,
        store: Addr<Store>,
        snapshotter: Sender<Ordered>,
        gauge: Arc<Gauge>,
    ) -> Clocks {
        let tenth = Duration::from_millis(1000 / TICKS_PER_SECOND);
        let consider = async move {
            let mut beat = beat(tenth);
            loop {
                beat.tick().await;
                // Asked only when idle: a question that finds no slot would only be asked again.
                if gauge.depth() == 0
                    && let Ok(slot) = gauge.take_slot()
                    && snapshotter.try_send(Ordered { order: Order::Consider, slot }).is_err()
                {
                    return; // it has stopped
                }
            }
        };
        Clocks(vec![
            tokio::spawn(ticks(heartbeat, raft_node, || raft_node::Tick)),
            tokio::spawn(ticks(tenth, store, || store::Tick)),
            tokio::spawn(consider),
        ])
    }

    /// Stops them.
    pub fn stop(&self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

fn beat(period: Duration) -> tokio::time::Interval {
    let mut beat = tokio::time::interval(period);
    // The time between two ticks may grow, but never shrink: leases are counted by them.
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}

async fn ticks<A, M>(period: Duration, actor: Addr<A>, tick: impl Fn() -> M)
where
    A: actix::Actor<Context = actix::Context<A>> + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message<Result = ()> + Send + 'static,
{
    let mut beat = beat(period);
    loop {
        beat.tick().await;
        if actor.send(tick()).await.is_err() {
            return; // it has stopped
        }
    }
}
